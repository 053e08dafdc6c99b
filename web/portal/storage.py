"""What the portal holds and how it changes: slots with their fence, attached files, and a line for every write request.

A slot that changes takes its lines in catalogue, words and history along in the same transaction, and turns the version
by which all processes know that what they keep in memory is old.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from web.portal import pictures
from web.portal.catalogue import (
    GONE,
    RULES,
    Catalogue,
    Facets,
    Memory,
    Rule,
    Wanted,
    What,
    change_words,
    fill,
    row_of,
    terms_of,
)
from web.portal.content import Attachment, Item
from web.portal.problems import Problem
from web.portal.tables import (
    attachments,
    catalogue,
    change_log,
    files,
    metadata,
    request_log,
    slots,
    standing,
    words,
)

__all__ = ["Kind", "Slot", "Storage", "Stored", "metadata"]

LARGEST_NUMBER = 2**31 - 1
LARGEST_PAGE = 2_000_000  # bytes of bodies on one feed page; a single larger one stands alone
BUSY_MS = 30_000
AT_ONCE = 500  # bodies that are read at once when the catalogue is made anew
CHANGED = "fabu_portal_changed"  # the channel of PostgreSQL's NOTIFY


class Kind(StrEnum):
    ITEM = "item"
    ENTRY = "entry"


@dataclass(frozen=True)
class Slot:
    number: int
    generation: int
    change: int
    changed_at: datetime
    first_published_at: datetime | None
    shown_since: datetime | None
    body: bytes | None

    @property
    def corrected_at(self) -> datetime | None:
        return self.changed_at if self.changed_at != self.shown_since else None

    @property
    def republished_at(self) -> datetime | None:
        return self.shown_since if self.shown_since != self.first_published_at else None


_COLUMNS = [slots.c[name] for name in Slot.__dataclass_fields__]


@dataclass(frozen=True)
class Change:
    at: datetime
    what: What


@dataclass(frozen=True)
class Row:
    """A live item as the catalogue lists it; its body is not read."""

    number: int
    index_number: str
    title: str
    document_number: str
    publisher: str
    item_type: str
    theme: str
    department: str
    validity: str
    summary: str
    formed_on: date
    published_at: datetime
    changed_at: datetime


_ROW = [catalogue.c[name] for name in Row.__dataclass_fields__]


class Stored(StrEnum):
    STORED = "stored"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Storage:
    engine: Engine
    columns: Mapping[str, Rule] = field(default_factory=dict)  # of portal.toml, by id
    memory: Memory = field(default_factory=Memory)

    @classmethod
    def open(cls, url: str, columns: Mapping[str, Rule] | None = None) -> "Storage":
        """Open the database and bring it up to date; when two start at once, one waits for the other."""
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _on_connect)
            event.listen(engine, "begin", _on_begin)
        storage = cls(engine, columns or {})
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with storage.writing() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("select pg_advisory_xact_lock(7302)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if connection.execute(select(standing.c.derived)).scalar_one() != RULES:
                _derive(connection)
        return storage

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self.engine.connect().execution_options(writing=True) as connection, connection.begin():
            yield connection

    def ping(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(select(1))

    def log(self, method: str, collection: str, name: str, generation: str, nonce: str | None = None) -> None:
        """Count a write request, before anything is made of it. Raises Problem 401 when this very request was here
        before."""
        values = {"at": datetime.now(UTC), "method": method, "collection": collection, "name": name[:64]}
        with self.writing() as connection:
            row = self._insert_new(request_log, {**values, "generation": generation[:16], "nonce": nonce})
            new = connection.execute(row.returning(request_log.c.id)).first()
        if new is None:
            raise Problem(401, "signature_replayed", "this request was here before")

    def requests(self) -> dict[str, int]:
        group = (request_log.c.method, request_log.c.collection)
        with self.engine.connect() as connection:
            rows = connection.execute(select(*group, func.count()).group_by(*group))
            return {f"{method} /api/{collection}": count for method, collection, count in rows}

    def put(
        self,
        kind: Kind,
        number: int,
        generation: int,
        body: bytes | None,
        attached: Sequence[Attachment] = (),
    ) -> Stored:
        """Fill a slot, or leave a tombstone (`body` None). Fence and write are one transaction.

        Raises Problem 409: `generation_superseded` (a higher one was here), `generation_conflict` (the same one with
        other content), `file_missing` (an attachment was not stored before).
        """
        digest = hashlib.sha256(body).hexdigest() if body is not None else ""
        shown = Item.model_validate_json(body) if kind is Kind.ITEM and body is not None else None
        here = (slots.c.kind == kind) & (slots.c.number == number)
        with self.writing() as connection:
            # Of writers that meet, one goes first. So changes are numbered in the order of their commits, and who reads
            # them from the last one on misses none.
            change = connection.execute(select(standing.c.version).with_for_update()).scalar_one() + 1
            empty = {"kind": kind, "number": number, "generation": 0, "digest": "", "change": 0}
            connection.execute(self._insert_new(slots, empty))  # so that there is a row to lock
            held = connection.execute(select(slots).where(here).with_for_update()).one()
            if generation < held.generation:
                raise Problem(409, "generation_superseded", f"generation {held.generation} was here")
            if generation == held.generation:
                if digest == held.digest:
                    return Stored.DUPLICATE
                raise Problem(409, "generation_conflict", f"generation {generation} is here with other content")
            now = datetime.now(UTC)
            fresh: dict[str, Any] = {"generation": generation, "digest": digest, "body": body, "change": change}
            if digest != held.digest or held.changed_at is None:
                fresh["changed_at"] = now
            if body is not None and held.body is None:
                fresh |= {"shown_since": now, "first_published_at": held.first_published_at or now}
            if shown is not None:
                fresh["index_number"] = shown.index_number
            connection.execute(update(slots).where(here).values(fresh))
            if kind is Kind.ITEM:
                self._attach(connection, number, attached)
            if digest != held.digest:
                _log_change(connection, kind, number, now, _what(body, held.body, held.first_published_at))
                if kind is Kind.ITEM:
                    before = Item.model_validate_json(held.body) if held.body is not None else None
                    published_at = held.first_published_at or now
                    _keep_in_catalogue(connection, number, before, shown, published_at, now)
            connection.execute(update(standing).values(version=change, changed_at=now))
            if self.engine.dialect.name == "postgresql":
                connection.execute(select(func.pg_notify(CHANGED, "")))
        if held.body is not None and digest != held.digest:
            self.forget()
        return Stored.STORED

    def forget(self) -> None:
        """What was taken down or corrected must not be left in SQLite's write-ahead log either. Long reads may hold
        that up: then the next one does it, or the hourly upkeep."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA busy_timeout=200")
                try:
                    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    driver.execute(f"PRAGMA busy_timeout={BUSY_MS}")

    def _attach(self, connection: Connection, number: int, attached: Sequence[Attachment]) -> None:
        mine = attachments.c.number == number
        before = set(connection.execute(select(attachments.c.sha256).where(mine)).scalars())
        connection.execute(delete(attachments).where(mine))
        for position, file in enumerate(attached):
            if not connection.execute(select(files.c.sha256).where(files.c.sha256 == file.sha256)).first():
                raise Problem(409, "file_missing", file.sha256)
            connection.execute(insert(attachments).values(number=number, position=position, **file.model_dump()))
        unnamed = files.c.sha256.in_(before) & files.c.sha256.not_in(select(attachments.c.sha256))
        connection.execute(delete(files).where(unnamed))  # what was taken down is gone, not only hidden

    def keep(self, sha256: str, content: bytes) -> None:
        """Keep a file; one that is here already is only noted to have come again."""
        width, height = pictures.size(content) or (None, None)
        came = {"kept_at": datetime.now(UTC)}
        row = self._insert(files).values(sha256=sha256, content=content, width=width, height=height, **came)
        with self.writing() as connection:
            connection.execute(row.on_conflict_do_update(index_elements=["sha256"], set_=came))

    def file(self, sha256: str, name: str) -> tuple[str, bytes] | None:
        """Media type and bytes of a file that a live item names so."""
        wanted = (attachments.c.sha256 == sha256) & (attachments.c.name == name)
        query = select(attachments.c.media_type, files.c.content).join_from(
            attachments, files, attachments.c.sha256 == files.c.sha256
        )
        with self.engine.connect() as connection:
            row = connection.execute(query.where(wanted).limit(1)).first()
            return (row.media_type, row.content) if row else None

    def slot(self, kind: Kind, number: int) -> Slot | None:
        with self.engine.connect() as connection:
            query = select(*_COLUMNS).where(slots.c.kind == kind, slots.c.number == number)
            row = connection.execute(query).first()
            return Slot(**row._mapping) if row else None

    def look(self, connection: Connection) -> Catalogue:
        return Catalogue(connection, self.columns, self.memory)

    def find(self, wanted: Wanted, page: int, size: int) -> tuple[list[Slot], int]:
        """One page of the live items that are wanted, in the order that is wanted, and how many there are."""
        with self.engine.connect() as connection:
            ordinals, count = self.look(connection).page(wanted, (page - 1) * size, size)
            found = _items(connection, ordinals)
        return [found[ordinal] for ordinal in ordinals if ordinal in found], count

    def first(self, wanted: Sequence[tuple[Wanted, int]]) -> list[list[Slot]]:
        """The first so many of each of these lists, found in one look."""
        with self.engine.connect() as connection:
            look = self.look(connection).prepared()
            lists = [look.page(one, 0, size)[0] for one, size in wanted]
            found = _items(connection, {ordinal for ordinals in lists for ordinal in ordinals})
        return [[found[ordinal] for ordinal in ordinals if ordinal in found] for ordinals in lists]

    def facets(self, wanted: Wanted) -> Facets:
        """By what the wanted items can be narrowed, with how many each leaves: `item_type`, `theme`, `department`,
        `year`, `validity`, and `column` (by id, in the order of portal.toml, empty ones too)."""
        with self.engine.connect() as connection:
            return self.look(connection).facets(wanted)

    def history(self, number: int) -> list[Change]:
        """What became of an item, oldest first."""
        mine = (change_log.c.kind == Kind.ITEM) & (change_log.c.number == number)
        query = select(change_log.c.at, change_log.c.what).where(mine).order_by(change_log.c.position)
        with self.engine.connect() as connection:
            return [Change(at, What(what)) for at, what in connection.execute(query)]

    def rows(self, begin: datetime | None = None, end: datetime | None = None) -> Iterator[Row]:
        """Live items as the catalogue lists them, first published in [begin, end), in the order of publication."""
        query = select(*_ROW).where(catalogue.c.published_at.is_not(None)).order_by(catalogue.c.ordinal)
        if begin is not None:
            query = query.where(catalogue.c.published_at >= begin)
        if end is not None:
            query = query.where(catalogue.c.published_at < end)
        with self.engine.connect() as connection:
            for row in connection.execute(query.execution_options(yield_per=1000)):
                yield Row(*row)

    def updated(self) -> dict[str, tuple[int, datetime | None]]:
        """For each column, and for all together under "", how many live items there are, and when the newest of them
        was first published."""
        with self.engine.connect() as connection:
            look = self.look(connection).prepared()
            pages = {id: look.page(Wanted(column=id), 0, 1) for id in ("", *self.columns)}
            newest = {ordinal for ordinals, _ in pages.values() for ordinal in ordinals}
            query = select(catalogue.c.ordinal, catalogue.c.published_at).where(catalogue.c.ordinal.in_(newest))
            published = {row.ordinal: row.published_at for row in connection.execute(query)}
        return {id: (count, published[ordinals[0]] if ordinals else None) for id, (ordinals, count) in pages.items()}

    def version(self) -> int:
        """Another number after every change of a slot."""
        with self.engine.connect() as connection:
            return int(connection.execute(select(standing.c.version)).scalar_one())

    def kept(self, kind: Kind, after: int, size: int) -> list[dict[str, Any]]:
        """Slots from above a number on, with the fence of each, and of what it shows the index number and title."""
        query = select(slots.c.number, slots.c.generation, slots.c.body).where(
            slots.c.kind == kind, slots.c.number > after, slots.c.generation > 0
        )
        with self.engine.connect() as connection:
            return [_kept(*row) for row in connection.execute(query.order_by(slots.c.number).limit(size))]

    def changes(self, before: int | None, size: int) -> tuple[list[int], bool]:
        """Numbers of the changes of one feed page, newest first, as many as LARGEST_PAGE lets stand on it; and
        whether older ones follow."""
        query = select(slots.c.change, func.coalesce(func.length(slots.c.body), 0)).where(slots.c.kind == Kind.ENTRY)
        if before is not None:
            query = query.where(slots.c.change < before)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(slots.c.change.desc()).limit(size + 1)).all()
        fitting, total = list[int](), 0
        for change, length in rows[:size]:
            total += length
            if fitting and total > LARGEST_PAGE:
                break
            fitting.append(change)
        return fitting, len(rows) > len(fitting)

    def changed(self, changes: Sequence[int]) -> list[Slot]:
        query = select(*_COLUMNS).where(slots.c.kind == Kind.ENTRY, slots.c.change.in_(changes))
        with self.engine.connect() as connection:
            return [Slot(**row._mapping) for row in connection.execute(query.order_by(slots.c.change.desc()))]

    def _insert_new(self, table: Table, values: dict[str, Any]) -> Any:
        return self._insert(table).values(values).on_conflict_do_nothing()

    def _insert(self, table: Table) -> Any:
        return (postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert)(table)


def _items(connection: Connection, ordinals: Collection[int]) -> dict[int, Slot]:
    """Live items, by ordinal."""
    if not ordinals:
        return {}
    query = select(catalogue.c.ordinal, catalogue.c.number).where(catalogue.c.ordinal.in_(ordinals))
    numbers = {number: ordinal for ordinal, number in connection.execute(query)}
    live = (slots.c.kind == Kind.ITEM) & slots.c.number.in_(numbers) & slots.c.body.is_not(None)
    return {numbers[row.number]: Slot(*row) for row in connection.execute(select(*_COLUMNS).where(live))}


def _kept(number: int, generation: int, body: bytes | None) -> dict[str, Any]:
    shown = json.loads(body) if body is not None else {}
    names = {name: shown.get(name, "") for name in ("index_number", "title")}
    return {"number": number, "generation": generation, "shown": body is not None, **names}


def _what(body: bytes | None, before: bytes | None, first_published_at: datetime | None) -> What | None:
    """What a change means to a reader; None: nothing, as the withdrawal of what never was public."""
    if body is None:
        return What.WITHDRAWN if before is not None else None
    if before is not None:
        return What.CORRECTED
    return What.PUBLISHED if first_published_at is None else What.REPUBLISHED


def _log_change(connection: Connection, kind: Kind, number: int, at: datetime, what: What | None) -> None:
    if what is None:
        return
    mine = (change_log.c.kind == kind) & (change_log.c.number == number)
    last = connection.execute(select(func.max(change_log.c.position)).where(mine)).scalar()
    row = {"kind": kind, "number": number, "position": (last or 0) + 1, "at": at, "what": what}
    connection.execute(insert(change_log).values(row))


def _keep_in_catalogue(
    connection: Connection, number: int, before: Item | None, after: Item | None, published_at: datetime, now: datetime
) -> None:
    mine = catalogue.c.number == number
    ordinal = connection.execute(select(catalogue.c.ordinal).where(mine)).scalar()
    if ordinal is None:
        if after is None:
            return
        last = connection.execute(select(func.max(catalogue.c.ordinal))).scalar()
        ordinal = 0 if last is None else last + 1
        connection.execute(insert(catalogue).values(GONE | {"ordinal": ordinal, "number": number}))
    row = GONE if after is None else row_of(after) | {"published_at": published_at, "changed_at": now}
    connection.execute(update(catalogue).where(mine).values(row))
    change_words(connection, ordinal, terms_of(before) if before else set(), terms_of(after) if after else set())


def _derive(connection: Connection) -> None:
    """Make catalogue and words anew of the bodies. The order of first publication stays."""
    connection.execute(delete(words))
    connection.execute(delete(catalogue))
    public = (slots.c.kind == Kind.ITEM) & slots.c.first_published_at.is_not(None)
    order = list(connection.execute(
        select(slots.c.number).where(public).order_by(slots.c.first_published_at, slots.c.number)
    ).scalars())  # fmt: skip

    def items() -> Iterator[tuple[int, Item]]:
        for begin in range(0, len(order), AT_ONCE):
            some = dict(zip(order[begin : begin + AT_ONCE], range(begin, len(order)), strict=False))
            query = select(slots.c.number, slots.c.body, slots.c.first_published_at, slots.c.changed_at)
            read = {row.number: row for row in connection.execute(query.where(public, slots.c.number.in_(some)))}
            listed = list[dict[str, Any]]()
            for number, ordinal in some.items():
                row = {"ordinal": ordinal, "number": number} | GONE
                if (body := read[number].body) is not None:
                    item = Item.model_validate_json(body)
                    dates = {"published_at": read[number].first_published_at, "changed_at": read[number].changed_at}
                    row |= row_of(item) | dates
                    yield ordinal, item
                listed.append(row)
            connection.execute(insert(catalogue), listed)

    fill(connection, items())
    named = select(catalogue.c.index_number).where(catalogue.c.number == slots.c.number).scalar_subquery()
    connection.execute(update(slots).where(public, slots.c.body.is_not(None)).values(index_number=named))
    connection.execute(update(standing).values(derived=RULES, version=standing.c.version + 1))


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")  # what was taken down is overwritten


def _on_begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
