"""The counts behind the numbers, kept beside the ledger and never in its way.

Nothing is counted where deliveries are claimed and recorded. `refresh` follows the tables that only ever grow, each by
a mark, and counts anew, from the rows themselves, whatever a new line speaks of: deliveries in blocks of ids, items one
by one. To count twice does no harm, so lines are read twice: one may be committed after others with higher ids.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from pipeline.database import insert_for
from pipeline.models import (
    Attempt,
    AttemptEnd,
    AuditLine,
    CountMark,
    Delivery,
    DeliveryCount,
    Item,
    Publication,
    Revision,
    Sighting,
    StoredRendition,
    Submission,
)
from pipeline.runtime import Runtime
from pipeline.states import Stage, State

BLOCK = 4096  # deliveries: some milliseconds to count, and few enough lines to add up ten million
LINES = 200_000  # of a table followed at a time
ITEMS = 2_000  # looked at in one statement
BLOCKS = 16  # counted between two commits
UNSENT_BLOCKS = 100  # looked at again in one refresh: of a backlog of millions some, of any other all
WITHDRAWN = "withdrawn"  # beside the states: confirmed, with nothing wanted

# Their new lines tell which deliveries and items changed. A claim leaves none: what is unsent is counted every time.
Followed = type[AttemptEnd] | type[Sighting] | type[AuditLine] | type[Delivery]
FOLLOWED: tuple[Followed, ...] = (Delivery, AttemptEnd, Sighting, AuditLine)


def refresh(rt: Runtime) -> None:
    """Bring the counts up to the ledger as it was when this began. Any number of processes may do so at once."""
    with rt.reading() as db:
        marks = {one.name: one for one in db.scalars(select(CountMark))}
        heads = {table: db.scalar(select(func.max(table.id))) or 0 for table in FOLLOWED}
        blocks = _unsent(db, marks.get("unsent"))
    last = blocks[-1] if len(blocks) == UNSENT_BLOCKS else -1
    changed = set(blocks)
    for table, head in heads.items():
        begin = marks[table.__tablename__].again if table.__tablename__ in marks else 0
        for after in range(begin, head, LINES):
            with rt.reading() as db:
                upto = min(after + LINES, head)
                changed.update(db.scalars(_blocks(table, after, upto)))
                items = sorted(db.scalars(found)) if (found := _items(table, after, upto)) is not None else []
            for chunk in _chunks(items, ITEMS):
                _look_at(rt, chunk)
    for chunk in _chunks(sorted(changed), BLOCKS):
        _count(rt, chunk)
    with rt.writing() as db:
        for name, head in [*((table.__tablename__, head) for table, head in heads.items()), ("unsent", last)]:
            # All that is older than the last lines of a first count is committed long since.
            again = marks[name].read if name in marks else max(head - LINES, 0)
            _set(rt, db, name, read=head, again=again)


def _set(rt: Runtime, db: Session, name: str, read: int = 0, again: int = 0) -> None:
    """Set a mark. Until the commit, others who would set it wait."""
    set_to = {"read": read, "again": again, "at": rt.now()}
    mark = insert_for(db, CountMark).values(name=name, **set_to)
    db.execute(mark.on_conflict_do_update(index_elements=["name"], set_=set_to))


def _chunks(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))


def _unsent(db: Session, mark: CountMark | None) -> list[int]:
    """Blocks that held something unsent when they were counted last; where there are too many, from where the last
    refresh stopped."""
    counted = select(DeliveryCount.block).distinct().where(DeliveryCount.state.in_((State.DUE, State.SENDING)))
    after = counted.where(DeliveryCount.block > (mark.read if mark else -1))
    return list(db.scalars(after.order_by(DeliveryCount.block).limit(UNSENT_BLOCKS)))


def _blocks(table: Followed, after: int, upto: int) -> Select[int]:
    """The blocks of the deliveries that these lines speak of."""
    lines = (table.id > after, table.id <= upto)
    if table is AttemptEnd or table is Sighting:
        return select(table.delivery_id // BLOCK).distinct().where(*lines)
    block = select(Delivery.id // BLOCK).distinct().where(*lines)
    return block.join(AuditLine, AuditLine.item_id == Delivery.item_id) if table is AuditLine else block


def _items(table: Followed, after: int, upto: int) -> Select[int] | None:
    """The items of which these lines may tell something new; None: this table never does."""
    lines = (table.id > after, table.id <= upto)
    if table is AuditLine:
        return select(Item.id).distinct().join(AuditLine, AuditLine.item_id == Item.id).where(*lines)
    if table is Sighting:
        seen = select(Delivery.item_id).distinct().join(Sighting, Sighting.delivery_id == Delivery.id)
        return seen.where(*lines, Sighting.state == State.CONFIRMED)
    return None


# ── items ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _look_at(rt: Runtime, items: Collection[int]) -> None:
    """Which of these items were seen in public for the first time, and where those stand now that were seen before."""
    zone = rt.settings.zone
    with rt.reading() as db:
        known = set(db.scalars(select(Publication.item_id).where(Publication.item_id.in_(items))))
        unknown = [item for item in items if item not in known]
        found = db.execute(first_seen(rt, unknown)).all() if unknown else []
    new = [
        {"item_id": item, "day": at.astimezone(zone).date(), "department": of, "formed_on": formed, "withdrawn": gone}
        for item, at, of, formed, gone in found
    ]
    if not new and not known:
        return
    department = select(Item.department).where(Item.id == Publication.item_id).scalar_subquery()
    gone = _withdrawn(Publication.item_id)
    now = update(Publication).values(department=department, withdrawn=gone).where(Publication.item_id.in_(known))
    now = now.where(or_(Publication.department != department, Publication.withdrawn != gone))
    with rt.writing() as db:
        if new:
            db.connection().execute(insert_for(db, Publication).on_conflict_do_nothing(), new)
        if known:
            db.execute(now.execution_options(synchronize_session=False))


def _withdrawn(item: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Nothing of it is in force any more."""
    return ~exists().where(Submission.item_id == item, Submission.stage == Stage.APPROVED)


def first_seen(rt: Runtime, items: Collection[int]) -> Select[int, datetime, str, date, bool]:
    """When each of these items was first confirmed on any channel, its department, the date formed of the text that was
    there, and whether it is withdrawn by now. A rehearsal (演练) is seen by nobody; a withdrawal has no text."""
    rehearsals = [one.name for one in rt.channels.values() if one.section.rehearsal]
    sent = and_(
        Attempt.delivery_id == Sighting.delivery_id,
        Attempt.generation == Sighting.generation,
        Attempt.rendition_id.is_not(None),
    )
    place = func.row_number().over(partition_by=Delivery.item_id, order_by=(Sighting.at, Sighting.id))
    seen = (
        select(Delivery.item_id, Sighting.at, Attempt.rendition_id, place.label("place"))
        .join(Sighting, Sighting.delivery_id == Delivery.id)
        .join(Attempt, sent)
        .where(Delivery.item_id.in_(items), Sighting.state == State.CONFIRMED, Delivery.channel.not_in(rehearsals))
        .subquery()
    )
    return (
        select(Item.id, seen.c.at, Item.department, Revision.formed_on, _withdrawn(Item.id))
        .join(seen, seen.c.item_id == Item.id)
        .join(StoredRendition, StoredRendition.id == seen.c.rendition_id)
        .join(Revision, Revision.id == StoredRendition.revision_id)
        .where(seen.c.place == 1)
    )


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _count(rt: Runtime, blocks: Collection[int]) -> None:
    """Count these blocks. A slot with recipients is not counted, they are."""
    with rt.reading() as db:
        lines = [line for block in blocks for line in _counted(rt, db, block)]
    with rt.writing() as db:
        _set(rt, db, "turn")  # one at a time
        db.execute(delete(DeliveryCount).where(DeliveryCount.block.in_(blocks)))
        if lines:
            db.connection().execute(insert(DeliveryCount), lines)


def _counted(rt: Runtime, db: Session, block: int) -> list[dict[str, object]]:
    columns = (Delivery.publish_at, Item.department, Delivery.channel, Delivery.state, Delivery.wanted_id.is_(None))
    chosen = (
        select(*columns, func.count())
        .join(Item, Item.id == Delivery.item_id)
        .where(Delivery.id >= block * BLOCK, Delivery.id < (block + 1) * BLOCK, Delivery.expanded_at.is_(None))
        .group_by(*columns)
    )
    counts = Counter[tuple[object, ...]]()
    for at, department, channel, state, nothing, count in db.execute(chosen):
        word = WITHDRAWN if nothing and state is State.CONFIRMED else state.value
        counts[at.astimezone(rt.settings.zone).date(), department, channel, word] += count
    names = ("day", "department", "channel", "state")
    return [{"block": block, **dict(zip(names, key, strict=True)), "count": n} for key, n in counts.items()]
