"""What a submission begins from: the text, and the channels, class and time that are proposed for it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from pipeline import audience
from pipeline.decisions import Refused
from pipeline.drafts import Draft, latest_revision, read_draft
from pipeline.models import Item, StoredRendition, Submission
from pipeline.runtime import Runtime
from pipeline.states import Disclosure, Ground, Stage


@dataclass(frozen=True)
class Proposal:
    """`channels` are ticked, `fixed` cannot be dropped: the item is public there. `publish_at` None: at once. `groups`:
    ids of those whose subscribers are told."""

    revision: int
    draft: Draft
    channels: frozenset[str]
    fixed: frozenset[str]
    publish_at: datetime | None = None
    disclosure: Disclosure = Disclosure.PROACTIVE
    ground: Ground | None = None
    groups: tuple[str, ...] = ()


def propose(rt: Runtime, item_id: int) -> Proposal:
    """What was chosen the last time; for an item never submitted the defaults of its type. Raises Refused when there is
    no such item or it is under review."""
    with rt.reading() as db:
        if db.get(Item, item_id) is None:
            raise Refused("item.unknown", item=str(item_id))
        revision = latest_revision(db, item_id)
        draft = read_draft(db, revision)
        submissions = db.scalars(
            select(Submission).where(Submission.item_id == item_id).order_by(Submission.id.desc())
        ).all()
        if any(one.stage is Stage.REVIEWING for one in submissions):
            raise Refused("review.already_submitted")
        if not submissions:
            groups = audience.of_type(rt.settings, draft.item_type)
            return Proposal(revision.number, draft, defaults(rt, draft.item_type), frozenset(), groups=groups)
        in_force = next((one for one in submissions if one.stage is Stage.APPROVED), None)
        last = in_force or submissions[0]
        stored = select(StoredRendition.channel).where(StoredRendition.submission_id == last.id)
        channels = frozenset(db.scalars(stored)) & rt.channels.keys()
        channels = channels or defaults(rt, draft.item_type)
        publish_at = last.publish_at if last.publish_at and last.publish_at > rt.now() else None
        fixed = channels if in_force is not None and in_force.disclosure is Disclosure.PROACTIVE else frozenset()
        groups = audience.of_submission(rt.settings, db, last.id)
        return Proposal(revision.number, draft, channels, fixed, publish_at, last.disclosure, last.ground, groups)


def defaults(rt: Runtime, item_type: str) -> frozenset[str]:
    """The channels that the office proposes for a type: by its settings, else all that are not sent to recipients."""
    named = rt.settings.default_channels.get(item_type)
    if named is not None:
        return frozenset(named)
    return frozenset(name for name, opened in rt.channels.items() if not opened.adapter.addressed)
