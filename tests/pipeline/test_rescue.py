"""Backup and restore: what a file holds, what it refuses, and what is kept."""

import re
import resource
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, select, text
from sqlalchemy.exc import DBAPIError

from config import settings as config
from config.settings import BackupSection
from pipeline.catalogue import find_item
from pipeline.database import open_engine
from pipeline.decisions import Refused
from pipeline.migrate import config_for
from pipeline.models import AuditLine, Blob, Process
from pipeline.rescue import archive, backup, compare, restore
from pipeline.rescue.stage import FOLDER
from pipeline.runtime import Runtime
from tests.faults import stack
from tests.faults.test_restore_drill import PEOPLE
from tests.office import Bureau
from tests.parts import create_database

BYTES = bytes(range(256)) * 40


@pytest.fixture
def bureau(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bureau]:
    found = stack.found(tmp_path / "bureau", database_url, people=PEOPLE)
    for name, value in stack.environment(found.rt.settings).items():
        monkeypatch.setenv(name, value)
    yield found
    found.rt.engine.dispose()


def contents(engine: Engine) -> dict[str, list[Any]]:
    """Every table's rows, told alike on both databases."""
    with engine.connect().execution_options(**({"reading": True} if engine.dialect.name == "sqlite" else {})) as one:
        return {
            table.name: sorted(tuple(archive._plain(value) for value in row) for row in one.execute(select(table)))
            for table in backup.tables_of(one)
            if table.name not in ("audit", "restoration", "counter")
        }


def work_of_a_morning(bureau: Bureau) -> int:
    bureau.subscribe("13900000000")
    item = bureau.publish("web", "sms")
    bureau.work()
    bureau.work()
    with bureau.rt.writing() as db:
        db.add(Blob(sha256="a" * 64, content=BYTES))
    return item


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_of_either_database_goes_back_into_either(
    bureau: Bureau, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    work_of_a_morning(bureau)
    before = contents(bureau.rt.engine)
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    url = f"sqlite:///{tmp_path / 'new' / 'fabu.db'}"
    if kind == "postgresql":
        cluster = request.getfixturevalue("cluster")
        url = create_database(cluster, re.sub(r"\W", "_", f"new_{tmp_path.parent.name}_{tmp_path.name}")[-60:].lower())
    monkeypatch.setenv(config.DATABASE_URL, url)
    restore.restore(tmp_path / "fabu.zip", tmp_path / "new", "sun", "tester")
    engine = open_engine(url)
    try:
        assert contents(engine) == before
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(text("UPDATE attempt SET worker = 'x'"))
        with engine.begin() as connection:  # numbers go on: no id is given twice
            connection.execute(text("INSERT INTO audit (at, person, os_user, decision, facts) "
                                    "VALUES ('2026-11-23 00:00:00', 'a', 'b', 'c', '{}')"))  # fmt: skip
    finally:
        engine.dispose()


def test_a_ledger_that_holds_something_is_replaced_only_on_demand_and_kept(bureau: Bureau, tmp_path: Path) -> None:
    work_of_a_morning(bureau)
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    later = bureau.publish("web")
    data = bureau.rt.settings.data
    bureau.rt.engine.dispose()
    with pytest.raises(Refused, match="not_empty"):
        restore.restore(tmp_path / "fabu.zip", data, "sun", "tester")
    with bureau.rt.reading() as db:
        assert find_item(db, str(later)) == later
    bureau.rt.engine.dispose()
    done = restore.restore(tmp_path / "fabu.zip", data, "sun", "tester", again=True)
    with bureau.rt.reading() as db, pytest.raises(Refused):
        find_item(db, str(later))
    if bureau.rt.engine.dialect.name == "sqlite":
        kept = create_engine(f"sqlite:///{next(Path(done.aside).glob('*.db'))}")
    else:
        options = {"options": f"-csearch_path={done.aside}"}
        kept = create_engine(bureau.rt.engine.url.update_query_dict(options))
    with kept.connect() as connection:
        assert connection.scalar(text("SELECT max(id) FROM item")) == later
    kept.dispose()


def test_only_an_administrator_restores_and_it_is_in_the_audit_log(bureau: Bureau, tmp_path: Path) -> None:
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    bureau.rt.engine.dispose()
    with pytest.raises(Refused, match="not_permitted"):
        restore.restore(tmp_path / "fabu.zip", bureau.rt.settings.data, "li", "tester", again=True)
    assert not (bureau.rt.settings.data / FOLDER).exists()
    restore.restore(tmp_path / "fabu.zip", bureau.rt.settings.data, "sun", "tester", again=True)
    with bureau.rt.reading() as db:
        line = db.scalars(select(AuditLine).where(AuditLine.decision == "restore")).one()
        assert (line.person, line.os_user) == ("sun", "tester")


def test_a_restore_waits_until_workers_on_postgresql_are_gone(bureau: Bureau, tmp_path: Path) -> None:
    if bureau.rt.engine.dialect.name == "sqlite":
        pytest.skip("there the supervisor's lock tells")
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    with bureau.rt.writing() as db:
        db.add(Process(name="worker@a:1", kind="worker", started_at=bureau.rt.now(), seen_at=bureau.rt.now()))
    with pytest.raises(Refused, match="at_work"):
        restore.restore(tmp_path / "fabu.zip", bureau.rt.settings.data, "sun", "tester", again=True)


def _turn_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as source:
        header = source.getinfo("tables/item.jsonl").header_offset
    name, extra = (int.from_bytes(content[header + at : header + at + 2], "little") for at in (26, 28))
    content[header + 30 + name + extra + 20] ^= 1  # behind the local header (PKWARE APPNOTE, 4.3.7)
    file.write_bytes(content)


def _cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def _change_a_row(file: Path) -> None:
    """With a ZIP that is sound in itself."""
    _rewrite(
        file, lambda name, content: content.replace(b"web", b"wub") if name == "tables/delivery.jsonl" else content
    )


def _reach_out(file: Path) -> None:
    """A file that would lie outside the data directory."""
    _rewrite(file, lambda name, content: content.replace(b'"fabu.toml"', b'"notices/../../x"'))


def _rewrite(file: Path, change: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(file) as source:
        members = {name: change(name, source.read(name)) for name in source.namelist()}
    with zipfile.ZipFile(file, "w") as target:
        for name, content in members.items():
            target.writestr(name, content)


@pytest.mark.parametrize("harm", [_turn_a_bit, _cut_off, _change_a_row, _reach_out])
def test_a_damaged_backup_is_found_out_before_anything_is_touched(
    bureau: Bureau, harm: Callable[[Path], None], tmp_path: Path
) -> None:
    item = work_of_a_morning(bureau)
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    harm(tmp_path / "fabu.zip")
    with pytest.raises(Refused, match="damaged"):
        restore.restore(tmp_path / "fabu.zip", bureau.rt.settings.data, "sun", "tester", again=True)
    assert bureau.state(item, "web") == "confirmed"


def test_a_backup_of_a_newer_program_is_refused(bureau: Bureau, tmp_path: Path) -> None:
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    schema = archive.check(tmp_path / "fabu.zip").schema.encode()

    def newer(name: str, content: bytes) -> bytes:
        return content.replace(b'"' + schema + b'"', b'"9999"') if name == archive.MANIFEST else content

    _rewrite(tmp_path / "fabu.zip", newer)
    with pytest.raises(Refused, match="newer"):
        restore.restore(tmp_path / "fabu.zip", bureau.rt.settings.data, "sun", "tester", again=True)


def as_kept_by(revision: str, bureau: Bureau, folder: Path) -> Runtime:
    """The bureau's ledger as a program of that schema would have kept it."""
    old = open_engine(f"sqlite:///{folder / 'old.db'}")
    command.upgrade(config_for(old), revision)
    with bureau.rt.engine.connect() as source, old.begin() as target:
        known = {table.name: table for table in backup.tables_of(source)}
        tables = backup.tables_of(target)
        for table in reversed(tables):
            target.execute(table.delete())
        for table in tables:
            shared = [column for name, column in known[table.name].columns.items() if name in table.columns]
            if rows := [dict(row._mapping) for row in source.execute(select(*shared))]:
                target.execute(table.insert(), rows)
    return replace(bureau.rt, engine=old)


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005"])
def test_a_backup_of_an_older_program_goes_into_the_present_ledger(
    bureau: Bureau, revision: str, tmp_path: Path
) -> None:
    if revision != "0002" and bureau.rt.engine.dialect.name != "sqlite":
        pytest.skip("one revision on both databases is enough")
    item = work_of_a_morning(bureau)
    unsent = bureau.publish("sms")
    before = contents(bureau.rt.engine)
    old = as_kept_by(revision, bureau, tmp_path)
    manifest = backup.take(old, tmp_path / "fabu.zip")
    old.engine.dispose()
    assert manifest.schema == revision and manifest.tables["item"].rows == 2
    bureau.rt.engine.dispose()
    restore.restore(tmp_path / "fabu.zip", bureau.rt.settings.data, "sun", "tester", again=True)
    with bureau.rt.engine.connect() as connection:
        assert backup.schema_of(connection) == ScriptDirectory.from_config(config_for(old.engine)).get_current_head()
    after = contents(bureau.rt.engine)
    for table in manifest.tables.keys() & after.keys() - {"delivery"}:
        assert after[table] == before[table], table
    assert bureau.state(unsent, "sms") == "on_hold"
    compare.resume(bureau.rt)
    assert bureau.state(item, "web") == "confirmed"
    new = bureau.publish("web")
    bureau.work()
    assert new > unsent and bureau.state(new, "web") in ("accepted", "confirmed")


def test_a_backup_holds_secrets_and_is_its_owners_alone(bureau: Bureau, tmp_path: Path) -> None:
    (bureau.rt.settings.data / "secrets.json").write_text("{}")
    taken = backup.take(bureau.rt, tmp_path / "fabu.zip")
    assert {"fabu.toml", "secrets.json"} <= taken.files.keys()
    assert (tmp_path / "fabu.zip").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="exists"):
        backup.take(bureau.rt, tmp_path / "fabu.zip")


def test_a_backup_sees_one_moment_however_much_is_written_meanwhile(
    bureau: Bureau, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_of_a_morning(bureau)
    whole, written = backup._rows, list[int]()

    def rows(*how: Any) -> Iterator[Any]:
        if not written:
            written.append(bureau.publish("web"))  # somebody publishes while the tables are read
        return whole(*how)

    monkeypatch.setattr(backup, "_rows", rows)
    tables = backup.take(bureau.rt, tmp_path / "fabu.zip").tables
    assert written and (tables["item"].rows, tables["revision"].rows, tables["submission"].rows) == (1, 1, 1)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may become larger: the kernel refuses, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, was)


def test_a_full_disk_leaves_no_partial_backup_and_the_reason_for_the_doctor(bureau: Bureau) -> None:
    work_of_a_morning(bureau)
    folder = backup.folder_of(bureau.rt)
    with disk_of(2000), pytest.raises(Refused, match="cannot_write"):
        backup.nightly(late(bureau).rt)
    assert [file.name for file in folder.iterdir() if not file.name.startswith(".lock")] == [backup.ERROR]
    assert backup.status(bureau.rt).code == "backup.cannot_write"
    made = backup.nightly(late(bureau).rt)
    status = backup.status(bureau.rt)
    assert (status.newest, status.code) == (made, "") and made is not None


def late(bureau: Bureau, days: int = 0, hour: int = 4, **backup: Any) -> Bureau:
    """The same bureau at another local time."""
    moment = bureau.rt.now().astimezone(bureau.rt.settings.zone).replace(hour=hour, minute=0) + timedelta(days=days)
    settings = bureau.rt.settings.model_copy(update={"backup": BackupSection(**backup)})
    return replace(bureau, rt=replace(bureau.rt, settings=settings, now=lambda: moment))


def test_every_night_one_backup_and_no_more_of_the_old_ones_than_are_kept(bureau: Bureau) -> None:
    folder = backup.folder_of(bureau.rt)
    assert backup.nightly(late(bureau, hour=1).rt) is None  # not yet
    for day in range(4):
        assert backup.nightly(late(bureau, day, keep=2).rt) is not None
        assert backup.nightly(late(bureau, day, hour=23, keep=2).rt) is None  # once a day, whoever asks
        (folder / "by-hand.zip").touch()
    kept = sorted(file.name for file in folder.glob("fabu-*.zip"))
    assert len(kept) == 2 and (folder / "by-hand.zip").exists()
    newest = backup.status(late(bureau, 3).rt)
    assert newest.newest == folder / kept[-1] and newest.day == late(bureau, 3).rt.now().date()
    assert backup.nightly(late(bureau, 9, keep=0).rt) is None


def test_old_backups_stay_when_a_new_one_cannot_be_made(bureau: Bureau) -> None:
    first = backup.nightly(late(bureau, keep=1).rt)
    work_of_a_morning(bureau)
    with disk_of(2000), pytest.raises(Refused):
        backup.nightly(late(bureau, 1, keep=1).rt)
    assert first is not None and first.exists()


def test_numbers_that_may_have_been_given_after_the_backup_are_left_out(bureau: Bureau, tmp_path: Path) -> None:
    item = work_of_a_morning(bureau)
    backup.take(bureau.rt, tmp_path / "fabu.zip")
    lost = bureau.publish("board", "web")
    index_number = bureau.cell(lost, "web").index_number
    bureau.rt.engine.dispose()
    restore.restore(tmp_path / "fabu.zip", bureau.rt.settings.data, "sun", "tester", again=True)
    compare.resume(bureau.rt)
    new = bureau.publish("web")
    assert new >= item + restore.SPARE and bureau.cell(new, "web").index_number != index_number


@pytest.mark.parametrize(
    ("template", "index_number", "serial"),
    [
        ("{code}/{year}-{serial:05d}", "370303/2026-00017", 17),
        ("{code}/{year}-{serial:05d}", "370303/2025-00017", 0),
        ("{code}/{year}{month:02d}-{serial:05d}", "370303/202603-00009", 9),
        ("{code}-{serial}({serial:03d})", "370303-8(008)", 8),
        ("{code}/{year}-{serial:05d}", "another", 0),
    ],
)
def test_the_serial_of_an_index_number_is_read_by_the_offices_template(
    template: str, index_number: str, serial: int
) -> None:
    assert compare._serial(template, "370303", 2026, index_number) == serial


def test_a_table_that_is_new_to_the_ledger_is_backed_up_too(bureau: Bureau, tmp_path: Path) -> None:
    tables = backup.take(bureau.rt, tmp_path / "fabu.zip").tables.keys()
    assert set(inspect(bureau.rt.engine).get_table_names()) == tables | backup.LEFT_OUT
