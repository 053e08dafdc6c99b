"""How worker and beat prove that they work, so that "last seen" tells the truth (pipeline/health.py)."""

import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any

from celery.beat import PersistentScheduler
from celery.signals import worker_ready
from celery.utils.nodenames import worker_direct

from pipeline import health
from workers.app import app, runtime, settings

log = logging.getLogger("fabu.seen")


@app.task(name="fabu.seen")
def seen(name: str, started_at: str) -> None:
    """Write this worker's line: it took a task from the broker, had a thread for it, and reached the ledger."""
    health.note(runtime(), name, datetime.fromisoformat(started_at))


@worker_ready.connect
def _ask_oneself(sender: Any, **_: Any) -> None:
    """Each worker sends the task to a queue of its own (`worker_direct`), and nobody but itself can run it. The sweep
    would prove less: with many workers it is another one's, and none's while beat is down."""
    name, started_at = health.own_name(health.Kind.WORKER), datetime.now(UTC).isoformat()
    own, every = worker_direct(sender.hostname), settings().limits.seen_seconds

    def keep_asking() -> None:
        while True:
            try:
                seen.apply_async(args=[name, started_at], queue=own, expires=every * 2, retry=False)
            except Exception:  # whatever the broker's client raises; the line grows old and says so
                log.warning("the broker does not take tasks", extra={"event": "worker.broker_silent"})
            time.sleep(every)

    threading.Thread(target=keep_asking, name="seen", daemon=True).start()


class Scheduler(PersistentScheduler):
    """Beat, which writes its line when a task of its has left."""

    _name = ""
    _started_at = datetime.min.replace(tzinfo=UTC)
    _noted = float("-inf")

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Raises what sending raises; a ledger that does not answer never stops beat."""
        sent = super().apply_async(*args, **kwargs)
        if not self._name:
            self._name, self._started_at = health.own_name(health.Kind.BEAT), datetime.now(UTC)
        if time.monotonic() - self._noted >= settings().limits.seen_seconds:
            self._noted = time.monotonic()
            try:
                health.note(runtime(), self._name, self._started_at)
            except Exception:
                log.warning("the ledger does not answer", extra={"event": "beat.ledger_silent"})
        return sent
