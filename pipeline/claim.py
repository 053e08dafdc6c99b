"""Which rows are due, and taking them on a lease: claims of any number of workers never overlap."""

import os
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningUpdate

from config.settings import Settings
from pipeline import audience
from pipeline.models import ChannelStatus, Delivery, StoredIssue, Subscriber, Suppression
from pipeline.rescue.hold import unfinished
from pipeline.runtime import Opened, Runtime
from pipeline.states import BREAKER_AFTER, State, move


@dataclass(frozen=True)
class Claimed:
    """A row that this worker may work on until its lease runs out."""

    id: int
    item_id: int
    recipient: str
    slot_id: int | None
    generation: int
    wanted_id: int | None
    lease_token: str
    lease_until: datetime
    first_tried_at: datetime | None
    publish_at: datetime
    wanted_at: datetime
    released_at: datetime | None
    hurry: bool


# The state stands in these statements as a word, so that a database that plans them once may use its partial indexes;
# each is built once for a channel.
_IS_DUE = Delivery.state == literal_column(f"'{State.DUE.value}'")
_NOW: BindParameter[datetime] = bindparam("now", type_=Delivery.wanted_at.type)
_WANTED_BY: BindParameter[datetime] = bindparam("wanted_by", type_=Delivery.wanted_at.type)


def _tried(channel: str) -> ColumnElement[bool]:
    waited = or_(Delivery.try_after.is_(None), Delivery.try_after <= _NOW)
    return and_(Delivery.channel == channel, _IS_DUE, waited)


def _withdrawals(channel: str) -> ColumnElement[bool]:
    """What is to be taken back on one channel now: it waits for nothing but its own back-off."""
    return and_(_tried(channel), Delivery.wanted_id.is_(None))


def _publications(channel: str, after: str, quiet: bool) -> ColumnElement[bool]:
    """What is to go out on one channel now: past its time, waiting time and quiet hours, and the page it names seen."""
    slot = aliased(Delivery)
    conditions: list[ColumnElement[bool]] = [
        _tried(channel),
        Delivery.wanted_id.is_not(None),
        Delivery.publish_at <= _NOW,
        Delivery.wanted_at <= _WANTED_BY,
    ]
    if after:
        page = select(slot.id).where(
            slot.item_id == Delivery.item_id,
            slot.channel == after,
            slot.recipient == "",
            slot.state == State.CONFIRMED,
            slot.held_id.is_not(None),
        )
        # Not EXISTS, which PostgreSQL may begin with: then all that is due of an item is sorted for each few of it.
        conditions.append(page.scalar_subquery().is_not(None))
    if quiet:
        conditions.append(Delivery.hurry.is_(True))
    return and_(*conditions)


@cache
def _looking(channel: str, after: str, quiet: bool) -> Select[*tuple[Any, ...]]:
    # In the order of their index, the first one: of a bare EXISTS PostgreSQL thinks that it may as well read the table,
    # where so much is due, and then reads on past all that went out already.
    kinds = {
        "back": select(Delivery.id).where(_withdrawals(channel)).order_by(Delivery.channel, Delivery.id),
        "out": select(Delivery.id)
        .where(_publications(channel, after, quiet))
        .order_by(Delivery.publish_at, Delivery.id),
    }
    kept = (ChannelStatus.paused_at, ChannelStatus.open_until, ChannelStatus.failures)
    return select(
        *(first.limit(1).scalar_subquery().is_not(None).label(name) for name, first in kinds.items()),
        *(select(one).where(ChannelStatus.channel == channel).scalar_subquery().label(one.key) for one in kept),
    )


@cache
def _leasing(channel: str, after: str, quiet: bool, back: bool) -> ReturningUpdate[Any]:
    picked = (
        select(Delivery.id)
        .where(_withdrawals(channel) if back else _publications(channel, after, quiet))
        .order_by(Delivery.publish_at, Delivery.id)
        .limit(bindparam("room"))
        .with_for_update(skip_locked=True)
        .cte("picked")
        .prefix_with("MATERIALIZED")  # a plain IN (SELECT … LIMIT) was seen to claim the same rows twice
    )
    return (
        update(Delivery)
        # By their ids alone: they are locked, and due. Asked for that again, PostgreSQL looks for each of them in all
        # that is due, where its statistics are older than a large run and promise next to nothing.
        .where(Delivery.id.in_(select(picked.c.id)))
        .values(state=move(State.DUE, State.SENDING), lease_token=bindparam("token"), lease_until=bindparam("until"))
        .returning(*(getattr(Delivery, field.name) for field in fields(Claimed)))
        .execution_options(synchronize_session=False)
    )


def is_due(rt: Runtime, db: Session, opened: Opened) -> bool:
    """Is anything to go out or to be taken back on a channel now, were it not paused or its breaker open?"""
    when, where = _moments(rt, opened)
    seen = db.execute(_looking(*where), when).one()
    return bool(seen.back or seen.out)


def long_due(rt: Runtime, db: Session, opened: Opened, late: timedelta) -> tuple[int, datetime | None]:
    """How many rows could have gone on a channel `late` ago and are still there, and since when the oldest could."""
    when, where = _moments(rt, opened)
    kinds = _withdrawals(opened.name), _publications(*where)
    since = case((Delivery.publish_at > Delivery.wanted_at, Delivery.publish_at), else_=Delivery.wanted_at)
    counted = select(func.count(), func.min(since)).select_from(Delivery).where(or_(*kinds))
    count, oldest = db.execute(counted, {name: moment - late for name, moment in when.items()}).one()
    return count, oldest


def _moments(rt: Runtime, opened: Opened) -> tuple[dict[str, datetime], tuple[str, str, bool]]:
    section, now = opened.section, rt.now()
    wanted_by = now - timedelta(seconds=section.wait_seconds)
    quiet = section.quiet_until(now, rt.settings.zone) > now
    return {"now": now, "wanted_by": wanted_by}, (opened.name, section.after, quiet)


@dataclass(frozen=True)
class Due:
    """What may be leased on a channel now, as a look found it: `room` rows, to be taken `back` or to go out."""

    back: bool
    room: int


def look(rt: Runtime, db: Session, opened: Opened) -> Due | None:
    """What is due on a channel: withdrawals first, then what may go out, a batch at most. None goes out while the
    channel is paused or its breaker open; one does to try whether that may close again."""
    when, where = _moments(rt, opened)
    seen = db.connection().execute(_looking(*where), when).one()
    if (seen.back or seen.out) and unfinished(rt, db):
        return None  # a restored ledger that does not know yet what was done after the backup
    if seen.back:
        return Due(True, opened.section.batch)
    shut = seen.paused_at is not None or (seen.open_until is not None and seen.open_until > when["now"])
    if shut or not seen.out:
        return None
    return Due(False, 1 if (seen.failures or 0) >= BREAKER_AFTER else opened.section.batch)


def lease(rt: Runtime, db: Session, opened: Opened, found: Due) -> tuple[list[Claimed], int]:
    """Lease what a look found, as far as nobody else did. In the same commit, overdue rows go on hold where the channel
    says so, and slots with recipients are expanded. Returns the leased rows, and how many were settled without a call.
    """
    now, (when, where) = rt.now(), _moments(rt, opened)
    until = now + timedelta(seconds=rt.settings.limits.lease_seconds)
    how = {**when, "room": found.room, "token": os.urandom(16).hex(), "until": until}
    leased = (Claimed(*row) for row in db.connection().execute(_leasing(*where, found.back), how))
    rows = sorted(leased, key=lambda row: (row.publish_at, row.id))
    total = len(rows)
    if opened.section.late == "hold":
        rows = _hold_late(db, opened, rows, now, rt.settings.zone)
    if opened.adapter.addressed:
        rows = _expand(rt.settings, db, opened, rows, now)
    return rows, total - len(rows)


def _hold_late(db: Session, opened: Opened, rows: list[Claimed], now: datetime, zone: ZoneInfo) -> list[Claimed]:
    """Put on hold what is overdue past the channel's limit, counted from the first moment sending was allowed. An issue
    has its day: that it was approved late, or that its page was held up, makes it no less late."""
    section, limit = opened.section, timedelta(hours=opened.section.late_hours)
    if all(now - row.publish_at <= limit for row in rows):
        return rows
    items = {row.item_id for row in rows}
    issued = select(StoredIssue.item_id, StoredIssue.send_at).where(StoredIssue.item_id.in_(items))
    planned = {item_id: at for item_id, at in db.execute(issued) if item_id is not None}
    seen: dict[int, datetime] = {}
    if section.after:
        found = db.execute(
            select(Delivery.item_id, Delivery.confirmed_at).where(
                Delivery.item_id.in_(items - planned.keys()),
                Delivery.channel == section.after,
                Delivery.recipient == "",
                Delivery.confirmed_at.is_not(None),
            )
        )
        seen = {item_id: at for item_id, at in found if at is not None}

    def late(row: Claimed) -> bool:
        if row.wanted_id is None:
            return False
        allowed = max(row.publish_at, planned.get(row.item_id, row.publish_at))
        wanted_at = min(row.wanted_at, allowed) if row.item_id in planned else row.wanted_at
        allowed = max(allowed, wanted_at + timedelta(seconds=section.wait_seconds))
        allowed = max(allowed, seen.get(row.item_id, allowed), row.released_at or allowed)
        if not row.hurry:
            allowed = section.quiet_until(allowed, zone)
        return now - allowed > limit

    overdue = [row for row in rows if late(row)]
    if overdue:
        db.execute(
            update(Delivery)
            .where(Delivery.id.in_([row.id for row in overdue]), Delivery.lease_token == overdue[0].lease_token)
            .values(state=move(State.SENDING, State.ON_HOLD), reason="late", lease_token=None, lease_until=None)
        )
    return [row for row in rows if row not in overdue]


def _expand(settings: Settings, db: Session, opened: Opened, rows: list[Claimed], now: datetime) -> list[Claimed]:
    """Copy the recipients of slots that have fallen due, once; the slot itself is then handed over to them."""
    for slot in (row for row in rows if row.slot_id is None):
        suppressed = exists().where(Suppression.channel == opened.name, Suppression.address == Subscriber.address)
        columns: dict[str, Any] = {
            "item_id": literal(slot.item_id),
            "channel": literal(opened.name),
            "recipient": Subscriber.address,
            "slot_id": literal(slot.id),
            "wanted_id": literal(slot.wanted_id),
            "wanted_at": literal(slot.wanted_at, Delivery.wanted_at.type),
            "generation": literal(slot.generation),
            "held_known": literal(True),
            "state": literal(State.DUE.value),
            "reason": literal(""),
            "error": literal(""),
            "publish_at": literal(slot.publish_at, Delivery.publish_at.type),
            "released_at": literal(slot.released_at, Delivery.released_at.type),
            "hurry": literal(slot.hurry),
            "call_open": literal(False),
            "attempts": literal(0),
            "failures": literal(0),
            "tries": literal(0),
            "looks": literal(0),
            "reference": literal(""),
        }
        chosen = select(*columns.values()).where(Subscriber.channel == opened.name, ~suppressed)
        chosen = chosen.where(audience.told(audience.of_slot(settings, db, slot.id))).order_by(Subscriber.id)
        db.execute(insert(Delivery).from_select(list(columns), chosen, include_defaults=False))
        copied = db.scalar(select(func.count()).where(Delivery.slot_id == slot.id)) or 0
        outcome = State.ACCEPTED if copied else State.SKIPPED
        db.execute(
            update(Delivery)
            .where(Delivery.id == slot.id, Delivery.lease_token == slot.lease_token)
            .values(
                state=move(State.SENDING, outcome),
                reason="" if copied else "no_recipients",
                expanded_at=now if copied else None,
                lease_token=None,
                lease_until=None,
            )
        )
    return [row for row in rows if row.slot_id is not None]
