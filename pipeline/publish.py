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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import (
    BindParameter,
    FromClause,
    Table,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Insert, ReturningInsert, ReturningUpdate

from channels.contract import (
    Call,
    Channel,
    DeliveryError,
    Gone,
    InDoubt,
    Paced,
    PutOff,
    Receipt,
    Rejected,
    Rendition,
    Unavailable,
)
from pipeline import reports, subscriptions
from pipeline.claim import Claimed, Due, lease, look
from pipeline.database import insert_for
from pipeline.models import Attempt, AttemptEnd, ChannelStatus, Delivery, StoredReport, Suppression
from pipeline.renditions import load_renditions
from pipeline.rows import Line, apply, channel_status, follow_slots, read_lines, standing, write_lines
from pipeline.runtime import Opened, Runtime
from pipeline.states import Result, State, after_result, breaker, move

log = logging.getLogger("fabu.publish")

GATHER_SECONDS = 0.05  # results that come in within this share one commit
FEW_SENDERS = 8  # default where a call cannot be taken back; what the others begin with
MOST_SENDERS = 32  # default where it can
GRACE = timedelta(seconds=0.5)  # for a call to notice its own deadline before we call it overdue

GONE = "对方邮件系统回复：没有这个收件人"  # why an address is on the suppression list

_FRESH = timedelta(seconds=5)  # how stale "last success" may be: a row that all workers share is not written each time


@dataclass(frozen=True)
class Begun:
    """A call whose attempt is committed. `started_at` is when the attempt was opened."""

    row: Claimed
    number: int
    started_at: datetime


@dataclass(frozen=True)
class Ended:
    """How a call ended. `only_this`: what it met is about its recipient and says nothing of the channel; `gone`: there
    is nobody at that address."""

    begun: Begun
    result: Result
    reference: str = ""
    evidence: str = ""
    code: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None
    only_this: bool = False
    gone: bool = False

    @property
    def error(self) -> str:
        return json.dumps({"code": self.code, "facts": dict(self.facts)}, ensure_ascii=False) if self.code else ""


def deliver(rt: Runtime, name: str, seconds: float | None = None) -> int:
    """Send what is due on one channel until nothing is, or for `seconds` (default: one lease). Returns calls made."""
    until = time.monotonic() + (seconds if seconds is not None else rt.settings.limits.lease_seconds)
    return _Round(rt, rt.channels[name], until).run()


def send(rt: Runtime, opened: Opened, rows: Sequence[Claimed]) -> int:
    """Call the channel for these leased rows, and lease no more. Returns how many calls were begun."""
    return _Round(rt, opened, until=0.0, rows=rows).run()


# ── a round ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Round:
    """What one task does on one channel, turn by turn. A turn is one commit and the calls that begin after it: what
    finished is recorded, more is leased before senders go idle, and attempts are opened.

    A channel that can take back opens in the commit that leases; one that cannot opens one call for each idle sender,
    so that a crash leaves at most one call a sender in doubt.
    """

    def __init__(self, rt: Runtime, opened: Opened, until: float, rows: Sequence[Claimed] = ()) -> None:
        self._rt, self._opened, self._until = rt, opened, until
        self._senders = _Senders(rt, opened)
        self._waiting = list(rows)  # leased, not opened
        self._renditions: dict[int, Rendition] = {}  # of what waits
        self._renditions = self._load(rows)
        self._full = False  # the last lease took all that it might: there may be more

    def run(self) -> int:
        """Until nothing is due, or the time is up and everything has landed. Returns how many calls were begun."""
        made, finished = 0, list[Ended]()
        try:
            while True:
                busy = bool(finished or self._waiting or self._senders.flying)
                due = self._look(busy, finished)
                if due is None and not busy:
                    return made
                begun, leased = self._turn(finished, due)
                if not leased and not busy:
                    return made  # another worker was faster
                made += begun
                finished = self._senders.land()
        finally:
            self._senders.dismiss()

    def _look(self, busy: bool, finished: Sequence[Ended]) -> Due | None:
        """What to lease in this turn. While calls are under way, only what keeps senders from going idle, and only
        after a yes to each call: anything else is recorded first, for the breaker may open."""
        if time.monotonic() >= self._until or len(self._waiting) >= self._senders.hunger:
            return None
        if busy and not (self._full and all(end.result is Result.ACCEPTED for end in finished)):
            return None
        with self._rt.reading() as db:  # takes no lock: most sweeps find nothing
            return look(self._rt, db, self._opened)

    def _turn(self, finished: Sequence[Ended], due: Due | None) -> tuple[int, int]:
        """Commit, and let the calls begin. Returns how many do, and how many rows were leased or settled."""
        rt, opened, at_once = self._rt, self._opened, self._opened.traits.recall
        wave, later = (self._waiting, []) if at_once else self._wave(self._senders.idle)
        if not finished and not wave and not later and due is None:
            return 0, 0  # all are on their way

        def commit(db: Session) -> tuple[list[Begun], list[Claimed], int]:
            concerned = [*(end.begun.row for end in finished), *wave, *(row for row, _ in later)]
            lines = read_lines(db, [row.id for row in concerned]) if concerned else {}  # all locked, in the one order
            if later:
                _put_off(rt, db, later)
            if finished:
                record(rt, db, opened, finished, lines)
            leased, settled = lease(rt, db, opened, due) if due else ([], 0)
            opening = [*wave, *leased] if at_once else wave
            return open_attempts(rt, db, opened, opening) if opening else [], leased, settled

        begun, leased, settled = _insist(rt, opened, commit)
        if due is not None:
            self._full = len(leased) + settled >= due.room
        renditions = self._renditions | self._load(leased)
        self._senders.fly([_Flight(one, _of(one.row, renditions)) for one in begun])
        self._waiting = self._waiting[len(wave) + len(later) :] + ([] if at_once else leased)
        self._renditions = {row.wanted_id: renditions[row.wanted_id] for row in self._waiting if row.wanted_id}
        return len(begun), len(leased) + settled

    def _wave(self, most: int) -> tuple[list[Claimed], list[tuple[Claimed, float]]]:
        """Of what waits: the next that may go, so many at most, and those before them whose turn comes in so many
        seconds, because their side must not be called faster."""
        paced = self._opened.adapter
        if not isinstance(paced, Paced):
            return self._waiting[:most], []
        wave, later = list[Claimed](), list[tuple[Claimed, float]]()
        for row in self._waiting:
            if len(wave) == most:
                break
            if wait := paced.wait(row.recipient):
                later.append((row, wait))
            else:
                wave.append(row)
        return wave, later

    def _load(self, rows: Sequence[Claimed]) -> dict[int, Rendition]:
        ids = {row.wanted_id for row in rows if row.wanted_id is not None} - self._renditions.keys()
        if not ids:
            return {}
        with self._rt.reading() as db:
            return load_renditions(db, ids)


def _of(row: Claimed, renditions: Mapping[int, Rendition]) -> Rendition | None:
    """None: nothing is wanted there, the call is a withdrawal."""
    return renditions[row.wanted_id] if row.wanted_id is not None else None


T = TypeVar("T")


def _insist(rt: Runtime, opened: Opened, step: Callable[[Session], T]) -> T:
    """Take one step in a commit. A database that is locked, full or restarting is tried again: what a channel answered
    must not be lost while there is hope."""
    for patience in (0.2, 0.5, 1.0, 2.0, 5.0):
        try:
            with rt.writing() as db:
                return step(db)
        except OperationalError:
            log.warning("the database did not take the results of channel %s; trying again", opened.name)
            time.sleep(patience)
    with rt.writing() as db:
        return step(db)


# ── senders ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Flight:
    """One call on its way: what was begun, when a sender took it up, and how it ended. `lost`: we wait no longer."""

    def __init__(self, begun: Begun, rendition: Rendition | None) -> None:
        self.begun, self.rendition = begun, rendition
        self.took_off: datetime | None = None
        self.ended: Ended | None = None
        self.lost = False


class _Senders:
    """The threads that call one channel, kept while a round goes on.

    Where a call can be taken back they begin as few, double as long as calls have to wait for them and each is a yes,
    and are halved when one is not: a backlog must not fall on a foreign system with all its weight.
    """

    def __init__(self, rt: Runtime, opened: Opened) -> None:
        self.flying: list[_Flight] = []  # not landed
        self._rt, self._opened = rt, opened
        self._careful = opened.traits.recall
        self._most = opened.section.senders or (MOST_SENDERS if self._careful else FEW_SENDERS)
        self._allowed = min(FEW_SENDERS, self._most) if self._careful else self._most
        self._ready = deque[_Flight]()  # no sender took them up yet
        self._running = 0
        self._ended = 0  # of those that fly
        self._turn_seconds = 0.0  # from the last landing to the last take-off: what a commit costs now
        self._landed_at = 0.0
        self._changed = threading.Condition()  # guards all of these
        self._pool = self._threads()

    @property
    def idle(self) -> int:
        """How many more calls would begin at once."""
        return max(self._allowed - len(self.flying), 0)

    @property
    def hunger(self) -> int:
        """How many more are to be ready, so that nobody waits for work."""
        return max(self._allowed - len(self._ready), 0)

    def fly(self, flights: Sequence[_Flight]) -> None:
        """Let these calls begin, as senders become free."""
        with self._changed:
            if self._landed_at:
                self._turn_seconds = min(time.monotonic() - self._landed_at, GATHER_SECONDS)
            self.flying += flights
            self._ready += flights
            self._fill_up()

    def land(self) -> list[Ended]:
        """Wait a moment; take out what finished, and what is past its deadline (its late result is recorded on its
        own)."""
        if not self.flying:
            return []
        limit = self._opened.traits.call_limit
        with self._changed:
            if not self._careful:  # a sender is idle until its next call is open, and each commit serves all that are
                self._changed.wait_for(lambda: self._ended, GATHER_SECONDS)
            gather = GATHER_SECONDS if self._careful else self._turn_seconds
            self._changed.wait_for(lambda: self._ended >= len(self.flying), gather)
            now = self._rt.now()
            for one in self.flying:
                if one.ended is not None:
                    continue
                if one.took_off is None and now > one.begun.row.lease_until - limit:
                    self._ready.remove(one)
                    one.ended = Ended(one.begun, Result.UNAVAILABLE, code="publish.not_begun")
                elif one.took_off is not None and now > one.took_off + limit + GRACE:
                    one.lost, one.ended = True, Ended(one.begun, Result.IN_DOUBT, code="publish.over_deadline")
            landed = [one for one in self.flying if one.ended is not None]
            self.flying = [one for one in self.flying if one.ended is None]
            self._ended, self._landed_at = 0, time.monotonic()
            if any(one.lost for one in landed):  # their threads are somebody else's now
                self._running -= sum(one.lost for one in landed)
                self._pool.shutdown(wait=False)
                self._pool = self._threads()
            finished = [one.ended for one in landed if one.ended is not None]
            if self._careful:
                self._adapt(finished)
            self._fill_up()
        return finished

    def dismiss(self) -> None:
        """What was not taken up is not called any more."""
        with self._changed:
            self._ready.clear()
        self._pool.shutdown(wait=False)

    def _adapt(self, finished: Sequence[Ended]) -> None:
        if any(end.result in (Result.UNAVAILABLE, Result.IN_DOUBT) for end in finished):
            self._allowed = max(self._allowed // 2, 1)
        elif self._ready and finished:
            self._allowed = min(self._allowed * 2, self._most)

    def _fill_up(self) -> None:
        for _ in range(min(self._allowed - self._running, len(self._ready))):
            self._running += 1
            self._pool.submit(self._work)

    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._most, thread_name_prefix=self._opened.name)

    def _work(self) -> None:
        """One sender: a call after the other, until none is left or there are too many of us."""
        while flight := self._next():
            ended = _call(self._rt, self._opened, flight.begun, flight.rendition)
            with self._changed:
                if flight.lost:
                    break
                flight.ended = ended
                self._ended += 1
                if self._ended in (1, len(self.flying)):
                    self._changed.notify()
        else:
            return
        _insist(self._rt, self._opened, lambda db: record(self._rt, db, self._opened, [ended]))

    def _next(self) -> _Flight | None:
        with self._changed:
            if not self._ready or self._running > self._allowed:
                self._running -= 1
                return None
            flight = self._ready.popleft()
            flight.took_off = self._rt.now()
            return flight


def _call(rt: Runtime, opened: Opened, begun: Begun, rendition: Rendition | None) -> Ended:
    row = begun.row
    if rt.now() > row.lease_until - opened.traits.call_limit:
        return Ended(begun, Result.UNAVAILABLE, code="publish.not_begun")
    call = Call(
        slot=slot_name(opened.name, row.item_id),
        generation=row.generation,
        recipient=row.recipient,
        facts=facts_of_sending(rt, opened, row, row.first_tried_at or begun.started_at),
        report_to=reports.address(rt, opened.name, row.id, begun.number, begun.started_at)
        if opened.traits.evidence.reported
        else "",
    )
    return outcome(begun, opened.adapter, rendition, call)


def outcome(begun: Begun, adapter: Channel, rendition: Rendition | None, call: Call) -> Ended:
    """Make the call; whatever it raises becomes a result, so that one bad row never stops its neighbours."""
    try:
        receipt: Receipt = adapter.withdraw(call) if rendition is None else adapter.deliver(rendition, call)
    except Unavailable as error:
        ended = _failed(begun, Result.UNAVAILABLE, error, error.retry_after)
        return replace(ended, only_this=isinstance(error, PutOff))
    except Rejected as error:
        return replace(_failed(begun, Result.REJECTED, error), gone=isinstance(error, Gone))
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


def facts_of_sending(rt: Runtime, opened: Opened, row: Claimed, first_tried_at: datetime) -> dict[str, str]:
    """Fixed at a generation's first attempt, so that every retry is the same effect. For a recipient: their way off the
    list, and a name for this effect that nobody else can make up."""
    facts = {"posting_date": first_tried_at.astimezone(rt.settings.zone).date().isoformat()}
    if opened.adapter.addressed:
        facts["unsubscribe"] = subscriptions.unsubscribe_address(rt, opened.name, row.recipient, row.item_id)
        facts["effect"] = reports.effect(rt, opened.name, row.item_id, row.generation, row.recipient)
    return facts


# ── open and record ──────────────────────────────────────────────────────────────────────────────────────────────────


_AT: BindParameter[datetime] = bindparam("at", type_=Delivery.wanted_at.type)
_THESE: BindParameter[Sequence[int]] = bindparam("ids", expanding=True)
_TABLE = cast(Table, Delivery.__table__)
_ROW = _TABLE.c
_ATTEMPTS = cast(Table, Attempt.__table__)


@cache
def _opening(addressed: bool) -> ReturningUpdate[Any]:
    """Built once; on what it skips, see `open_attempts`."""
    suppressed = exists().where(Suppression.channel == _ROW.channel, Suppression.address == _ROW.recipient)
    return (
        update(_TABLE)
        .where(
            _ROW.id.in_(_THESE),
            _ROW.lease_token == bindparam("token"),
            ~_ROW.call_open,
            _ROW.generation == bindparam("of"),
            _ROW.lease_until > bindparam("live", type_=_ROW.wanted_at.type),
            or_(_ROW.publish_at <= _AT, _ROW.wanted_id.is_(None)),  # it may have been put off since the claim
            *([or_(~suppressed, _ROW.wanted_id.is_(None))] if addressed else ()),
        )
        .values(
            call_open=True,
            attempts=_ROW.attempts + 1,
            first_tried_at=func.coalesce(_ROW.first_tried_at, _AT),
            last_tried_at=_AT,
        )
        .returning(_ROW.id, _ROW.attempts, _ROW.generation, _ROW.wanted_id)
    )


def _noting(source: FromClause) -> Insert:
    """The lines of attempts, from rows of deliveries that hold their numbers."""
    row = source.c
    return insert(_ATTEMPTS).from_select(
        ["delivery_id", "number", "generation", "rendition_id", "started_at", "worker"],
        select(row.id, row.attempts, row.generation, row.wanted_id, _AT, bindparam("worker")).where(row.id.in_(_THESE)),
    )


_NOTE = _noting(_TABLE)


@cache
def _opening_and_noting(addressed: bool) -> ReturningInsert[Any]:
    """Both in one statement, for PostgreSQL: each is a round trip."""
    noting = _noting(_opening(addressed).cte("begun"))
    return noting.returning(_ATTEMPTS.c.delivery_id.label("id"), _ATTEMPTS.c.number.label("attempts"))


@cache
def _ending(channel: str) -> ReturningInsert[Any]:
    """One statement for all ends of a chunk. It tells what recording must know besides: whether a report on a row is
    waiting (read after the rows were locked: `reports`), and how the channel is."""
    # In words, since SQLAlchemy leaves the tables' names out of what SQLite returns.
    its_own = text("report.delivery_id = attempt_end.delivery_id AND report.applied_at IS NULL")
    waiting = exists(select(literal_column("1")).select_from(StoredReport).where(its_own))
    kept = (ChannelStatus.failures, ChannelStatus.last_success_at)
    return insert(cast(Table, AttemptEnd.__table__)).returning(
        waiting.label("reported"),
        *(select(one).where(ChannelStatus.channel == channel).scalar_subquery().label(one.key) for one in kept),
    )


def _put_off(rt: Runtime, db: Session, later: Sequence[tuple[Claimed, float]]) -> None:
    """Hand back rows whose turn comes later; no attempt is spent on them."""
    alike: dict[tuple[str, datetime], list[int]] = {}
    for row, seconds in later:
        until = rt.now() + timedelta(seconds=seconds)
        alike.setdefault((row.lease_token, until.replace(microsecond=0) + timedelta(seconds=1)), []).append(row.id)
    for (token, until), ids in alike.items():
        db.execute(
            update(Delivery)
            .where(Delivery.id.in_(ids), Delivery.lease_token == token, ~Delivery.call_open)
            .values(state=move(State.SENDING, State.DUE), try_after=until, lease_token=None, lease_until=None)
            .execution_options(synchronize_session=False)
        )


def open_attempts(rt: Runtime, db: Session, opened: Opened, rows: Sequence[Claimed]) -> list[Begun]:
    """Commit an attempt for each row that is still ours: same token, same generation, and enough lease left for a whole
    call. Suppressed recipients are skipped here, at the moment of sending. The other rows are handed back."""
    now = rt.now()
    by_id = {row.id: row for row in rows}
    alike: dict[tuple[str, int], list[int]] = {}  # nearly always one
    for row in rows:
        alike.setdefault((row.lease_token, row.generation), []).append(row.id)
    numbers: dict[int, int] = {}
    connection, addressed = db.connection(), opened.adapter.addressed
    noted = {"at": now, "worker": f"{socket.gethostname()}:{os.getpid()}"}
    at_once = connection.dialect.name == "postgresql"  # SQLite writes one table a statement
    opening = _opening_and_noting(addressed) if at_once else _opening(addressed)
    for (token, generation), ids in alike.items():
        how = {"ids": ids, "token": token, "of": generation, "live": now + opened.traits.call_limit, **noted}
        numbers |= {row.id: row.attempts for row in connection.execute(opening, how)}
    if numbers and not at_once:
        connection.execute(_NOTE, {"ids": list(numbers), **noted})
    if len(numbers) < len(rows):
        tokens = {row.lease_token for row in rows}
        mine = and_(Delivery.id.in_(by_id), Delivery.lease_token.in_(tokens), ~Delivery.call_open)
        if opened.adapter.addressed:
            suppressed = exists().where(Suppression.channel == opened.name, Suppression.address == Delivery.recipient)
            db.execute(
                update(Delivery)
                .where(mine, suppressed, Delivery.wanted_id.is_not(None))
                .values(
                    state=move(State.SENDING, State.SKIPPED), reason="suppressed", lease_token=None, lease_until=None
                )
                .execution_options(synchronize_session=False)
            )
        db.execute(
            update(Delivery)
            .where(mine, Delivery.state == State.SENDING)
            .values(state=move(State.SENDING, State.DUE), lease_token=None, lease_until=None)
            .execution_options(synchronize_session=False)
        )
    return [Begun(by_id[id], numbers[id], now) for id in sorted(numbers)]


def record(
    rt: Runtime, db: Session, opened: Opened, ended: Sequence[Ended], lines: Mapping[int, Line] | None = None
) -> None:
    """Add each attempt's end, and move each row to where that end leads. Late ends find their rows gone on. `lines`:
    their rows, where the transaction has read them (with others, since locks are taken in one order)."""
    now = rt.now()
    rows = lines if lines is not None else read_lines(db, [end.begun.row.id for end in ended])
    moved: dict[int, tuple[Line, int]] = {}
    ends = [
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
    ]
    beside = db.connection().execute(_ending(opened.name), ends).all()
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
        row.reason = "withdrawn" if row.state is State.SKIPPED else ""
        moved[row.id] = row, end.begun.number
    write_lines(db, moved.values())
    unsent = (State.DUE, State.FAILED)  # nothing else follows its slot, and nearly all of a chunk was sent
    mine = [rows[end.begun.row.id] for end in ended]
    follow_slots(db, [row.id for row in mine if row.slot_id is not None and row.state in unsent])
    if opened.traits.evidence.reported and any(one.reported for one in beside):
        reports.settle(rt, db, [row.id for row in mine])
    _suppress(db, opened, [end.begun.row.recipient for end in ended if end.gone], now)
    _note_health(db, opened, ended, (beside[0].failures, beside[0].last_success_at), now)


def _suppress(db: Session, opened: Opened, gone: Sequence[str], now: datetime) -> None:
    if gone:
        lines = [{"channel": opened.name, "address": one, "reason": GONE, "at": now} for one in gone]
        db.execute(insert_for(db, Suppression).on_conflict_do_nothing(), lines)


def _note_health(
    db: Session, opened: Opened, ended: Sequence[Ended], kept: tuple[int | None, datetime | None], now: datetime
) -> None:
    """Keep what the breaker and a person want to know of a channel; written only when it says something new. `kept`:
    failures in a row and last success, as they stand."""
    errors = [
        end
        for end in ended
        if end.result is Result.UNAVAILABLE and not end.only_this and end.code != "publish.not_begun"
    ]
    answered = any(end.only_this or end.result in (Result.ACCEPTED, Result.REJECTED) for end in ended)
    if not errors and not answered:
        return  # a line that broke, or a call that was not begun, says neither
    failures, last_success_at = kept
    if not errors and not failures and last_success_at and now - last_success_at <= _FRESH:
        return
    status = channel_status(db, opened.name, lock=bool(errors))
    if answered:
        status.failures, status.open_until, status.last_success_at = 0, None, now
    if errors:
        status.last_failure_at, status.last_error = now, errors[-1].error
        if status.open_until is None or status.open_until <= now:  # else: calls that were on their way when it opened
            status.failures, opening = breaker(status.failures, len(errors))
            status.open_until = now + opening if opening else None
