"""What the ceilings are made of: tasks at Celery's best (no result, acknowledged early)."""

import time
from datetime import timedelta

from channels.contract import Call
from pipeline import claim, publish
from pipeline.models import Delivery
from pipeline.renditions import load_renditions
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
    """One task a delivery, as most build it: the ledger's own steps on one row, each a commit, without threads."""
    rt = runtime()
    opened = rt.channels[channel]
    until = rt.now() + timedelta(seconds=rt.settings.limits.lease_seconds)
    with rt.writing() as db:
        rows = claim._lease(db, Delivery.id == delivery_id, 1, until)
    with rt.reading() as db:
        renditions = load_renditions(db, {row.wanted_id for row in rows if row.wanted_id is not None})
    with rt.writing() as db:
        (begun,) = publish.open_attempts(rt, db, opened, rows)
    row = begun.row
    call = Call(publish.slot_name(channel, row.item_id), row.generation)
    ended = publish.outcome(begun, opened.adapter, renditions[row.wanted_id or 0], call)
    with rt.writing() as db:
        publish.record(rt, db, opened, [ended])
