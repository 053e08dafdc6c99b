"""The file of a backup: a ZIP with one JSON-lines file a table, the other files as they are, and a manifest with the
SHA-256 of each. It names no database system: what was taken from SQLite goes back into PostgreSQL, and the other way.

A table's first line names its columns; each further line is a row. Bytes stand as base64, moments as ISO 8601 in UTC.
"""

import base64
import hashlib
import json
import os
import sqlite3
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from sqlalchemy import Boolean, Column, Date, DateTime, LargeBinary

from pipeline.decisions import Refused

FORMAT = 1
MANIFEST = "manifest.json"
PIECE = 1024 * 1024
PORTAL = "portal/portal.db"  # the embedded portal's storage, in the data directory
SINGLE_FILES = ("fabu.toml", "secrets.json", "ports.json", "holidays.toml", PORTAL)
NOTICES = "notices"


@dataclass(frozen=True)
class Entry:
    """One file in the archive. `rows`: of a table, the line of its columns not counted."""

    sha256: str
    size: int
    rows: int = 0


@dataclass(frozen=True)
class Manifest:
    """What an archive holds. `schema`: the revision that the tables had; `last_item`: the highest number that was given
    to an item, whether or not the item was kept."""

    schema: str
    taken_at: datetime
    last_item: int
    tables: Mapping[str, Entry] = field(default_factory=dict)
    files: Mapping[str, Entry] = field(default_factory=dict)


class Writer:
    """An archive that is being written, member by member."""

    def __init__(self, target: zipfile.ZipFile) -> None:
        self._zip = target
        self.tables: dict[str, Entry] = {}
        self.files: dict[str, Entry] = {}

    def table(self, name: str, columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
        with _Hashed(self._zip, f"tables/{name}.jsonl") as out:
            out.write(_line(columns))
            count = 0
            for row in rows:
                out.write(_line([_plain(value) for value in row]))
                count += 1
        self.tables[name] = Entry(out.sha256, out.size, count)

    def file(self, name: str, source: Path) -> None:
        with source.open("rb") as content, _Hashed(self._zip, f"files/{name}") as out:
            while piece := content.read(PIECE):
                out.write(piece)
        self.files[name] = Entry(out.sha256, out.size)

    def finish(self, schema: str, taken_at: datetime, last_item: int) -> None:
        manifest = Manifest(schema, taken_at, last_item, self.tables, self.files)
        document = {"format": FORMAT, **asdict(manifest), "taken_at": _plain(taken_at)}
        self._zip.writestr(MANIFEST, json.dumps(document, ensure_ascii=False, indent=1))


class _Hashed:
    """A member that is written piece by piece, however large it becomes."""

    def __init__(self, target: zipfile.ZipFile, name: str) -> None:
        info = zipfile.ZipInfo(name, datetime.now(UTC).timetuple()[:6])
        info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
        self._out: IO[bytes] = target.open(info, "w", force_zip64=True)
        self._digest, self.size = hashlib.sha256(), 0

    def __enter__(self) -> "_Hashed":
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def write(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.size += len(piece)
        self._out.write(piece)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write an archive to `path`, whole or not at all: under another name, mode 0600, read back and compared, and only
    then renamed. Raises Refused when a file of that name is there, or it cannot be written."""
    if path.exists():
        raise Refused("backup.exists", file=str(path))
    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as raw:
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as target:
                yield Writer(target)
            raw.flush()
            os.fsync(raw.fileno())
        check(draft)
        draft.rename(path)
        _sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise Refused("backup.cannot_write", file=str(path), detail=detail) from error
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def check(path: Path) -> Manifest:
    """Read all of an archive and compare it with its manifest. Raises Refused when anything differs."""
    try:
        with zipfile.ZipFile(path) as source:
            manifest = _manifest(source, path)
            members = _members(manifest)
            if set(source.namelist()) != {*members, MANIFEST} or len(source.namelist()) != len(members) + 1:
                raise Refused("restore.damaged", file=str(path), part=MANIFEST)
            for name, entry in members.items():
                if _digest(source, name) != (entry.sha256, entry.size):
                    raise Refused("restore.damaged", file=str(path), part=name)
            return manifest
    except FileNotFoundError:
        raise Refused("restore.no_file", file=str(path)) from None
    except zipfile.BadZipFile as error:
        raise Refused("restore.damaged", file=str(path), part=str(error)) from error
    except OSError as error:
        raise Refused("restore.cannot_read", file=str(path), detail=error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, EOFError, NotImplementedError, RuntimeError) as error:
        raise Refused("restore.damaged", file=str(path), part=MANIFEST) from error
    except Exception as error:
        if type(error).__module__ == "zlib":  # its only exception carries no base of its own
            raise Refused("restore.damaged", file=str(path), part="ZIP") from error
        raise


def _members(manifest: Manifest) -> dict[str, Entry]:
    tables = {f"tables/{name}.jsonl": entry for name, entry in manifest.tables.items()}
    return tables | {f"files/{name}": entry for name, entry in manifest.files.items()}


def _manifest(source: zipfile.ZipFile, path: Path) -> Manifest:
    document = json.loads(source.read(MANIFEST))
    if document.pop("format") != FORMAT:
        raise Refused("restore.newer", file=str(path), schema="")
    tables, files = ({name: Entry(**one) for name, one in document.pop(kind).items()} for kind in ("tables", "files"))
    for name in files:
        if not _is_ours(name):
            raise Refused("restore.damaged", file=str(path), part=name)
    taken_at = datetime.fromisoformat(document.pop("taken_at"))
    return Manifest(taken_at=taken_at, tables=tables, files=files, **document)


def _is_ours(name: str) -> bool:
    """Never a path out of the data directory."""
    parts = PurePosixPath(name).parts
    return name in SINGLE_FILES or (len(parts) > 1 and parts[0] == NOTICES and ".." not in parts)


def _digest(source: zipfile.ZipFile, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with source.open(name) as content:
        while piece := content.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def rows(
    source: zipfile.ZipFile, name: str, columns: Mapping[str, Column[Any]], naive: bool
) -> Iterator[dict[str, Any]]:
    """The rows of one table as its database takes them. `naive`: it keeps moments without their zone (SQLite)."""
    with source.open(f"tables/{name}.jsonl") as content:
        names = json.loads(content.readline())
        kinds = [columns[one].type for one in names]
        for line in content:
            values = json.loads(line)
            yield {one: _typed(kind, value, naive) for one, kind, value in zip(names, kinds, values, strict=True)}


def extract(source: zipfile.ZipFile, name: str, target: Path, mode: int) -> None:
    """One file out of a checked archive."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with (
        source.open(f"files/{name}") as content,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT, mode), "wb") as out,
    ):
        while piece := content.read(PIECE):
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())


def _line(values: Sequence[Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    match value:
        case bytes() | memoryview():
            return base64.b64encode(value).decode()
        case datetime():
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return moment.isoformat()
        case date():
            return value.isoformat()
    return value


def _typed(kind: Any, value: Any, naive: bool) -> Any:
    if value is None:
        return None
    match kind:
        case LargeBinary():
            return base64.b64decode(value)
        case DateTime():
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=None) if naive else moment
        case Date():
            return date.fromisoformat(value)
        case Boolean():
            return bool(value)
    return value
