"""The judgements as tables, and a bureau in which everything that can happen happens in any order."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from channels.contract import Call, Evidence, Outcome, Seen
from pipeline import confirm, operate, publish, review
from pipeline.claim import Claimed
from pipeline.decisions import Refused
from pipeline.models import Attempt, Delivery, Submission
from pipeline.publish import Begun, Ended
from pipeline.renditions import load_renditions
from pipeline.states import (
    BACKOFF_SECONDS,
    BREAKER_AFTER,
    TRANSITIONS,
    Held,
    IllegalMove,
    Result,
    Stage,
    Standing,
    State,
    Traits,
    after_look,
    after_report,
    after_result,
    after_wanted,
    backoff,
    breaker,
    is_early,
    move,
    rollup,
)
from tests.channels.recording import Fault, Recorded, set_faults
from tests.office import MORNING, claim, open_bureau, settings_for

S, R = State, Result
LOOKS = (0.0, 2.0, 10.0, 60.0)
LIMIT = timedelta(seconds=10)
NOW = MORNING
WEB = Traits(True, Evidence.READBACK, True, LIMIT, 5, LOOKS)
CMS = replace(WEB, fenced=False)  # a remote site: it can be read and taken back, and knows no generations
BOARD = Traits(True, Evidence.PERSON, False, LIMIT, 5, LOOKS)
SMS = Traits(False, Evidence.REPORT, False, LIMIT, 5, LOOKS)

OPEN = Standing(S.SENDING, 7, generation=2, attempts=3, call_open=True, tries=1, looks=0, held_nothing=False)
CLAIMED = replace(OPEN, call_open=False)
WITHDRAWN = replace(OPEN, wanted_id=None, held_nothing=True)


def at(state: State) -> Standing:
    return replace(OPEN, state=state, call_open=False)


# ── the arrows ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_what_is_not_drawn_cannot_happen(old: State, new: State) -> None:
    if new is old or new in TRANSITIONS[old]:
        assert move(old, new) is new
    else:
        with pytest.raises(IllegalMove):
            move(old, new)


def test_a_call_begins_only_by_a_claim_and_doubt_only_by_a_call() -> None:
    assert {old for old, new in TRANSITIONS.items() if S.SENDING in new} == {S.DUE}
    assert {old for old, new in TRANSITIONS.items() if S.IN_DOUBT in new} == {S.SENDING}


@pytest.mark.parametrize(
    ("present", "shown"),
    [
        ({S.CONFIRMED: 9, S.FAILED: 1, S.IN_DOUBT: 1}, S.FAILED),
        ({S.CONFIRMED: 9, S.IN_DOUBT: 1, S.ON_HOLD: 1}, S.IN_DOUBT),
        ({S.ON_HOLD: 1, S.SENDING: 1}, S.ON_HOLD),
        ({S.SENDING: 1, S.DUE: 1}, S.SENDING),
        ({S.DUE: 1, S.ACCEPTED: 9}, S.DUE),
        ({S.ACCEPTED: 1, S.CONFIRMED: 9}, S.ACCEPTED),
        ({S.CONFIRMED: 1, S.SKIPPED: 9}, S.CONFIRMED),
        ({S.FAILED: 0, S.SKIPPED: 1}, S.SKIPPED),
        ({}, S.SKIPPED),
    ],
)
def test_a_delivery_with_recipients_shows_the_worst_of_them(present: dict[State, int], shown: State) -> None:
    assert rollup(present) is shown


# ── after a call ─────────────────────────────────────────────────────────────────────────────────────────────────────

RESULTS: list[tuple[str, Traits, Standing, int, int, Result, tuple[State, Held] | None]] = [
    # what happened, channel, row (attempt 3, generation 2), attempt, generation, result, becomes
    ("said yes", WEB, OPEN, 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("said yes", BOARD, OPEN, 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("said yes", SMS, OPEN, 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("not reached", WEB, OPEN, 3, 2, R.UNAVAILABLE, (S.DUE, Held.KEEP)),
    ("not reached", SMS, OPEN, 3, 2, R.UNAVAILABLE, (S.DUE, Held.KEEP)),
    ("refused", WEB, OPEN, 3, 2, R.REJECTED, (S.FAILED, Held.KEEP)),
    ("refused", SMS, OPEN, 3, 2, R.REJECTED, (S.FAILED, Held.KEEP)),
    ("line broke", WEB, OPEN, 3, 2, R.IN_DOUBT, (S.IN_DOUBT, Held.UNKNOWN)),
    ("line broke", SMS, OPEN, 3, 2, R.IN_DOUBT, (S.IN_DOUBT, Held.UNKNOWN)),
    ("corrected in flight, old arrived", WEB, OPEN, 3, 1, R.ACCEPTED, (S.DUE, Held.UNKNOWN)),
    ("corrected in flight, old arrived", BOARD, OPEN, 3, 1, R.ACCEPTED, (S.DUE, Held.UNKNOWN)),
    ("corrected in flight, old arrived", SMS, OPEN, 3, 1, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("corrected in flight, refused", WEB, OPEN, 3, 1, R.REJECTED, (S.DUE, Held.KEEP)),
    ("corrected in flight, refused", SMS, OPEN, 3, 1, R.REJECTED, (S.FAILED, Held.KEEP)),
    ("corrected in flight, line broke", WEB, OPEN, 3, 1, R.IN_DOUBT, (S.DUE, Held.UNKNOWN)),
    ("corrected in flight, line broke", CMS, OPEN, 3, 1, R.IN_DOUBT, (S.IN_DOUBT, Held.UNKNOWN)),
    ("corrected in flight, line broke", BOARD, OPEN, 3, 1, R.IN_DOUBT, (S.IN_DOUBT, Held.UNKNOWN)),
    ("withdrawn in flight, not reached", WEB, WITHDRAWN, 3, 1, R.UNAVAILABLE, (S.SKIPPED, Held.KEEP)),
    ("withdrawn in flight, refused", BOARD, WITHDRAWN, 3, 1, R.REJECTED, (S.SKIPPED, Held.KEEP)),
    ("withdrawn in flight, line broke", WEB, WITHDRAWN, 3, 1, R.IN_DOUBT, (S.DUE, Held.UNKNOWN)),
    ("withdrawn in flight, arrived", WEB, WITHDRAWN, 3, 1, R.ACCEPTED, (S.DUE, Held.UNKNOWN)),
    ("the withdrawal itself not reached", WEB, WITHDRAWN, 3, 2, R.UNAVAILABLE, (S.DUE, Held.KEEP)),
    # its lease had run out
    ("late, in doubt so far", WEB, at(S.IN_DOUBT), 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, in doubt so far", SMS, at(S.IN_DOUBT), 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, in doubt so far", SMS, at(S.IN_DOUBT), 3, 2, R.UNAVAILABLE, (S.DUE, Held.KEEP)),
    ("late, in doubt so far", SMS, at(S.IN_DOUBT), 3, 2, R.REJECTED, (S.FAILED, Held.KEEP)),
    ("late and older, in doubt so far", WEB, at(S.IN_DOUBT), 3, 1, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late and older, in doubt so far", BOARD, at(S.IN_DOUBT), 3, 1, R.ACCEPTED, (S.DUE, Held.UNKNOWN)),
    ("late, of an earlier attempt", SMS, at(S.IN_DOUBT), 2, 2, R.ACCEPTED, None),
    ("late, while the next is open", SMS, OPEN, 2, 2, R.ACCEPTED, None),
    ("late, while the next is open", WEB, OPEN, 2, 1, R.ACCEPTED, None),
    # late, and the row has gone on
    ("late, settled as not sent", SMS, at(S.DUE), 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, claimed again", SMS, CLAIMED, 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, claimed again, corrected", SMS, CLAIMED, 3, 1, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, skipped by a withdrawal", SMS, at(S.SKIPPED), 3, 1, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, on hold", SMS, at(S.ON_HOLD), 2, 1, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, reported failed", SMS, at(S.FAILED), 3, 2, R.ACCEPTED, None),
    ("late, reported delivered", SMS, at(S.CONFIRMED), 3, 2, R.ACCEPTED, None),
    ("late, due again", WEB, at(S.DUE), 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, due again", BOARD, at(S.DUE), 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late and older, due", WEB, at(S.DUE), 3, 1, R.ACCEPTED, (S.DUE, Held.UNKNOWN)),
    ("late and older, due", BOARD, at(S.DUE), 2, 1, R.ACCEPTED, (S.DUE, Held.UNKNOWN)),
    ("late and older, claimed", WEB, CLAIMED, 3, 1, R.ACCEPTED, None),
    ("late, seen already", WEB, at(S.CONFIRMED), 3, 2, R.ACCEPTED, None),
    ("late and older, confirmed", WEB, at(S.CONFIRMED), 2, 1, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late and older, accepted", WEB, at(S.ACCEPTED), 2, 1, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late, failed", WEB, at(S.FAILED), 3, 2, R.ACCEPTED, (S.ACCEPTED, Held.UNKNOWN)),
    ("late and older, posted", BOARD, at(S.CONFIRMED), 2, 1, R.ACCEPTED, None),
    *[
        ("late and no yes", traits, at(state), 3, 2, result, None)
        for traits in (WEB, BOARD, SMS)
        for state in (S.DUE, S.ACCEPTED, S.CONFIRMED, S.FAILED, S.ON_HOLD, S.SKIPPED)
        for result in (R.UNAVAILABLE, R.REJECTED, R.IN_DOUBT)
    ],
]


@pytest.mark.parametrize(("story", "traits", "row", "attempt", "generation", "result", "becomes"), RESULTS)
def test_what_the_end_of_a_call_makes_of_a_row(
    story: str,
    traits: Traits,
    row: Standing,
    attempt: int,
    generation: int,
    result: Result,
    becomes: tuple[State, Held] | None,
) -> None:
    verdict = after_result(
        row, traits, attempt=attempt, generation=generation, result=result, now=NOW, started=NOW - timedelta(seconds=3)
    )
    assert (verdict and (verdict.state, verdict.held)) == becomes, story
    if verdict is not None:
        move(row.state, verdict.state)


def judged(result: Result, generation: int = 2, **how: Any) -> Any:
    return after_result(
        OPEN, WEB, attempt=3, generation=generation, result=result, now=NOW, started=NOW - timedelta(seconds=3), **how
    )


def test_what_could_not_be_sent_waits_longer_each_time_and_at_least_as_long_as_it_was_asked_to() -> None:
    assert [backoff(n).total_seconds() for n in range(1, 8)] == [*BACKOFF_SECONDS, 600.0, 600.0]
    assert judged(R.UNAVAILABLE, failures=1).try_after == NOW + timedelta(seconds=5)
    assert judged(R.UNAVAILABLE, failures=3, retry_after=3600.0).try_after == NOW + timedelta(hours=1)
    assert judged(R.UNAVAILABLE, failures=3, retry_after=1.0).try_after == NOW + timedelta(seconds=60)
    assert judged(R.UNAVAILABLE, generation=1).try_after is None  # the new text has a right to its own first try
    assert judged(R.UNAVAILABLE).tries == OPEN.tries


def test_a_look_at_a_broken_line_waits_until_nothing_can_be_in_flight() -> None:
    assert judged(R.IN_DOUBT).look_after == NOW + timedelta(seconds=7)
    assert judged(R.ACCEPTED).look_after == NOW


def test_the_breaker_opens_after_five_and_longer_each_time_however_many_calls_one_outage_met() -> None:
    assert breaker(0, BREAKER_AFTER - 1) == (BREAKER_AFTER - 1, None)
    assert breaker(0, BREAKER_AFTER) == (BREAKER_AFTER, timedelta(seconds=5))
    assert breaker(3, 50) == (BREAKER_AFTER, timedelta(seconds=5))
    failures, opened = BREAKER_AFTER, []
    for _ in range(4):
        failures, seconds = breaker(failures, 8)
        opened.append(seconds and seconds.total_seconds())
    assert opened == [15, 60, 300, 300]


# ── after a look ─────────────────────────────────────────────────────────────────────────────────────────────────────

LATER = timedelta(seconds=11)


@pytest.mark.parametrize(
    ("story", "state", "wanted", "tries", "since", "seen", "becomes", "held", "spent"),
    [
        ("there", S.ACCEPTED, 7, 1, None, Seen.SAME, S.CONFIRMED, Held.WANTED, 0),
        ("there", S.IN_DOUBT, 7, 1, None, Seen.SAME, S.CONFIRMED, Held.WANTED, 0),
        ("still there", S.CONFIRMED, 7, 0, LATER, Seen.SAME, S.CONFIRMED, Held.WANTED, 0),
        ("gone as wanted", S.ACCEPTED, None, 1, LATER, Seen.NOTHING, S.CONFIRMED, Held.WANTED, 0),
        ("not gone", S.ACCEPTED, None, 1, LATER, Seen.OTHER, S.DUE, Held.UNKNOWN, 2),
        ("not there yet", S.ACCEPTED, 7, 1, LIMIT / 2, Seen.NOTHING, S.ACCEPTED, Held.KEEP, 1),
        ("not there", S.ACCEPTED, 7, 1, LATER, Seen.NOTHING, S.DUE, Held.UNKNOWN, 2),
        ("another there", S.IN_DOUBT, 7, 1, LATER, Seen.OTHER, S.DUE, Held.UNKNOWN, 2),
        ("not there for the last time", S.ACCEPTED, 7, 4, LATER, Seen.NOTHING, S.FAILED, Held.UNKNOWN, 5),
        ("lost since", S.CONFIRMED, 7, 0, LATER, Seen.NOTHING, S.DUE, Held.UNKNOWN, 1),
        ("lost since, again", S.CONFIRMED, 7, 4, LATER, Seen.NOTHING, S.DUE, Held.UNKNOWN, 5),
        ("came back", S.CONFIRMED, None, 0, LATER, Seen.OTHER, S.DUE, Held.UNKNOWN, 1),
        ("nobody could look", S.ACCEPTED, 7, 4, LATER, Seen.UNKNOWN, S.ACCEPTED, Held.KEEP, 4),
        ("nobody could look", S.CONFIRMED, 7, 0, LATER, Seen.UNKNOWN, S.CONFIRMED, Held.KEEP, 0),
    ],
)
def test_what_a_look_makes_of_a_row(
    story: str,
    state: State,
    wanted: int | None,
    tries: int,
    since: timedelta | None,
    seen: Seen,
    becomes: State,
    held: Held,
    spent: int,
) -> None:
    row = replace(at(state), wanted_id=wanted, tries=tries)
    verdict = after_look(row, WEB, seen=seen, now=NOW, last_call=None if since is None else NOW - since)
    assert (verdict.state, verdict.held, verdict.tries) == (becomes, held, spent), story
    if verdict.state is state and verdict.held is Held.KEEP:
        assert verdict.looks == row.looks + 1 and verdict.look_after is not None and verdict.look_after > NOW


def test_looks_back_off_and_what_is_confirmed_is_read_again_the_next_day() -> None:
    row, waits = at(S.ACCEPTED), []
    for _ in range(4):
        verdict = after_look(row, WEB, seen=Seen.UNKNOWN, now=NOW, last_call=None)
        assert verdict.look_after is not None
        waits.append((verdict.look_after - NOW).total_seconds())
        row = replace(row, looks=verdict.looks)
    assert waits == [2, 10, 60, 60]
    assert after_look(row, WEB, seen=Seen.SAME, now=NOW, last_call=None).look_after == NOW + timedelta(days=1)


# ── after a report ───────────────────────────────────────────────────────────────────────────────────────────────────

D, F, P = Outcome.DELIVERED, Outcome.FAILED, Outcome.PENDING


@pytest.mark.parametrize(
    ("row", "own", "earlier"),
    [  # what the row becomes by delivered, failed, pending on its last attempt; and on an earlier one
        (at(S.ACCEPTED), (S.CONFIRMED, S.FAILED, None), (None, None, None)),
        (at(S.IN_DOUBT), (S.CONFIRMED, S.FAILED, S.ACCEPTED), (None, None, None)),
        (at(S.CONFIRMED), (None, None, None), (None, None, None)),
        (at(S.FAILED), (S.CONFIRMED, None, None), (S.CONFIRMED, None, None)),
        (at(S.DUE), (S.CONFIRMED, None, None), (S.CONFIRMED, None, None)),
        (CLAIMED, (S.CONFIRMED, None, None), (S.CONFIRMED, None, None)),
        (at(S.ON_HOLD), (S.CONFIRMED, None, None), (S.CONFIRMED, None, None)),
        (at(S.SKIPPED), (S.CONFIRMED, None, None), (S.CONFIRMED, None, None)),
    ],
    ids=lambda value: str(value.state) if isinstance(value, Standing) else "",
)
def test_reports_are_monotonic(row: Standing, own: tuple[State | None, ...], earlier: tuple[State | None, ...]) -> None:
    assert tuple(after_report(row, attempt=3, outcome=one) for one in (D, F, P)) == own
    assert tuple(after_report(row, attempt=2, outcome=one) for one in (D, F, P)) == earlier
    for state in own + earlier:
        move(row.state, state or row.state)


def test_a_report_waits_only_while_a_call_is_open() -> None:
    assert is_early(OPEN)
    assert not any(is_early(row) for row in (CLAIMED, *map(at, set(State) - {S.SENDING})))


# ── after a decision ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", State)
def test_what_a_decision_makes_of_a_slot_that_can_be_taken_back(state: State) -> None:
    def becomes(publish: bool, nothing: bool, fenced: bool) -> State:
        return move(state, after_wanted(state, fenced=fenced, publish=publish, held_nothing=nothing))

    for wanted in (True, False):
        for nothing in (True, False):
            assert (becomes(wanted, nothing, True) is S.SENDING) == (state is S.SENDING)  # no live lease is broken
            assert (becomes(wanted, nothing, False) is S.IN_DOUBT) == (state is S.IN_DOUBT)
    if state not in (S.SENDING, S.IN_DOUBT):
        assert becomes(True, True, True) is becomes(True, False, True) is becomes(False, False, True) is S.DUE
        unsent = state in (S.DUE, S.ON_HOLD, S.FAILED, S.SKIPPED)
        assert becomes(False, True, True) is (S.SKIPPED if unsent else S.DUE)
    if state is S.IN_DOUBT:
        assert becomes(False, True, True) is S.DUE  # in doubt is never known to hold nothing


# ── everything, in any order ─────────────────────────────────────────────────────────────────────────────────────────

FAULTS = [Fault("unavailable"), Fault("rejected"), Fault("in_doubt"), Fault("in_doubt_after_effect")]
PHONES = [f"1380000000{number}" for number in range(3)]
CHANNELS = ("web", "board", "sms")


class Storm:
    """One bureau, and all that may happen to it, one random step at a time: claims, calls, results that are lost or
    late, lost workers, looks, reports, and persons who decide."""

    def __init__(self, data: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.bureau = open_bureau(settings_for(data, f"sqlite:///{data / 'fabu.db'}"))
        self.rt = self.bureau.rt
        self._watch()
        self.bureau.subscribe(*PHONES)
        self.items = [self.bureau.publish(*CHANNELS) for _ in range(3)]
        self.claimed: list[tuple[str, list[Claimed]]] = []
        self.begun: list[tuple[str, Begun]] = []
        self.ended: list[tuple[str, Ended]] = []
        self.fates: dict[str, str] = {}  # what became of each SMS on its way: the world does not contradict itself
        self.reported: set[str] = set()  # as failed
        self.excused: set[tuple[int, int]] = set()  # attempts that a person settled as not sent
        self.arrived: set[int] = set()  # recipients of whom the ledger was told so, before the next call
        self.texts = 1

    def _watch(self) -> None:
        """The database itself notes every single move and refuses to count back."""
        event.listen(self.rt.engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA synchronous=OFF").close())
        self.rt.engine.dispose()
        with self.rt.writing() as db:
            connection = db.connection()
            connection.exec_driver_sql("CREATE TABLE moves (before TEXT, after TEXT)")
            connection.exec_driver_sql(
                "CREATE TRIGGER noted AFTER UPDATE OF state ON delivery WHEN OLD.state <> NEW.state "
                "BEGIN INSERT INTO moves VALUES (OLD.state, NEW.state); END"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER onwards BEFORE UPDATE ON delivery WHEN NEW.generation < OLD.generation "
                "OR NEW.attempts NOT IN (OLD.attempts, OLD.attempts + 1) BEGIN SELECT RAISE(ABORT, 'counts back'); END"
            )

    def run(self, steps: int) -> None:
        machine: list[Callable[[], None]] = [
            self.claim, self.claim, self.open, self.open, self.act, self.act, self.record, self.look, self.report,
        ]  # fmt: skip
        trouble: list[Callable[[], None]] = [self.lose, self.wait, self.wait, self.stall, self.stall]
        person: list[Callable[[], None]] = [
            self.retry, self.settle, self.settle, self.post, self.unpost, self.pause, self.decide, self.decide,
        ]  # fmt: skip
        for _ in range(steps):
            kind = self.dice.choices((machine, trouble, person), (80, 10, 10))[0]
            with suppress(Refused):  # a person may ask for what cannot be
                self.dice.choice(kind)()
            self.check()

    # the machine

    def claim(self) -> None:
        channel = self.dice.choice(CHANNELS)
        rows, _ = claim(self.rt, self.rt.channels[channel])
        for row in rows:
            self.claimed.append((channel, [row]))

    def open(self) -> None:
        if self.claimed:
            channel, rows = self._any(self.claimed)
            with self.rt.writing() as db:
                begun = publish.open_attempts(self.rt, db, self.rt.channels[channel], rows)
            for one in begun:
                assert channel != "sms" or one.row.id not in self.arrived, (
                    "sent again, and it was known to have arrived"
                )
                self.begun.append((channel, one))

    def act(self) -> None:
        if not self.begun:
            return
        channel, begun = self._any(self.begun)
        if self.dice.random() < 0.3:
            set_faults(self.rt.settings.data / channel, self.dice.choice(FAULTS))
        wanted = begun.row.wanted_id
        with self.rt.reading() as db:
            rendition = load_renditions(db, [wanted])[wanted] if wanted is not None else None
        if rendition is None:
            set_faults(self.rt.settings.data / channel)
        self.ended.append((channel, publish._call(self.rt, self.rt.channels[channel], begun, rendition)))
        set_faults(self.rt.settings.data / channel)

    def record(self) -> None:
        if self.ended:
            channel, ended = self._any(self.ended)
            if channel == "sms" and ended.result is R.ACCEPTED:
                self._hear(ended.begun.row.id, ended.begun.number)
            with self.rt.writing() as db:
                publish.record(self.rt, db, self.rt.channels[channel], [ended])

    def look(self) -> None:
        if self.dice.random() < 0.1:
            confirm.verify(self.rt)
        confirm.confirm(self.rt, self.dice.choice(CHANNELS))

    def report(self) -> None:
        if effects := self.bureau.effects("sms"):
            call = self.dice.choice(effects)
            fate = self.fates.setdefault(call.report_to, self.dice.choice(("delivered", "delivered", "failed")))
            said = fate if self.dice.random() < 0.7 else "pending"
            if said == "failed":
                self.reported.add(call.report_to)
                self.arrived.discard(self._attempt(call)[0])
            if said == "delivered":
                self._hear(*self._attempt(call))
            self.bureau.report(call, said)

    def _hear(self, id: int, number: int) -> None:
        """The ledger is about to be told that this attempt arrived. While a later one is out, its end decides."""
        with self.rt.reading() as db:
            row = db.get_one(Delivery, id)
            later = row.attempts > number and (row.call_open or row.state is S.IN_DOUBT)
        if not later and row.state is not S.FAILED:
            self.arrived.add(id)

    # trouble

    def lose(self) -> None:
        for pile in (self.claimed, self.begun, self.ended):
            if pile and self.dice.random() < 0.5:
                self._any(pile)

    def stall(self) -> None:
        """Whoever holds something now comes too late with it."""
        self.bureau.clock.forward(seconds=61)
        confirm.sweep(self.rt)

    def wait(self) -> None:
        self.bureau.clock.forward(seconds=self.dice.choice((1, 3, 5, 11, 11, 61, 700)))

    # persons

    def retry(self) -> None:
        operate.retry(self.rt, self.bureau.actor("wang"), self._item(), self.dice.choice((None, *CHANNELS)))

    def settle(self) -> None:
        with self.rt.reading() as db:
            doubtful = db.execute(
                select(Delivery.id, Delivery.attempts, Delivery.item_id, Delivery.channel, Delivery.recipient)
                .where(Delivery.state == S.IN_DOUBT)
                .order_by(Delivery.id)
            ).all()
        if doubtful:
            id, number, item, channel, recipient = self.dice.choice(doubtful)
            with self.rt.reading() as db:
                call = (publish.slot_name(channel, item), db.get_one(Attempt, (id, number)).generation, recipient)
            there = {(one.slot, one.generation, one.recipient) for one in self.bureau.effects(channel)}
            sent = call in there and self.dice.random() < 0.5  # who says so has seen it; who says not may be wrong
            if not sent:
                self.excused.add((id, number))
            operate.settle(self.rt, self.bureau.actor("wang"), item, channel, sent, "电话核实", recipient)

    def post(self) -> None:
        operate.post(self.rt, self.bureau.actor("wang"), self._item(), "一楼公开栏")

    def unpost(self) -> None:
        operate.unpost(self.rt, self.bureau.actor("wang"), self._item())

    def pause(self) -> None:
        channel = self.dice.choice(CHANNELS)
        if self.dice.random() < 0.15:
            operate.pause(self.rt, self.bureau.actor("wang"), channel, "检修")
        else:
            operate.resume(self.rt, self.bureau.actor("wang"), channel)

    def decide(self) -> None:
        if self.dice.random() < 0.3:
            self.items.append(self.bureau.publish(*CHANNELS))
            return
        item = self._item()
        with self.rt.reading() as db:
            in_force = db.scalars(
                select(Submission.id).where(Submission.item_id == item, Submission.stage == Stage.APPROVED)
            ).first()
        if in_force is None:
            self.bureau.approve(item, self.bureau.submit(item, *CHANNELS))
        elif self.dice.random() < 0.6:
            self.texts += 1
            self.bureau.correct(item, title=f"关于试播的通知（{self.texts}）")
        else:
            review.withdraw(self.rt, self.bureau.actor("li"), item, "数据有误")

    # what must hold, always

    def check(self) -> None:
        sent: dict[tuple[str, str], list[Recorded]] = {}
        for call in self.bureau.effects("sms"):
            if call.report_to not in self.reported and self._attempt(call) not in self.excused:
                sent.setdefault((call.slot, call.recipient), []).append(call)
        assert all(len(calls) == 1 for calls in sent.values()), "a second SMS"
        digests = {(call.recipient, call.slot, call.digest) for call in self.bureau.effects("sms")}
        with self.rt.reading() as db:
            settled = db.scalars(
                select(Delivery).where(Delivery.channel != "board", Delivery.state == S.CONFIRMED)
            ).all()
            renditions = load_renditions(db, {row.held_id for row in settled if row.held_id is not None})
            for row in settled:
                held = renditions[row.held_id] if row.held_id is not None else None
                slot = publish.slot_name(row.channel, row.item_id)
                if row.channel == "web":
                    (seen,) = self.rt.channels["web"].adapter.verify([(held, Call(slot, row.generation))])
                    assert seen is (Seen.SAME if held else Seen.NOTHING), "confirmed, and not there"
                    assert row.held_id == row.wanted_id
                else:
                    assert held and (row.recipient, slot, held.digest) in digests, "confirmed, and never sent"

    def settle_down(self) -> None:
        """The faults end, those who waited for a person get one, and time passes."""
        self.claimed, self.begun, self.ended = [], [], []
        for channel in CHANNELS:
            operate.resume(self.rt, self.bureau.actor("wang"), channel)
        for _ in range(12):
            self.bureau.clock.forward(seconds=700)
            confirm.sweep(self.rt)
            self.bureau.work()
            for call in self.bureau.effects("sms"):
                self.bureau.report(call, self.fates.setdefault(call.report_to, "delivered"))
                if self.fates[call.report_to] == "failed":
                    self.reported.add(call.report_to)
            for item in self.items:
                for step in (
                    lambda item=item: operate.retry(self.rt, self.bureau.actor("wang"), item),
                    lambda item=item: operate.post(self.rt, self.bureau.actor("wang"), item, "一楼公开栏"),
                    lambda item=item: operate.unpost(self.rt, self.bureau.actor("wang"), item),
                    lambda item=item: self._settle_truly(item),
                ):
                    with suppress(Refused):
                        step()
            self.check()

    def _settle_truly(self, item: int) -> None:
        """The clerk asks the operator, who knows."""
        went_out = {self._attempt(call) for call in self.bureau.effects("sms")}
        with self.rt.reading() as db:
            doubtful = db.execute(
                select(Delivery.id, Delivery.attempts, Delivery.recipient).where(
                    Delivery.item_id == item, Delivery.channel == "sms", Delivery.state == S.IN_DOUBT
                )
            ).all()
        for id, number, recipient in doubtful:
            sent = (id, number) in went_out
            operate.settle(self.rt, self.bureau.actor("wang"), item, "sms", sent, "电话核实", recipient)

    def at_rest(self) -> None:
        """What must hold when nothing is left to do."""
        with self.rt.reading() as db:
            for before, after in db.connection().exec_driver_sql("SELECT DISTINCT before, after FROM moves"):
                assert State(after) in TRANSITIONS[State(before)], f"{before} → {after}"
            rows = db.scalars(select(Delivery).order_by(Delivery.id)).all()
            renditions = load_renditions(db, {row.wanted_id for row in rows if row.wanted_id is not None})
            assert db.scalars(select(Attempt.delivery_id).limit(1)).first() is not None
        for row in rows:
            name = f"{row.channel}/{row.item_id}/{row.recipient}: {row.state} {row.reason} {row.error}"
            wanted = renditions[row.wanted_id] if row.wanted_id is not None else None
            if row.channel == "web":
                call = Call(publish.slot_name("web", row.item_id), row.generation)
                (seen,) = self.rt.channels["web"].adapter.verify([(wanted, call)])
                assert seen is (Seen.SAME if wanted else Seen.NOTHING), name
                assert row.state is S.CONFIRMED or (row.state is S.SKIPPED and wanted is None), name
                assert row.held_known and row.held_id == row.wanted_id, name
            elif row.channel == "board":
                assert row.state is S.CONFIRMED or (row.state is S.SKIPPED and wanted is None), name
                slot = publish.slot_name("board", row.item_id)
                printed = [call for call in self.bureau.effects("board") if call.slot == slot]
                if wanted is None:
                    assert not printed or printed[-1].op == "withdraw", name
                else:
                    assert printed[-1].digest == wanted.digest, name
            elif row.recipient:
                assert row.state in (S.CONFIRMED, S.ACCEPTED, S.SKIPPED), name

    def _item(self) -> int:
        return self.dice.choice(self.items)

    def _any(self, pile: list[Any]) -> Any:
        return pile.pop(self.dice.randrange(len(pile)))

    @staticmethod
    def _attempt(call: Recorded) -> tuple[int, int]:
        id, number, *_ = call.report_to.rsplit("/", 1)[1].split(".")
        return int(id), int(number)


@pytest.mark.parametrize("seed", range(4, 10))
def test_in_whatever_order_things_happen_no_text_goes_twice_and_in_the_end_all_is_as_wanted(
    tmp_path: Path, seed: int
) -> None:
    storm = Storm(tmp_path, seed)
    storm.run(400)
    storm.settle_down()
    storm.at_rest()
