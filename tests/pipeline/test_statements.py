"""What a step asks of the database: on PostgreSQL each statement is a round trip, and they are what it costs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Executable, event, make_url

from pipeline import publish, reports, review
from pipeline.claim import _leasing, _looking, _moments
from pipeline.states import Result
from tests.faults.stack import until
from tests.office import Bureau, claim


@contextmanager
def asked(bureau: Bureau) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    statements = list[str]()

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(" ".join(statement.split()))

    event.listen(bureau.rt.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(bureau.rt.engine, "before_cursor_execute", note)


def on_postgresql(bureau: Bureau) -> bool:
    return bureau.rt.engine.dialect.name == "postgresql"


def large_run(bureau: Bureau) -> None:
    """A text for three thousand, whose page is there: the next claim makes them due."""
    bureau.subscribe(*(f"1380000{at:04d}" for at in range(3000)))
    bureau.publish("web", "sms")
    bureau.work("web")


def plan_of(bureau: Bureau, statement: Executable, how: dict[str, object]) -> list[str]:
    compiled = statement.compile(dialect=bureau.rt.engine.dialect)
    with bureau.rt.engine.connect() as connection:
        told = connection.exec_driver_sql(f"EXPLAIN {compiled}", compiled.construct_params(how))
        return [str(line) for line in told.scalars()]


def analyze(bureau: Bureau) -> None:
    with bureau.rt.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")


def test_a_turn_of_a_run_locks_its_rows_once_and_writes_each_table_once(bureau: Bureau) -> None:
    """What finished is recorded, the next calls are opened: one lock of all rows, the ends, the rows, the attempts."""
    bureau.subscribe(*(f"138000000{at:02d}" for at in range(8)))
    bureau.publish("web", "sms")
    bureau.work("web")
    sms = bureau.rt.channels["sms"]
    claim(bureau.rt, sms)  # expands the slot
    rows, _ = claim(bureau.rt, sms)
    with bureau.rt.writing() as db:
        begun = publish.open_attempts(bureau.rt, db, sms, rows[:4])
    turn = publish._Round(bureau.rt, sms, 0.0, rows[4:])
    with bureau.rt.writing() as db:  # the channel's line is there, and fresh
        publish.record(bureau.rt, db, sms, [publish.Ended(begun[0], Result.ACCEPTED)])
    ended = [publish.Ended(one, Result.ACCEPTED, reference=str(one.row.id)) for one in begun[1:]]
    turn._senders.fly = lambda flights: None  # type: ignore[method-assign]
    with asked(bureau) as statements:
        assert turn._turn(ended, None) == (4, 0)
    assert sum("FOR NO KEY UPDATE" in one for one in statements) == on_postgresql(bureau)
    assert len(statements) == (4 if on_postgresql(bureau) else 5), statements


def test_a_report_that_came_before_the_record_is_seen_by_it(bureau: Bureau) -> None:
    """Recording learns of it from the statement that writes the ends, after the rows were locked."""
    bureau.subscribe("13800000001", "13800000002")
    item = bureau.publish("web", "sms")
    bureau.work("web")
    sms = bureau.rt.channels["sms"]
    claim(bureau.rt, sms)
    rows, _ = claim(bureau.rt, sms)
    with bureau.rt.writing() as db:
        begun = publish.open_attempts(bureau.rt, db, sms, rows)
    ended = [publish.Ended(one, Result.ACCEPTED) for one in begun]
    call = reports.address(bureau.rt, "sms", rows[1].id, 1, begun[1].started_at)
    assert reports.take(bureau.rt, "sms", call.rpartition("/")[2], {"status": "delivered"})
    with bureau.rt.writing() as db:
        publish.record(bureau.rt, db, sms, ended)
    assert bureau.cell(item, "sms").counts == {"accepted": 1, "confirmed": 1}


def test_a_last_approval_reads_no_channel_s_text_and_asks_once_who_had_a_part(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    officer, leader = bureau.actor("li"), bureau.actor("chen")
    review.approve(bureau.rt, officer, item, seen)
    with asked(bureau) as statements:
        assert review.approve(bureau.rt, leader, item, seen)
    assert not any("rendition.body" in one for one in statements)
    read = [one for one in statements if one.startswith("SELECT")]
    assert sum("FROM submission" in one for one in read) == 1, read
    assert not any(one.startswith(("SELECT revision.author", "SELECT referral", "SELECT issue")) for one in read)


def test_a_look_at_a_large_run_does_not_read_past_all_that_went_out(bureau: Bureau) -> None:
    """With so much due, PostgreSQL takes a bare EXISTS for one that any scan of the table answers at once."""
    if not on_postgresql(bureau):
        pytest.skip("SQLite always takes the index")
    large_run(bureau)
    sms = bureau.rt.channels["sms"]
    claim(bureau.rt, sms)  # expands the slot
    when, where = _moments(bureau.rt, sms)
    analyze(bureau)
    plan = plan_of(bureau, _looking(*where), dict(when))
    assert any("ix_delivery_due" in line for line in plan), plan
    assert not any("Seq Scan on delivery" in line or "Sort" in line for line in plan), plan


def test_leasing_looks_at_what_is_due_once_though_the_statistics_promise_nothing_due(bureau: Bureau) -> None:
    """They are as old as the last ANALYZE, which may have come right before thousands of recipients did."""
    if not on_postgresql(bureau):
        pytest.skip("SQLite always takes the index")
    large_run(bureau)
    analyze(bureau)
    sms = bureau.rt.channels["sms"]
    claim(bureau.rt, sms)  # expands the slot
    when, where = _moments(bureau.rt, sms)
    plan = plan_of(bureau, _leasing(*where, False), {**when, "room": 500, "token": "t", "until": when["now"]})
    assert sum("ix_delivery_" in line for line in plan) == 1, plan
    assert any("pk_delivery" in line or "delivery_pkey" in line for line in plan), plan


def test_a_connection_that_postgresql_closed_while_idle_is_replaced_and_nobody_notices(
    open_office: Callable[..., Bureau],
) -> None:
    bureau = open_office()
    if not on_postgresql(bureau):
        pytest.skip("SQLite has no server")
    item = bureau.write()
    url = make_url(bureau.rt.settings.database_url)
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(
        host=str(url.query["host"]), user="postgres", dbname=url.database, autocommit=True
    ) as connection:
        assert connection.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall()
        until(lambda: not connection.execute(f"SELECT 1 {others}").fetchall())
    assert bureau.write() == item + 1
