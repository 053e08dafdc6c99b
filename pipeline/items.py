"""Items as people look for them: a list with its filters, and one item with everything that was decided about it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session, defer

from config.settings import Person
from pipeline import deputies
from pipeline.decisions import Refused, review_role
from pipeline.drafts import Draft, read_draft
from pipeline.models import Approval, Delivery, Item, Revision, Ruling, Submission
from pipeline.rows import few
from pipeline.runtime import Runtime
from pipeline.states import Stage, State


class Phase(StrEnum):
    """Where an item is on its way, as an office would say it."""

    DRAFT = "draft"
    RETURNED = "returned"
    REVIEWING = "reviewing"
    APPROVED = "approved"
    CORRECTING = "correcting"  # in force, with a newer text that is not approved yet
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Line:
    """One item in a list. `turn`: the role whose review it waits for; `reason`: of a return or a refusal."""

    item: int
    index_number: str
    title: str
    item_type: str
    department: str
    author: str
    formed_on: date
    revision: int
    changed_at: datetime
    phase: Phase
    turn: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Query:
    """What is looked for; empty fields ask for nothing."""

    words: str = ""  # in the title, or the index number
    phase: Phase | None = None
    department: str = ""
    item_type: str = ""
    author: str = ""
    formed_from: date | None = None
    formed_to: date | None = None
    sent: bool = False  # only what was ever approved for a channel
    channel: str = ""
    state: State | None = None  # of one of its deliveries, on `channel` where that is given

    @property
    def by_delivery(self) -> bool:
        return bool(self.channel or self.state)


# Phases in which a list says whose turn it is, or why.
TOLD = frozenset({Phase.REVIEWING, Phase.RETURNED, Phase.REFUSED, Phase.WITHDRAWN})
MOST_BY_DELIVERY = 1000


@dataclass(frozen=True)
class Found:
    """One page of a list. `bounded`: there are more than `total`, which can be reached by a narrower query only."""

    lines: tuple[Line, ...]
    total: int
    bounded: bool = False


def sees_all(rt: Runtime, person: Person) -> bool:
    """Does this person see every item, for the role of their own or of whom they stand in for today?"""
    if person.roles - {"author"}:
        return True
    with rt.reading() as db:
        return any(one.roles - {"author"} for one in deputies.stands_in_for(rt, db, person))


def visible(rt: Runtime, person: Person) -> ColumnElement[bool] | None:
    """Which items a person sees: an author those of the own department and those they wrote; everybody else all
    (None)."""
    if sees_all(rt, person):
        return None
    return or_(Item.department == person.department, Item.created_by == person.id)


def require_visible(rt: Runtime, person: Person, item_id: int) -> None:
    """Raise Refused when this person is not shown this item: for them it does not exist."""
    condition = visible(rt, person)
    with rt.reading() as db:
        mine = select(Item.id).where(Item.id == item_id, *([] if condition is None else [condition]))
        if db.scalar(mine) is None:
            raise Refused("item.unknown", item=str(item_id))


def require_item(rt: Runtime, item_id: int) -> None:
    """Raise Refused when there is no such item."""
    with rt.reading() as db:
        if db.get(Item, item_id) is None:
            raise Refused("item.unknown", item=str(item_id))


def search(rt: Runtime, person: Person, query: Query, page: int = 1, size: int = 30) -> Found:
    """The items that this person may see and that fit the query, the last changed first. Where deliveries are asked
    for, no more than the first `MOST_BY_DELIVERY` items are found: these are counted one by one."""
    listed = select(Item.latest_id).where(*_conditions(rt, person, query))
    first = (page - 1) * size
    with rt.reading() as db:
        if query.by_delivery:
            listed = listed.order_by(Item.latest_id.desc()).limit(MOST_BY_DELIVERY + 1)
            latest = list(db.scalars(listed))
            found, total = latest[:MOST_BY_DELIVERY][first : first + size], len(latest)
        else:
            total = db.scalar(select(func.count()).select_from(listed.subquery())) or 0
            listed = listed.order_by(Item.latest_id.desc()).limit(size).offset(first)
            found = list(db.scalars(listed)) if first < total else []
        bounded = query.by_delivery and total > MOST_BY_DELIVERY
        return Found(tuple(_lines(rt, db, found)), min(total, MOST_BY_DELIVERY) if bounded else total, bounded)


def line(rt: Runtime, item_id: int) -> Line:
    """One item as a list shows it. Raises Refused when there is none."""
    with rt.reading() as db:
        item = db.get(Item, item_id)
        if item is None:
            raise Refused("item.unknown", item=str(item_id))
        return _lines(rt, db, [item.latest_id])[0]


def _conditions(rt: Runtime, person: Person, query: Query) -> list[ColumnElement[bool]]:
    """By columns of `ix_item_list` only, and by deliveries."""
    wanted = visible(rt, person)
    conditions: list[ColumnElement[bool]] = [] if wanted is None else [wanted]
    for word in query.words.split():
        like = f"%{word.replace('/', '//').replace('%', '/%').replace('_', '/_')}%"
        conditions.append(or_(Item.title.like(like, escape="/"), Item.index_number.like(like, escape="/")))
    if query.department:
        conditions.append(Item.department == query.department)
    if query.item_type:
        conditions.append(Item.item_type == query.item_type)
    if query.author:
        conditions.append(Item.author == query.author)
    if query.formed_from:
        conditions.append(Item.formed_on >= query.formed_from)
    if query.formed_to:
        conditions.append(Item.formed_on <= query.formed_to)
    if query.phase:
        conditions.append(Item.phase == query.phase.value)
    if query.sent or query.by_delivery:
        conditions.append(Item.sent.is_(True))
    if query.by_delivery:
        conditions.append(_delivered(rt, query.channel, query.state))
    return conditions


def _delivered(rt: Runtime, channel: str, state: State | None) -> ColumnElement[bool]:
    """A delivery of the item is in this state, or is there at all. What few are in comes from the index that has them
    alone: whatever is looked for, most deliveries are confirmed."""
    channels = (channel,) if channel else tuple(rt.channels)
    on = Delivery.channel == channel if channel else Delivery.channel.in_(channels)
    if state is None:
        return exists().where(Delivery.item_id == Item.id, on)
    # Of a slot with recipients they are what counts: the slot itself is only their plan.
    chosen = [on, Delivery.state == state, Delivery.expanded_at.is_(None)]
    if state is State.CONFIRMED:
        return exists().where(Delivery.item_id == Item.id, *chosen)
    return Item.id.in_(select(Delivery.item_id).where(*chosen, few(state)))


def _lines(rt: Runtime, db: Session, latest: Collection[int]) -> list[Line]:
    """The items with these latest revisions, the last one first."""
    shown = select(Item, Revision).join(Revision, Revision.id == Item.latest_id).where(Item.latest_id.in_(latest))
    rows = db.execute(shown.options(defer(Revision.content)).order_by(Item.latest_id.desc())).all()
    asked = [item.id for item, _ in rows if item.phase in TOLD]
    last = select(Submission.item_id, Submission.id, Submission.stage, Submission.reason)
    submissions: dict[int, tuple[int, str]] = {}
    for item_id, id, stage, reason in db.execute(last.where(Submission.item_id.in_(asked)).order_by(Submission.id)):
        if stage.value in TOLD:  # phase and stage are called alike; an item has one open, or ended with the last
            submissions[item_id] = (id, reason)
    given = select(Approval.submission_id, func.count()).group_by(Approval.submission_id)
    given = given.where(Approval.submission_id.in_([id for id, _ in submissions.values()]))
    approvals = {id: count for id, count in db.execute(given)}  # noqa: C416  (a Row is no pair)
    lines = []
    for item, revision in rows:
        phase = Phase(item.phase)
        id, reason = submissions.get(item.id, (0, ""))
        lines.append(
            Line(
                item=item.id,
                index_number=item.index_number or "",
                title=revision.title,
                item_type=revision.item_type,
                department=item.department,
                author=revision.author,
                formed_on=revision.formed_on,
                revision=revision.number,
                changed_at=revision.created_at,
                phase=phase,
                turn=review_role(rt, approvals.get(id, 0)) if phase is Phase.REVIEWING else "",
                reason=reason if phase is not Phase.REVIEWING else "",
            )
        )
    return lines


@dataclass(frozen=True)
class Given:
    """One level's yes."""

    role: str
    person: str
    at: datetime
    on_behalf_of: str = ""  # whom a deputy stood in for
    recorded_by: str = ""  # who entered what was signed on paper (代录)
    scan: str = ""  # SHA-256 of that sheet's scan


@dataclass(frozen=True)
class Round:
    """One submission and what became of it."""

    revision: int
    submitted_by: str
    submitted_at: datetime
    stage: Stage
    reason: str
    hash: str
    approvals: tuple[Given, ...]
    closed_at: datetime | None
    closed_by: str = ""  # who returned or refused it
    recorded_by: str = ""  # who entered what was signed on paper (代录)
    scan: str = ""  # SHA-256 of that sheet's scan
    ruling: str = ""  # dropped, replaced: nobody approved it, an issue followed an item in it (`pipeline.rulings`)


@dataclass(frozen=True)
class Version:
    number: int
    author: str
    created_at: datetime
    title: str


@dataclass(frozen=True)
class History:
    """One item: its latest text, its versions and its rounds of review, the latest first."""

    line: Line
    draft: Draft
    versions: tuple[Version, ...]
    rounds: tuple[Round, ...]


def history(rt: Runtime, item_id: int) -> History:
    """Everything that was written and decided about an item. Raises Refused when there is none."""
    with rt.reading() as db:
        item = db.get(Item, item_id)
        if item is None:
            raise Refused("item.unknown", item=str(item_id))
        revisions = db.scalars(
            select(Revision).where(Revision.item_id == item_id).order_by(Revision.number.desc())
        ).all()
        numbers = {one.id: one.number for one in revisions}
        submissions = db.scalars(
            select(Submission).where(Submission.item_id == item_id).order_by(Submission.id.desc())
        ).all()
        ruled = select(Ruling.submission_id, Ruling.change)
        ruled = ruled.where(Ruling.submission_id.in_([one.id for one in submissions]))
        rulings = {submission: change for submission, change in db.execute(ruled)}  # noqa: C416  (a Row is no pair)
        approvals: dict[int, list[Given]] = {}
        for one in db.scalars(
            select(Approval)
            .where(Approval.submission_id.in_([each.id for each in submissions]))
            .order_by(Approval.level)
        ):
            given = Given(one.role, one.person, one.at, one.on_behalf_of, one.recorded_by, one.scan_sha256)
            approvals.setdefault(one.submission_id, []).append(given)
        return History(
            line=_lines(rt, db, [item.latest_id])[0],
            draft=read_draft(db, revisions[0]),
            versions=tuple(Version(one.number, one.author, one.created_at, one.title) for one in revisions),
            rounds=tuple(
                Round(
                    numbers[one.revision_id], one.submitted_by, one.submitted_at, one.stage, one.reason, one.hash,
                    tuple(approvals.get(one.id, ())), one.closed_at, one.closed_by, one.recorded_by, one.scan_sha256,
                    rulings.get(one.id, ""),
                )
                for one in submissions
            ),
        )  # fmt: skip


def last_approved(rt: Runtime, item_id: int) -> Draft | None:
    """The text that was approved last, in force or not any more; None when none ever was."""
    with rt.reading() as db:
        once = (Stage.APPROVED, Stage.SUPERSEDED, Stage.WITHDRAWN)
        latest = select(Submission.revision_id).where(Submission.item_id == item_id, Submission.stage.in_(once))
        revision_id = db.scalar(latest.order_by(Submission.id.desc()).limit(1))
        return read_draft(db, db.get_one(Revision, revision_id)) if revision_id is not None else None
