"""The second half of a restore: ask the other sides what they keep, and let nothing of ours go below it.

It reads and writes the ledger, and calls nothing that a citizen sees. Until it has ended nothing is claimed. It may be
run any number of times, by anybody: sweeps do until it has succeeded.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from string import Formatter

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from channels.contract import DeliveryError, Evidence, Kept, Seen, Unavailable
from pipeline import staff
from pipeline.confirm import LOOKS_AT_ONCE, Look, look
from pipeline.database import insert_for
from pipeline.drafts import Draft, store_revision
from pipeline.models import Counter, Delivery, Item, Restoration
from pipeline.rescue.hold import JUMP, RESTORED
from pipeline.rows import FRESH, apply, locked_where, sight, standing
from pipeline.runtime import Opened, Runtime
from pipeline.states import Held, State, Verdict


@dataclass(frozen=True)
class Stranger:
    """Something public that the ledger did not know: published after the backup. It is a draft now, on hold."""

    number: int
    index_number: str
    title: str
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What the comparison found. `overtaken`: deliveries on hold, because something was decided after the backup."""

    overtaken: int
    strangers: tuple[Stranger, ...]


def resume(rt: Runtime) -> Found | None:
    """Compare a restored ledger with the outside, if that has still to be done, and open the claim. None: there was
    nothing to do. Raises DeliveryError when another side cannot be read: the claim stays closed, ask again later."""
    with rt.reading() as db:
        open_ = db.scalar(select(Restoration.id).where(Restoration.finished_at.is_(None)).limit(1))
    if open_ is None:
        return None
    fenced = [opened for opened in rt.channels.values() if opened.traits.fenced]
    kept = {opened.name: _kept(opened) for opened in fenced}
    seen = {opened.name: _look(rt, opened) for opened in fenced if kept[opened.name] is None}
    with rt.writing() as db:
        unfinished = select(Restoration).where(Restoration.finished_at.is_(None)).with_for_update()
        rows = db.scalars(unfinished.order_by(Restoration.id)).all()
        if not rows:
            return None  # somebody else was faster
        strangers = _adopt(rt, db, rows[-1], {name: side for name, side in kept.items() if side is not None})
        overtaken = 0
        for opened in fenced:
            if (side := kept[opened.name]) is not None:
                overtaken += _compare(rt, db, opened, side)
            else:
                overtaken += _judge(rt, db, opened, seen[opened.name])
        highest = max((number for side in kept.values() for number in side or ()), default=0)
        raise_numbers(rt, db, highest, 0, [one.index_number for side in kept.values() for one in (side or {}).values()])
        found = Found(overtaken, strangers)
        for row in rows:
            row.finished_at, row.found = rt.now(), json.dumps(asdict(found), ensure_ascii=False)
            row.last_item = max(row.last_item, highest)
    rt.wake(*rt.channels)
    return found


def last_found(rt: Runtime) -> Found | None:
    """What the last comparison found; None: there was none."""
    with rt.reading() as db:
        kept = db.scalar(select(Restoration.found).order_by(Restoration.id.desc()).limit(1))
    if not kept:
        return None
    document = json.loads(kept)
    strangers = (Stranger(**{**one, "channels": tuple(one["channels"])}) for one in document["strangers"])
    return Found(document["overtaken"], tuple(strangers))


def _kept(opened: Opened) -> Mapping[int, Kept] | None:
    try:
        return opened.adapter.kept()
    except DeliveryError as error:
        raise Unavailable("restore.cannot_look", channel=opened.section.label) from error


def _compare(rt: Runtime, db: Session, opened: Opened, side: Mapping[int, Kept]) -> int:
    """Every slot of a channel against the generation that the other side keeps of it. Returns how many are on hold."""
    now, held = rt.now(), 0
    mine = {row.item_id: row for row in locked_where(db, Delivery.channel == opened.name, Delivery.recipient == "")}
    for number, row in mine.items():
        there = side.get(number)
        if there is not None and there.generation > row.generation:
            _hold(db, row, there.generation + 1, now)
            held += 1
        elif there is not None and there.generation == row.generation:
            _arrived(row, now)  # it was called after the backup: a look says whether it is there
        elif row.look_after is not None:
            row.look_after = now
    items = set(db.scalars(select(Item.id).where(Item.id.in_(side.keys() - mine.keys()))))
    for number in sorted(items):
        there = side[number]
        slot = Delivery(
            item_id=number, channel=opened.name, recipient="", wanted_id=None, wanted_at=now, publish_at=now
        )
        if there.shown:  # decided after the backup: neither repeated nor taken back without a person
            slot.generation, slot.held_known = there.generation + 1, False
            slot.state, slot.reason = State.ON_HOLD, RESTORED
            held += 1
        else:
            slot.generation, slot.state, slot.confirmed_at, slot.look_after = (
                there.generation,
                State.CONFIRMED,
                now,
                now,
            )
        db.add(slot)
    db.flush()
    return held


def _look(rt: Runtime, opened: Opened) -> dict[int, Seen]:
    """What is seen of every slot of a channel that cannot be listed."""
    with rt.reading() as db:
        rows = db.scalars(
            select(Delivery).where(Delivery.channel == opened.name, Delivery.recipient == "").order_by(Delivery.id)
        ).all()
    looks = [Look(row.id, row.item_id, row.recipient, row.last_tried_at, standing(row)) for row in rows]
    seen: dict[int, Seen] = {}
    for first in range(0, len(looks), LOOKS_AT_ONCE):
        some = looks[first : first + LOOKS_AT_ONCE]
        seen |= zip((one.id for one in some), look(rt, opened, some), strict=True)
    if Seen.UNKNOWN in seen.values():
        raise Unavailable("restore.cannot_look", channel=opened.section.label)
    return seen


def _judge(rt: Runtime, db: Session, opened: Opened, seen: Mapping[int, Seen]) -> int:
    """The same where only content can be seen: what is not as the ledger wants it waits for a person."""
    now, held = rt.now(), 0
    for row in locked_where(db, Delivery.channel == opened.name, Delivery.recipient == ""):
        row.generation += JUMP
        if seen.get(row.id) is (Seen.SAME if row.wanted_id is not None else Seen.NOTHING):
            _arrived(row, now)
        else:
            _hold(db, row, row.generation, now)
            held += 1
    return held


def _hold(db: Session, row: Delivery, generation: int, now: datetime) -> None:
    for name, value in FRESH.items():
        setattr(row, name, value)
    apply(row, Verdict(State.ON_HOLD, held=Held.UNKNOWN), now)
    row.generation, row.reason, row.error = generation, RESTORED, ""
    sight(db, row, Evidence.READBACK, Seen.OTHER.value, now)


def _arrived(row: Delivery, now: datetime) -> None:
    if row.state not in (State.CONFIRMED, State.SKIPPED):
        apply(row, Verdict(State.ACCEPTED, held=Held.UNKNOWN, look_after=now, tries=row.tries), now)
        row.first_tried_at, row.error = row.first_tried_at or now, ""
    if row.state is State.CONFIRMED:
        row.look_after = now


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _adopt(
    rt: Runtime, db: Session, restoration: Restoration, sides: Mapping[str, Mapping[int, Kept]]
) -> tuple[Stranger, ...]:
    """Take what is public and unknown into the ledger as drafts under their own numbers, so that a person can approve
    them again or have them taken down."""
    shown = {number: one for side in sides.values() for number, one in side.items() if one.shown}
    known = set(db.scalars(select(Item.id).where(Item.id.in_(shown))))
    taken = set(db.scalars(select(Item.index_number).where(Item.index_number.is_not(None))))
    person = staff.person(rt, restoration.restored_by)
    strangers = []
    for number in sorted(shown.keys() - known):
        best = max((side[number] for side in sides.values() if number in side), key=lambda one: len(one.title))
        title = best.title or f"/i/{number}"
        free = best.index_number if best.index_number and best.index_number not in taken else None
        item = Item(
            id=number, department=person.department, created_by=person.id, created_at=rt.now(), index_number=free
        )
        db.add(item)
        db.flush()
        today = rt.now().astimezone(rt.settings.zone).date()
        draft = Draft(title, title, rt.settings.item_types[0], person.department, today)
        store_revision(rt, db, item, person.id, draft)
        where = tuple(name for name, side in sides.items() if number in side and side[number].shown)
        strangers.append(Stranger(number, best.index_number, best.title, where))
    return tuple(strangers)


def raise_numbers(rt: Runtime, db: Session, highest: int, spare: int, index_numbers: Sequence[str] = ()) -> None:
    """Let new items be numbered above `highest`, and index numbers of this year above those given; `spare` more of each
    are left out."""
    if db.get_bind().dialect.name == "sqlite":
        last = db.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'item'"))
        if last is None:
            db.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('item', 0)"))
        db.execute(
            text("UPDATE sqlite_sequence SET seq = :n WHERE name = 'item'"), {"n": max(last or 0, highest) + spare}
        )
    else:
        last, called = db.execute(text("SELECT last_value, is_called FROM item_id_seq")).one()
        above = max(last if called else 0, highest) + spare
        if above:
            db.execute(text("SELECT setval('item_id_seq', :n)"), {"n": above})
    office, year = rt.settings.office, rt.now().astimezone(rt.settings.zone).year
    name = f"index/{office.code}/{year}"
    serials = [_serial(office.index_template, office.code, year, one) for one in index_numbers]
    here = db.scalar(select(Counter.value).where(Counter.name == name)) or 0
    value = max([here, *serials]) + spare
    if value != here:
        counted = insert_for(db, Counter).values(name=name, value=value)
        db.execute(counted.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def _serial(template: str, code: str, year: int, index_number: str) -> int:
    """The serial number in an index number of this year; 0 for any other."""
    fields = {"code": re.escape(code), "year": str(year), "month": r"\d+", "serial": r"(?P<serial>\d+)"}
    pattern = ""
    for literal, name, _, _ in Formatter().parse(template):
        pattern += re.escape(literal) + (fields[name] if name else "")
        if name == "serial":
            fields["serial"] = r"\d+"
    found = re.fullmatch(pattern, index_number)
    return int(found["serial"]) if found else 0
