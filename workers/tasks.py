"""What Celery runs: a task takes a name and calls one function."""

import logging
import threading
from contextlib import suppress

from channels.contract import DeliveryError
from pipeline import (
    assembly,
    bounces,
    collect,
    confirm,
    counting,
    issues,
    links,
    notify,
    publish,
    replies,
    standing,
    subscriptions,
)
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
_reading = threading.Lock()
_inviting = threading.Lock()
_walking = threading.Lock()


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


@app.task(name="fabu.bounces")
def read_bounces() -> None:
    """Read the mails that came back."""
    if runtime().settings.bounces is None or not _reading.acquire(blocking=False):
        return
    try:
        bounces.run(runtime())
    except DeliveryError as error:
        log.warning("the mailbox of returned mails could not be read: %s", error.code)
    finally:
        _reading.release()


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


@app.task(name="fabu.newsletter")
def newsletter() -> None:
    """Look after the newsletter."""
    make_issues(runtime())


def make_issues(rt: Runtime) -> None:
    """Make the issues that the calendar asks for, and assemble those whose cut-off has passed."""
    issues.ensure(rt)
    assembly.build_due(rt)


@app.task(name="fabu.count")
def count() -> None:
    """Bring the numbers up to the ledger; what a long first count does not leave time for, the next task does."""
    if not _counting.acquire(blocking=False):
        return
    try:
        counting.refresh(runtime())
    finally:
        _counting.release()


@app.task(name="fabu.standing")
def look_at_the_public_sides() -> None:
    """Ask how fresh our columns are, once a day, and walk through the site for dead links, once a week."""
    if not _walking.acquire(blocking=False):
        return
    try:
        standing.daily(runtime())
        links.weekly(runtime())
    finally:
        _walking.release()


@app.task(name="fabu.invite")
def invite() -> None:
    """Send the confirmations that citizens wait for; forget who did not confirm, and old replies."""
    if not _inviting.acquire(blocking=False):
        return
    try:
        subscriptions.invite(runtime())
        subscriptions.forget(runtime())
        replies.forget(runtime())
    finally:
        _inviting.release()


def _place(channel: str) -> threading.BoundedSemaphore:
    with _guard:
        return _running.setdefault(channel, threading.BoundedSemaphore(AT_ONCE))
