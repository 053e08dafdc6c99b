"""An issue follows what is decided about the items in it, by rule, in the very commit of that decision.

An item is withdrawn: an issue in force drops it, and a line says that something was taken out. A correction of an item
is approved: an issue in force takes the corrected text, which was reviewed itself, in full. Both are a new revision of
the issue and a submission that nobody approved: `Ruling` names the approved one that it follows from. Who was not sent
the issue yet gets the new text, pages are replaced, and what was sent stays. An issue under review goes back to its
editor. Nothing else passes without a review, and no failure here ever holds up a withdrawal: where the new text cannot
be made, what is unsent waits for a new review, and pages that show what was withdrawn are taken down.

The editor's own words are not rewritten by a rule. Where they still name a title that was withdrawn, no text is made at
all; where one that was corrected, or where nothing is left in the issue, pages get the new text and the unsent waits.

What channels will show is made before the transaction, from what stands then (`prepare`); should anything have changed
when the decision is taken, it is made again (`Overtaken`).
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import Rendition, Unrenderable
from pipeline import slots, sources, staff
from pipeline.arrangement import Arrangement, Piece
from pipeline.decisions import Actor, Decision, Refused, audit
from pipeline.drafts import (
    Draft,
    checked,
    compose,
    latest_revision,
    read_draft,
    read_issue,
    rearranged,
    store_revision,
)
from pipeline.models import Delivery, IssueEntry, Item, Revision, Ruling, StoredIssue, StoredRendition, Submission
from pipeline.renditions import store_rendition
from pipeline.rows import lock
from pipeline.runtime import Runtime
from pipeline.sources import Change
from pipeline.states import Stage
from pipeline.submissions import SOURCE_CHANGED, close, locked_item, manifest, staged

log = logging.getLogger("fabu.newsletter")
PATIENCE = 5  # times that a text is made anew because the issue changed meanwhile
Kind = Literal["dropped", "replaced"]


class Overtaken(Exception):
    """The issue changed after its new text was prepared."""


@dataclass(frozen=True)
class Prepared:
    """What an issue is to say after a decision on the item `about`. `issue`: the issue's own item. `base`: the
    submission in force, None: there is none; `latest`: the issue's latest revision; `concerned`: what is in force has
    the item, or names it. `draft` None: no text could be made. `renditions`: of the channels on which it could be made.
    `pending`: a newer text that somebody works at, after the same change. `nothing`: it says the same as before.
    `last`: nobody tries again."""

    about: int
    issue: int
    kind: Kind
    base: int | None
    latest: int
    concerned: bool = False
    draft: Draft | None = None
    renditions: Mapping[str, Rendition] | None = None
    pending: Draft | None = None
    nothing: bool = False
    last: bool = False


T = TypeVar("T")


def followed(
    rt: Runtime, item_id: int, replacement: Callable[[Session], Revision | None], decide: Callable[[Prepared | None], T]
) -> T:
    """Take a decision on an item together with what follows from it for the issue that has it. `replacement`: the
    revision that will be in force afterwards; None: nothing will. `decide` calls `follow` in its transaction.
    Nothing is prepared before `follow` asks for it: hardly any item is in an issue when somebody decides about it."""
    for attempt in range(1 + PATIENCE):
        prepared = prepare(rt, item_id, replacement) if attempt else None
        if prepared is not None and attempt == PATIENCE:
            prepared = replace(prepared, last=True)
        try:
            return decide(prepared)
        except Overtaken:
            continue
    raise RuntimeError(f"the issue of item {item_id} does not stand still")  # an issue was made of it meanwhile, again


def prepare(rt: Runtime, item_id: int, replacement: Callable[[Session], Revision | None]) -> Prepared | None:
    """What the issue with this item is to say; None: no issue has it."""
    with rt.reading() as db:
        issue_item = _issue_item(db, item_id)
        if issue_item is None:
            return None
        new = replacement(db)
        kind: Kind = "dropped" if new is None else "replaced"
        latest = latest_revision(db, issue_item.id)
        base = staged(db, issue_item.id, Stage.APPROVED)
        plain = Prepared(item_id, issue_item.id, kind, base.id if base is not None else None, latest.id)
        if base is None:
            return plain
        before = read_draft(db, db.get_one(Revision, base.revision_id))
        if before.issue is None:
            return plain
        title = {item_id: new.title if new is not None else None}
        old = before.issue.pieces.get(item_id)
        if old is None and not _names(db, before, item_id, title):
            return plain
        texts = dict[int, Text | None]()  # what could not be followed before (the text could not be made) comes along
        for item, source in sources.now(db, before.issue).items():
            texts[item] = (source.revision, read_draft(db, source.revision)) if source is not None else None
        texts[item_id] = (new, read_draft(db, new)) if new is not None else None
        newer = read_draft(db, latest) if latest.id != base.revision_id else None
        channels = _wanted(db, issue_item.id)
    prepared = replace(plain, concerned=True)
    if new is not None and old is not None and new.number == old.revision:
        return replace(prepared, nothing=True)  # approved again, for another channel for instance
    gone = before.issue.gone + sum(text is None and item in before.issue.pieces for item, text in texts.items())
    pending = None
    try:
        draft = checked(rt, _changed(rt, before, texts, gone))
    except Refused:
        return prepared
    with suppress(Refused):  # what cannot be kept any more holds nothing up: its revision stays where it is
        pending = checked(rt, _changed(rt, newer, texts, gone)) if newer is not None else None
    message = compose(rt, issue_item, latest.number + 1, draft)
    renditions = dict[str, Rendition]()
    for name in _sendable(rt, draft, channels, title):
        try:
            renditions[name] = rt.channels[name].adapter.render(message)
        except Exception as error:  # whatever it is, it must not hold up a withdrawal
            if not isinstance(error, Unrenderable):
                log.exception("channel %s: unexpected error while an issue follows item %s", name, item_id)
    return replace(prepared, draft=draft, renditions=renditions, pending=pending)


def _sendable(rt: Runtime, draft: Draft, channels: Sequence[str], title: Mapping[int, str | None]) -> list[str]:
    """The channels that may have this text without a review."""
    if draft.issue is None:
        return []
    with rt.reading() as db:
        named = sources.named(db, draft.issue, sources.own_words(draft), title)
    if any(one.change is Change.WITHDRAWN for one in named):
        return []
    waits = bool(named) or draft.issue.emptied
    return [name for name in channels if name in rt.channels and (rt.channels[name].traits.recall or not waits)]


def _names(db: Session, draft: Draft, item_id: int, title: Mapping[int, str | None] = MappingProxyType({})) -> bool:
    """Do the editor's own words name this item by a title that it has no more?"""
    if draft.issue is None:
        return False
    return any(one.item == item_id for one in sources.named(db, draft.issue, sources.own_words(draft), title))


def follow(rt: Runtime, db: Session, actor: Actor, item_id: int, prepared: Prepared | None) -> list[str]:
    """Let the issue follow, in the transaction of the decision on this item, which is locked. Returns the channels
    concerned. Raises Overtaken, and then the transaction must be given up."""
    there = _issue_item(db, item_id)
    if there is None or prepared is None:
        if there is not None:
            raise Overtaken
        return []
    issue_item = locked_item(db, prepared.issue)
    # All rows of both items in the one order, before either's are changed.
    lock(db, Delivery.item_id.in_((item_id, issue_item.id)))
    latest, base = latest_revision(db, issue_item.id), staged(db, issue_item.id, Stage.APPROVED)
    still = latest.id == prepared.latest and (base.id if base is not None else None) == prepared.base
    if prepared.draft is not None and prepared.draft.issue is not None:
        still = still and not sources.changes(db, prepared.draft.issue)
    if not still and not prepared.last:
        raise Overtaken
    if prepared.nothing and still:
        return []
    concerned = prepared.concerned if still else base is not None and item_id in _pieces(db, base.revision_id)
    _send_back(rt, db, actor, issue_item, item_id, all_of_it=concerned)
    if base is None or not concerned:
        return []
    made = prepared.draft is not None and bool(prepared.renditions) and still
    made_for = prepared.renditions if made and prepared.renditions is not None else {}
    # Where it could not be made, or may not; and channels that the office has given up for now: should they come back.
    failed = [name for name in _wanted(db, issue_item.id) if name not in made_for]
    channels = [name for name in (*failed, *made_for) if name in rt.channels]
    hash = ""
    if made and prepared.draft is not None and prepared.renditions is not None:
        hash = _rule(rt, db, issue_item, base, prepared, prepared.draft, prepared.renditions)
    elif still and prepared.draft is not None:  # it is the editor's to go on from, and in force nowhere
        kept = base.revision_id if prepared.pending is None else prepared.latest
        store_revision(rt, db, issue_item, db.get_one(Revision, kept).author, prepared.pending or prepared.draft)
    slots.give_up(rt, db, issue_item.id, failed, taken_back=prepared.kind == "dropped")
    if made and prepared.draft is not None and prepared.draft.issue is not None:
        for item in _pieces(db, base.revision_id).keys() - prepared.draft.issue.pieces.keys():
            db.get_one(IssueEntry, item).dropped = True
    facts = {"about": item_id, "change": prepared.kind, "from": base.hash, "hash": hash, "failed": failed}
    audit(rt, db, actor, Decision.FOLLOW, issue_item.id, **facts)
    return channels


def _rule(
    rt: Runtime, db: Session, issue_item: Item, base: Submission, prepared: Prepared, draft: Draft,
    renditions: Mapping[str, Rendition],
) -> str:  # fmt: skip
    """The new revision and its submission, in force at once. Its author and submitter stay those of the approved one:
    it says nothing of anybody else's. Returns its hash."""
    author = db.get_one(Revision, base.revision_id).author
    revision = store_revision(rt, db, issue_item, author, draft)
    if prepared.pending is not None:  # what somebody works at stays the latest
        store_revision(rt, db, issue_item, db.get_one(Revision, prepared.latest).author, prepared.pending)
    stored = manifest(issue_item, revision, base.disclosure, base.ground, base.publish_at, renditions,
                      None if base.groups is None else base.groups.split())  # fmt: skip
    close(rt, base, Stage.SUPERSEDED)
    db.flush()
    submission = Submission(
        item_id=issue_item.id,
        revision_id=revision.id,
        submitted_by=base.submitted_by,
        submitted_at=rt.now(),
        disclosure=base.disclosure,
        ground=base.ground,
        publish_at=base.publish_at,
        groups=base.groups,
        manifest=stored,
        hash=hashlib.sha256(stored).hexdigest(),
        stage=Stage.APPROVED,
        closed_at=rt.now(),
    )
    db.add(submission)
    db.flush()
    for name, rendition in renditions.items():
        store_rendition(db, submission.id, revision.id, name, rendition)
    ruling = Ruling(submission_id=submission.id, from_submission=base.id, item_id=prepared.about)
    ruling.change, ruling.at = prepared.kind, rt.now()
    db.add(ruling)
    db.flush()
    kept = db.scalars(select(StoredRendition).where(StoredRendition.submission_id == submission.id))
    slots.want(rt, db, issue_item.id, {one.channel: one for one in kept}, None, held_stays=True)
    return submission.hash


def _send_back(rt: Runtime, db: Session, actor: Actor, issue_item: Item, item_id: int, *, all_of_it: bool) -> None:
    """A review of the issue is void where its content changed: with the item in it or named by its editor, or
    (`all_of_it`) because the text in force changes beneath it. Its editor finds it on the desk."""
    reviewing = staged(db, issue_item.id, Stage.REVIEWING)
    if reviewing is None:
        return
    draft = read_draft(db, db.get_one(Revision, reviewing.revision_id))
    has = draft.issue is not None and item_id in draft.issue.pieces
    if not (all_of_it or has or _names(db, draft, item_id)):
        return
    close(rt, reviewing, Stage.VOIDED, SOURCE_CHANGED)
    audit(rt, db, actor, Decision.FOLLOW, issue_item.id, about=item_id, voided=reviewing.hash)


Text = tuple[Revision, Draft]


def _changed(rt: Runtime, draft: Draft, texts: Mapping[int, Text | None], gone: int) -> Draft:
    """The issue's draft with these items' new texts, or (None) without them. `gone`: how many were taken out by rule,
    which a correction that somebody works at must not forget."""
    for item, text in texts.items():
        draft = _changed_in(rt, draft, item, text)
    return rearranged(draft, replace(draft.issue, gone=gone)) if draft.issue is not None else draft


def _changed_in(rt: Runtime, draft: Draft, item_id: int, source: Text | None) -> Draft:
    before = draft.issue
    if before is None or (old := before.pieces.get(item_id)) is None:
        return draft
    if source is not None:
        return rearranged(draft, before.replaced(piece_of(rt, *source, old)))
    after = before.without(item_id)
    files = tuple(file for file in draft.files if file.name not in _left(after, old))
    return replace(rearranged(draft, after), files=files)


def _left(after: Arrangement, old: Piece) -> set[str]:
    """The picture that nothing shows any more, now that a piece is out."""
    shown = {piece.picture for piece in after.pieces.values()} | {after.editorial_picture}
    return {old.picture} - shown - {""}


def piece_of(rt: Runtime, revision: Revision, draft: Draft, old: Piece) -> Piece:
    """A piece with its item's text of this revision, in full."""
    department = staff.names(rt).department(draft.department)
    return replace(
        old, revision=revision.number, title=draft.title, text=draft.text, department=department, excerpt=False
    )


def _issue_item(db: Session, item_id: int) -> Item | None:
    """The issue that this item was offered to, as an item."""
    chosen = (
        select(Item)
        .join(StoredIssue, StoredIssue.item_id == Item.id)
        .join(IssueEntry, IssueEntry.issue_id == StoredIssue.id)
    )
    return db.scalars(chosen.where(IssueEntry.item_id == item_id)).one_or_none()


def _pieces(db: Session, revision_id: int) -> Mapping[int, Piece]:
    issue = read_issue(db.get_one(Revision, revision_id))
    return issue.pieces if issue is not None else {}


def _wanted(db: Session, item_id: int) -> list[str]:
    """The channels on which something of it is wanted. Where it was given up, only a review brings it back."""
    slots = select(Delivery.channel).where(Delivery.item_id == item_id, Delivery.recipient == "")
    return sorted(db.scalars(slots.where(Delivery.wanted_id.is_not(None))))
