"""What an issue of the newsletter is made from: the items' approved texts, and what became of them since."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import Finding, Severity
from pipeline.arrangement import Arrangement, numbers
from pipeline.decisions import Refused
from pipeline.drafts import Draft
from pipeline.models import IssueEntry, Revision, SkippedIssue, StoredIssue, Submission
from pipeline.runtime import Runtime
from pipeline.states import Disclosure, Stage


class Change(StrEnum):
    """What happened to an item after an issue took its text."""

    WITHDRAWN = "withdrawn"
    CORRECTED = "corrected"


_FOUND = {Change.WITHDRAWN: "check.entry_withdrawn", Change.CORRECTED: "check.entry_corrected"}
_NAMED = {Change.WITHDRAWN: "check.named_withdrawn", Change.CORRECTED: "check.named_corrected"}


@dataclass(frozen=True)
class Source:
    """An item's text in force."""

    item: int
    revision: Revision
    submission: int


def in_force(db: Session, items: Collection[int]) -> dict[int, Source]:
    """Of these items the text that is approved and public now."""
    rows = db.execute(
        select(Submission.item_id, Revision, Submission.id)
        .join(Revision, Revision.id == Submission.revision_id)
        .where(
            Submission.item_id.in_(items),
            Submission.stage == Stage.APPROVED,
            Submission.disclosure == Disclosure.PROACTIVE,
        )
    )
    return {item: Source(item, revision, submission) for item, revision, submission in rows}


def changes(db: Session, arranged: Arrangement) -> dict[int, Change]:
    """Which of an issue's pieces no longer say what their items say in public."""
    pieces = arranged.pieces
    now = in_force(db, pieces)
    found: dict[int, Change] = {}
    for item, piece in pieces.items():
        if item not in now:
            found[item] = Change.WITHDRAWN
        elif now[item].revision.number != piece.revision:
            found[item] = Change.CORRECTED
    return found


def now(db: Session, arranged: Arrangement) -> dict[int, Source | None]:
    """The texts in force of those of its pieces that changed; None: withdrawn."""
    changed = changes(db, arranged)
    there = in_force(db, changed)
    return {item: there.get(item) for item in changed}


@dataclass(frozen=True)
class Named:
    """A title that the editor's own words name, and that its item has no more: it is withdrawn, or corrected."""

    item: int
    title: str
    change: Change


def own_words(draft: Draft) -> str:
    """All that an issue says in its editor's own words: its columns are made of items, and this no rule can rewrite."""
    own = [draft.title, draft.short_title, draft.sms_text, *draft.keywords]
    if (issue := draft.issue) is not None:
        own += [issue.editorial, issue.editorial_picture, *([draft.summary] if draft.summary != issue.summary else [])]
    return "\n".join(own)


def named(
    db: Session, arranged: Arrangement, words: str, coming: Mapping[int, str | None] = MappingProxyType({})
) -> list[Named]:
    """Of the items that were offered to this issue, the titles that `words` name although nothing of them is public
    under it any more. `coming`: the titles that items will have after a decision; None: they will be withdrawn."""
    offered = select(IssueEntry.item_id).join(StoredIssue, StoredIssue.id == IssueEntry.issue_id)
    items = {*db.scalars(offered.where(StoredIssue.running == arranged.running)), *coming}
    public = (Stage.APPROVED, Stage.SUPERSEDED, Stage.WITHDRAWN)
    once = (
        select(Submission.item_id, Revision.title)
        .join(Revision, Revision.id == Submission.revision_id)
        .where(Submission.item_id.in_(items), Submission.stage.in_(public))
        .order_by(Submission.id)
    )
    current: dict[int, str | None] = {**titles(db, items), **coming}
    owners = {title: item for item, title in db.execute(once)}
    left, found = _unspaced(words), list[Named]()
    # The longest first: a title that is still public may begin with one that is not, and the other way round.
    for title in sorted({*owners, *filter(None, current.values())}, key=len, reverse=True):
        bare = _unspaced(title)
        if bare not in left:
            continue
        left = left.replace(bare, "\n")
        if title not in current.values():
            item = owners[title]
            found.append(Named(item, title, Change.CORRECTED if current.get(item) else Change.WITHDRAWN))
    return found


def _unspaced(text: str) -> str:
    return "".join(text.split())


def titles(db: Session, items: Collection[int]) -> dict[int, str]:
    """The titles in force of these items; those that are withdrawn are left out."""
    return {item: source.revision.title for item, source in in_force(db, items).items()}


def findings(rt: Runtime, draft: Draft, channels: Collection[str]) -> list[Finding]:
    """Why an issue may not be submitted or sent as it is, for these channels: what its items say by now, what its
    editorial still names, that nothing is left in it, and, of internal material, channels that the public reads
    (domain: Print)."""
    if draft.issue is None:
        return []
    with rt.reading() as db:
        changed = changes(db, draft.issue)
        still = named(db, draft.issue, own_words(draft))
    pieces = draft.issue.pieces
    found = [
        Finding(_FOUND[change], Severity.BLOCK, "text", {"item": str(item), "title": pieces[item].title})
        for item, change in changed.items()
    ]
    found += [
        Finding(_NAMED[one.change], Severity.BLOCK, facts={"item": str(one.item), "title": one.title}) for one in still
    ]
    if draft.issue.emptied:
        found.append(Finding("check.issue_emptied", Severity.BLOCK))
    if draft.issue.internal:
        public = [rt.channels[name].section.label for name in channels if not rt.channels[name].section.internal]
        if public:
            found.append(Finding("check.internal_channel", Severity.BLOCK, facts={"channels": "、".join(public)}))
    return found


def require_current(db: Session, item_id: int, draft: Draft) -> None:
    """Raise Refused when the issue that this item is was left out or is empty, or when an item in it, or named in its
    editor's own words, was withdrawn or corrected a moment ago."""
    if (arranged := draft.issue) is None:
        return
    skipped = select(SkippedIssue.nominal).join(StoredIssue, StoredIssue.nominal == SkippedIssue.nominal)
    if (day := db.scalar(skipped.where(StoredIssue.item_id == item_id))) is not None:
        raise Refused("issue.left_out_already", day=day.isoformat())
    if not arranged.blocks:
        raise Refused("issue.nothing", issue=numbers(arranged.year, arranged.number, arranged.running))
    if changes(db, arranged) or named(db, arranged, own_words(draft)):
        raise Refused("issue.changed_meanwhile")


def send_at(db: Session, item_id: int) -> datetime | None:
    """When the issue that this item is goes out by its calendar; None: it is none."""
    return db.scalar(select(StoredIssue.send_at).where(StoredIssue.item_id == item_id))


def approved_late(rt: Runtime, planned: datetime, submission: Submission) -> list[str]:
    """The channels on which an issue waits for a person, because the last approval comes after its time by more than
    they allow. `planned`: when it goes out by its calendar."""
    overdue = rt.now() - max(planned, submission.publish_at or planned)
    return [
        name
        for name, opened in rt.channels.items()
        if opened.section.late == "hold" and overdue > timedelta(hours=opened.section.late_hours)
    ]
