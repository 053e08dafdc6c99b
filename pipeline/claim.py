"""Which rows are due, and taking them on a lease: claims of any number of workers never overlap."""

import os
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, exists, func, insert, literal, or_, select, update
from sqlalchemy.orm import Session, aliased

from pipeline.models import ChannelStatus, Delivery, Subscriber, Suppression
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


def withdrawals(opened: Opened, now: datetime) -> ColumnElement[bool]:
    """What is to be taken back on one channel now: it waits for nothing but its own back-off."""
    return and_(_tried(opened, now), Delivery.wanted_id.is_(None))


def publications(opened: Opened, now: datetime, zone: ZoneInfo) -> ColumnElement[bool]:
    """What is to go out on one channel now: past its time, waiting time and quiet hours, and the page it names seen."""
    section, slot = opened.section, aliased(Delivery)
    conditions: list[ColumnElement[bool]] = [
        _tried(opened, now),
        Delivery.wanted_id.is_not(None),
        Delivery.publish_at <= now,
        Delivery.wanted_at <= now - timedelta(seconds=section.wait_seconds),
    ]
    if section.after:
        conditions.append(
            exists().where(
                slot.item_id == Delivery.item_id,
                slot.channel == section.after,
                slot.recipient == "",
                slot.state == State.CONFIRMED,
                slot.held_id.is_not(None),
            )
        )
    if section.quiet_until(now, zone) > now:
        conditions.append(Delivery.hurry.is_(True))
    return and_(*conditions)


def _tried(opened: Opened, now: datetime) -> ColumnElement[bool]:
    waited = or_(Delivery.try_after.is_(None), Delivery.try_after <= now)
    return and_(Delivery.channel == opened.name, Delivery.state == State.DUE, waited)


def claim(rt: Runtime, opened: Opened) -> tuple[list[Claimed], int]:
    """Lease a batch of due rows, withdrawals first. In the same commit, overdue ones go on hold where the channel says
    so, and slots with recipients are expanded. Returns the leased rows, and how many were settled without a call."""
    now, zone = rt.now(), rt.settings.zone
    with rt.reading() as db:  # a look that takes no lock: most sweeps find nothing
        choices: list[tuple[ColumnElement[bool], int]] = [(withdrawals(opened, now), opened.section.batch)]
        if room := _room(db, opened, now):
            choices.append((publications(opened, now, zone), room))
        first = (choice for choice in choices if db.execute(select(Delivery.id).where(choice[0]).limit(1)).first())
        condition, room = next(first, (None, 0))
    if condition is None:
        return [], 0
    with rt.writing() as db:
        rows = _lease(db, condition, room, until=now + timedelta(seconds=rt.settings.limits.lease_seconds))
        total = len(rows)
        if opened.section.late == "hold":
            rows = _hold_late(db, opened, rows, now, zone)
        if opened.adapter.addressed:
            rows = _expand(db, opened, rows, now)
    return rows, total - len(rows)


def _lease(db: Session, condition: ColumnElement[bool], room: int, until: datetime) -> list[Claimed]:
    picked = (
        select(Delivery.id)
        .where(condition)
        .order_by(Delivery.publish_at, Delivery.id)
        .limit(room)
        .with_for_update(skip_locked=True)
        .cte("picked")
        .prefix_with("MATERIALIZED")  # a plain IN (SELECT … LIMIT) was seen to claim the same rows twice
    )
    leased = db.execute(
        update(Delivery)
        .where(Delivery.id.in_(select(picked.c.id)), Delivery.state == State.DUE)
        .values(state=move(State.DUE, State.SENDING), lease_token=os.urandom(16).hex(), lease_until=until)
        .returning(*(getattr(Delivery, field.name) for field in fields(Claimed)))
        .execution_options(synchronize_session=False)
    )
    return sorted((Claimed(*row) for row in leased), key=lambda row: (row.publish_at, row.id))


def _room(db: Session, opened: Opened, now: datetime) -> int:
    """How many rows may be claimed: none while paused or the breaker is open, one to try whether it may close again."""
    status = db.get(ChannelStatus, opened.name)
    if status is None:
        return opened.section.batch
    if status.paused_at is not None or (status.open_until is not None and status.open_until > now):
        return 0
    return 1 if status.failures >= BREAKER_AFTER else opened.section.batch


def _hold_late(db: Session, opened: Opened, rows: list[Claimed], now: datetime, zone: ZoneInfo) -> list[Claimed]:
    """Put on hold what is overdue past the channel's limit, counted from the first moment sending was allowed."""
    section = opened.section
    seen: dict[int, datetime] = {}
    if section.after and rows:
        found = db.execute(
            select(Delivery.item_id, Delivery.confirmed_at).where(
                Delivery.item_id.in_({row.item_id for row in rows}),
                Delivery.channel == section.after,
                Delivery.recipient == "",
                Delivery.confirmed_at.is_not(None),
            )
        )
        seen = {item_id: at for item_id, at in found if at is not None}

    def late(row: Claimed) -> bool:
        if row.wanted_id is None:
            return False
        allowed = max(row.publish_at, row.wanted_at + timedelta(seconds=section.wait_seconds))
        allowed = max(allowed, seen.get(row.item_id, allowed), row.released_at or allowed)
        if not row.hurry:
            allowed = section.quiet_until(allowed, zone)
        return now - allowed > timedelta(hours=section.late_hours)

    overdue = [row for row in rows if late(row)]
    if overdue:
        db.execute(
            update(Delivery)
            .where(Delivery.id.in_([row.id for row in overdue]), Delivery.lease_token == overdue[0].lease_token)
            .values(state=move(State.SENDING, State.ON_HOLD), reason="late", lease_token=None, lease_until=None)
        )
    return [row for row in rows if row not in overdue]


def _expand(db: Session, opened: Opened, rows: list[Claimed], now: datetime) -> list[Claimed]:
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
        chosen = select(*columns.values()).where(Subscriber.channel == opened.name, ~suppressed).order_by(Subscriber.id)
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
