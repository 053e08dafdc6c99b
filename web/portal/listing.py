"""What programs read of the catalogue: page after page from a place that stays, and what changed since a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, func, select

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
        # Number by number: joined in one query, SQLite walks through all slots to meet a few.
        places = _places(connection, highest(bits, 0, size))
        live = (slots.c.kind == Kind.ITEM) & slots.c.body.is_not(None)
        query = select(slots.c.number, func.length(slots.c.body)).where(live, slots.c.number.in_(places.values()))
        lengths = {row.number: row[1] for row in connection.execute(query)}
        fitting, total = dict[int, int](), 0
        for ordinal, number in places.items():
            total += lengths.get(number, 0)
            if fitting and total > largest:
                break
            fitting[ordinal] = number
        fields = [slots.c[name] for name in Slot.__dataclass_fields__]
        rows = connection.execute(select(*fields).where(live, slots.c.number.in_(fitting.values())))
        found = {row.number: Slot(*row) for row in rows}
    following = min(fitting) if fitting and bits.bit_count() > len(fitting) else None
    return [found[number] for number in fitting.values() if number in found], following


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


def changes(storage: Storage, since: int, until: int, size: int) -> tuple[list[Changed], bool]:
    """What became of items after one change up to another, each with what became of it last, in the order in which it
    did; and whether there is more. What never was public is left out."""
    with storage.engine.connect() as connection:
        last = sorted(change for kind in Kind for change in _last_changes(connection, kind, since, until, size + 1))
        numbers = {number: change for change, number in last[:size]}
        query = select(slots.c.number, slots.c.changed_at, slots.c.shown_since, catalogue.c.ordinal)
        item = (slots.c.kind == Kind.ITEM) & slots.c.number.in_(numbers)
        rows = connection.execute(query.join(catalogue, catalogue.c.number == slots.c.number).where(item)).all()
        listed = {one.row.number: one for one in _listed(connection, [row.ordinal for row in rows])}
    changed = [
        Changed(number, numbers[number], at, at != shown_since, listed.get(number))
        for number, at, shown_since, _ in rows
    ]
    return sorted(changed, key=lambda one: one.change), len(last) > size


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


def _last_changes(connection: Connection, kind: Kind, since: int, until: int, size: int) -> list[tuple[int, int]]:
    """Changes of a kind of slots, each with its item's number, where they were the last of what became of that item:
    what it is in the catalogue, and what it is in the app's feed, may have changed one after the other."""
    others = slots.alias("others")
    other_kind = Kind.ENTRY if kind is Kind.ITEM else Kind.ITEM
    other = select(others.c.change).where(others.c.kind == other_kind, others.c.number == slots.c.number)
    query = (
        select(slots.c.change, slots.c.number)
        .where(
            slots.c.kind == kind,
            slots.c.change > since,
            slots.c.change <= until,
            func.coalesce(other.scalar_subquery(), 0) < slots.c.change,
            exists().where(catalogue.c.number == slots.c.number),  # it is or was public
        )
        .order_by(slots.c.change)
        .limit(size)
    )
    return [(change, number) for change, number in connection.execute(query)]


def _places(connection: Connection, ordinals: Sequence[int]) -> dict[int, int]:
    """Numbers by ordinals, the highest first."""
    query = select(catalogue.c.ordinal, catalogue.c.number).where(catalogue.c.ordinal.in_(ordinals))
    return {row.ordinal: row.number for row in connection.execute(query.order_by(catalogue.c.ordinal.desc()))}


def _listed(connection: Connection, ordinals: Sequence[int]) -> list[Listed]:
    fields = [catalogue.c[name] for name in Row.__dataclass_fields__]
    fed = exists().where(slots.c.kind == Kind.ENTRY, slots.c.number == catalogue.c.number, slots.c.body.is_not(None))
    query = select(catalogue.c.ordinal, fed, *fields).where(
        catalogue.c.ordinal.in_(ordinals), catalogue.c.published_at.is_not(None)
    )
    rows = {ordinal: Listed(Row(*row), bool(fed)) for ordinal, fed, *row in connection.execute(query)}
    return [rows[ordinal] for ordinal in ordinals if ordinal in rows]
