"""Last seen: worker and beat as real processes that are stopped, made deaf, and cut off from their broker."""

import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import health
from pipeline.health import Kind
from pipeline.wake import producer
from tests.faults.stack import beat, found, stop, until, wake_up, worker
from tests.office import Bureau
from tests.parts import valkey

LIMITS = {"seen_seconds": 0.3, "sweep_seconds": 0.3}  # gone after 1.2 s


@pytest.fixture
def office(tmp_path: Path, broker: str) -> Bureau:
    return found(tmp_path / "office", f"sqlite:///{tmp_path / 'fabu.db'}", broker, limits=LIMITS)


def alive(bureau: Bureau, kind: Kind) -> bool:
    return health.is_alive(bureau.rt, health.last_seen(bureau.rt, kind))


def test_a_worker_is_seen_without_beat_and_no_longer_when_it_stands_still(office: Bureau) -> None:
    with worker(office) as process:
        until(lambda: alive(office, Kind.WORKER))
        (line,) = health.processes(office.rt)
        assert line.name.endswith(f":{process.pid}") and line.host in line.name
        stop(process.pid)
        until(lambda: not alive(office, Kind.WORKER))
        wake_up(process.pid)
        until(lambda: alive(office, Kind.WORKER))
        assert not alive(office, Kind.BEAT)


def test_a_worker_that_takes_no_tasks_any_more_is_not_seen_although_it_runs_and_answers(office: Bureau) -> None:
    """Fault 9: after a restart of its broker a worker may be deaf to tasks."""
    control = producer(office.rt.settings.broker_url).control
    with worker(office) as process:
        until(lambda: alive(office, Kind.WORKER))
        (name,) = [next(iter(answer)) for answer in control.broadcast("ping", reply=True, limit=1, timeout=30)]
        control.cancel_consumer(f"{name}.dq2", destination=[name], reply=True, limit=1, timeout=30)
        until(lambda: not alive(office, Kind.WORKER))
        assert process.poll() is None and control.broadcast("ping", reply=True, limit=1, timeout=30)


def test_beat_is_seen_while_its_tasks_leave_and_not_when_the_broker_is_gone(tmp_path: Path) -> None:
    with ExitStack() as until_the_end:
        with valkey(tmp_path / "valkey") as broker:
            office = found(tmp_path / "office", f"sqlite:///{tmp_path / 'fabu.db'}", broker, limits=LIMITS)
            process = until_the_end.enter_context(beat(office))
            until(lambda: alive(office, Kind.BEAT))
        until(lambda: not alive(office, Kind.BEAT))
        assert process.poll() is None


def test_lines_that_others_followed_are_pruned_and_the_last_of_a_kind_stays(bureau: Bureau) -> None:
    first, second, clock = bureau.clock(), "worker@b:2", bureau.clock
    health.note(bureau.rt, "worker@a:1", first)
    health.note(bureau.rt, "beat@a:3", first)
    clock.forward(minutes=5)
    health.note(bureau.rt, second, clock())
    assert {one.name for one in health.processes(bureau.rt)} == {"worker@a:1", second, "beat@a:3"}
    clock.forward(minutes=6)
    health.note(bureau.rt, second, clock())
    assert {one.name for one in health.processes(bureau.rt)} == {second, "beat@a:3"}
    assert health.last_seen(bureau.rt, Kind.WORKER, "a") is None
    assert health.last_seen(bureau.rt, Kind.BEAT) == first


def test_a_process_counts_as_gone_after_a_minute(bureau: Bureau) -> None:
    now = bureau.clock()
    assert health.is_alive(bureau.rt, now - timedelta(seconds=59))
    assert not health.is_alive(bureau.rt, now - timedelta(seconds=60))
    assert not health.is_alive(bureau.rt, None)


def test_a_ledger_that_does_not_answer_is_said_in_time(bureau: Bureau) -> None:
    assert health.ledger_answers(bureau.rt)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        health.within(0.1, lambda: time.sleep(30))
    assert time.monotonic() - began < 5
