"""Engine, sessions and column types: the rules that hold on SQLite and PostgreSQL alike (design: "Databases")."""

import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import DateTime, Dialect, Engine, MetaData, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator

# A peer that went away without a word is found by the kernel, and no firewall forgets an idle connection (libpq).
KEPT_ALIVE = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}
BUSY_SECONDS = 30  # how long a writer waits for another on SQLite

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class UTCTime(TypeDecorator[datetime]):
    """An aware moment, stored in UTC. Refuses naive times: they are always a mistake here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive time {value!r}")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def open_engine(url: str) -> Engine:
    """SQLite in WAL mode with full syncs, every writing transaction taken at once; PostgreSQL as it comes, its
    connections kept."""
    if not url.startswith("sqlite"):
        engine = create_engine(url, pool_size=10, max_overflow=20, connect_args=KEPT_ALIVE)
        event.listen(engine, "checkout", _still_stands)
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late and never be IMMEDIATE
        busy = f"busy_timeout={BUSY_SECONDS * 1000}"
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", busy):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _still_stands(connection: psycopg.Connection, *_: object) -> None:
    """A connection that the server closed while nobody used it is replaced. An idle one has nothing to read, so only
    one that has is asked: a ping before every transaction would be a round trip more."""
    idle = select.poll()
    try:
        idle.register(connection.fileno(), select.POLLIN)
        if idle.poll(0):
            connection.execute("")
            connection.rollback()
    except psycopg.Error:
        raise InvalidatePoolError from None


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """One transaction that writes: committed at the end, rolled back on any error."""
    with _turn(engine), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


_turns: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """Threads of one process wait for SQLite's one writer in a queue of ours: SQLite itself would let each sleep up to
    a tenth of a second and look again. Other processes are met in BEGIN IMMEDIATE as ever, and so is a turn that does
    not come."""
    if engine.dialect.name != "sqlite":
        yield
        return
    lock = _turns.setdefault(engine, threading.Lock())
    mine = lock.acquire(timeout=BUSY_SECONDS)
    try:
        yield
    finally:
        if mine:
            lock.release()


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that only reads: on SQLite it takes no lock that a writer would wait for; on PostgreSQL, where each
    statement sees what is committed by then in any case, it spares two round trips by beginning nothing."""
    how = {"reading": True} if engine.dialect.name == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
    with engine.connect().execution_options(**how) as connection, Session(connection) as session:
        yield session


def insert_for(db: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, in the dialect of this session."""
    return postgresql.insert(table) if db.get_bind().dialect.name == "postgresql" else sqlite.insert(table)
