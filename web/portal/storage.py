"""What the portal holds: slots with their fence, attached files, and a line for every write request.

A slot is never deleted: a tombstone keeps its generation for ever. Files lie in the database, so that an item and
its attachments change in one transaction and are backed up as one.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator

from web.portal.content import Attachment
from web.portal.problems import Problem

LARGEST_NUMBER = 2**31 - 1
LARGEST_PAGE = 2_000_000  # bytes of bodies on one feed page; a single larger one stands alone


class Kind(StrEnum):
    ITEM = "item"
    ENTRY = "entry"


class UtcTime(TypeDecorator[datetime]):
    """A moment: refuses naive times, keeps UTC, gives aware times back on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive time")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"}
)
slots = Table(
    "slots",
    metadata,
    Column("kind", String(8), CheckConstraint("kind in ('item', 'entry')", name="kind"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
    Column("body", LargeBinary),  # the rendition's exact bytes; NULL: withdrawn
    Column("digest", String(64), nullable=False),  # of the body; empty: withdrawn
    Column("change", Integer, nullable=False),  # the request that changed it: the order of the feeds
    Column("changed_at", UtcTime),
    Column("first_published_at", UtcTime),  # PubDate: our own clock, once, for ever
    Column("shown_since", UtcTime),  # later than the first publication where a withdrawn one was published again
    Index(None, "kind", "change"),
    Index(None, "kind", "first_published_at"),
)
files = Table(
    "files",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
attachments = Table(  # a file is public while a live item names it
    "attachments",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("media_type", String(255), nullable=False),
    Index(None, "sha256"),
)
request_log = Table(
    "request_log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("method", String(8), nullable=False),
    Column("collection", String(16), nullable=False),
    Column("name", String(64), nullable=False),
    Column("generation", String(16), nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice: it also orders the feeds
)


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


class Stored(StrEnum):
    STORED = "stored"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Storage:
    engine: Engine

    @classmethod
    def open(cls, url: str) -> "Storage":
        """Open the database and bring it up to date; when two start at once, one waits for the other."""
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _on_connect)
            event.listen(engine, "begin", _on_begin)
        storage = cls(engine)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with storage.writing() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("select pg_advisory_xact_lock(7302)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return storage

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self.engine.connect().execution_options(writing=True) as connection, connection.begin():
            yield connection

    def ping(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(select(1))

    def log(self, method: str, collection: str, name: str, generation: str) -> int:
        """Count a write request, before anything is made of it; the answer is its number."""
        with self.writing() as connection:
            row = insert(request_log).values(
                at=datetime.now(UTC), method=method, collection=collection, name=name[:64], generation=generation[:16]
            )
            return int(connection.execute(row.returning(request_log.c.id)).scalar_one())

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
        change: int,
        attached: Sequence[Attachment] = (),
    ) -> Stored:
        """Fill a slot, or leave a tombstone (`body` None). Fence and write are one transaction.

        Raises Problem 409: `generation_superseded` (a higher one was here), `generation_conflict` (the same one with
        other content), `file_missing` (an attachment was not stored before).
        """
        digest = hashlib.sha256(body).hexdigest() if body is not None else ""
        here = (slots.c.kind == kind) & (slots.c.number == number)
        with self.writing() as connection:
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
            connection.execute(update(slots).where(here).values(fresh))
            if kind is Kind.ITEM:
                self._attach(connection, number, attached)
        return Stored.STORED

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
        with self.writing() as connection:
            connection.execute(self._insert_new(files, {"sha256": sha256, "content": content}))

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

    def newest(self, page: int, size: int) -> tuple[list[Slot], int]:
        """Live items by date of publication, one page of them, and how many there are."""
        live = (slots.c.kind == Kind.ITEM) & slots.c.body.is_not(None)
        order = (slots.c.first_published_at.desc(), slots.c.number.desc())
        with self.engine.connect() as connection:
            count = connection.execute(select(func.count()).where(live)).scalar_one()
            rows = connection.execute(
                select(*_COLUMNS).where(live).order_by(*order).limit(size).offset((page - 1) * size)
            )
            return [Slot(**row._mapping) for row in rows], count

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
        new: Any = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        return new(table).values(values).on_conflict_do_nothing()


def _kept(number: int, generation: int, body: bytes | None) -> dict[str, Any]:
    shown = json.loads(body) if body is not None else {}
    names = {name: shown.get(name, "") for name in ("index_number", "title")}
    return {"number": number, "generation": generation, "shown": body is not None, **names}


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours
    connection.execute("PRAGMA busy_timeout=30000")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")  # what was taken down is overwritten


def _on_begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
