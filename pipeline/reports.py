"""Reports from outside on single attempts: stored before anything else, applied in any order, any number of times.

The address of a report names its attempt and is signed, so that nobody can guess one and no table of addresses is
needed. What is not signed by us is not stored.
"""

import base64
import hmac
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from channels.contract import Evidence, Report
from pipeline.models import Attempt, Delivery, StoredReport
from pipeline.rows import apply, follow_slots, locked, sight, standing
from pipeline.runtime import Runtime
from pipeline.states import Held, State, Verdict, after_report, is_early

ORPHANS_KEPT = timedelta(days=30)  # how long a report may wait for its attempt, after a restore for instance


def address(rt: Runtime, channel: str, delivery_id: int, number: int, started_at: datetime) -> str:
    """Where the outside reports on one attempt: `<inbound>/reports/<channel>/<token>`."""
    micros = int(started_at.timestamp() * 1_000_000)
    name = f"{delivery_id}.{number}.{micros}"
    return f"{rt.settings.inbound_url}/reports/{channel}/{name}.{_signature(rt, channel, name)}"


def effect(rt: Runtime, channel: str, item_id: int, generation: int, recipient: str) -> str:
    """A name for one intended effect, the same on every attempt, that nobody can make up who knows the recipient."""
    return f"{item_id}.{generation}.{_signature(rt, channel, f'{item_id}.{generation}/{recipient}')}"


def _signature(rt: Runtime, channel: str, name: str) -> str:
    """80 bits in letters and digits: it also stands in mail addresses, where servers may lose the case."""
    digest = hmac.digest(rt.settings.secret.encode(), f"{channel}/{name}".encode(), "sha256")
    return base64.b32encode(digest[:10]).decode().lower()


def take(rt: Runtime, channel: str, token: str, query: Mapping[str, str]) -> bool:
    """Store a report that came in, commit, then apply it. False: the address is not one of ours, nothing was stored."""
    spoken_of = read(rt, channel, token)
    if spoken_of is None:
        return False
    with rt.writing() as db:
        store(rt, db, channel, spoken_of, query)
    with rt.writing() as db:
        settle(rt, db, [spoken_of.delivery_id])
    return True


@dataclass(frozen=True)
class Tried:
    """The attempt that a report speaks of."""

    delivery_id: int
    number: int
    started_at: datetime


def read(rt: Runtime, channel: str, token: str) -> Tried | None:
    """The attempt that the last part of an `address` names; None when we did not make it."""
    name, _, signature = token.lower().rpartition(".")
    opened = rt.channels.get(channel)
    if opened is None or not opened.traits.evidence.reported:
        return None
    if not hmac.compare_digest(signature.encode(), _signature(rt, channel, name).encode()):
        return None
    delivery_id, number, micros = (int(part) for part in name.split("."))
    begun = datetime.fromtimestamp(micros // 1_000_000, UTC) + timedelta(microseconds=micros % 1_000_000)
    return Tried(delivery_id, number, begun)


def store(rt: Runtime, db: Session, channel: str, tried: Tried, query: Mapping[str, str]) -> None:
    """Keep a report; `settle` applies it, in a transaction after this one."""
    db.add(
        StoredReport(
            channel=channel,
            delivery_id=tried.delivery_id,
            number=tried.number,
            started_at=tried.started_at,
            query=json.dumps(dict(query), ensure_ascii=False),
            received_at=rt.now(),
        )
    )


def settle_waiting(rt: Runtime) -> int:
    """Apply what was stored and not applied, because a process died in between. Returns how many rows it concerned."""
    its_attempt = (Attempt.delivery_id == StoredReport.delivery_id) & (Attempt.number == StoredReport.number)
    ready = (
        StoredReport.applied_at.is_(None),
        StoredReport.received_at > rt.now() - ORPHANS_KEPT,
        StoredReport.channel.in_(rt.channels),
        Attempt.started_at == StoredReport.started_at,
        ~Delivery.call_open,
    )
    with rt.reading() as db:
        chosen = select(StoredReport.delivery_id).join(Attempt, its_attempt).join(Delivery).where(*ready)
        waiting = set(db.scalars(chosen.limit(500)))
    if waiting:
        with rt.writing() as db:
            settle(rt, db, waiting)
    return len(waiting)


def settle(rt: Runtime, db: Session, ids: Collection[int]) -> None:
    """Apply the waiting reports on these deliveries. The rows are locked first: a report that overtakes the record of
    its own attempt finds it still open and waits; the record, which locks too, then finds the report."""
    now = rt.now()
    rows = {row.id: row for row in locked(db, ids)}
    waiting = db.scalars(
        select(StoredReport)
        .where(StoredReport.delivery_id.in_(ids), StoredReport.applied_at.is_(None))
        .order_by(StoredReport.id)
    ).all()
    if not waiting:
        return
    spoken_of = Attempt.delivery_id.in_({report.delivery_id for report in waiting})
    attempts = {(one.delivery_id, one.number): one for one in db.scalars(select(Attempt).where(spoken_of))}
    for report in waiting:
        row, opened = rows.get(report.delivery_id), rt.channels.get(report.channel)
        attempt = attempts.get((report.delivery_id, report.number))
        if row is None or opened is None or attempt is None or attempt.started_at != report.started_at:
            continue  # an orphan: it stays, and is matched should its attempt come back
        now_at = standing(row)
        if is_early(now_at):
            continue
        said: Report | None = opened.adapter.read_report(json.loads(report.query))
        report.applied_at = now
        state = after_report(now_at, attempt=report.number, outcome=said.outcome) if said else None
        if said is None or state is None:
            continue
        apply(row, Verdict(state, held=Held.UNKNOWN, tries=row.tries), now)
        if state is State.CONFIRMED:
            row.held_id, row.held_known = attempt.rendition_id, True  # what arrived, whatever is wanted by now
        if state is State.FAILED:
            row.error = json.dumps({"code": "report.failed", "facts": {"evidence": said.evidence}})
        sight(db, row, Evidence.REPORT, said.outcome.value, now, said.evidence)
    db.flush()
    follow_slots(db, [row.id for row in rows.values() if row.slot_id is not None])
