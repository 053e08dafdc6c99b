"""Rows of deliveries in a writing transaction: lock them, read their standing, move them to where a verdict says."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, bindparam, func, select, text, update
from sqlalchemy.orm import Session, aliased

from channels.contract import Evidence
from pipeline.database import insert_for
from pipeline.models import AttemptEnd, ChannelStatus, Delivery, Sighting
from pipeline.states import Held, Standing, State, Verdict, move

# A new generation starts afresh: no back-off, no spent budget, no leave given to an older text, new facts of sending.
FRESH: dict[str, Any] = {
    "try_after": None, "first_tried_at": None, "released_at": None, "hurry": False, "confirmed_at": None,
    "failures": 0, "tries": 0, "looks": 0,
}  # fmt: skip


@dataclass(slots=True)
class Line:
    """The columns of a delivery that the end of an attempt reads and writes: a chunk is read and written back by them,
    which costs a third of loading and flushing as many `Delivery` objects."""

    id: int
    slot_id: int | None
    wanted_id: int | None
    generation: int
    attempts: int
    first_tried_at: datetime | None
    state: State
    reason: str
    error: str
    held_id: int | None
    held_known: bool
    lease_token: str | None
    lease_until: datetime | None
    call_open: bool
    try_after: datetime | None
    look_after: datetime | None
    failures: int
    tries: int
    looks: int
    confirmed_at: datetime | None


_TABLE = cast(Table, Delivery.__table__)
_WRITTEN = [field.name for field in fields(Line)][6:]  # from `state` on
_THESE = _TABLE.c.id.in_(bindparam("ids", expanding=True))  # built once: that costs more than running it
_READ_LINES = (
    select(*(_TABLE.c[field.name] for field in fields(Line)))
    .where(_THESE)
    .order_by(_TABLE.c.id)
    .with_for_update(key_share=True)
)
_ANSWER = (
    select(AttemptEnd.reference)
    .where(AttemptEnd.delivery_id == _TABLE.c.id, AttemptEnd.number == bindparam("attempt"), AttemptEnd.reference != "")
    .limit(1)
    .scalar_subquery()
)
_WRITE_LINES = (
    update(_TABLE)
    .where(_TABLE.c.id.in_(bindparam("lines", expanding=True)))
    .values({name: bindparam(name) for name in _WRITTEN} | {"reference": func.coalesce(_ANSWER, _TABLE.c.reference)})
)


def read_lines(db: Session, ids: Collection[int]) -> dict[int, Line]:
    """The lines of these rows by id, locked like `locked`."""
    return {row.id: Line(*row) for row in db.connection().execute(_READ_LINES, {"ids": list(ids)})}


def write_lines(db: Session, moved: Collection[tuple[Line, int]]) -> None:
    """Write back what was read and moved in the same transaction, each with the reference that its attempt of this
    number was answered with, if any. Nearly all lines of a chunk end alike: these are one statement."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for line, attempt in moved:
        alike.setdefault((attempt, *(getattr(line, name) for name in _WRITTEN)), []).append(line.id)
    for (attempt, *values), ids in alike.items():
        parameters = dict(zip(_WRITTEN, values, strict=True)) | {"attempt": attempt, "lines": ids}
        db.connection().execute(_WRITE_LINES, parameters)


def locked(db: Session, ids: Collection[int]) -> list[Delivery]:
    """These rows, locked in id order (the one order, so that two writers never wait for each other)."""
    return locked_where(db, Delivery.id.in_(ids))


def locked_where(db: Session, *rows: ColumnElement[bool]) -> list[Delivery]:
    """The same by conditions, for more rows than a statement takes parameters."""
    chosen = select(Delivery).where(*rows).order_by(Delivery.id).with_for_update(key_share=True)
    return list(db.scalars(chosen.execution_options(populate_existing=True)))


def lock(db: Session, *rows: ColumnElement[bool]) -> None:
    """Lock rows without reading them, in the same order. Never FOR UPDATE: a foreign key's check would wait for it.
    On SQLite a writing transaction has the whole database already."""
    if db.get_bind().dialect.name == "sqlite":
        return
    db.execute(select(Delivery.id).where(*rows).order_by(Delivery.id).with_for_update(key_share=True))


_IN_TROUBLE = "delivery.state IN ('failed', 'in_doubt', 'on_hold')"
_FEW = {
    **dict.fromkeys((State.FAILED, State.IN_DOUBT, State.ON_HOLD), _IN_TROUBLE),
    **dict.fromkeys((State.ACCEPTED, State.SKIPPED),
                    "delivery.state IN ('accepted', 'skipped') AND delivery.expanded_at IS NULL"),
    State.DUE: "delivery.state = 'due'",
    State.SENDING: "delivery.state = 'sending'",
}  # fmt: skip


def in_trouble() -> ColumnElement[bool]:
    """It waits for a person: failed, in doubt or on hold; in the words of their index, as in `few`."""
    return cast(ColumnElement[bool], text(_IN_TROUBLE))


def few(state: State) -> ColumnElement[bool]:
    """Said beside a condition on the state: the very words of the partial index that has such rows, without which
    SQLite does not use it. Confirmed ones are not few."""
    return cast(ColumnElement[bool], text(_FEW[state]))


def standing(row: Delivery | Line) -> Standing:
    return Standing(
        state=row.state,
        wanted_id=row.wanted_id,
        generation=row.generation,
        attempts=row.attempts,
        call_open=row.call_open,
        tries=row.tries,
        looks=row.looks,
        held_nothing=row.held_known and row.held_id is None,
        called=row.first_tried_at is not None,
    )


def apply(row: Delivery | Line, verdict: Verdict, now: datetime) -> None:
    """Move a locked row to where a verdict says."""
    was = row.state
    row.state = move(row.state, verdict.state)
    row.lease_token, row.lease_until, row.call_open, row.reason = None, None, False, ""
    row.try_after, row.look_after = verdict.try_after, verdict.look_after
    row.tries, row.looks = verdict.tries, verdict.looks
    if verdict.held is Held.WANTED:
        row.held_id, row.held_known = row.wanted_id, True
    elif verdict.held is Held.UNKNOWN:
        row.held_known = False
    if row.state is State.CONFIRMED and was is not State.CONFIRMED:
        row.confirmed_at, row.error = now, ""
    elif row.state is not State.CONFIRMED:
        row.confirmed_at = None


def follow_slots(db: Session, ids: Collection[int]) -> None:
    """Recipients that are unsent again follow what their slot wants by now: its revision, or nothing. The slot is not
    locked: who changes it locks its recipients too (`slots`), so it stands still while we hold one of them."""
    if not ids:
        return
    slot = aliased(Delivery)
    fresh = {
        "generation": slot.generation, "wanted_id": slot.wanted_id, "wanted_at": slot.wanted_at,
        "publish_at": slot.publish_at, **FRESH,
    }  # fmt: skip
    mine = (Delivery.id.in_(ids), Delivery.slot_id == slot.id)
    db.execute(
        update(Delivery)
        .where(*mine, Delivery.state == State.DUE, Delivery.generation < slot.generation, slot.wanted_id.is_not(None))
        .values(fresh)
        .execution_options(synchronize_session=False)
    )
    db.execute(
        update(Delivery)
        .where(*mine, Delivery.state.in_((State.DUE, State.FAILED)), slot.wanted_id.is_(None))
        .values({**fresh, "state": move(State.DUE, State.SKIPPED), "reason": "withdrawn", "error": ""})
        .execution_options(synchronize_session=False)
    )


def sight(db: Session, row: Delivery, evidence: Evidence, seen: str, now: datetime, note: str = "") -> None:
    """Keep a line of what was learned from outside, with the state that it led to."""
    db.add(
        Sighting(
            delivery_id=row.id,
            generation=row.generation,
            at=now,
            evidence=evidence.value,
            seen=seen,
            state=row.state,
            note=note,
        )
    )


def channel_status(db: Session, name: str, lock: bool = True) -> ChannelStatus:
    """What is kept of a channel, made when first asked for."""
    status = db.get(ChannelStatus, name, with_for_update=lock)
    if status is None:
        fresh = insert_for(db, ChannelStatus).values(channel=name, failures=0, last_error="")
        db.execute(fresh.on_conflict_do_nothing())
        status = db.get_one(ChannelStatus, name, with_for_update=lock)
    return status
