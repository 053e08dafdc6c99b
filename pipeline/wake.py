"""Telling workers that something is due, without ever making anybody wait.

A wake is only a hint: it runs outside the caller's thread, its queue is bounded, and it is dropped when the queue is
full or the broker does not answer. The sweep finds what a wake missed (fault 7).
"""

import atexit
import queue
import threading
import time

from celery import Celery

BROKER_SECONDS = 2.0
LAST_SECONDS = 0.5


def producer(broker_url: str) -> Celery:
    """A Celery that only sends, by name, and gives up soon."""
    app = Celery("fabu", broker=broker_url)
    app.conf.update(
        task_ignore_result=True,
        broker_connection_timeout=BROKER_SECONDS,
        broker_transport_options={"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS},
        broker_connection_retry=False,
        task_publish_retry=False,
    )
    return app


def queue_of(channel: str) -> str:
    """Each channel has a queue of its own: one that is slow or down never holds up another."""
    return f"channel.{channel}"


class Wake:
    """`wake("portal", …)` puts one delivery task on each channel's queue, some time soon, or not at all."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._waiting: queue.Queue[str] = queue.Queue(maxsize=200)
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()

    def __call__(self, *channels: str) -> None:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wake", daemon=True)
                self._thread.start()
                atexit.register(self.flush, LAST_SECONDS)
        for channel in channels:
            try:
                self._waiting.put_nowait(channel)
            except queue.Full:
                return

    def flush(self, seconds: float) -> None:
        """Give what waits a moment to leave: a command may end right after its decision."""
        until = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)

    def _run(self) -> None:
        app = producer(self._broker_url)
        while True:
            channel = self._waiting.get()
            try:
                app.send_task("fabu.deliver", args=[channel], queue=queue_of(channel), retry=False, ignore_result=True)
            except Exception:  # whatever the broker's client raises: the sweep will find it
                pass
            finally:
                self._waiting.task_done()
