"""The desk: what waits for whom, a submission as its reviewer must see it, and how the channels are.

`desk` is the one answer to "what is there for me to do": the console's first page, the mails to the staff and
`fabu review --as` all show it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, and_, exists, false, func, not_, or_, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, defer

from channels.contract import Evidence
from config.settings import Person, Role
from pipeline import deputies, reasons, workdays
from pipeline.decisions import PERMITS, Decision, Refused, review_role
from pipeline.drafts import Draft, read_draft
from pipeline.models import (
    Approval,
    ChannelStatus,
    Delivery,
    FeedEntry,
    Item,
    Posting,
    Revision,
    StoredRendition,
    Submission,
)
from pipeline.reach import read_error
from pipeline.reasons import Reasoned
from pipeline.rows import few, in_trouble
from pipeline.runtime import Runtime
from pipeline.states import Disclosure, Stage, State
from pipeline.submissions import SOURCE_CHANGED


@dataclass(frozen=True)
class Clock:
    """The last day on which an item may become public (`workdays.disclosure_deadline`). `days_left`: working days after
    today, up to and with that day; below 0 it has passed."""

    day: date
    days_left: int
    provisional: bool  # some of these days lie past the published holidays (暂定)


@dataclass(frozen=True)
class Waiting:
    """A submission under review: whose turn it is, and the hash to approve."""

    item: int
    index_number: str
    title: str
    department: str
    role: Role
    hash: str
    submitted_by: str
    submitted_at: datetime
    approved_by: tuple[str, ...]
    channels: tuple[str, ...]
    publish_at: datetime | None
    clock: Clock | None
    authors: frozenset[str]  # who wrote any revision of it, or submitted it
    stood_in_for: tuple[str, ...]  # in whose names deputies approved it
    on_behalf_of: str = ""  # on a desk: whom its owner stands in for

    @property
    def involved(self) -> frozenset[str]:
        """Who has had a part in it: none of them reviews it now."""
        return self.authors | {*self.approved_by, *self.stood_in_for}


@dataclass(frozen=True)
class Notice:
    """A printed notice that somebody must post or take down. `due`: the day from which, if there is one."""

    item: int
    title: str
    what: str  # post, take_down
    reference: str
    place: str
    due: date | None
    delivery: int
    generation: int


class Unsubmitted(StrEnum):
    """Why a revision is not before anybody."""

    DRAFT = "draft"  # never submitted, or edited since
    RETURNED = "returned"  # by a reviewer, with a reason
    CORRECTION = "correction"  # of an item that is in force
    SOURCE_CHANGED = "source_changed"  # an issue whose review fell: something in it was withdrawn or corrected


@dataclass(frozen=True)
class DraftLine:
    """An item whose latest revision waits for being submitted. `reason` and `returned_by`: of the last return."""

    item: int
    index_number: str
    title: str
    department: str
    revision: int
    author: str
    state: Unsubmitted
    reason: str
    returned_by: str
    since: datetime
    clock: Clock | None
    submission: int  # the latest, 0: none yet


@dataclass(frozen=True)
class Trouble:
    """What a person must look at on one channel. `recipients`: how many it concerns, 0 where there are none; `reason`:
    why it is on hold; `error`: code and facts of what went wrong; `since`: the latest attempt."""

    item: int
    title: str
    channel: str
    state: State
    reason: str
    error: Mapping[str, Any] | None
    recipients: int
    since: datetime | None
    attempt: int
    generation: int


@dataclass(frozen=True)
class Source:
    """A feed's entry became this item, and its source changed it since."""

    item: int
    title: str
    link: str
    changed_at: datetime


@dataclass(frozen=True)
class Public:
    """An item in force, which somebody may want to withdraw at once."""

    item: int
    index_number: str
    title: str
    since: datetime | None


LATEST = 5  # items in force that a desk lists


@dataclass(frozen=True)
class Desk:
    """What there is to do for one person."""

    drafts: tuple[DraftLine, ...]  # of their own, returned ones first
    reviews: tuple[Waiting, ...]  # their turn, or that of whom they stand in for
    under_review: tuple[Waiting, ...]  # of their own, before others
    troubles: tuple[Trouble, ...]
    notices: tuple[Notice, ...]
    sources: tuple[Source, ...] = ()
    public: tuple[Public, ...] = ()  # the latest, for those who may withdraw


def reviews(rt: Runtime, person: Person) -> list[Waiting]:
    """The reviews whose turn is this person's, or that of whom they stand in for, oldest first."""
    with rt.reading() as db:
        return _turns(_reviews(rt, db), person, deputies.stands_in_for(rt, db, person))


def desk(rt: Runtime, person: Person) -> Desk:
    """What waits for this person: own drafts, reviews whose turn is theirs, and, where their role may do something
    about it, deliveries in trouble and notices to post or take down."""
    with rt.reading() as db:
        represents = deputies.stands_in_for(rt, db, person)
        everything = _reviews(rt, db)
        turns = _turns(everything, person, represents)
        own = [one for one in everything if person.id in one.authors]
        troubles = _troubles(db) if person.roles & PERMITS[Decision.RETRY] else []
        notices = _notices(rt, db) if person.roles & PERMITS[Decision.POST] else []
        if "editor" not in person.roles:
            written = _written_by(db, person.id, {notice.item for notice in notices})
            notices = [notice for notice in notices if notice.item in written]
        drafts = _drafts(rt, db, person.id)
        sources = _sources(db, person) if person.roles & PERMITS[Decision.COMPARE] else []
        withdraws = any(one.roles & PERMITS[Decision.WITHDRAW] for one in (person, *represents))
        public = _public(db) if withdraws else []
    return Desk(
        tuple(drafts), tuple(turns), tuple(own), tuple(troubles), tuple(notices), tuple(sources), tuple(public)
    )  # fmt: skip


def reviews_waiting(rt: Runtime) -> list[Waiting]:
    """Every submission under review, oldest first."""
    with rt.reading() as db:
        return _reviews(rt, db)


def notices_waiting(rt: Runtime) -> list[Notice]:
    """Printed notices to be posted, and posted ones to be taken down: withdrawn, corrected, or their period is over."""
    with rt.reading() as db:
        return _notices(rt, db)


def drafts(rt: Runtime) -> list[DraftLine]:
    """Every item whose latest revision waits for being submitted, returned ones first."""
    with rt.reading() as db:
        return _drafts(rt, db)


def _turns(everything: Sequence[Waiting], person: Person, represents: Sequence[Person]) -> list[Waiting]:
    return [mine for one in everything if (mine := _turn(one, person, represents)) is not None]


def _turn(one: Waiting, person: Person, represents: Sequence[Person]) -> Waiting | None:
    """This submission as it lies on the person's desk; None when it does not."""
    if person.id in one.involved:
        return None
    names = deputies.in_whose_name(person, represents, one.role, one.department)
    name = deputies.apart(names, one.involved)
    if name is None:
        return None
    return one if name.id == person.id else replace(one, on_behalf_of=name.id)


def _reviews(rt: Runtime, db: Session) -> list[Waiting]:
    rows = db.execute(
        select(Submission, Item, Revision)
        .join(Item, Item.id == Submission.item_id)
        .join(Revision, Revision.id == Submission.revision_id)
        .where(text("submission.stage = 'reviewing'"))  # as the index says it
        .options(defer(Submission.manifest), defer(Revision.content))
    ).all()
    rows = sorted(rows, key=lambda row: row[0].id)  # to be sorted there, SQLite would rather read the whole table
    submissions = [submission.id for submission, _, _ in rows]
    approvals, channels, authors = dict[int, list[Approval]](), dict[int, list[str]](), dict[int, set[str]]()
    for approval in db.scalars(
        select(Approval).where(Approval.submission_id.in_(submissions)).order_by(Approval.level)
    ):
        approvals.setdefault(approval.submission_id, []).append(approval)
    stored = select(StoredRendition.submission_id, StoredRendition.channel).order_by(StoredRendition.channel)
    for submission_id, channel in db.execute(stored.where(StoredRendition.submission_id.in_(submissions))):
        channels.setdefault(submission_id, []).append(channel)
    written = select(Revision.item_id, Revision.author).where(Revision.item_id.in_([item.id for _, item, _ in rows]))
    for item_id, author in db.execute(written.distinct()):
        authors.setdefault(item_id, set()).add(author)
    in_force = _in_force(db, authors)
    waiting = []
    for submission, item, revision in rows:
        clock_runs = submission.disclosure is Disclosure.PROACTIVE and item.id not in in_force
        given = approvals.get(submission.id, [])
        waiting.append(
            Waiting(
                item=item.id,
                index_number=item.index_number or "",
                title=revision.title,
                department=item.department,
                role=review_role(rt, len(given)),
                hash=submission.hash,
                submitted_by=submission.submitted_by,
                submitted_at=submission.submitted_at,
                approved_by=tuple(one.person for one in given),
                channels=tuple(channels.get(submission.id, [])),
                publish_at=submission.publish_at,
                clock=_clock(rt, revision.formed_on) if clock_runs else None,
                authors=frozenset(authors[item.id] | {submission.submitted_by}),
                stood_in_for=tuple(one.on_behalf_of for one in given if one.on_behalf_of),
            )
        )
    return waiting


def _notices(rt: Runtime, db: Session) -> list[Notice]:
    boards = [one.name for one in rt.channels.values() if one.traits.evidence is Evidence.PERSON]
    printed = db.execute(
        select(Delivery, _latest_title(Delivery.item_id))
        .where(Delivery.channel.in_(boards), Delivery.state == State.ACCEPTED, few(State.ACCEPTED))
        .order_by(Delivery.id)
    ).all()
    notices = [
        _notice(row, heading, "take_down" if row.wanted_id is None else "post", row.generation)
        for row, heading in printed
    ]
    hanging = (
        select(Posting, Delivery, _latest_title(Delivery.item_id))
        .join(Delivery, Delivery.id == Posting.delivery_id)
        .where(Posting.removed_at.is_(None), Delivery.wanted_id.is_not(None))
        .order_by(Posting.down_due, Posting.id)
    )
    ended = Posting.down_due <= deputies.today(rt)
    over = [*db.execute(hanging.where(ended))]
    over += db.execute(
        hanging.where(Posting.generation < Delivery.generation, not_(func.coalesce(ended, false())))
    ).all()
    notices += [
        _notice(row, heading, "take_down", posting.generation, posting.place, posting.down_due)
        for posting, row, heading in over
    ]
    return notices


def _notice(row: Delivery, title: str, what: str, generation: int, place: str = "", due: date | None = None) -> Notice:
    return Notice(row.item_id, title, what, row.reference, place, due, row.id, generation)


def _troubles(db: Session) -> list[Trouble]:
    """Deliveries that failed, are in doubt or on hold, recipients of one kind together, the oldest item first. The slot
    of recipients is only their plan."""
    these = select(Delivery.id).where(in_trouble()).correlate(None)  # so that no index but theirs is thought of
    rows = db.execute(
        select(
            Delivery.item_id,
            _latest_title(Delivery.item_id),
            Delivery.channel,
            Delivery.state,
            Delivery.reason,
            func.max(Delivery.error),
            func.count(Delivery.slot_id),
            func.max(Delivery.last_tried_at),
            func.max(Delivery.attempts),
            func.max(Delivery.generation),
        )
        .where(
            Delivery.id.in_(these),
            or_(Delivery.slot_id.is_not(None), Delivery.expanded_at.is_(None)),
        )
        .group_by(Delivery.item_id, Delivery.channel, Delivery.state, Delivery.reason)
        .order_by(Delivery.item_id, Delivery.channel, Delivery.state)
    )
    return [
        Trouble(item, title, channel, state, reason, read_error(error), recipients, since, attempt, generation)
        for item, title, channel, state, reason, error, recipients, since, attempt, generation in rows
    ]


def _drafts(rt: Runtime, db: Session, person_id: str | None = None) -> list[DraftLine]:
    last = select(func.max(Submission.id)).where(Submission.item_id == Item.id).correlate(Item).scalar_subquery()
    chosen = (
        select(Item, Revision, Submission)
        .join(Revision, Revision.id == Item.latest_id)
        .outerjoin(Submission, Submission.id == last)
        .where(Item.unsubmitted)
        .order_by(Item.id)
        .options(defer(Submission.manifest), defer(Revision.content))
    )
    if person_id is not None:
        written, put_up = aliased(Revision), aliased(Submission)
        wrote = exists().where(written.item_id == Item.id, written.author == person_id)
        submitted = exists().where(put_up.item_id == Item.id, put_up.submitted_by == person_id)
        chosen = chosen.where(or_(wrote, submitted))
    found = db.execute(chosen).all()
    items = [item.id for item, _, _ in found]
    in_force = _in_force(db, items)
    lines = []
    for item, revision, submission in found:
        back = submission is not None and submission.stage is Stage.RETURNED
        state = Unsubmitted.RETURNED if back else Unsubmitted.DRAFT
        if not back and item.id in in_force:
            state = Unsubmitted.CORRECTION
        if submission is not None and submission.stage is Stage.VOIDED and submission.reason == SOURCE_CHANGED:
            state = Unsubmitted.SOURCE_CHANGED if submission.revision_id == revision.id else state
        lines.append(
            DraftLine(
                item=item.id,
                index_number=item.index_number or "",
                title=revision.title,
                department=item.department,
                revision=revision.number,
                author=revision.author,
                state=state,
                reason=submission.reason if back else "",
                returned_by=submission.closed_by if back else "",
                since=(submission.closed_at if back else None) or revision.created_at,
                clock=None if item.id in in_force else _clock(rt, revision.formed_on),
                submission=submission.id if submission is not None else 0,
            )
        )
    return sorted(lines, key=lambda line: line.state is not Unsubmitted.RETURNED)


def _latest_title(item_id: InstrumentedAttribute[int]) -> ScalarSelect[str]:
    """The title of an item's latest revision."""
    latest = select(Revision.title).where(Revision.item_id == item_id).order_by(Revision.number.desc())
    return latest.limit(1).scalar_subquery()


def _in_force(db: Session, items: Collection[int]) -> set[int]:
    """Those of these items that are approved already: their clock has stopped."""
    approved = select(Submission.item_id).where(Submission.stage == Stage.APPROVED, Submission.item_id.in_(items))
    return set(db.scalars(approved))


def _clock(rt: Runtime, formed_on: date) -> Clock:
    last = workdays.disclosure_deadline(rt.settings, formed_on)
    left = workdays.workdays_left(rt.settings, deputies.today(rt), last)
    return Clock(last.day, left, last.provisional)


def unanswered() -> ColumnElement[bool]:
    """Of a feed's entry: its source changed it, and nobody edited its item since."""
    newer = select(Revision.id).where(Revision.item_id == FeedEntry.item_id, Revision.created_at > FeedEntry.changed_at)
    return and_(FeedEntry.changed_at.is_not(None), ~newer.exists())


def _sources(db: Session, person: Person) -> list[Source]:
    """Changed sources of the items that this person wrote; an editor's are all of them."""
    changed = select(FeedEntry, _latest_title(FeedEntry.item_id)).where(unanswered()).order_by(FeedEntry.changed_at)
    if "editor" not in person.roles:
        wrote = exists().where(Revision.item_id == FeedEntry.item_id, Revision.author == person.id)
        changed = changed.where(wrote)
    rows = db.execute(changed)
    return [Source(row.item_id, title, row.link, row.changed_at) for row, title in rows if row.changed_at]


def _public(db: Session) -> list[Public]:
    """What was approved last and is in force."""
    approved = (
        select(Submission, Item.index_number, _latest_title(Submission.item_id))
        .join(Item, Item.id == Submission.item_id)
        .where(Submission.stage == Stage.APPROVED, Submission.disclosure == Disclosure.PROACTIVE)
        .order_by(Submission.id.desc())
        .limit(LATEST)
        .options(defer(Submission.manifest))
    )
    return [Public(one.item_id, number or "", title, one.closed_at) for one, number, title in db.execute(approved)]


def _written_by(db: Session, person_id: str, items: Collection[int]) -> set[int]:
    return set(db.scalars(select(Revision.item_id).where(Revision.author == person_id, Revision.item_id.in_(items))))


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
    findings: tuple[Reasoned, ...] = ()  # what the checks found, and why it was submitted all the same


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
            findings=reasons.of_submission(db, one.id),
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
            due = db.scalar(select(func.count()).where(mine, few(State.DUE))) or 0
            waiting = db.scalar(select(func.count()).where(mine, in_trouble())) or 0
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
