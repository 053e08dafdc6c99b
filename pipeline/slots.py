"""What a decision writes into the ledger: what should be where. It never calls a channel."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from pipeline.models import Delivery, StoredRendition, Submission
from pipeline.rescue.hold import JUMP, RESTORED, from_before
from pipeline.rows import FRESH, lock, locked_where
from pipeline.runtime import Opened, Runtime
from pipeline.states import Stage, State, after_wanted, move

LATE = "late"  # on hold until a person lets it go
OUTDATED = "outdated"  # on hold until another text is approved: an issue's, in which an item was withdrawn or corrected


def want(
    rt: Runtime,
    db: Session,
    item_id: int,
    renditions: Mapping[str, StoredRendition],
    publish_at: datetime | None,
    late: Collection[str] = (),
    held_stays: bool = False,
) -> None:
    """Let these renditions be wanted, each on its channel, from `publish_at` (None: as it was; where nothing is wanted
    so far, now). A slot that wants the very same bytes already keeps its generation. `late`: on these channels a person
    lets it go, where nothing was wanted before; `held_stays`: of an issue, which has its day: what waits for a person
    because it is late goes on waiting, with the new text, and where nobody was to be told then nobody is told now."""
    now = rt.now()
    slots = _slots(db, item_id)
    restored = not renditions.keys() <= slots.keys() and from_before(db, item_id)
    for channel, rendition in sorted(renditions.items()):
        slot = slots.get(channel)
        if slot is None:
            slot = Delivery(item_id=item_id, channel=channel, recipient="", wanted_id=rendition.id, wanted_at=now)
            slot.generation, slot.state, slot.publish_at = 1, State.DUE, publish_at or now
            if restored:
                slot.generation += JUMP
                if (opened := rt.channels.get(channel)) and not opened.traits.recall:  # it may have gone out before
                    slot.state, slot.reason, slot.held_known = State.ON_HOLD, RESTORED, False
            if channel in late and slot.state is State.DUE:
                slot.state, slot.reason = move(slot.state, State.ON_HOLD), LATE
            db.add(slot)
            continue
        time = publish_at or (slot.publish_at if slot.wanted_id is not None else now)
        if time != slot.publish_at:
            slot.publish_at = time
            db.execute(update(Delivery).where(Delivery.slot_id == slot.id).values(publish_at=time))
        wanted = db.get(StoredRendition, slot.wanted_id) if slot.wanted_id is not None else None
        if wanted is None or wanted.digest != rendition.digest:
            _turn(rt.channels.get(channel), db, slot, rendition.id, now, held_stays)
        if channel in late and wanted is None:
            mine = Delivery.slot_id == slot.id if slot.expanded_at is not None else Delivery.id == slot.id
            held = {"state": move(State.DUE, State.ON_HOLD), "reason": LATE}
            db.execute(update(Delivery).where(mine, Delivery.state == State.DUE).values(held))
    db.flush()


def give_up(rt: Runtime, db: Session, item_id: int, channels: Collection[str], taken_back: bool) -> None:
    """No text can be wanted on these channels until one is approved. What was not sent waits, with nothing to send; a
    page that nobody saw yet, or any (`taken_back`), is taken back, and then what comes after it waits, too: it would
    name a page that is not there."""
    now = rt.now()
    for channel, slot in _slots(db, item_id).items() if channels else ():
        if channel not in channels or slot.wanted_id is None:
            continue
        opened = rt.channels.get(channel)
        if opened.traits.recall if opened else slot.expanded_at is None:  # as in `_turn`
            if taken_back or (slot.held_known and slot.held_id is None):
                _turn(opened, db, slot, None, now)
                after = [name for name, one in rt.channels.items() if one.section.after == channel]
                give_up(rt, db, item_id, after, taken_back=False)
            continue
        db.flush()
        leaf = Delivery.slot_id == slot.id if slot.expanded_at is not None else Delivery.id == slot.id
        fresh = _fresh(slot, None, now)
        for state in (State.DUE, State.FAILED, State.SENDING, State.ON_HOLD):
            held = {**fresh, "state": move(state, State.ON_HOLD), "reason": OUTDATED}
            waits = _claimed_only() if state is State.SENDING else Delivery.state == state
            waits = and_(waits, Delivery.reason != RESTORED)  # those may have gone out: a person says so or not, first
            db.execute(update(Delivery).where(leaf, waits).values(**held, lease_token=None, lease_until=None))
        # The plan: what is being sent and breaks off follows it and is skipped.
        db.execute(
            update(Delivery).where(Delivery.id == slot.id, Delivery.generation < fresh["generation"]).values(**fresh)
        )
    db.flush()


def given_up(rt: Runtime, db: Session, item_id: int) -> set[str]:
    """The channels on which what is unsent of an item in force has no text until one is approved."""
    in_force = select(Submission.id).where(Submission.item_id == item_id, Submission.stage == Stage.APPROVED)
    return _textless(rt, db, item_id) if db.scalar(in_force) else set()


def _textless(rt: Runtime, db: Session, item_id: int) -> set[str]:
    slots = select(Delivery.channel).where(Delivery.item_id == item_id, Delivery.recipient == "")
    found = set(db.scalars(slots.where(Delivery.wanted_id.is_(None))))
    return {name for name in found if name in rt.channels and not rt.channels[name].traits.recall}


def want_nothing(rt: Runtime, db: Session, item_id: int) -> list[str]:
    """Let nothing of this item be wanted anywhere. Returns the channels concerned."""
    now = rt.now()
    slots = _slots(db, item_id)
    waiting = _textless(rt, db, item_id)
    concerned = [name for name, slot in slots.items() if slot.wanted_id is not None]
    for name in concerned:
        _turn(rt.channels.get(name), db, slots[name], None, now)
    db.flush()
    textless = or_(Delivery.reason == OUTDATED, Delivery.channel.in_(waiting))
    held = (Delivery.item_id == item_id, Delivery.state == State.ON_HOLD, Delivery.expanded_at.is_(None))
    skipped = {"state": move(State.ON_HOLD, State.SKIPPED), "reason": "withdrawn"}
    db.execute(update(Delivery).where(*held, textless).values(skipped))
    return concerned


def _slots(db: Session, item_id: int) -> dict[str, Delivery]:
    """The item's slots, locked, and then all their recipients: a row that a worker is just recording would otherwise
    follow the slot as it was before this decision, and go out after it."""
    slots = locked_where(db, Delivery.item_id == item_id, Delivery.recipient == "")
    if plans := [slot.id for slot in slots if slot.expanded_at is not None]:
        lock(db, Delivery.slot_id.in_(plans))
    return {row.channel: row for row in slots}


def _turn(
    opened: Opened | None, db: Session, slot: Delivery, wanted_id: int | None, now: datetime, held_stays: bool = False
) -> None:
    """Change what one slot wants: a new generation. A channel that the office has given up (`opened` None) keeps its
    rows: should it come back, what was withdrawn meanwhile is taken back."""
    if opened.traits.recall if opened else slot.expanded_at is None:
        if slot.state is State.SENDING and not slot.call_open:  # claimed, nothing begun: its worker finds it gone
            slot.state, slot.lease_token, slot.lease_until = move(slot.state, State.DUE), None, None
        nothing = slot.held_known and slot.held_id is None
        fenced = opened is not None and opened.traits.fenced
        state = after_wanted(slot.state, fenced=fenced, publish=wanted_id is not None, held_nothing=nothing)
        for name, value in _fresh(slot, wanted_id, now).items():
            setattr(slot, name, value)
        slot.state, slot.reason = move(slot.state, state), "withdrawn" if state is State.SKIPPED else ""
        if state is not State.IN_DOUBT:
            slot.look_after = None
        return
    db.flush()
    leaf = Delivery.slot_id == slot.id if slot.expanded_at is not None else Delivery.id == slot.id
    fresh = _fresh(slot, wanted_id, now)
    if held_stays:  # nor does it become any less late, and what a person let go needs no second word
        fresh = {name: value for name, value in fresh.items() if name not in ("wanted_at", "released_at", "hurry")}
    if wanted_id is None:
        _skip_unsent(db, leaf, fresh)
    else:
        _renew_unsent(db, leaf, fresh, from_before(db, slot.item_id), held_stays)
    if slot.expanded_at is not None:  # the slot is the plan that its recipients follow
        db.execute(update(Delivery).where(Delivery.id == slot.id).values(**fresh))


def _fresh(slot: Delivery, wanted_id: int | None, now: datetime) -> dict[str, Any]:
    """The columns of a new generation."""
    return {"wanted_id": wanted_id, "wanted_at": now, "generation": slot.generation + 1, "error": "", **FRESH}


def _claimed_only() -> ColumnElement[bool]:
    return and_(Delivery.state == State.SENDING, ~Delivery.call_open)


def _renew_unsent(
    db: Session, leaf: ColumnElement[bool], fresh: Mapping[str, Any], restored: bool, held_stays: bool
) -> None:
    """A correction gives the unsent the new revision; what was sent or is in doubt keeps everything (no recall)."""
    let_go, told = ((OUTDATED,), ("withdrawn",)) if held_stays else ((OUTDATED, LATE), ("withdrawn", "no_recipients"))
    back = or_(
        and_(Delivery.state == State.ON_HOLD, Delivery.reason.in_(let_go)),
        and_(Delivery.state == State.SKIPPED, Delivery.reason.in_(told)),
    )
    again = {**fresh, "state": move(State.ON_HOLD, State.DUE), "reason": ""}
    if restored:  # what the ledger takes for unsent may have gone out before the loss
        again |= {"state": move(State.SKIPPED, State.ON_HOLD), "reason": RESTORED, "held_known": False}
    db.execute(update(Delivery).where(leaf, back).values(**again))
    unsent = or_(
        Delivery.state.in_((State.DUE, State.FAILED, State.SKIPPED)),
        _claimed_only(),
        and_(Delivery.state == State.ON_HOLD, Delivery.reason == RESTORED, Delivery.recipient == ""),
        and_(Delivery.state == State.ON_HOLD, Delivery.reason == LATE),
    )
    kept = {
        name: value for name, value in fresh.items() if name != "error"
    }  # a failed one says why until it is retried
    db.execute(update(Delivery).where(leaf, unsent, Delivery.generation < fresh["generation"]).values(**kept))


def _skip_unsent(db: Session, leaf: ColumnElement[bool], fresh: Mapping[str, Any]) -> None:
    unsent = or_(Delivery.state.in_((State.DUE, State.FAILED, State.ON_HOLD, State.SKIPPED)), _claimed_only())
    skipped = {**fresh, "state": move(State.DUE, State.SKIPPED), "reason": "withdrawn"}
    db.execute(update(Delivery).where(leaf, unsent).values(**skipped, lease_token=None, lease_until=None))
