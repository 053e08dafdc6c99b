"""How many calls one round makes at once, and what it costs: watched on a channel whose calls wait for us."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import event

from channels.contract import Call, Receipt, Rendition, Unavailable
from pipeline import publish
from pipeline.runtime import Opened
from tests.bench.channel import Nothing
from tests.faults.stack import until
from tests.office import Bureau


@dataclass(frozen=True)
class Gate(Nothing):
    """Its calls wait until they are let through; those of `refused` items are told to come back later."""

    open: threading.Event = field(default_factory=threading.Event)
    inside: list[str] = field(default_factory=list)
    refused: frozenset[str] = frozenset()

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        self.inside.append(call.slot)
        assert self.open.wait(60)
        if call.slot in self.refused:
            raise Unavailable("http.try_later")
        return Receipt(call.key)


@contextmanager
def round_on(bureau: Bureau, gate: Gate, items: int, **section: int) -> Iterator[publish._Senders]:
    """A backlog, leased and opened, in the hands of senders that wait at the gate."""
    for _ in range(items):
        bureau.publish("web")
    web = bureau.rt.channels["web"]
    opened = Opened("web", gate, web.section.model_copy(update=section), replace(web.traits, recall=True))
    with bureau.rt.reading() as db:
        due = publish.look(bureau.rt, db, opened)
    assert due is not None
    with bureau.rt.writing() as db:
        rows, _ = publish.lease(bureau.rt, db, opened, due)
        begun = publish.open_attempts(bureau.rt, db, opened, rows)
    senders = publish._Senders(bureau.rt, opened)
    try:
        senders.fly([publish._Flight(one, Rendition("text/plain", b"")) for one in begun])
        yield senders
    finally:
        gate.open.set()
        senders.dismiss()


def taken_up(senders: publish._Senders) -> int:
    return sum(flight.took_off is not None for flight in senders.flying)


def commits_of(bureau: Bureau) -> list[object]:
    """A list to which the engine adds each commit from now on."""
    counted = list[object]()
    event.listen(bureau.rt.engine, "commit", counted.append)
    return counted


def test_a_backlog_falls_on_a_foreign_system_step_by_step(bureau: Bureau) -> None:
    gate = Gate()
    with round_on(bureau, gate, 20) as senders:
        until(lambda: len(gate.inside) == publish.FEW_SENDERS)
        assert senders.land() == []
        assert taken_up(senders) == publish.FEW_SENDERS, "none was answered: no more are sent after them"
        assert senders.hunger == 0, "enough is waiting: nothing more needs to be leased"


def test_every_round_of_yes_doubles_the_senders_up_to_the_limit_of_the_channel(bureau: Bureau) -> None:
    with round_on(bureau, Gate(), 2, senders=20) as senders:
        yes = publish.Ended(senders.flying[0].begun, publish.Result.ACCEPTED)
        senders._ready.extend(senders.flying)  # somebody waits
        grown = []
        for _ in range(3):
            senders._adapt([yes])
            grown.append(senders._allowed)
        assert grown == [16, 20, 20]
        senders._ready.clear()


def test_a_system_that_asks_for_time_gets_half_as_many_calls(bureau: Bureau) -> None:
    gate = Gate(refused=frozenset({"web/1"}))
    gate.open.set()
    with round_on(bureau, gate, 3) as senders:
        ended = []
        until(lambda: ended.extend(senders.land()) or len(ended) == 3)
        assert senders._allowed == publish.FEW_SENDERS // 2
        for _ in range(5):
            senders._adapt([one for one in ended if one.result is publish.Result.UNAVAILABLE])
        assert senders._allowed == 1, "one is left to find out when it is well again"


def test_an_sms_gateway_gets_the_office_s_number_of_calls_at_once_and_never_more(bureau: Bureau) -> None:
    sms = bureau.rt.channels["sms"]
    senders = publish._Senders(bureau.rt, sms)
    assert senders.idle == sms.section.senders
    left_open = replace(sms, section=sms.section.model_copy(update={"senders": None}))
    assert publish._Senders(bureau.rt, left_open)._most == publish.FEW_SENDERS


@pytest.mark.parametrize(("channel", "commits"), [("web", 2), ("sms", 4)])
def test_a_delivery_costs_the_commits_that_its_promise_needs(bureau: Bureau, channel: str, commits: int) -> None:
    """What can be taken back is leased and opened in one, and recorded in one. An SMS is leased alone, so that its text
    is loaded before its attempt is open, and the copying of the recipients is one more."""
    bureau.subscribe("13800000001")
    bureau.publish("web", "sms")
    if channel == "sms":
        bureau.work("web")
    counted = commits_of(bureau)
    assert publish.deliver(bureau.rt, channel) == 1
    assert len(counted) == commits


def test_a_look_at_a_channel_with_nothing_due_commits_nothing(bureau: Bureau) -> None:
    counted = commits_of(bureau)
    assert publish.deliver(bureau.rt, "web") == 0
    assert counted == []


def test_a_backlog_larger_than_a_chunk_goes_out_whole_and_once(bureau: Bureau) -> None:
    items = [bureau.publish("web") for _ in range(9)]
    web = bureau.rt.channels["web"]
    small = replace(web, section=web.section.model_copy(update={"batch": 2, "senders": 3}))
    rt = replace(bureau.rt, channels={**bureau.rt.channels, "web": small})
    assert publish.deliver(rt, "web") == 9
    assert sorted(call.slot for call in bureau.calls("web")) == sorted(f"web/{item}" for item in items)
    assert {bureau.state(item, "web") for item in items} == {"accepted"}
