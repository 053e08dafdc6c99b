"""What the ceilings are made of: tasks at Celery's best (no result, acknowledged early)."""

import os
import time
from dataclasses import fields
from datetime import timedelta

from sqlalchemy import update

from channels.contract import Call
from pipeline import publish
from pipeline.claim import Claimed
from pipeline.models import Delivery
from pipeline.renditions import load_renditions
from pipeline.states import State
from workers.app import app, runtime, settings

QUEUE = "bench"


@app.task(name="bench.nothing", acks_late=False, ignore_result=True)  # type: ignore[untyped-decorator]
def nothing() -> None:
    """Celery's own cost, and nothing else."""


@app.task(name="bench.mark", acks_late=False, ignore_result=True)  # type: ignore[untyped-decorator]
def mark() -> None:
    """Write down when this began, on the clock that all processes of a machine share."""
    began = time.monotonic()
    with (settings().data / "marks").open("a") as marks:
        marks.write(f"{began!r}\n")


@app.task(name="bench.one", acks_late=False, ignore_result=True)  # type: ignore[untyped-decorator]
def one(channel: str, delivery_id: int) -> None:
    """One task a delivery, as most build it: the ledger's own steps on one row, two commits, without threads."""
    rt = runtime()
    opened, token = rt.channels[channel], os.urandom(16).hex()
    until = rt.now() + timedelta(seconds=rt.settings.limits.lease_seconds)
    lease = (
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.state == State.DUE)
        .values(state=State.SENDING, lease_token=token, lease_until=until)
        .returning(*(getattr(Delivery, field.name) for field in fields(Claimed)))
        .execution_options(synchronize_session=False)
    )
    with rt.writing() as db:
        rows = [Claimed(*row) for row in db.execute(lease)]
        (begun,) = publish.open_attempts(rt, db, opened, rows)
    row = begun.row
    with rt.reading() as db:
        rendition = load_renditions(db, [row.wanted_id or 0])[row.wanted_id or 0]
    ended = publish.outcome(begun, opened.adapter, rendition, Call(publish.slot_name(channel, row.item_id), 1))
    with rt.writing() as db:
        publish.record(rt, db, opened, [ended])
