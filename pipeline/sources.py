"""What an issue of the newsletter is made from: the items' approved texts, and what became of them since."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import Finding, Severity
from pipeline.arrangement import Arrangement, numbers
from pipeline.decisions import Refused
from pipeline.drafts import Draft
from pipeline.models import Revision, SkippedIssue, StoredIssue, Submission
from pipeline.runtime import Runtime
from pipeline.states import Disclosure, Stage


class Change(StrEnum):
    """What happened to an item after an issue took its text."""

    WITHDRAWN = "withdrawn"
    CORRECTED = "corrected"


_FOUND = {Change.WITHDRAWN: "check.entry_withdrawn", Change.CORRECTED: "check.entry_corrected"}


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


def titles(db: Session, items: Collection[int]) -> dict[int, str]:
    """The titles in force of these items; those that are withdrawn are left out."""
    return {item: source.revision.title for item, source in in_force(db, items).items()}


def findings(rt: Runtime, draft: Draft, channels: Collection[str]) -> list[Finding]:
    """Why an issue may not be submitted as it is, for these channels: what its items say by now, and, of internal
    material, channels that the public reads (domain: Print)."""
    if draft.issue is None:
        return []
    with rt.reading() as db:
        changed = changes(db, draft.issue)
    pieces = draft.issue.pieces
    found = [
        Finding(_FOUND[change], Severity.BLOCK, "text", {"item": str(item), "title": pieces[item].title})
        for item, change in changed.items()
    ]
    if draft.issue.internal:
        public = [rt.channels[name].section.label for name in channels if not rt.channels[name].section.internal]
        if public:
            found.append(Finding("check.internal_channel", Severity.BLOCK, facts={"channels": "、".join(public)}))
    return found


def require_current(db: Session, item_id: int, arranged: Arrangement | None) -> None:
    """Raise Refused when the issue that this item is was left out or is empty, or when an item in it was withdrawn or
    corrected a moment ago."""
    if arranged is None:
        return
    skipped = select(SkippedIssue.nominal).join(StoredIssue, StoredIssue.nominal == SkippedIssue.nominal)
    if (day := db.scalar(skipped.where(StoredIssue.item_id == item_id))) is not None:
        raise Refused("issue.left_out_already", day=day.isoformat())
    if not arranged.blocks:
        raise Refused("issue.nothing", issue=numbers(arranged.year, arranged.number, arranged.running))
    if changes(db, arranged):
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
