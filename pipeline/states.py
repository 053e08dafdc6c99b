"""The states and what may follow what: pure, no database.

An arrow that is not drawn here does not exist: `move` raises on it.

    due ──claim──▶ sending ──yes──▶ accepted ──seen──▶ confirmed
     ▲               │  │              │                   │
     │   nothing sent│  │unknown       │not there          │read again: gone
     └───────────────┘  └─▶ in_doubt ──┴─look──▶ due ◀─────┘
    refused, not seen, reported failed ─▶ failed     waits for a person ─▶ on_hold     nothing to do ─▶ skipped
    restored from a backup, and more may have been done since ─▶ on_hold: from every state
    arrived after all, says a late answer or report ─▶ accepted, confirmed: from every state that would send again
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from channels.contract import Evidence, Outcome, Seen


class State(StrEnum):
    """Of a delivery. *Withdrawn* is CONFIRMED with nothing wanted."""

    DUE = "due"
    SENDING = "sending"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    ON_HOLD = "on_hold"
    SKIPPED = "skipped"


class Result(StrEnum):
    """How one attempt ended."""

    ACCEPTED = "accepted"
    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"


class Stage(StrEnum):
    """Of a submission."""

    REVIEWING = "reviewing"
    RETURNED = "returned"
    REFUSED = "refused"
    VOIDED = "voided"  # edited while under review
    APPROVED = "approved"  # in force
    SUPERSEDED = "superseded"  # a later one is in force
    WITHDRAWN = "withdrawn"


class Disclosure(StrEnum):
    """Disclosure class (公开属性): regulation of 2019, art. 19 and 27; not public needs one of the grounds below."""

    PROACTIVE = "proactive"  # 主动公开
    ON_REQUEST = "on_request"  # 依申请公开
    NOT_PUBLIC = "not_public"  # 不予公开


class Ground(StrEnum):
    """Legal ground for not publishing: 政府信息公开条例 (2019), art. 14 to 16, an enumeration."""

    STATE_SECRET = "14_state_secret"
    FORBIDDEN_BY_LAW = "14_forbidden_by_law"
    ENDANGERS_SAFETY = "14_endangers_safety"
    THIRD_PARTY = "15_third_party"
    INTERNAL_AFFAIRS = "16_internal_affairs"
    PROCESS_INFORMATION = "16_process_information"
    ENFORCEMENT_FILE = "16_enforcement_file"


_S = State
TRANSITIONS: dict[State, frozenset[State]] = {
    _S.DUE: frozenset({_S.SENDING, _S.ON_HOLD, _S.SKIPPED, _S.ACCEPTED, _S.CONFIRMED}),
    _S.SENDING: frozenset({_S.DUE, _S.ACCEPTED, _S.CONFIRMED, _S.FAILED, _S.IN_DOUBT, _S.SKIPPED, _S.ON_HOLD}),
    _S.ACCEPTED: frozenset({_S.DUE, _S.CONFIRMED, _S.FAILED, _S.SKIPPED, _S.ON_HOLD}),
    _S.CONFIRMED: frozenset({_S.DUE, _S.ACCEPTED, _S.ON_HOLD}),
    _S.FAILED: frozenset({_S.DUE, _S.ACCEPTED, _S.CONFIRMED, _S.SKIPPED, _S.ON_HOLD}),
    _S.IN_DOUBT: frozenset({_S.DUE, _S.ACCEPTED, _S.CONFIRMED, _S.FAILED, _S.ON_HOLD}),
    _S.ON_HOLD: frozenset({_S.DUE, _S.SKIPPED, _S.ACCEPTED, _S.CONFIRMED}),
    _S.SKIPPED: frozenset({_S.DUE, _S.ACCEPTED, _S.CONFIRMED, _S.ON_HOLD}),
}

# What a delivery with recipients shows: the first of these that one of them is in (design: "Rules of a delivery").
ROLLUP = (_S.FAILED, _S.IN_DOUBT, _S.ON_HOLD, _S.SENDING, _S.DUE, _S.ACCEPTED, _S.CONFIRMED, _S.SKIPPED)


class IllegalMove(RuntimeError):
    """The code tried a transition that the table does not know: a fault of ours, never a user's."""


def move(old: State, new: State) -> State:
    """`new`, if it may follow `old` (staying is not a move)."""
    if old is not new and new not in TRANSITIONS[old]:
        raise IllegalMove(f"{old} → {new}")
    return new


def rollup(counts: Mapping[State, int]) -> State:
    """The state shown for a delivery with recipients, from how many of them are in each."""
    return next((state for state in ROLLUP if counts.get(state)), State.SKIPPED)


@dataclass(frozen=True)
class Traits:
    """What the pipeline must know of a channel to judge a row."""

    recall: bool
    evidence: Evidence
    fenced: bool
    call_limit: timedelta
    tries: int
    looks: tuple[float, ...]
    again: timedelta = timedelta(days=1)  # confirmed rows are read again after this

    @property
    def readback(self) -> bool:
        return self.evidence is Evidence.READBACK

    def next_look(self, looks: int, now: datetime) -> datetime:
        return now + timedelta(seconds=self.looks[min(looks, len(self.looks) - 1)])


@dataclass(frozen=True)
class Standing:
    """The part of a delivery row that judgements read."""

    state: State
    wanted_id: int | None
    generation: int
    attempts: int
    call_open: bool
    tries: int
    looks: int
    held_nothing: bool  # it is known that nothing is there
    called: bool = True  # a call of this generation was begun

    @property
    def waiting(self) -> bool:
        """Is it going to be sent, and nothing begun?"""
        return self.state is State.DUE or (self.state is State.SENDING and not self.call_open)


class Held(StrEnum):
    """What a verdict says of the place itself."""

    WANTED = "wanted"  # what is wanted is there
    UNKNOWN = "unknown"  # only a look can tell
    KEEP = "keep"  # nothing new is known


@dataclass(frozen=True)
class Verdict:
    """What becomes of a row."""

    state: State
    held: Held = Held.KEEP
    try_after: datetime | None = None
    look_after: datetime | None = None
    tries: int = 0
    looks: int = 0
    failure: bool = False  # the attempt's error is shown on the row


BREAKER_AFTER = 5  # calls in a row that could not be made: the channel's circuit breaker opens
BREAKER_SECONDS = (5.0, 15.0, 60.0, 300.0)
BACKOFF_SECONDS = (5.0, 15.0, 60.0, 180.0, 600.0)


def breaker(failures: int, more: int) -> tuple[int, timedelta | None]:
    """The count of failures after `more` calls in a row could not be made, and how long the breaker opens. Up to its
    opening it counts calls; then one for each time that it opens again: an outage that meets a whole chunk is one.
    """
    counted = failures + 1 if failures >= BREAKER_AFTER else min(failures + more, BREAKER_AFTER)
    if counted < BREAKER_AFTER:
        return counted, None
    return counted, timedelta(seconds=BREAKER_SECONDS[min(counted - BREAKER_AFTER, len(BREAKER_SECONDS) - 1)])


def backoff(failures: int, asked: float | None = None) -> timedelta:
    """How long to wait after the nth failure in a row; what the channel asked for, if longer."""
    own = BACKOFF_SECONDS[min(max(failures, 1), len(BACKOFF_SECONDS)) - 1]
    return timedelta(seconds=max(own, asked or 0.0))


def after_result(
    row: Standing,
    traits: Traits,
    *,
    attempt: int,
    generation: int,
    result: Result,
    now: datetime,
    started: datetime,
    failures: int = 1,
    retry_after: float | None = None,
) -> Verdict | None:
    """What the end of an attempt makes of its row; None: nothing, the row has gone on without it.

    `attempt`, `generation`: of the call that ended; `started`: when it began; `failures`: how often in a row nothing
    could be sent. A result may come late: after the lease ran out, after a look, after a later attempt.
    """
    own = attempt == row.attempts
    live = own and row.state is State.SENDING and row.call_open
    unsettled = own and row.state is State.IN_DOUBT
    same = generation == row.generation
    if result is Result.ACCEPTED:
        if not (live or unsettled):
            return _late_yes(row, traits, own, same, now)
        if same or not traits.recall or (unsettled and traits.readback):
            return Verdict(State.ACCEPTED, held=Held.UNKNOWN, look_after=now, tries=row.tries)
        return Verdict(State.DUE, held=Held.UNKNOWN)  # an older generation arrived: the wanted one goes now
    if not (live or unsettled):
        return None
    overtaken = not same and traits.recall
    if overtaken and row.wanted_id is None and row.held_nothing and result is not Result.IN_DOUBT:
        return Verdict(State.SKIPPED)  # withdrawn in flight, and it never arrived: there is nothing to take back
    if result is Result.UNAVAILABLE:
        # Nothing left the house: outside the retry budget. The breaker and the late policy bound it.
        wait = now + backoff(failures, retry_after) if same else None
        return Verdict(State.DUE, try_after=wait, tries=row.tries, failure=same)
    if result is Result.REJECTED:
        if overtaken:
            return Verdict(State.DUE)
        return Verdict(State.FAILED, tries=row.tries, failure=True)
    if overtaken and traits.fenced:
        return Verdict(State.DUE, held=Held.UNKNOWN)  # should the older call still arrive, it is refused
    look = started + traits.call_limit
    return Verdict(State.IN_DOUBT, held=Held.UNKNOWN, look_after=max(look, now), tries=row.tries, failure=True)


def _late_yes(row: Standing, traits: Traits, own: bool, same: bool, now: datetime) -> Verdict | None:
    """A call arrived after all, and the row has gone on."""
    yes = Verdict(State.ACCEPTED, held=Held.UNKNOWN, look_after=now, tries=row.tries)
    if not traits.recall:  # what would be sent now would be the second one; what was skipped has gone out
        return yes if row.waiting or row.state in (State.ON_HOLD, State.SKIPPED) else None
    if row.waiting and same:
        return yes if own or traits.readback else None
    if row.state is State.DUE:
        return Verdict(State.DUE, held=Held.UNKNOWN, tries=row.tries)
    if not traits.readback or (same and row.state is State.CONFIRMED):
        return None  # nobody can look, or what arrived is what was seen there
    return yes if row.state in (State.CONFIRMED, State.ACCEPTED, State.FAILED) else None


def after_look(row: Standing, traits: Traits, *, seen: Seen, now: datetime, last_call: datetime | None) -> Verdict:
    """What a look from outside makes of a row that is accepted, in doubt or confirmed, on a channel with readback.

    `last_call`: when its last call began. Absence counts only after the call limit has passed, and spends the budget.
    """
    may_be_in_flight = last_call is not None and now < last_call + traits.call_limit
    if not row.called and row.state is not State.CONFIRMED and (traits.fenced or not may_be_in_flight):
        # Every call so far was an older generation's, and may arrive yet: only a call of this one shuts it out.
        # That nothing is there now is not a withdrawal.
        return Verdict(State.DUE, held=Held.UNKNOWN, tries=row.tries)
    there = seen is Seen.SAME if row.wanted_id is not None else seen is Seen.NOTHING
    if there and (row.called or not may_be_in_flight):
        return Verdict(State.CONFIRMED, held=Held.WANTED, look_after=now + traits.again)
    if seen is Seen.UNKNOWN or (may_be_in_flight and row.state is not State.CONFIRMED):
        wait = traits.next_look(row.looks + 1, now)
        return Verdict(row.state, look_after=wait, tries=row.tries, looks=row.looks + 1)
    spent = row.tries + 1
    if spent >= traits.tries and row.state is not State.CONFIRMED:
        return Verdict(State.FAILED, held=Held.UNKNOWN, tries=spent)
    return Verdict(State.DUE, held=Held.UNKNOWN, tries=spent)


def after_report(row: Standing, *, attempt: int, outcome: Outcome) -> State | None:
    """What a report on an attempt makes of a row without readback: monotonic, in any order, any number of times.

    None: nothing. A report that comes while a call is open waits for its record (`is_early`).
    """
    own = attempt == row.attempts
    match outcome:
        case Outcome.DELIVERED if own and row.state in (State.ACCEPTED, State.IN_DOUBT):
            return State.CONFIRMED
        case Outcome.DELIVERED if row.waiting or row.state in (State.FAILED, State.ON_HOLD, State.SKIPPED):
            return State.CONFIRMED  # it arrived after all: the retry that was asked for would be the second
        case Outcome.FAILED if own and row.state in (State.ACCEPTED, State.IN_DOUBT):
            return State.FAILED
        case Outcome.PENDING if own and row.state is State.IN_DOUBT:
            return State.ACCEPTED
    return None


def is_early(row: Standing) -> bool:
    """Is a call open? It may be the report's own, which it has overtaken, or a later one: its end comes first."""
    return row.state is State.SENDING and row.call_open


def after_wanted(state: State, *, fenced: bool, publish: bool, held_nothing: bool) -> State:
    """What a person's decision makes of a slot on a channel that can take back. `publish`: a revision is wanted now;
    `held_nothing`: it is known that nothing was ever sent or everything was taken back."""
    if state is State.SENDING:
        return state  # changing what is wanted never breaks a live lease
    if state is State.IN_DOUBT and not fenced:
        return state  # no call may start while an earlier one may still be in flight
    if not publish and held_nothing and state in (State.DUE, State.ON_HOLD, State.FAILED, State.SKIPPED):
        return State.SKIPPED
    return State.DUE
