"""What the machine learns from outside: looks that confirm, leases that ran out, and the sweep that finds it all."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from channels.contract import Call, Rendition, Seen
from pipeline import claim, publish, reports
from pipeline.models import Delivery
from pipeline.renditions import load_renditions
from pipeline.rows import apply, channel_status, follow_slots, locked, sight, standing
from pipeline.runtime import Opened, Runtime
from pipeline.states import Standing, State, after_look, move

LOOKS_AT_ONCE = 200  # rows one pass reads back


@dataclass(frozen=True)
class Look:
    """A row as it stood when the look began; the look counts only if it still stands so when it ends."""

    id: int
    item_id: int
    recipient: str
    last_tried_at: datetime | None
    standing: Standing


def confirm(rt: Runtime, name: str) -> list[str]:
    """Look at what is to be looked at on one channel, and move the rows accordingly. Returns the channels that may go
    on because something was confirmed here."""
    opened = rt.channels[name]
    confirmed = 0
    while looks := _due_looks(rt, opened):
        confirmed += _settle_looks(rt, opened, looks)
        if len(looks) < LOOKS_AT_ONCE:
            break
    return [other.name for other in rt.channels.values() if confirmed and other.section.after == name]


def verify(rt: Runtime, item_id: int | None = None) -> None:
    """Read back again, now, what stands as confirmed or waits for a look: one item, or everything."""
    for opened in rt.channels.values():
        if not opened.traits.readback:
            continue
        with rt.writing() as db:
            chosen = [Delivery.channel == opened.name, Delivery.look_after.is_not(None)]
            if item_id is not None:
                chosen.append(Delivery.item_id == item_id)
            free = (
                select(Delivery.id)
                .where(*chosen)
                .order_by(Delivery.id)
                .with_for_update(skip_locked=True, key_share=True)
            )
            picked = free.cte("picked").prefix_with("MATERIALIZED")  # never waits for a row that is just being recorded
            at_once = update(Delivery).where(Delivery.id.in_(select(picked.c.id)))
            db.execute(at_once.values(look_after=rt.now() - timedelta(seconds=1)))
        confirm(rt, opened.name)


def _due_looks(rt: Runtime, opened: Opened, most: int = LOOKS_AT_ONCE) -> list[Look]:
    if not opened.traits.readback and not opened.traits.recall:
        return []  # a report or a person tells; nothing can be looked at
    states = [State.ACCEPTED, State.IN_DOUBT, State.CONFIRMED] if opened.traits.readback else [State.IN_DOUBT]
    with rt.reading() as db:
        rows = db.scalars(
            select(Delivery)
            .where(
                Delivery.channel == opened.name,
                Delivery.look_after.is_not(None),
                Delivery.look_after <= rt.now(),
                Delivery.state.in_(states),
            )
            .order_by(Delivery.look_after, Delivery.id)
            .limit(most)
        )
        return [Look(row.id, row.item_id, row.recipient, row.last_tried_at, standing(row)) for row in rows]


def _settle_looks(rt: Runtime, opened: Opened, looks: list[Look]) -> int:
    seen = look(rt, opened, looks)
    now, confirmed = rt.now(), 0
    with rt.writing() as db:
        rows = {row.id: row for row in locked(db, [one.id for one in looks])}
        for one, what in zip(looks, seen, strict=True):
            row = rows[one.id]
            if standing(row) != one.standing:
                continue  # the row has gone on: this look speaks of a past that nobody asks about any more
            verdict = after_look(one.standing, opened.traits, seen=what, now=now, last_call=one.last_tried_at)
            was = row.state
            apply(row, verdict, now)
            if row.state is State.FAILED:
                row.error = '{"code": "publish.not_seen", "facts": {}}'
            if row.state is not was:
                sight(db, row, opened.traits.evidence, what.value, now)
                confirmed += row.state is State.CONFIRMED
    return confirmed


def look(rt: Runtime, opened: Opened, looks: list[Look]) -> list[Seen]:
    """One pass over the outside for many rows. A channel that takes back but cannot be read (a notice board) answers
    OTHER, which is never what is wanted: its calls are safe to repeat."""
    if not opened.traits.readback:
        return [Seen.OTHER] * len(looks)
    with rt.reading() as db:
        ids = {one.standing.wanted_id for one in looks if one.standing.wanted_id is not None}
        renditions = load_renditions(db, ids)
    wanted: list[tuple[Rendition | None, Call]] = [
        (
            renditions[one.standing.wanted_id] if one.standing.wanted_id is not None else None,
            Call(publish.slot_name(opened.name, one.item_id), one.standing.generation, one.recipient),
        )
        for one in looks
    ]
    return opened.adapter.verify(wanted)


def expire_leases(rt: Runtime) -> int:
    """Rows whose worker did not come back: without an open attempt they are due again, with one they are in doubt."""
    now = rt.now()
    expired = (Delivery.state == State.SENDING, Delivery.lease_until <= now)
    free = {"lease_token": None, "lease_until": None}
    with rt.reading() as db:
        if db.execute(select(Delivery.id).where(*expired).limit(1)).first() is None:
            return 0
    with rt.writing() as db:
        mine = (
            select(Delivery.id).where(*expired).order_by(Delivery.id).with_for_update(skip_locked=True, key_share=True)
        )
        ids = db.scalars(mine).all()  # what somebody holds is being recorded this very moment, or swept by another
        again = db.scalars(
            update(Delivery)
            .where(Delivery.id.in_(ids), ~Delivery.call_open)
            .values(state=move(State.SENDING, State.DUE), **free)
            .returning(Delivery.id)
            .execution_options(synchronize_session=False)
        ).all()
        follow_slots(db, again)
        doubtful = db.scalars(
            update(Delivery)
            .where(Delivery.id.in_(ids), Delivery.call_open)
            .values(
                state=move(State.SENDING, State.IN_DOUBT),
                call_open=False,
                held_known=False,
                look_after=now,  # a lease is longer than a call: nothing is in flight any more
                looks=0,
                error='{"code": "publish.worker_lost", "facts": {}}',
                **free,
            )
            .returning(Delivery.id)
            .execution_options(synchronize_session=False)
        ).all()
        reports.settle(rt, db, doubtful)
        lost = select(Delivery.channel, func.count()).where(Delivery.id.in_([*again, *doubtful]))
        for channel, count in db.execute(lost.group_by(Delivery.channel).order_by(Delivery.channel)).all():
            channel_status(db, channel).leases_expired += count
    return len(again) + len(doubtful)


def sweep(rt: Runtime) -> list[str]:
    """Find everything that a lost wake, a lost task or a dead worker left behind; returns the channels on which
    something is due to be sent or looked at. Any number of beats may run it: rows are only moved conditionally."""
    expire_leases(rt)
    reports.settle_waiting(rt)
    with rt.reading() as db:
        working = {opened.name for opened in rt.channels.values() if claim.is_due(rt, db, opened)}
    return [name for name, opened in rt.channels.items() if name in working or _due_looks(rt, opened, 1)]
