"""What Celery runs: a task takes a name and calls one function."""

import threading

from pipeline import confirm, publish
from pipeline.wake import queue_of
from workers.app import app, runtime

AT_ONCE = 2  # tasks of one channel in one process: a slow channel never takes all the threads
_running: dict[str, threading.BoundedSemaphore] = {}
_guard = threading.Lock()


@app.task(name="fabu.deliver")
def deliver(channel: str) -> None:
    """Send what is due on a channel, look at what was sent, and wake what may go on because of it."""
    place = _place(channel)
    if not place.acquire(blocking=False):
        return  # those that run go on until nothing is due
    try:
        publish.deliver(runtime(), channel)
        runtime().wake(*confirm.confirm(runtime(), channel))
    finally:
        place.release()


@app.task(name="fabu.sweep")
def sweep() -> None:
    """Wake every channel on which something is due to be sent or looked at."""
    for channel in confirm.sweep(runtime()):
        deliver.apply_async(args=[channel], queue=queue_of(channel), expires=60)


def _place(channel: str) -> threading.BoundedSemaphore:
    with _guard:
        return _running.setdefault(channel, threading.BoundedSemaphore(AT_ONCE))
