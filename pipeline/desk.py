"""The desk: what waits for people, a submission as its reviewer must see it, and how the channels are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, or_, select

from channels.contract import Evidence
from pipeline.decisions import Refused, review_role
from pipeline.drafts import Draft, read_draft
from pipeline.models import (
    Approval,
    ChannelStatus,
    Delivery,
    Item,
    Posting,
    Revision,
    StoredRendition,
    Submission,
)
from pipeline.reach import read_error
from pipeline.runtime import Runtime
from pipeline.states import Stage, State


@dataclass(frozen=True)
class Waiting:
    """A submission under review: whose turn it is, and the hash to approve."""

    item: int
    index_number: str
    title: str
    department: str
    role: str
    hash: str
    submitted_by: str
    submitted_at: datetime
    approved_by: tuple[str, ...]
    channels: tuple[str, ...]
    publish_at: datetime | None


@dataclass(frozen=True)
class Notice:
    """A printed notice that somebody must post or take down. `due`: the day from which, if there is one."""

    item: int
    title: str
    what: str  # post, take_down
    reference: str
    place: str
    due: date | None


def reviews_waiting(rt: Runtime) -> list[Waiting]:
    """Every submission under review, oldest first."""
    with rt.reading() as db:
        rows = db.execute(
            select(Submission, Item, Revision)
            .join(Item, Item.id == Submission.item_id)
            .join(Revision, Revision.id == Submission.revision_id)
            .where(Submission.stage == Stage.REVIEWING)
            .order_by(Submission.id)
        ).all()
        waiting = []
        for submission, item, revision in rows:
            approvals = db.scalars(
                select(Approval.person).where(Approval.submission_id == submission.id).order_by(Approval.level)
            ).all()
            channels = db.scalars(
                select(StoredRendition.channel).where(StoredRendition.submission_id == submission.id)
            ).all()
            waiting.append(
                Waiting(
                    item=item.id,
                    index_number=item.index_number or "",
                    title=revision.title,
                    department=item.department,
                    role=review_role(rt, len(approvals)),
                    hash=submission.hash,
                    submitted_by=submission.submitted_by,
                    submitted_at=submission.submitted_at,
                    approved_by=tuple(approvals),
                    channels=tuple(sorted(channels)),
                    publish_at=submission.publish_at,
                )
            )
        return waiting


def notices_waiting(rt: Runtime) -> list[Notice]:
    """Printed notices to be posted, and posted ones to be taken down: withdrawn, corrected, or their period is over."""
    today = rt.now().astimezone(rt.settings.zone).date()
    boards = [one.name for one in rt.channels.values() if one.traits.evidence is Evidence.PERSON]
    with rt.reading() as db:
        title = (
            select(Revision.title)
            .where(Revision.item_id == Delivery.item_id)
            .order_by(Revision.number.desc())
            .limit(1)
            .scalar_subquery()
        )
        printed = db.execute(
            select(Delivery, title)
            .where(Delivery.channel.in_(boards), Delivery.state == State.ACCEPTED)
            .order_by(Delivery.id)
        ).all()
        notices = [
            Notice(row.item_id, heading, "take_down" if row.wanted_id is None else "post", row.reference, "", None)
            for row, heading in printed
        ]
        over = db.execute(
            select(Posting, Delivery, title)
            .join(Delivery, Delivery.id == Posting.delivery_id)
            .where(
                Posting.removed_at.is_(None),
                or_(Posting.down_due <= today, Posting.generation < Delivery.generation),
                Delivery.wanted_id.is_not(None),
            )
            .order_by(Posting.down_due)
        ).all()
        notices += [
            Notice(row.item_id, heading, "take_down", row.reference, posting.place, posting.down_due)
            for posting, row, heading in over
        ]
        return notices


@dataclass(frozen=True)
class SubmissionView:
    """A submission under review, as a reviewer must see it. `attachments`: name and SHA-256; `renditions`: by channel,
    the digest of what it will show; `texts`: the very text where it is one, an SMS for instance."""

    item: int
    index_number: str
    revision: int
    draft: Draft
    attachments: tuple[tuple[str, str], ...]
    author: str
    disclosure: str
    ground: str
    publish_at: datetime | None
    role: str
    hash: str
    renditions: Mapping[str, str]
    texts: Mapping[str, str]


def submission(rt: Runtime, item_id: int) -> SubmissionView:
    """The submission of this item that waits for a review. Raises Refused when none does."""
    with rt.reading() as db:
        found = db.execute(
            select(Submission, Item, Revision)
            .join(Item, Item.id == Submission.item_id)
            .join(Revision, Revision.id == Submission.revision_id)
            .where(Submission.item_id == item_id, Submission.stage == Stage.REVIEWING)
        ).one_or_none()
        if found is None:
            raise Refused("review.nothing_waiting")
        one, item, revision = found
        level = db.scalar(select(func.count()).where(Approval.submission_id == one.id)) or 0
        stored = db.scalars(select(StoredRendition).where(StoredRendition.submission_id == one.id)).all()
        draft = read_draft(db, revision)
        return SubmissionView(
            item=item.id,
            index_number=item.index_number or "",
            revision=revision.number,
            draft=replace(draft, files=()),
            attachments=tuple((file.name, file.sha256) for file in draft.files),
            author=revision.author,
            disclosure=one.disclosure.value,
            ground=one.ground.value if one.ground else "",
            publish_at=one.publish_at,
            role=review_role(rt, level),
            hash=one.hash,
            renditions={kept.channel: kept.digest for kept in stored},
            texts={kept.channel: kept.body.decode() for kept in stored if kept.media_type.startswith("text/")},
        )


@dataclass(frozen=True)
class ChannelLine:
    """One channel's health as the ledger saw it. `due`: rows to be sent; `trouble`: rows waiting for a person."""

    channel: str
    kind: str
    rehearsal: bool
    due: int
    trouble: int
    paused_by: str | None
    open_until: datetime | None
    failures: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: Mapping[str, Any] | None


def channels(rt: Runtime) -> list[ChannelLine]:
    """Every configured channel, in order."""
    lines = []
    with rt.reading() as db:
        for opened in rt.channels.values():
            status = db.get(ChannelStatus, opened.name) or ChannelStatus(failures=0, last_error="")
            mine = Delivery.channel == opened.name
            due = db.scalar(select(func.count()).where(mine, Delivery.state == State.DUE)) or 0
            trouble = (State.FAILED, State.IN_DOUBT, State.ON_HOLD)
            waiting = db.scalar(select(func.count()).where(mine, Delivery.state.in_(trouble))) or 0
            still_open = status.open_until if status.open_until and status.open_until > rt.now() else None
            lines.append(
                ChannelLine(
                    channel=opened.name,
                    kind=opened.section.kind,
                    rehearsal=opened.section.rehearsal,
                    due=due,
                    trouble=waiting,
                    paused_by=status.paused_by,
                    open_until=still_open,
                    failures=status.failures,
                    last_success_at=status.last_success_at,
                    last_failure_at=status.last_failure_at,
                    last_error=read_error(status.last_error),
                )
            )
    return lines
