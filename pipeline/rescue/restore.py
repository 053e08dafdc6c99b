"""The way back: a checked archive becomes the ledger, and what was there is kept beside it.

The new ledger is made whole next to the old one, with its claim closed (`Restoration`), and takes its place in renames
or in one transaction. Killed at any moment, it leaves the old ledger, or the new one, or none; each claims nothing
until the restore was run again, or given up (`stage`).
"""

import fcntl
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    Engine,
    Integer,
    Table,
    create_engine,
    delete,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from config import settings as config
from config.settings import Settings
from pipeline import staff
from pipeline.database import open_engine
from pipeline.decisions import Actor, Decision, Refused, audit, permit
from pipeline.migrate import config_for, upgrade
from pipeline.models import Restoration
from pipeline.rescue import archive
from pipeline.rescue.backup import tables_of
from pipeline.rescue.compare import raise_numbers
from pipeline.rescue.hold import hold_unsent
from pipeline.rescue.stage import FOLDER, NO_LEDGER, SCHEMA, require_ledger
from pipeline.runtime import Runtime, open_channels

SPARE = 100  # numbers left out for each day since the backup: those given after it are never given again
AT_WORK = timedelta(minutes=2)  # a process that wrote its line so lately still runs
_MODES = {"secrets.json": 0o600}

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Restored:
    """What became of it. `aside`: where that is kept which was there before, a folder or an SQL schema (empty: there
    was nothing); `waiting`: rows on hold or in doubt; `portal`: the portal's storage came from the backup, too."""

    taken_at: datetime
    aside: str
    waiting: int
    spare: int
    portal: bool


def restore(
    path: Path, data: Path, person: str, os_user: str, again: bool = False, now: Clock = lambda: datetime.now(UTC)
) -> Restored:
    """Put a backup in the place of the ledger and files of `data`. `again`: replace a ledger that holds something. The
    embedded portal's storage is left as it is where there is one: what the public sees never goes back. Raises Refused
    or ConfigError; then nothing was changed. Workers must not run."""
    manifest = archive.check(path)
    revisions = ScriptDirectory.from_config(config_for(create_engine("sqlite://"))).walk_revisions()
    if manifest.schema not in {one.revision for one in revisions}:
        raise Refused("restore.newer", file=str(path), schema=manifest.schema)
    data = data.resolve()
    ledger = _ledger(data)
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o750)
        with ledger.alone(), ledger.staged() as stage, zipfile.ZipFile(path) as source:
            if ledger.holds_something(now()) and not again:
                raise Refused("restore.not_empty", data=str(data))
            files = _unpack(source, manifest, ledger, stage)
            settings = _settings(data, stage, ledger)
            with ledger.empty() as engine:
                _fill(engine, source, manifest)
                upgrade(engine)
                staff.take_over(engine, settings)
                waiting, spare = _close(settings, engine, person, os_user, manifest, now)
            stamp = now().astimezone(settings.zone).strftime("before-restore-%Y%m%d-%H%M%S-%f")
            aside = ledger.swap(stage, files, stamp)
        return Restored(manifest.taken_at, aside, waiting, spare, archive.PORTAL in files)
    except OSError as error:
        detail = error.strerror or str(error)
        raise Refused("restore.cannot_write", data=str(data), detail=detail) from error


def give_up(data: Path) -> bool:
    """Go on with the ledger that is there after a restore was broken off. False: none was. Raises ConfigError where
    there is no whole ledger, and Refused while a restore is at work."""
    data = data.resolve()
    require_ledger(data)
    ledger = _ledger(data)
    with ledger.alone():
        return ledger.forget()


def _ledger(data: Path) -> "_Sqlite | _Postgres":
    url = config.database_url(data)
    return _Sqlite(url, data) if url.startswith("sqlite") else _Postgres(url, data)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _clear(stage: Path) -> None:
    """Remove what an earlier try left; the sign that there is no ledger stays."""
    for each in stage.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != NO_LEDGER:
            each.unlink()


def _unpack(
    source: zipfile.ZipFile, manifest: archive.Manifest, ledger: "_Sqlite | _Postgres", stage: Path
) -> list[str]:
    """The archive's files that are to be put in place, in the stage; returns their names."""
    wanted = [name for name in manifest.files if ledger.takes(name)]
    for name in wanted:
        archive.extract(source, name, stage / name, _MODES.get(name, 0o640))
    return wanted


def _settings(data: Path, stage: Path, ledger: "_Sqlite | _Postgres") -> Settings:
    """Those of the backup; what it does not hold, as it is in the data directory."""
    for name in ("fabu.toml", "secrets.json", "ports.json"):
        if (data / name).is_file() and (ledger.keeps_files or not (stage / name).exists()):
            shutil.copy(data / name, stage / name)
    settings = config.load(stage)
    return settings.model_copy(update={"data": data})


def _move_away(target: Path, aside: Path, data: Path) -> None:
    """Move away what was there before. What an earlier try moved away stays as it is: then this came from that try."""
    if not target.exists():
        return
    away = aside / (target.relative_to(data) if target.is_relative_to(data) else target.name)
    if away.exists():
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        return
    away.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.move(target, away)


def _move_in(source: Path, target: Path, owner: os.stat_result) -> None:
    for folder in reversed([one for one in target.parents if not one.exists()]):
        folder.mkdir(mode=0o750)
        _give(folder, owner)
    shutil.move(source, target)


def _give(folder: Path, owner: os.stat_result) -> None:
    """What root restores belongs to whom the data directory belongs to."""
    if os.geteuid() == 0:
        for each in (folder, *folder.rglob("*")):
            os.chown(each, owner.st_uid, owner.st_gid)


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Sqlite:
    """The ledger is a file: the new one is made in the stage, and moved."""

    keeps_files = False

    def __init__(self, url: str, data: Path) -> None:
        self._file, self._data, self._stage = Path(str(make_url(url).database)), data, data / FOLDER
        self._new, self._sign = self._stage / "fabu.db", self._stage / NO_LEDGER

    def takes(self, name: str) -> bool:
        """Does this file of the archive come back? The portal's storage only where there is none."""
        return name != archive.PORTAL or not (self._data / name).exists()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No second restore beside ours. The lock ends with its process, however that ends."""
        folder = os.open(self._data, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Refused("restore.at_it", data=str(self._data)) from None
        finally:
            os.close(folder)

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """The stage, empty. It is gone afterwards, unless the old ledger was put aside and the new one not in place."""
        self._stage.mkdir(mode=0o700, exist_ok=True)
        if not self._file.exists():
            self._sign.touch()
        _clear(self._stage)
        try:
            yield self._stage
        finally:
            if not self._put_aside():
                self.forget()

    def forget(self) -> bool:
        begun = self._stage.exists()
        self._sign.unlink(missing_ok=True)
        shutil.rmtree(self._stage, ignore_errors=True)
        return begun

    def _put_aside(self) -> str:
        """Where the old ledger was put by a restore that has not ended."""
        return self._sign.read_text() if self._sign.exists() else ""

    def holds_something(self, now: datetime) -> bool:
        if not self._file.exists() or self._put_aside():
            return False
        engine = open_engine(f"sqlite:///{self._file}")
        try:
            with engine.connect().execution_options(reading=True) as connection:
                return _is_used(connection)
        finally:
            engine.dispose()

    @contextmanager
    def empty(self) -> Iterator[Engine]:
        engine = open_engine(f"sqlite:///{self._new}")
        try:
            yield engine
        finally:
            engine.dispose()  # the last connection takes the WAL with it

    def swap(self, stage: Path, files: Sequence[str], stamp: str) -> str:
        """The ledger goes first and comes last: in between there is none, and a sign that says so."""
        if not self._put_aside():
            draft = stage / "sign"
            draft.write_text(stamp)
            draft.replace(self._sign)
        data, aside, owner = self._data, self._data / self._put_aside(), self._data.stat()
        os.sync()  # the sign is on the disk before anything moves
        _give(stage, owner)
        for end in ("", "-wal", "-shm"):
            _move_away(self._file.with_name(self._file.name + end), aside, data)
        for name in dict.fromkeys(name if name in archive.SINGLE_FILES else archive.NOTICES for name in files):
            _move_away(data / name, aside, data)
            _move_in(stage / name, data / name, owner)
        if aside.exists():
            _give(aside, owner)
        _move_in(self._new, self._file, owner)
        os.sync()
        self._sign.unlink()
        return str(aside) if aside.exists() else ""


class _Postgres:
    """The ledger is tables: the new ones are made in a schema of their own, and change places in one transaction. Files
    that are there stay: they belong to how the containers are run, and nothing else of their folder can be written."""

    keeps_files = True

    def __init__(self, url: str, data: Path) -> None:
        self._url, self._data = make_url(url), data
        self._schema, self._used = SCHEMA, False

    def takes(self, name: str) -> bool:
        target = self._data / name
        folder = next(one for one in target.parents if one.exists())
        return not target.exists() and os.access(folder, os.W_OK)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No second restore beside ours, wherever it runs. The lock ends with its connection; that of a process which
        was just killed has three seconds for it."""
        with self._connected() as connection:
            try:
                connection.execute(text("SET lock_timeout = '3s'"))
                connection.execute(text("SELECT pg_advisory_lock(hashtext('fabu.restore'))"))
                connection.commit()
            except DBAPIError as error:
                raise Refused("restore.at_it", data=str(self._data)) from error
            yield

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A folder and, from `empty` on, a schema; both are gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="fabu-restore-") as stage:
            try:
                yield Path(stage)
            except BaseException:
                with suppress(DBAPIError):
                    self.forget()
                raise

    def forget(self) -> bool:
        with self._connected() as connection:
            begun = connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": self._schema}) is not None
            connection.execute(text(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE"))
            connection.commit()
        return begun

    def holds_something(self, now: datetime) -> bool:
        with self._connected() as connection:
            if connection.scalar(text("SELECT to_regclass('process')")) is not None:
                seen = text("SELECT name FROM process WHERE seen_at > :since ORDER BY seen_at DESC LIMIT 1")
                if (name := connection.scalar(seen, {"since": now - AT_WORK})) is not None:
                    raise Refused("restore.at_work", process=name, minutes=str(int(AT_WORK.total_seconds() // 60)))
            self._used = _is_used(connection)
            return self._used

    @contextmanager
    def empty(self) -> Iterator[Engine]:
        with self._connected() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {self._schema}"))
            connection.commit()
        engine = create_engine(self._url.update_query_dict({"options": f"-csearch_path={self._schema}"}))
        try:
            yield engine
        finally:
            engine.dispose()

    def swap(self, stage: Path, files: Sequence[str], stamp: str) -> str:
        owner = self._data.stat()
        _give(stage, owner)
        for name in files:
            _move_in(stage / name, self._data / name, owner)
        aside = stamp.replace("-", "_")
        with self._connected() as connection:
            here = str(connection.scalar(text("SELECT current_schema()")))
            old = [*inspect(connection).get_table_names(schema=here)]
            new = set(inspect(connection).get_table_names(schema=self._schema))
            connection.execute(text(f"CREATE SCHEMA {aside}"))
            for name in sorted(new & set(old)):
                connection.execute(text(f'ALTER TABLE "{here}"."{name}" SET SCHEMA {aside}'))
            for name in sorted(new):
                connection.execute(text(f'ALTER TABLE {self._schema}."{name}" SET SCHEMA "{here}"'))
            for schema, target in ((here, aside), (self._schema, here)):
                if connection.scalar(text(f"SELECT to_regprocedure('\"{schema}\".fabu_append_only()')")) is not None:
                    connection.execute(text(f'ALTER FUNCTION "{schema}".fabu_append_only() SET SCHEMA "{target}"'))
            connection.execute(text(f"DROP SCHEMA {self._schema}"))
            if not self._used:
                connection.execute(text(f"DROP SCHEMA {aside} CASCADE"))
            connection.commit()
        return aside if self._used else ""

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        engine = create_engine(self._url)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def _is_used(connection: Connection) -> bool:
    """Does a ledger hold items, or decisions?"""
    there = set(inspect(connection).get_table_names())
    tables = [name for name in ("item", "audit") if name in there]
    return any(connection.scalar(text(f"SELECT 1 FROM {name} LIMIT 1")) for name in tables)


def _fill(engine: Engine, source: zipfile.ZipFile, manifest: archive.Manifest) -> None:
    """The archive's rows into a ledger of the archive's own schema, in one transaction."""
    command.upgrade(config_for(engine), manifest.schema)
    with engine.connect() as connection:
        tables = tables_of(connection)
        if {table.name for table in tables} != set(manifest.tables):
            raise Refused("restore.newer", file=str(source.filename), schema=manifest.schema)
        for table in reversed(tables):
            connection.execute(delete(table))  # what migrations put there; append-only ones are empty
        for table in tables:
            rows = archive.rows(source, table.name, dict(table.columns), naive=engine.dialect.name == "sqlite")
            _load(connection, table, rows)
            if engine.dialect.name == "postgresql":
                _count_on(connection, table)
        connection.commit()


def _load(connection: Connection, table: Table, rows: Iterator[Mapping[str, Any]]) -> None:
    while some := list(islice(rows, 4 if table.name in ("blob", "rendition", "revision", "submission") else 500)):
        connection.execute(insert(table), some)


def _count_on(connection: Connection, table: Table) -> None:
    """The table's own numbers go on above those that were loaded."""
    key = table.primary_key.columns.values()
    if len(key) == 1 and isinstance(key[0].type, Integer):
        sequence = connection.scalar(
            text("SELECT pg_get_serial_sequence(:name, :key)"), {"name": table.name, "key": key[0].name}
        )
        highest = connection.scalar(select(key[0]).order_by(key[0].desc()).limit(1))
        if sequence and highest:
            connection.execute(text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest})


def _close(
    settings: Settings, engine: Engine, person: str, os_user: str, manifest: archive.Manifest, now: Clock
) -> tuple[int, int]:
    """Let nothing be claimed, hold what may have been sent, and leave out the numbers that may have been given, in one
    commit with the line in the audit log. Returns the rows that wait, and how many numbers were left out."""
    rt = Runtime(settings, engine, open_channels(settings), lambda *_: None, now)
    actor = Actor(staff.person(rt, person), os_user)
    permit(actor, Decision.RESTORE)
    spare = SPARE * (max((now() - manifest.taken_at).days, 0) + 1)
    with rt.writing() as db:
        row = Restoration(
            taken_at=manifest.taken_at, restored_at=now(), restored_by=actor.person.id,
            last_item=manifest.last_item, spare=spare,
        )  # fmt: skip
        db.add(row)
        waiting = hold_unsent(rt, db)
        raise_numbers(rt, db, manifest.last_item, spare)
        audit(rt, db, actor, Decision.RESTORE, None, taken_at=manifest.taken_at, waiting=waiting, spare=spare)
    return waiting, spare
