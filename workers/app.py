"""The Celery application. Settings are read on first use; one runtime a process.

celery -A workers.app worker -P threads      celery -A workers.app beat
"""

import os
import sys
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_process_init
from kombu.entity import Exchange, Queue

from config import logs
from config import settings as config
from pipeline.runtime import Runtime, open_runtime
from pipeline.wake import queue_of

SWEEP_QUEUE = "sweep"
NOTIFY_EVERY = timedelta(minutes=5)
BACKUP_EVERY = timedelta(minutes=5)  # how often is asked whether today's is there: a night missed is made up for
COLLECT_EVERY = timedelta(minutes=1)  # how often is asked which feeds are due
NEWSLETTER_EVERY = timedelta(minutes=1)  # how often is asked whether an issue is missing or to be assembled
BOUNCES_EVERY = timedelta(minutes=1)  # how often is asked what came back
COUNT_EVERY = timedelta(minutes=1)  # how old the numbers are at most
STANDING_EVERY = timedelta(hours=1)  # how often is asked whether a look at our public sides is due
INVITE_EVERY = timedelta(seconds=5)  # how long a citizen waits for a code


@cache
def settings() -> config.Settings:
    return config.load(Path(os.environ.get(config.DATA, "var/fabu")))


@cache
def runtime() -> Runtime:
    """This process's engine, channels and wake."""
    return open_runtime(settings())


@worker_process_init.connect
def _after_fork(**_: Any) -> None:
    """A forked child must not share its parent's connections."""
    if runtime.cache_info().currsize:
        runtime().engine.dispose(close=False)
        runtime.cache_clear()


@setup_logging.connect
def _logs(loglevel: int | str | None = None, **_: Any) -> None:
    """In the place of Celery's own handlers."""
    logs.configure("beat" if "beat" in sys.argv else "worker", loglevel or "WARNING")


def configure(app: Celery) -> None:
    """Read the settings into Celery. The database is the queue of record: tasks only wake, so they may be lost."""
    limits = settings().limits
    every = timedelta(seconds=limits.sweep_seconds)
    app.conf.update(
        broker_url=settings().broker_url,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"visibility_timeout": 3600, "socket_timeout": 30, "socket_connect_timeout": 5},
        task_ignore_result=True,
        task_acks_late=True,
        task_default_queue=SWEEP_QUEUE,
        task_queues=[_queue(SWEEP_QUEUE), *(_queue(queue_of(name)) for name in settings().channels)],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_direct=True,  # a queue of its own for each worker: workers/seen.py
        timezone=settings().office.time_zone,
        # A sweep that could not start within its own interval is not worth doing late: the next one does all of it.
        beat_schedule={
            "sweep": {"task": "fabu.sweep", "schedule": every, "options": {"expires": limits.sweep_seconds * 2}},
            "backup": {"task": "fabu.backup", "schedule": BACKUP_EVERY, "options": {"expires": 240}},
            "notify": {"task": "fabu.notify", "schedule": NOTIFY_EVERY, "options": {"expires": 240}},
            "bounces": {"task": "fabu.bounces", "schedule": BOUNCES_EVERY, "options": {"expires": 60}},
            "collect": {"task": "fabu.collect", "schedule": COLLECT_EVERY, "options": {"expires": 60}},
            "standing": {"task": "fabu.standing", "schedule": STANDING_EVERY, "options": {"expires": 1800}},
            "invite": {"task": "fabu.invite", "schedule": INVITE_EVERY, "options": {"expires": 30}},
            "newsletter": {"task": "fabu.newsletter", "schedule": NEWSLETTER_EVERY, "options": {"expires": 60}},
            "count": {"task": "fabu.count", "schedule": COUNT_EVERY, "options": {"expires": 60}},
        },
        beat_scheduler="workers.seen:Scheduler",
        beat_schedule_filename=str(settings().data / "run" / "beat-schedule"),
    )


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(name), routing_key=name)


class Fabu(Celery):
    """Configured when first used, so that importing this module reads nothing."""

    def on_configure(self) -> None:
        configure(self)


app = Fabu("fabu", include=["workers.tasks", "workers.seen"])
