"""A ledger with any number of deliveries, written set by set, and what is counted in it afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, case, func, insert, literal, select, text, update
from sqlalchemy.orm import Session

from pipeline.database import Base, writing
from pipeline.models import (
    Attempt,
    AttemptEnd,
    Delivery,
    Item,
    Revision,
    Sighting,
    StoredRendition,
    Submission,
)
from pipeline.runtime import Runtime
from pipeline.states import Disclosure, Result, Stage, State

AT_ONCE = 50_000  # items a statement
APART = timedelta(days=30)  # in the past, what one statement writes from what the next does
OLDEST = timedelta(days=30) + APART * 50
DEPARTMENTS = ("news", "office", "tech")
BODY = "根据工作安排，现将有关事项通知如下。".encode() * 20  # 1 kB, a short notice


def fill(engine: Engine, channels: Sequence[str], first: int, last: int, past: bool = False) -> None:
    """Items `first` to `last`, approved for these channels. Due now; or of the `past`: sent once each, confirmed, and
    to be read again some day."""
    for start in range(first, last + 1, AT_ONCE):
        with writing(engine) as db:
            if engine.dialect.name == "postgresql":
                db.execute(text("SET LOCAL session_replication_role = replica"))  # the rows fit: no check for each
            _fill(db, channels, start, min(start + AT_ONCE - 1, last), past)


def settle_down(engine: Engine) -> None:
    """Have statistics, and nothing of the filling left to be written while something is measured."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT", reading=True) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))
        else:
            connection.rollback()
            _raw(connection, "PRAGMA wal_checkpoint(TRUNCATE)")


def _raw(connection: Connection, statement: str) -> None:
    driver: Any = connection.connection.driver_connection
    driver.execute(statement).close()


def _fill(db: Session, channels: Sequence[str], first: int, last: int, past: bool) -> None:
    start = select(literal(first).label("i")).cte("items", recursive=True)
    items = start.union_all(select(start.c.i + 1).where(start.c.i < last))
    places = select(literal(0).label("place"), literal(channels[0]).label("channel"))
    every = places.union_all(*(select(literal(n), literal(name)) for n, name in enumerate(channels) if n)).cte("places")
    i: ColumnElement[int] = items.c.i
    id = i * len(channels) + every.c.place
    now = datetime.now(UTC)
    then = now - (timedelta(days=30) + APART * (first // AT_ONCE) if past else timedelta())
    at = literal(then, Delivery.wanted_at.type)
    word = literal("notice")

    def add(table: type[Base], each: bool, **columns: Any) -> None:
        chosen = {
            name: value if isinstance(value, ColumnElement) else literal(value, table.__table__.c[name].type)
            for name, value in columns.items()
        }
        rows = select(*chosen.values()).select_from(items.join(every, literal(True)) if each else items)
        db.execute(insert(table).from_select(list(chosen), rows, include_defaults=False))

    department = case(*((i % len(DEPARTMENTS) == n, name) for n, name in enumerate(DEPARTMENTS)))
    formed = then.date() - timedelta(days=9)
    add(Item, False, id=i, department=department, created_by="zhao", created_at=at, index_number=None, latest_id=i,
        title=word, item_type="通知", author="zhao", formed_on=formed, phase="approved", unsubmitted=False,
        sent=True)  # fmt: skip
    add(Revision, False, id=i, item_id=i, number=1, author="zhao", created_at=at, title=word, content=b"{}",
        content_hash="", formed_on=formed, department=department)  # fmt: skip
    add(Submission, False, id=i, item_id=i, revision_id=i, submitted_by="zhao", submitted_at=at,
        disclosure=Disclosure.PROACTIVE, manifest=b"{}", hash="", stage=Stage.APPROVED, reason="")  # fmt: skip
    add(StoredRendition, True, id=id, submission_id=i, revision_id=i, channel=every.c.channel, media_type="text/plain",
        body=b"" if past else BODY, files="[]", digest="")  # fmt: skip
    been = int(past)
    add(Delivery, True, id=id, item_id=i, channel=every.c.channel, recipient="", wanted_id=id, wanted_at=at,
        generation=1, held_id=id if past else None, held_known=True,
        state=State.CONFIRMED if past else State.DUE, reason="", error="", publish_at=at, hurry=False, call_open=False,
        attempts=been, failures=0, tries=0, looks=0, look_after=now + timedelta(days=270) if past else None,
        reference="", confirmed_at=then if past else None, first_tried_at=then if past else None,
        last_tried_at=then if past else None)  # fmt: skip
    if past:
        add(Attempt, True, delivery_id=id, number=1, generation=1, rendition_id=id, started_at=at, worker="bench")
        add(AttemptEnd, True, delivery_id=id, number=1, at=at, result=Result.ACCEPTED, reference="", evidence="",
            error="")  # fmt: skip
        add(Sighting, True, delivery_id=id, generation=1, at=at, evidence="readback", seen="same",
            state=State.CONFIRMED, note="")  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """What the ledger says happened to the deliveries of some items."""

    deliveries: int
    accepted: int
    attempts: int
    receipts: int
    keys: int  # different receipts


def count(rt: Runtime, first: int, last: int) -> Counted:
    """Count attempts and receipts of these items."""
    mine = Delivery.item_id.between(first, last)
    taken = func.sum(case((Delivery.state == State.ACCEPTED, 1), else_=0))
    ended = AttemptEnd.result == Result.ACCEPTED
    with rt.reading() as db:
        deliveries, accepted = db.execute(select(func.count(), taken).where(mine)).one()
        attempts = db.scalar(select(func.count()).select_from(Attempt).join(Delivery).where(mine)) or 0
        receipts, keys = db.execute(
            select(func.count(), func.count(AttemptEnd.reference.distinct())).join(Delivery).where(mine, ended)
        ).one()
    return Counted(deliveries, int(accepted or 0), attempts, receipts, keys)


def hand_back(rt: Runtime, ids: Sequence[int]) -> None:
    """Make claimed rows due again, as if nobody had claimed them."""
    with rt.writing() as db:
        db.execute(
            update(Delivery)
            .where(Delivery.id.in_(ids))
            .values(state=State.DUE, lease_token=None, lease_until=None)
            .execution_options(synchronize_session=False)
        )
