"""What Celery runs: a task takes a name and calls one function."""

import logging
import threading
from contextlib import suppress

from channels.contract import DeliveryError
from pipeline import collect, confirm, counting, notify, publish
from pipeline.decisions import Refused
from pipeline.rescue import backup, compare
from pipeline.runtime import Runtime
from pipeline.wake import queue_of
from workers.app import app, runtime

log = logging.getLogger("fabu.tasks")
AT_ONCE = 2  # tasks of one channel in one process: a slow channel never takes all the threads
_running: dict[str, threading.BoundedSemaphore] = {}
_guard = threading.Lock()
_collecting = threading.Lock()
_counting = threading.Lock()


@app.task(name="fabu.deliver")
def deliver(channel: str) -> None:
    """Send what is due on a channel, look at what was sent, and wake what may go on because of it."""
    place = _place(channel)
    if not place.acquire(blocking=False):
        return  # those that run go on until nothing is due
    try:
        if calls := publish.deliver(runtime(), channel):
            told = {"event": "delivery.round", "facts": {"channel": channel, "calls": calls}}
            log.info("calls were made", extra=told)
        runtime().wake(*confirm.confirm(runtime(), channel))
    finally:
        place.release()


@app.task(name="fabu.sweep")
def sweep() -> None:
    """Wake every channel on which something is due to be sent or looked at; after a restore, compare first."""
    try:
        compare.resume(runtime())
    except DeliveryError as error:
        log.warning("the restored ledger could not be compared with the outside yet: %s", error.code)
    for channel in confirm.sweep(runtime()):
        deliver.apply_async(args=[channel], queue=queue_of(channel), expires=60)


@app.task(name="fabu.backup")
def back_up() -> None:
    """Make today's backup, once its time has come."""
    with suppress(Refused):  # said and kept: `backup.status`
        backup.nightly(runtime())


@app.task(name="fabu.notify")
def mail_the_staff() -> None:
    """Mail everybody on the staff for whom there is something new."""
    notify.run(runtime())


@app.task(name="fabu.collect")
def collect_feeds() -> None:
    """Visit the feeds whose time has come."""
    visit_feeds(runtime())


def visit_feeds(rt: Runtime) -> None:
    """On one thread of the process, however slow the feeds are: the others deliver."""
    if not _collecting.acquire(blocking=False):
        return
    try:
        collect.collect_due(rt)
    finally:
        _collecting.release()


@app.task(name="fabu.count")
def count() -> None:
    """Bring the numbers up to the ledger; what a long first count does not leave time for, the next task does."""
    if not _counting.acquire(blocking=False):
        return
    try:
        counting.refresh(runtime())
    finally:
        _counting.release()


def _place(channel: str) -> threading.BoundedSemaphore:
    with _guard:
        return _running.setdefault(channel, threading.BoundedSemaphore(AT_ONCE))
