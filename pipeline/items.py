"""Items as people look for them: a list with its filters, and one item with everything that was decided about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from config.settings import Person
from pipeline import deputies
from pipeline.decisions import Refused, review_role
from pipeline.drafts import Draft, read_draft
from pipeline.models import Approval, Delivery, Item, Revision, Ruling, Submission
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


@dataclass(frozen=True)
class Found:
    lines: tuple[Line, ...]
    total: int


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
    """The items that this person may see and that fit the query, the last changed first."""
    latest = aliased(Revision)
    numbers = select(func.max(Revision.number)).where(Revision.item_id == Item.id).scalar_subquery()
    chosen = select(Item, latest).join(latest, and_(latest.item_id == Item.id, latest.number == numbers))
    for condition in _conditions(rt, person, query, latest):
        chosen = chosen.where(condition)
    with rt.reading() as db:
        total = db.scalar(select(func.count()).select_from(chosen.with_only_columns(Item.id).subquery())) or 0
        rows = db.execute(chosen.order_by(latest.id.desc()).limit(size).offset((page - 1) * size)).all()
        return Found(tuple(_line(rt, db, item, revision) for item, revision in rows), total)


def line(rt: Runtime, item_id: int) -> Line:
    """One item as a list shows it. Raises Refused when there is none."""
    with rt.reading() as db:
        item = db.get(Item, item_id)
        if item is None:
            raise Refused("item.unknown", item=str(item_id))
        return _line(rt, db, item, _latest(db, item_id))


def _conditions(rt: Runtime, person: Person, query: Query, latest: type[Revision]) -> list[ColumnElement[bool]]:
    wanted = visible(rt, person)
    conditions: list[ColumnElement[bool]] = [] if wanted is None else [wanted]
    for word in query.words.split():
        like = f"%{word.replace('/', '//').replace('%', '/%').replace('_', '/_')}%"
        conditions.append(or_(latest.title.like(like, escape="/"), Item.index_number.like(like, escape="/")))
    if query.department:
        conditions.append(Item.department == query.department)
    if query.item_type:
        conditions.append(latest.item_type == query.item_type)
    if query.author:
        conditions.append(latest.author == query.author)
    if query.formed_from:
        conditions.append(latest.formed_on >= query.formed_from)
    if query.formed_to:
        conditions.append(latest.formed_on <= query.formed_to)
    if query.phase:
        conditions.append(_in_phase(query.phase, latest))
    if query.sent or query.channel or query.state:
        delivery = [Delivery.item_id == Item.id]
        if query.channel:
            delivery.append(Delivery.channel == query.channel)
        if query.state:
            # Of a slot with recipients they are what counts: the slot itself is only their plan.
            delivery += [Delivery.state == query.state, Delivery.expanded_at.is_(None)]
        conditions.append(exists().where(*delivery))
    return conditions


def _in_phase(phase: Phase, latest: type[Revision]) -> ColumnElement[bool]:
    """The same judgement as `_phase`, as a condition of the query."""
    last = _last_submission().correlate(Item)

    def staged(stage: Stage) -> ColumnElement[bool]:
        return exists().where(Submission.item_id == Item.id, Submission.stage == stage)

    approved, reviewing = staged(Stage.APPROVED), staged(Stage.REVIEWING)
    ended = Submission.id == last.scalar_subquery()
    current = exists().where(ended, Submission.revision_id == latest.id)
    newer = ~exists().where(
        Submission.item_id == Item.id, Submission.stage == Stage.APPROVED, Submission.revision_id == latest.id
    )

    def closed(stage: Stage) -> ColumnElement[bool]:
        return and_(~approved, ~reviewing, current, exists().where(ended, Submission.stage == stage))

    match phase:
        case Phase.REVIEWING:
            return reviewing
        case Phase.APPROVED:
            return and_(approved, ~reviewing, ~newer)
        case Phase.CORRECTING:
            return and_(approved, ~reviewing, newer)
        case Phase.RETURNED:
            return closed(Stage.RETURNED)
        case Phase.REFUSED:
            return closed(Stage.REFUSED)
        case Phase.WITHDRAWN:
            return closed(Stage.WITHDRAWN)
        case Phase.DRAFT:
            closes = (Phase.RETURNED, Phase.REFUSED, Phase.WITHDRAWN)
            return and_(~approved, ~reviewing, *(~_in_phase(one, latest) for one in closes))


def _last_submission() -> "Select[int]":
    return select(func.max(Submission.id)).where(Submission.item_id == Item.id)


def _latest(db: Session, item_id: int) -> Revision:
    return db.scalars(
        select(Revision).where(Revision.item_id == item_id).order_by(Revision.number.desc()).limit(1)
    ).one()


def _line(rt: Runtime, db: Session, item: Item, revision: Revision) -> Line:
    submissions = db.scalars(
        select(Submission).where(Submission.item_id == item.id).order_by(Submission.id.desc())
    ).all()
    phase, submission = _phase(submissions, revision.id)
    turn = ""
    if phase is Phase.REVIEWING and submission is not None:
        given = db.scalar(select(func.count()).where(Approval.submission_id == submission.id)) or 0
        turn = review_role(rt, given)
    told = phase in (Phase.RETURNED, Phase.REFUSED, Phase.WITHDRAWN) and submission is not None
    return Line(
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
        turn=turn,
        reason=submission.reason if told and submission is not None else "",
    )


def _phase(rows: Sequence[Submission], latest_id: int) -> tuple[Phase, Submission | None]:
    """Where an item is by its submissions, the latest first; and the submission that says so."""
    reviewing = next((one for one in rows if one.stage is Stage.REVIEWING), None)
    if reviewing is not None:
        return Phase.REVIEWING, reviewing
    approved = next((one for one in rows if one.stage is Stage.APPROVED), None)
    if approved is not None:
        return (Phase.APPROVED if approved.revision_id == latest_id else Phase.CORRECTING), approved
    last = rows[0] if rows else None
    ends = {Stage.RETURNED: Phase.RETURNED, Stage.REFUSED: Phase.REFUSED, Stage.WITHDRAWN: Phase.WITHDRAWN}
    if last is not None and last.revision_id == latest_id and last.stage in ends:
        return ends[last.stage], last
    return Phase.DRAFT, None


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
            line=_line(rt, db, item, revisions[0]),
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
