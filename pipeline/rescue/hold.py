"""What the ledger must not do on its own after a restore, and where the rest of the pipeline asks about it."""

from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from pipeline.models import Delivery, Restoration, Subscriber, Suppression
from pipeline.rescue import stage
from pipeline.runtime import Runtime
from pipeline.states import State, move

RESTORED = "restored"
JUMP = 1000  # generations, where the other side cannot be asked for its highest: nobody decides so often in between


def unfinished(rt: Runtime, db: Session) -> bool:
    """Was a restore begun that has not ended, or is a restored ledger not compared with the outside yet? Then nothing
    may be claimed."""
    return bool(db.scalar(select(or_(_not_compared(), stage.begun(rt.settings.data, db)))))


def not_compared(db: Session) -> bool:
    """Is it a restored ledger that does not know yet what the outside shows?"""
    return bool(db.scalar(select(_not_compared())))


def _not_compared() -> ColumnElement[bool]:
    return exists(select(Restoration.id).where(Restoration.finished_at.is_(None)))


def from_before(db: Session, item_id: int) -> bool:
    """Was this item written before the last loss? What was decided about it since the backup is not known."""
    return bool(db.scalar(select(exists(select(Restoration.id).where(Restoration.last_item >= item_id)))))


def hold_unsent(rt: Runtime, db: Session) -> int:
    """Put on hold whatever may have been sent after the backup where nothing can be taken back (channels that are no
    longer configured included). A call that was open at the backup is in doubt. Returns how many rows wait."""
    now = rt.now()
    recallable = [name for name, opened in rt.channels.items() if opened.traits.recall]
    leaf = (Delivery.channel.not_in(recallable), Delivery.expanded_at.is_(None))
    free = {"lease_token": None, "lease_until": None, "call_open": False, "held_known": False}
    doubtful = {"state": move(State.SENDING, State.IN_DOUBT), "error": '{"code": "publish.worker_lost", "facts": {}}'}
    db.execute(update(Delivery).where(*leaf, Delivery.call_open).values(**free, **doubtful, looks=0, look_after=now))
    for name, opened in rt.channels.items():
        if opened.adapter.addressed and not opened.traits.recall:
            _copy_recipients(db, name, now)
    fresh = {"try_after": None, "look_after": None, "released_at": None, "hurry": False, "reason": RESTORED}
    for state in (State.DUE, State.SENDING, State.FAILED, State.ON_HOLD):
        held = {**free, **fresh, "state": move(state, State.ON_HOLD)}
        db.execute(update(Delivery).where(*leaf, Delivery.state == state).values(held))
    waiting = select(func.count()).where(Delivery.state.in_((State.ON_HOLD, State.IN_DOUBT)), *leaf)
    return db.scalar(waiting) or 0


def _copy_recipients(db: Session, channel: str, now: datetime) -> None:
    """Slots that had fallen due by now get their recipients, each on hold: one may have been told and the next not."""
    suppressed = exists().where(Suppression.channel == channel, Suppression.address == Subscriber.address)
    addresses = db.scalars(
        select(Subscriber.address).where(Subscriber.channel == channel, ~suppressed).order_by(Subscriber.id)
    ).all()
    fallen: list[ColumnElement[bool]] = [
        Delivery.channel == channel, Delivery.slot_id.is_(None), Delivery.expanded_at.is_(None),
        Delivery.wanted_id.is_not(None), Delivery.publish_at <= now,
        Delivery.state.in_((State.DUE, State.SENDING, State.ON_HOLD, State.FAILED)),
    ]  # fmt: skip
    for slot in db.scalars(select(Delivery).where(*fallen).order_by(Delivery.id)).all() if addresses else ():
        db.add_all(
            Delivery(
                item_id=slot.item_id, channel=channel, recipient=address, slot_id=slot.id, wanted_id=slot.wanted_id,
                wanted_at=slot.wanted_at, generation=slot.generation, publish_at=slot.publish_at,
                state=State.ON_HOLD, reason=RESTORED, held_known=False,
            )
            for address in addresses
        )  # fmt: skip
        if slot.state is not State.SENDING:
            slot.state = move(slot.state, State.DUE)
        slot.state, slot.reason, slot.expanded_at = move(slot.state, State.ACCEPTED), "", now
        slot.lease_token, slot.lease_until = None, None
    db.flush()
