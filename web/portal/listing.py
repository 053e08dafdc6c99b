"""What programs read of the catalogue: page after page from a place that stays, and what changed since a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, case, exists, func, or_, select

from web.portal.catalogue import Wanted, highest
from web.portal.storage import Kind, Row, Slot, Storage
from web.portal.tables import attachments, catalogue, files, slots, standing

CLOCKS = timedelta(minutes=5)  # that those of several portals on one database may differ


@dataclass(frozen=True)
class Listed:
    """A live item as the catalogue lists it. `in_app_feed`: the office has put it into the app's feed too."""

    row: Row
    in_app_feed: bool


@dataclass(frozen=True)
class Changed:
    """What last became of an item, and as what it is listed now: None where it was withdrawn."""

    number: int
    change: int
    at: datetime
    corrected: bool
    listed: Listed | None


@dataclass(frozen=True)
class Picture:
    """What is known of a stored file."""

    size: int  # bytes
    width: int | None  # pixels
    height: int | None


def page(storage: Storage, wanted: Wanted, before: int | None, size: int) -> tuple[list[Listed], int | None]:
    """The newest of what is wanted, from below an ordinal; and below which the next page begins. What comes in
    meanwhile shifts no page."""
    with storage.engine.connect() as connection:
        bits = storage.look(connection).bits(wanted)
        if before is not None:
            bits &= (1 << before) - 1
        ordinals = highest(bits, 0, size)
        following = ordinals[-1] if bits.bit_count() > size else None
        return _listed(connection, ordinals), following


def bodies(
    storage: Storage, wanted: Wanted, before: int | None, size: int, largest: int
) -> tuple[list[Slot], int | None]:
    """The same with the items' bodies, as many as `largest` bytes hold, and one at least."""
    with storage.engine.connect() as connection:
        bits = storage.look(connection).bits(wanted)
        if before is not None:
            bits &= (1 << before) - 1
        ordinals = highest(bits, 0, size)
        live = catalogue.c.ordinal.in_(ordinals) & slots.c.body.is_not(None)
        here = (slots.c.kind == Kind.ITEM) & (slots.c.number == catalogue.c.number)
        lengths = select(catalogue.c.ordinal, func.length(slots.c.body)).join_from(catalogue, slots, here).where(live)
        fitting, total = list[int](), 0
        for ordinal, length in connection.execute(lengths.order_by(catalogue.c.ordinal.desc())):
            total += length
            if fitting and total > largest:
                break
            fitting.append(ordinal)
        fields = [slots.c[name] for name in Slot.__dataclass_fields__]
        query = select(*fields).join_from(catalogue, slots, here).where(catalogue.c.ordinal.in_(fitting))
        rows = connection.execute(query.order_by(catalogue.c.ordinal.desc())).all()
    following = fitting[-1] if fitting and bits.bit_count() > len(fitting) else None
    return [Slot(*row) for row in rows], following


def sizes(storage: Storage, hashes: Sequence[str]) -> dict[str, int]:
    """Bytes of stored files, by hash."""
    query = select(files.c.sha256, func.length(files.c.content)).where(files.c.sha256.in_(hashes))
    with storage.engine.connect() as connection:
        return {row.sha256: row[1] for row in connection.execute(query)}


def found(storage: Storage, wanted: Wanted, skip: int, size: int) -> tuple[list[tuple[Listed, bytes]], int]:
    """What a search finds, in its order, each with the item's body; and how much there is."""
    with storage.engine.connect() as connection:
        ordinals, count = storage.look(connection).page(wanted, skip, size)
        listed = _listed(connection, ordinals)
        numbers = [one.row.number for one in listed]
        query = select(slots.c.number, slots.c.body).where(slots.c.kind == Kind.ITEM, slots.c.number.in_(numbers))
        bodies = {row.number: row.body for row in connection.execute(query)}
        return [(one, bodies[one.row.number]) for one in listed if bodies.get(one.row.number)], count


def one(storage: Storage, number: int) -> Listed | None:
    with storage.engine.connect() as connection:
        query = select(catalogue.c.ordinal).where(catalogue.c.number == number, catalogue.c.published_at.is_not(None))
        return next(iter(_listed(connection, list(connection.execute(query).scalars()))), None)


def changes(storage: Storage, since: int, size: int) -> tuple[list[Changed], bool]:
    """What became of items after a change, each with what became of it last, in the order in which it did; and whether
    there is more. What never was public is left out."""
    item, entry = slots.alias("item"), slots.alias("entry")
    last = case((func.coalesce(entry.c.change, 0) > item.c.change, entry.c.change), else_=item.c.change)
    query = (
        select(item.c.number, last, item.c.changed_at, item.c.shown_since, item.c.body.is_(None), catalogue.c.ordinal)
        .join_from(item, entry, (entry.c.kind == Kind.ENTRY) & (entry.c.number == item.c.number), isouter=True)
        .join(catalogue, catalogue.c.number == item.c.number)
        .where(
            item.c.kind == Kind.ITEM,
            item.c.number.in_(select(slots.c.number).where(or_(*(_after(kind, since) for kind in Kind)))),
        )
        .order_by(last)
        .limit(size + 1)
    )
    with storage.engine.connect() as connection:
        rows = connection.execute(query).all()
        shown = [row.ordinal for row in rows[:size] if not row[4]]
        listed = {one.row.number: one for one in _listed(connection, shown)}
    return [
        Changed(number, change, at, at != shown_since, None if gone else listed.get(number))
        for number, change, at, shown_since, gone, _ in rows[:size]
    ], len(rows) > size


def newest_change(storage: Storage) -> tuple[int, datetime]:
    """The number that the next change will exceed, and when the last one was."""
    with storage.engine.connect() as connection:
        version, changed_at = connection.execute(select(standing.c.version, standing.c.changed_at)).one()
        return version, changed_at


def other_history(storage: Storage, change: int, at: datetime) -> bool:
    """Whether the portal cannot have given out this change at that time: it was restored from a backup since, and has
    numbered other changes alike, or none yet."""
    with storage.engine.connect() as connection:
        newest = connection.execute(select(standing.c.version)).scalar_one()
        until = (
            select(slots.c.changed_at)
            .where(slots.c.kind == kind, slots.c.change <= change)
            .order_by(slots.c.change.desc())
            .limit(1)
            for kind in Kind
        )
        moments = [moment for query in until if (moment := connection.execute(query).scalar())]
        return change > newest or any(moment > at + CLOCKS for moment in moments)


def pictures(storage: Storage, number: int) -> dict[str, Picture]:
    """Of the files of a live item, by hash."""
    query = (
        select(files.c.sha256, func.length(files.c.content), files.c.width, files.c.height)
        .join_from(attachments, files, attachments.c.sha256 == files.c.sha256)
        .where(attachments.c.number == number)
    )
    with storage.engine.connect() as connection:
        return {sha256: Picture(*facts) for sha256, *facts in connection.execute(query)}


def _after(kind: Kind, since: int) -> Any:
    return (slots.c.kind == kind) & (slots.c.change > since)


def _listed(connection: Connection, ordinals: Sequence[int]) -> list[Listed]:
    fields = [catalogue.c[name] for name in Row.__dataclass_fields__]
    fed = exists().where(slots.c.kind == Kind.ENTRY, slots.c.number == catalogue.c.number, slots.c.body.is_not(None))
    query = select(catalogue.c.ordinal, fed, *fields).where(
        catalogue.c.ordinal.in_(ordinals), catalogue.c.published_at.is_not(None)
    )
    rows = {ordinal: Listed(Row(*row), bool(fed)) for ordinal, fed, *row in connection.execute(query)}
    return [rows[ordinal] for ordinal in ordinals if ordinal in rows]
