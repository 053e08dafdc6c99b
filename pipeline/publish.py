"""What the machine does: claim due rows, open attempts, call the channel, record what came back.

The database is the queue. Every step is one short transaction; no session is held across the network. Any number of
workers may run this at once: a row is one worker's by its lease, and a call is made after its attempt is committed.
"""

import json
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, exists, func, insert, or_, tuple_, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from channels.contract import Call, Channel, DeliveryError, Evidence, InDoubt, Receipt, Rejected, Rendition, Unavailable
from pipeline import reports
from pipeline.claim import Claimed, claim
from pipeline.models import Attempt, AttemptEnd, Delivery, Suppression
from pipeline.renditions import load_renditions
from pipeline.rows import apply, channel_status, follow_slots, lock, locked, standing
from pipeline.runtime import Opened, Runtime
from pipeline.states import Result, State, after_result, breaker, move

log = logging.getLogger("fabu.publish")

GATHER_SECONDS = 0.05  # results that come in within this share one commit
GRACE = timedelta(seconds=0.5)  # for a call to notice its own deadline before we call it overdue

_FRESH = timedelta(seconds=5)  # how stale "last success" may be: a row that all workers share is not written each time


@dataclass(frozen=True)
class Begun:
    """A call whose attempt is committed. `started_at` is when the attempt was opened."""

    row: Claimed
    number: int
    started_at: datetime


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    begun: Begun
    result: Result
    reference: str = ""
    evidence: str = ""
    code: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None

    @property
    def error(self) -> str:
        return json.dumps({"code": self.code, "facts": dict(self.facts)}, ensure_ascii=False) if self.code else ""


def deliver(rt: Runtime, name: str, seconds: float | None = None) -> int:
    """Send what is due on one channel until nothing is, or for `seconds` (default: one lease). Returns calls made."""
    opened = rt.channels[name]
    until = time.monotonic() + (seconds if seconds is not None else rt.settings.limits.lease_seconds)
    made = 0
    while time.monotonic() < until:
        rows, expanded = claim(rt, opened)
        if not rows and not expanded:
            break
        made += send(rt, opened, rows)
    return made


# ── send ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Flight:
    """One call on its way: what was begun, and when its thread took it up."""

    def __init__(self, begun: Begun) -> None:
        self.begun = begun
        self.took_off: datetime | None = None


def send(rt: Runtime, opened: Opened, rows: Sequence[Claimed]) -> int:
    """Call the channel for each leased row; returns how many calls were begun.

    A channel that can take back opens its whole chunk at once; one that cannot opens one call for each idle sender, so
    that a crash leaves at most one call a sender in doubt. What finished and what begins share one commit.
    """
    if not rows:
        return 0
    with rt.reading() as db:
        renditions = load_renditions(db, {row.wanted_id for row in rows if row.wanted_id is not None})
    window = len(rows) if opened.traits.recall else opened.section.senders
    pool = ThreadPoolExecutor(min(opened.section.senders, len(rows)), thread_name_prefix=opened.name)
    waiting, finished, begun_count = deque(rows), list[Ended](), 0
    flying: dict[Future[Ended], _Flight] = {}
    try:
        while waiting or flying or finished:
            wave = [waiting.popleft() for _ in range(min(window - len(flying), len(waiting)))]
            begun = _commit(rt, opened, finished, wave)
            begun_count += len(begun)
            for one in begun:
                rendition = renditions[one.row.wanted_id] if one.row.wanted_id is not None else None
                flight = _Flight(one)
                flying[pool.submit(_call, rt, opened, flight, rendition)] = flight
            finished = _land(rt, opened, flying)
    finally:
        pool.shutdown(wait=False)
    return begun_count


def _call(rt: Runtime, opened: Opened, flight: _Flight, rendition: Rendition | None) -> Ended:
    begun, row = flight.begun, flight.begun.row
    if rt.now() > row.lease_until - opened.traits.call_limit:
        return Ended(begun, Result.UNAVAILABLE, code="publish.not_begun")
    flight.took_off = rt.now()
    call = Call(
        slot=slot_name(opened.name, row.item_id),
        generation=row.generation,
        recipient=row.recipient,
        facts=facts_of_sending(rt, row.first_tried_at or begun.started_at),
        report_to=reports.address(rt, opened.name, row.id, begun.number, begun.started_at)
        if opened.traits.evidence is Evidence.REPORT
        else "",
    )
    return outcome(begun, opened.adapter, rendition, call)


def outcome(begun: Begun, adapter: Channel, rendition: Rendition | None, call: Call) -> Ended:
    """Make the call; whatever it raises becomes a result, so that one bad row never stops its neighbours."""
    try:
        receipt: Receipt = adapter.withdraw(call) if rendition is None else adapter.deliver(rendition, call)
    except Unavailable as error:
        return _failed(begun, Result.UNAVAILABLE, error, error.retry_after)
    except Rejected as error:
        return _failed(begun, Result.REJECTED, error)
    except DeliveryError as error:
        return _failed(begun, Result.IN_DOUBT, error)
    except Exception as error:
        log.exception("channel %s: unexpected error in delivery %s", call.slot, begun.row.id)
        return _failed(begun, Result.IN_DOUBT, InDoubt("publish.unexpected", detail=type(error).__name__))
    return Ended(begun, Result.ACCEPTED, receipt.reference[:300], receipt.evidence[:2000])


def _failed(begun: Begun, result: Result, error: DeliveryError, retry_after: float | None = None) -> Ended:
    return Ended(begun, result, code=error.code, facts=tuple(error.facts.items()), retry_after=retry_after)


def slot_name(channel: str, item_id: int) -> str:
    return f"{channel}/{item_id}"


def facts_of_sending(rt: Runtime, first_tried_at: datetime) -> dict[str, str]:
    """Fixed at a generation's first attempt, so that every retry is the same effect."""
    return {"posting_date": first_tried_at.astimezone(rt.settings.zone).date().isoformat()}


def _land(rt: Runtime, opened: Opened, flying: dict[Future[Ended], _Flight]) -> list[Ended]:
    """Wait a moment; take out what finished, and what is past its deadline (its late result is recorded on its own)."""
    if not flying:
        return []
    if opened.traits.recall:
        done, _ = wait(flying, timeout=GATHER_SECONDS)
    else:
        done, _ = wait(flying, timeout=GATHER_SECONDS, return_when="FIRST_COMPLETED")
    finished = []
    for future in done:
        flight = flying.pop(future)
        try:
            finished.append(future.result())
        except CancelledError:
            finished.append(Ended(flight.begun, Result.UNAVAILABLE, code="publish.not_begun"))
    now = rt.now()
    for future, flight in list(flying.items()):
        if flight.took_off is None:
            if now > flight.begun.row.lease_until - opened.traits.call_limit:
                future.cancel()  # never started: it comes back as not begun
        elif now > flight.took_off + opened.traits.call_limit + GRACE:
            del flying[future]
            finished.append(Ended(flight.begun, Result.IN_DOUBT, code="publish.over_deadline"))
            future.add_done_callback(lambda late: _record_late(rt, opened, late))
    return finished


def _record_late(rt: Runtime, opened: Opened, future: Future[Ended]) -> None:
    threading.Thread(target=_commit, args=(rt, opened, [future.result()], []), daemon=True).start()


def _commit(rt: Runtime, opened: Opened, finished: list[Ended], wave: list[Claimed]) -> list[Begun]:
    """Record what ended and open what begins, in one commit. A database that is locked, full or restarting is tried
    again: what a channel answered must not be lost while there is hope."""
    if not finished and not wave:
        return []
    for patience in (0.2, 0.5, 1.0, 2.0, 5.0, None):
        try:
            with rt.writing() as db:
                lock(db, Delivery.id.in_([end.begun.row.id for end in finished] + [row.id for row in wave]))
                if finished:
                    record(rt, db, opened, finished)
                return open_attempts(rt, db, opened, wave) if wave else []
        except OperationalError:
            if patience is None:
                raise
            log.warning("the database did not take the results of channel %s; trying again", opened.name)
            time.sleep(patience)
    raise AssertionError("unreachable")


# ── open and record ──────────────────────────────────────────────────────────────────────────────────────────────────


def open_attempts(rt: Runtime, db: Session, opened: Opened, rows: Sequence[Claimed]) -> list[Begun]:
    """Commit an attempt for each row that is still ours: same token, same generation, and enough lease left for a whole
    call. Suppressed recipients are skipped here, at the moment of sending. The other rows are handed back."""
    now = rt.now()
    ids = [row.id for row in rows]
    by_id = {row.id: row for row in rows}
    token = rows[0].lease_token
    mine = and_(Delivery.id.in_(ids), Delivery.lease_token == token, ~Delivery.call_open)
    if opened.adapter.addressed:
        suppressed = exists().where(Suppression.channel == opened.name, Suppression.address == Delivery.recipient)
        db.execute(
            update(Delivery)
            .where(mine, suppressed, Delivery.wanted_id.is_not(None))
            .values(state=move(State.SENDING, State.SKIPPED), reason="suppressed", lease_token=None, lease_until=None)
            .execution_options(synchronize_session=False)
        )
    unchanged = tuple_(Delivery.id, Delivery.generation).in_([(row.id, row.generation) for row in rows])
    live = Delivery.lease_until > now + opened.traits.call_limit
    due = or_(Delivery.publish_at <= now, Delivery.wanted_id.is_(None))  # a person may have put it off since the claim
    numbers = db.execute(
        update(Delivery)
        .where(mine, unchanged, live, due)
        .values(
            call_open=True,
            attempts=Delivery.attempts + 1,
            first_tried_at=func.coalesce(Delivery.first_tried_at, bindparam("at", now, type_=Delivery.wanted_at.type)),
            last_tried_at=now,
        )
        .returning(Delivery.id, Delivery.attempts)
        .execution_options(synchronize_session=False)
    ).all()
    begun = [Begun(by_id[id], number, now) for id, number in sorted((r.id, r.attempts) for r in numbers)]
    if begun:
        db.execute(
            insert(Attempt),
            [
                {
                    "delivery_id": one.row.id,
                    "number": one.number,
                    "generation": one.row.generation,
                    "rendition_id": one.row.wanted_id,
                    "started_at": now,
                    "worker": f"{socket.gethostname()}:{os.getpid()}",
                }
                for one in begun
            ],
        )
    if len(begun) < len(rows):
        db.execute(
            update(Delivery)
            .where(mine, Delivery.state == State.SENDING)
            .values(state=move(State.SENDING, State.DUE), lease_token=None, lease_until=None)
            .execution_options(synchronize_session=False)
        )
    return begun


def record(rt: Runtime, db: Session, opened: Opened, ended: Sequence[Ended]) -> None:
    """Add each attempt's end, and move each row to where that end leads. Late ends find their rows gone on."""
    now = rt.now()
    rows = {row.id: row for row in locked(db, [end.begun.row.id for end in ended])}
    db.execute(
        insert(AttemptEnd),
        [
            {
                "delivery_id": end.begun.row.id,
                "number": end.begun.number,
                "at": now,
                "result": end.result,
                "reference": end.reference,
                "evidence": end.evidence,
                "error": end.error,
            }
            for end in ended
        ],
    )
    for end in ended:
        row = rows[end.begun.row.id]
        verdict = after_result(
            standing(row),
            opened.traits,
            attempt=end.begun.number,
            generation=end.begun.row.generation,
            result=end.result,
            now=now,
            started=end.begun.started_at,
            failures=row.failures + 1,
            retry_after=end.retry_after,
        )
        if verdict is None:
            continue
        apply(row, verdict, now)
        row.failures = row.failures + 1 if end.result is Result.UNAVAILABLE else 0
        row.error = end.error if verdict.failure else ""
        row.reference = end.reference or row.reference
        row.reason = "withdrawn" if row.state is State.SKIPPED else ""
    db.flush()
    follow_slots(db, [row.id for row in rows.values() if row.slot_id is not None])
    if opened.traits.evidence is Evidence.REPORT:
        reports.settle(rt, db, [end.begun.row.id for end in ended])
    _note_health(db, opened, ended, now)


def _note_health(db: Session, opened: Opened, ended: Sequence[Ended], now: datetime) -> None:
    """Keep what the breaker and a person want to know of a channel; written only when it says something new."""
    errors = [end for end in ended if end.result is Result.UNAVAILABLE and end.code != "publish.not_begun"]
    answered = any(end.result in (Result.ACCEPTED, Result.REJECTED) for end in ended)
    if not errors and not answered:
        return  # a line that broke, or a call that was not begun, says neither
    status = channel_status(db, opened.name, lock=bool(errors))
    if answered and (status.failures or not status.last_success_at or now - status.last_success_at > _FRESH):
        status.failures, status.open_until, status.last_success_at = 0, None, now
    if errors:
        status.last_failure_at, status.last_error = now, errors[-1].error
        if status.open_until is None or status.open_until <= now:  # else: calls that were on their way when it opened
            status.failures, opening = breaker(status.failures, len(errors))
            status.open_until = now + opening if opening else None
