"""Taking a backup: the ledger as it stands at one moment, the configuration and its secrets, the notices, and the
embedded portal's storage. Nightly by itself, so many days kept."""

import fcntl
import json
import logging
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, LargeBinary, MetaData, Table, select, text

from pipeline.decisions import Refused
from pipeline.rescue import archive
from pipeline.runtime import Runtime

log = logging.getLogger("fabu.backup")

# Not taken along: who is signed in and which processes run belong to the machine, and the schema says its own version.
LEFT_OUT = frozenset({"alembic_version", "process", "signed_in"})
NIGHTLY = re.compile(r"fabu-(\d{4}-\d\d-\d\d)\.zip")
ERROR = "last-error.json"


@dataclass(frozen=True)
class Status:
    """How the nightly backups are. `newest`: the last one, `day` the local day it is of; `code` and `facts`: what went
    wrong with the last try, if it did."""

    folder: Path
    keep: int
    newest: Path | None
    day: date | None
    code: str = ""
    facts: tuple[tuple[str, str], ...] = ()


def take(rt: Runtime, path: Path) -> archive.Manifest:
    """Back everything up into `path`, which must not be there yet. It holds secrets: its mode is 0600. Returns what it
    holds, read back. Raises Refused; then there is no file."""
    data = rt.settings.data
    with archive.writing(path) as out:
        # The portal first: what changes until the ledger is read is then newer in the ledger, which sends it again.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".portal-") as room:
            if (data / archive.PORTAL).exists():
                copy = Path(room) / "copy"
                _copy_database(data / archive.PORTAL, copy)
                out.file(archive.PORTAL, copy)
        with _one_moment(rt.engine) as connection:
            taken_at, schema = rt.now(), schema_of(connection)
            for table in tables_of(connection):
                out.table(table.name, table.columns.keys(), _rows(connection, table))
            last_item = last_number(connection)
        for name in archive.SINGLE_FILES:
            if name != archive.PORTAL and (data / name).is_file():
                out.file(name, data / name)
        for file in sorted((data / archive.NOTICES).rglob("*")):
            if file.is_file() and not file.is_symlink():
                out.file(file.relative_to(data).as_posix(), file)
        out.finish(schema, taken_at, last_item)
    return archive.check(path)


@contextmanager
def _one_moment(engine: Engine) -> Iterator[Connection]:
    """A connection that sees the ledger as it is now, whatever is committed meanwhile; nobody waits for it."""
    if engine.dialect.name == "sqlite":
        how: dict[str, Any] = {"reading": True}  # a snapshot from the first read on
    else:
        how = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**how) as connection:
        yield connection


def tables_of(connection: Connection) -> Sequence[Table]:
    """The ledger's tables as they are in this database, each after those that it refers to."""
    known = MetaData()
    known.reflect(connection)
    return [table for table in known.sorted_tables if table.name not in LEFT_OUT]


def schema_of(connection: Connection) -> str:
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def last_number(connection: Connection) -> int:
    """The highest number ever given to an item."""
    if connection.dialect.name == "sqlite":
        return int(connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'item'")) or 0)
    last, called = connection.execute(text("SELECT last_value, is_called FROM item_id_seq")).one()
    return int(last) if called else 0


def _rows(connection: Connection, table: Table) -> Iterator[Sequence[Any]]:
    """All rows by primary key, a few at a time: an attachment may have 20 MB."""
    few = 4 if any(isinstance(column.type, LargeBinary) for column in table.columns) else 500
    chosen = select(table).order_by(*table.primary_key.columns)
    yield from connection.execution_options(yield_per=few).execute(chosen)


def _copy_database(source: Path, target: Path) -> None:
    """A whole copy of an SQLite database that others go on writing."""
    reader, writer = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True), sqlite3.connect(target)
    try:
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode=DELETE")
    finally:
        reader.close()
        writer.close()


# ── every night ──────────────────────────────────────────────────────────────────────────────────────────────────────


def folder_of(rt: Runtime) -> Path:
    """Where nightly backups lie; a relative path counts from the data directory."""
    return rt.settings.data / rt.settings.backup.folder


def nightly(rt: Runtime) -> Path | None:
    """Today's backup, if its time has come and it is not there yet, and then no more of the old ones than are to be
    kept. Any number of beats may ask. Returns the new file. What goes wrong is kept for `status`, and raised."""
    section, local = rt.settings.backup, rt.now().astimezone(rt.settings.zone)
    if section.keep == 0 or local.time() < time.fromisoformat(section.at):
        return None
    folder = folder_of(rt)
    path = folder / f"fabu-{local.date().isoformat()}.zip"
    if path.exists():
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        with _alone(folder) as alone:
            if not alone or path.exists():
                return None
            take(rt, path)
            (folder / ERROR).unlink(missing_ok=True)
            for old in _kept(folder)[section.keep :]:
                old.unlink(missing_ok=True)
    except (Refused, OSError) as error:
        code, facts = (error.code, error.facts) if isinstance(error, Refused) else _of(error, path)
        log.warning("no backup was made: %s", code)
        _keep_error(folder, code, facts)
        if isinstance(error, Refused):
            raise
        raise Refused(code, **facts) from error
    return path


def status(rt: Runtime) -> Status:
    """How the nightly backups are; reads the folder only."""
    folder, keep = folder_of(rt), rt.settings.backup.keep
    newest = next(iter(_kept(folder)), None)
    day = date.fromisoformat(newest.name[5:15]) if newest else None
    try:
        error = json.loads((folder / ERROR).read_text("utf-8"))
        return Status(folder, keep, newest, day, str(error["code"]), tuple(error["facts"].items()))
    except (OSError, ValueError, LookupError):
        return Status(folder, keep, newest, day)


def _kept(folder: Path) -> list[Path]:
    """The nightly backups, the newest first; files of other names are not ours to remove."""
    return sorted((file for file in folder.glob("fabu-*.zip") if NIGHTLY.fullmatch(file.name)), reverse=True)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Are we the only ones at it? The lock ends with its process, however that ends."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _of(error: OSError, path: Path) -> tuple[str, dict[str, str]]:
    return "backup.cannot_write", {"file": str(path), "detail": error.strerror or str(error)}


def _keep_error(folder: Path, code: str, facts: dict[str, str]) -> None:
    try:
        (folder / ERROR).write_text(json.dumps({"code": code, "facts": facts}, ensure_ascii=False), "utf-8")
    except OSError:
        log.warning("the reason could not be kept in the folder of the backups")
