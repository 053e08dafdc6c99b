"""The bureau with real hands: processes that are killed, stopped and woken while the test watches the ledger and what
the outside saw."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from config import settings as config
from pipeline.models import Attempt, Delivery
from pipeline.states import State
from pipeline.wake import Wake
from tests.channels.recording import Fault, Recorded, set_faults
from tests.office import Bureau, open_bureau, settings_for
from workers.app import SWEEP_QUEUE
from workers.tied import die_with_parent

ROOT = Path(__file__).parents[2]
NOBODY = "redis://127.0.0.1:1/0"
PATIENCE = 60.0  # on a machine that has much else to do


def numbers(count: int) -> list[str]:
    return [f"139{number:08d}" for number in range(count)]


def now() -> datetime:
    return datetime.now(UTC)


def found(data: Path, database_url: str, broker_url: str = "", **changes: Any) -> Bureau:
    """The bureau of `tests.office` in a data directory that other processes can open, on the real clock. Leases are
    short: a call may take a second, a lease lasts two. With a broker, decisions really wake workers."""
    channels: dict[str, dict[str, Any]] = {name: {"call_seconds": 1.0} for name in ("web", "board", "sms")}
    channels["sms"] |= {"after": "", "late": "go"}
    for name, change in changes.pop("channels", {}).items():
        channels[name] = {**channels.get(name, {"call_seconds": 1.0}), **change}
    limits = {"lease_seconds": 2.0, "sweep_seconds": 0.5, "looks": (0, 0.2), **changes.pop("limits", {})}
    settings = settings_for(data, database_url, broker_url or NOBODY, channels=channels, limits=limits, **changes)
    document = settings.model_dump(
        mode="json", exclude={"data", "database_url", "broker_url", "inbound_url", "secret"}, exclude_none=True
    )
    data.mkdir(parents=True, exist_ok=True)
    (data / "fabu.toml").write_text("".join(f"{name} = {_toml(value)}\n" for name, value in document.items()))
    bureau = open_bureau(config.load(data, environment(settings)), now)
    return replace(bureau, rt=replace(bureau.rt, wake=Wake(broker_url))) if broker_url else bureau


def moved(bureau: Bureau, broker_url: str) -> Bureau:
    """The same bureau with another broker."""
    settings = bureau.rt.settings.model_copy(update={"broker_url": broker_url})
    return replace(bureau, rt=replace(bureau.rt, settings=settings, wake=Wake(broker_url)))


def environment(settings: config.Settings) -> dict[str, str]:
    """What a process of this bureau is told."""
    return {
        config.DATA: str(settings.data),
        config.DATABASE_URL: settings.database_url,
        config.BROKER_URL: settings.broker_url,
        config.INBOUND_URL: settings.inbound_url,
        config.SECRET: settings.secret,
    }


def _toml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def start(bureau: Bureau, name: str, *command: str) -> "subprocess.Popen[str]":
    """Start a process of this bureau; what it says goes to `<name>.log`."""
    with (bureau.rt.settings.data / f"{name}.log").open("ab") as log:
        return _tied(*command, env=os.environ | environment(bureau.rt.settings), stdout=log, stderr=log)


def _tied(*command: str, **how: Any) -> "subprocess.Popen[str]":
    """A Python module run as a process that the kernel ends when we die."""
    parent = os.getpid()
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(signal.SIGKILL, parent),
        **{"stdin": subprocess.DEVNULL, **how},
    )


def end(process: "subprocess.Popen[str]") -> None:
    """SIGKILL, and wait until it is gone."""
    process.kill()
    process.wait()


@contextmanager
def worker(bureau: Bureau, *channels: str) -> Iterator["subprocess.Popen[str]"]:
    """A real Celery worker on these channels and the sweep; gives it when it is ready for tasks."""
    queues = ",".join([SWEEP_QUEUE, *(f"channel.{name}" for name in channels)])
    log = bureau.rt.settings.data / "worker.log"
    before = log.read_text().count(" ready.") if log.exists() else 0
    how = ("-P", "threads", "-c", "8", "--without-mingle", "--without-gossip", "-l", "INFO", "-Q", queues)
    process = start(bureau, "worker", "celery", "-A", "workers.app", "worker", *how)
    try:
        until(lambda: log.read_text().count(" ready.") > before or process.poll() is not None)
        assert process.poll() is None, log.read_text()[-2000:]
        yield process
    finally:
        end(process)


@contextmanager
def beat(bureau: Bureau, name: str = "beat") -> Iterator["subprocess.Popen[str]"]:
    """A real Celery beat, with a schedule file of its own."""
    schedule = str(bureau.rt.settings.data / f"{name}-schedule")
    process = start(bureau, name, "celery", "-A", "workers.app", "beat", "--pidfile=", "-s", schedule)
    try:
        yield process
    finally:
        end(process)


class Hands:
    """Processes that do what workers and beat do, without a broker: they start fast and die at once (driver.py)."""

    def __init__(self, driver: "subprocess.Popen[str]", bureau: Bureau) -> None:
        self._driver, self._bureau, self._alive = driver, bureau, set[int]()

    def start(self, *channels: str) -> int:
        """A process that works on these channels."""
        settings = self._bureau.rt.settings
        log = str(settings.data / "hands.log")
        pid = self._ask({"start": channels, "environment": environment(settings), "log": log})
        self._alive.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        """SIGKILL; returns when it is gone: nothing of it runs any more."""
        self._ask({"kill": pid})
        self._alive.remove(pid)

    def kill_all(self) -> None:
        for pid in list(self._alive):
            self.kill(pid)

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._driver.stdin and self._driver.stdout
        self._driver.stdin.write(json.dumps(order) + "\n")
        self._driver.stdin.flush()
        return int(self._driver.stdout.readline())


_driver: list["subprocess.Popen[str]"] = []


@contextmanager
def hands_of(bureau: Bureau) -> Iterator[Hands]:
    """Their parent is started once for all tests, and ends with this process."""
    if not _driver:
        _driver.append(_tied("tests.faults.driver", stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    hands = Hands(_driver[0], bureau)
    try:
        yield hands
    finally:
        hands.kill_all()


def stop(pid: int) -> None:
    """SIGSTOP; returns when the process stands still."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: _stands_still(pid))


def wake_up(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(task.read_text().rpartition(") ")[2].startswith("T") for task in tasks)


@contextmanager
def hanging(bureau: Bureau, channel: str, recipient: str = "") -> Iterator[None]:
    """Calls to this recipient (default: all) that begin in here hang before their effect, until we leave: the recording
    channel waits for the lock that we hold."""
    directory = bureau.rt.settings.data / channel
    set_faults(directory, Fault(op="deliver", recipient=recipient, times=None))
    with (directory / "faults.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        try:
            yield
        finally:
            (directory / "faults.json").unlink()


# ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until it is so; fails after a time that is long for any machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.015)


@dataclass(frozen=True)
class Row:
    """A delivery as the ledger has it: a slot that was expanded is only a plan, and left out."""

    id: int
    item: int
    recipient: str
    state: State
    call_open: bool
    generation: int
    attempts: int


def rows(bureau: Bureau, *channels: str) -> list[Row]:
    columns = (Delivery.id, Delivery.item_id, Delivery.recipient, Delivery.state, Delivery.call_open,
               Delivery.generation, Delivery.attempts)  # fmt: skip
    chosen = select(*columns).where(Delivery.channel.in_(channels), Delivery.expanded_at.is_(None))
    with bureau.rt.reading() as db:
        return [Row(*row) for row in db.execute(chosen.order_by(Delivery.id))]


def states(bureau: Bureau, *channels: str) -> Counter[str]:
    return Counter(row.state.value for row in rows(bureau, *channels))


def settled(bureau: Bureau, *channels: str) -> bool:
    """Nothing is waiting to go and nothing is on its way."""
    return not {State.DUE, State.SENDING} & {row.state for row in rows(bureau, *channels)}


def until_begun(bureau: Bureau, count: int) -> None:
    """Wait until so many calls were begun."""

    def enough() -> bool:
        with bureau.rt.reading() as db:
            return (db.scalar(select(func.count()).select_from(Attempt)) or 0) >= count

    until(enough)


def times(recorded: Sequence[Recorded]) -> Counter[tuple[str, str]]:
    """How often each slot and recipient was met."""
    return Counter((one.slot, one.recipient) for one in recorded)
