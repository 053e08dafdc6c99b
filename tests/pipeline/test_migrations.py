"""The schema: reached from nothing, by any number of processes at once, and the same as the models say."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from alembic import command
from sqlalchemy import CheckConstraint, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from pipeline.database import Base, open_engine
from pipeline.migrate import config_for, upgrade

PROCESS = """
import sys
from pipeline.database import open_engine
from pipeline.migrate import upgrade
sys.stdin.readline()
upgrade(open_engine(sys.argv[1]))
"""


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_database_url)
    yield engine
    engine.dispose()


def test_an_upgrade_run_again_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    before = inspect(engine).get_table_names()
    upgrade(engine)
    assert inspect(engine).get_table_names() == before
    assert set(before) == {*Base.metadata.tables, "alembic_version"}


def test_the_migrations_make_what_the_models_say(engine: Engine) -> None:
    upgrade(engine)
    command.check(config_for(engine))  # raises on any difference in tables, columns and indexes
    there = inspect(engine)
    for table in Base.metadata.sorted_tables:  # which `check` does not compare
        checks = {check["name"] for check in there.get_check_constraints(table.name)}
        named = {str(one.name) for one in table.constraints if isinstance(one, CheckConstraint)}
        assert checks == named, table.name


def test_processes_that_upgrade_at_once_wait_for_each_other(engine: Engine, empty_database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, empty_database_url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, errors
    with engine.connect() as connection:
        assert len(connection.execute(text("SELECT version_num FROM alembic_version")).all()) == 1
    command.check(config_for(engine))


def test_an_upgrade_that_breaks_off_leaves_nothing_half_made(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic.operations import Operations

    def broken(self: Operations, *_: object, **__: object) -> None:
        raise RuntimeError("power failure")

    with monkeypatch.context() as patch:
        patch.setattr(Operations, "execute", broken)  # the triggers come last
        with pytest.raises(RuntimeError):
            upgrade(engine)
    assert "item" not in inspect(engine).get_table_names()
    upgrade(engine)
    command.check(config_for(engine))


def test_what_was_written_before_lists_existed_is_described_and_stays_append_only(engine: Engine) -> None:
    command.upgrade(config_for(engine), "0002")
    content = '{"item_type": "公示", "department": "tech", "formed_on": "2026-11-20"}'
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item (id, department, created_by, created_at) VALUES (1, 'a', 'b', :now)"),
                           {"now": datetime.now(UTC)})  # fmt: skip
        connection.execute(
            text(
                "INSERT INTO revision (item_id, number, author, created_at, title, content, content_hash) "
                "VALUES (1, 1, 'b', :now, '标题', :content, '')"
            ),
            {"now": datetime.now(UTC), "content": content.encode()},
        )
    upgrade(engine)
    with engine.begin() as connection:
        row = connection.execute(text("SELECT item_type, department, formed_on FROM revision")).one()
        assert [str(value) for value in row] == ["公示", "tech", "2026-11-20"]
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text("UPDATE revision SET item_type = 'x'"))
