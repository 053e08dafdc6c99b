"""The schema: reached from nothing, by any number of processes at once, and the same as the models say."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import CheckConstraint, Engine, inspect, text

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
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
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


def test_processes_that_upgrade_at_once_wait_for_each_other(engine: Engine, database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, database_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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
