"""Are the processes alive? Worker and beat, which have no port, write a line in the ledger (table `process`) each time
that they have proved it: a worker when it ran a task that it sent itself through the broker, beat when a task of its
left for the broker. A process that merely exists writes nothing, so a line that grows old is the truth (fault 9)."""

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import delete, select

from pipeline.database import insert_for
from pipeline.models import Process
from pipeline.runtime import Runtime

PATIENCE = 4  # so many lines may be missing before a process counts as gone
KEPT = timedelta(minutes=10)  # how long a line stays that another of its kind has followed
ANSWER_SECONDS = 3.0


class Kind(StrEnum):
    WORKER = "worker"
    BEAT = "beat"


@dataclass(frozen=True)
class Seen:
    """A process, and when it was last seen at work."""

    name: str
    kind: Kind
    host: str
    seen_at: datetime


T = TypeVar("T")


def own_name(kind: Kind) -> str:
    """What this process is called in the ledger."""
    return f"{kind}@{socket.gethostname()}:{os.getpid()}"


def note(rt: Runtime, name: str, started_at: datetime) -> None:
    """Write that this process was seen at work now, and take out lines of its kind that were left behind; the last line
    of a kind stays, for it says since when nothing runs."""
    kind, now = Kind(name.partition("@")[0]), rt.now()
    with rt.writing() as db:
        line = insert_for(db, Process).values(name=name, kind=kind.value, started_at=started_at, seen_at=now)
        db.execute(line.on_conflict_do_update(index_elements=[Process.name], set_={"seen_at": now}))
        db.execute(delete(Process).where(Process.kind == kind.value, Process.seen_at < now - KEPT))


def processes(rt: Runtime) -> list[Seen]:
    """Every line, the latest first."""
    with rt.reading() as db:
        lines = db.scalars(select(Process).order_by(Process.seen_at.desc())).all()
    return [Seen(one.name, Kind(one.kind), one.name.partition("@")[2].rpartition(":")[0], one.seen_at) for one in lines]


def last_seen(rt: Runtime, kind: Kind, host: str | None = None) -> datetime | None:
    """When a process of this kind was last seen at work, anywhere or on one host; None: never."""
    return next((one.seen_at for one in processes(rt) if one.kind is kind and host in (None, one.host)), None)


def is_alive(rt: Runtime, seen_at: datetime | None) -> bool:
    """Is a process that was last seen then still at work?"""
    limits = rt.settings.limits
    every = max(limits.seen_seconds, limits.sweep_seconds)  # beat has nothing to send between two sweeps
    return seen_at is not None and rt.now() - seen_at < timedelta(seconds=every * PATIENCE)


def ledger_answers(rt: Runtime, seconds: float = ANSWER_SECONDS) -> bool:
    """Does the database answer within so many seconds? Never takes longer, whatever the network does."""

    def ask() -> None:
        with rt.reading() as db:
            db.connection().exec_driver_sql("SELECT 1")

    try:
        within(seconds, ask)
    except Exception:  # whatever the driver says: it did not answer
        return False
    return True


def within(seconds: float, job: Callable[[], T]) -> T:
    """What `job` gives or raises; TimeoutError when it takes longer than `seconds`. It then goes on alone, in a thread
    that ends with the process."""
    given: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(job())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="within", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if raised:
        raise raised[0]
    return given[0]
