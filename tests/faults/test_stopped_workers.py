"""Workers that are stopped in the middle of a call and wake past their lease (fault 17), on real processes."""

import pytest

from pipeline import confirm, reach, review
from pipeline.states import State
from tests.faults.conftest import Found
from tests.faults.stack import (
    Hands,
    hands_of,
    hanging,
    numbers,
    rows,
    settled,
    states,
    stop,
    times,
    until,
    wake_up,
    worker,
)
from tests.office import Bureau


def test_a_worker_that_sleeps_past_its_lease_sends_no_second_sms_and_its_late_yes_counts(
    found: Found, valkey_url: str
) -> None:
    bureau = found(valkey_url, channels={"sms": {"senders": 2}})
    everybody = numbers(12)
    bureau.subscribe(*everybody)
    with worker(bureau, "sms") as asleep, hands_of(bureau) as hands:
        with hanging(bureau, "sms"):
            bureau.publish("sms")
            until(lambda: len(bureau.calls("sms")) == 2)
            stop(asleep.pid)
        begun = {call.recipient for call in bureau.calls("sms")}
        assert {row.recipient for row in rows(bureau, "sms") if row.call_open} == begun
        hands.start("sms")
        until(lambda: settled(bureau, "sms"))
        assert states(bureau, "sms") == {"accepted": 10, "in_doubt": 2}
        assert {call.recipient for call in bureau.effects("sms")} == set(everybody) - begun
        wake_up(asleep.pid)
        until(lambda: states(bureau, "sms") == {"accepted": 12})
        assert set(times(bureau.calls("sms")).values()) == {1}
        assert set(times(bureau.effects("sms")).values()) == {1}
        assert len(bureau.effects("sms")) == 12


def test_a_page_sent_again_while_its_worker_slept_is_confirmed_and_stays_the_same(found: Found) -> None:
    bureau = found()
    with hands_of(bureau) as hands:
        item, asleep = publish_and_stop(bureau, hands)
        hands.start("web")
        until(lambda: bureau.state(item, "web") == "confirmed")
        wake_up(asleep)
        until(lambda: ends(bureau, item) == 2)
        until(lambda: bureau.state(item, "web") == "confirmed")
        until(lambda: settled(bureau, "web"))
    assert [(call.op, call.generation) for call in bureau.effects("web")] == [("deliver", 1)] * 2
    cell = bureau.cell(item, "web")
    assert (cell.state, cell.held, cell.attempts) == ("confirmed", 1, 2)


@pytest.mark.parametrize("decision", ["correction", "withdrawal"])
def test_an_old_text_that_slept_with_its_worker_is_refused_when_it_wakes(found: Found, decision: str) -> None:
    bureau = found()
    with hands_of(bureau) as hands:
        item, asleep = publish_and_stop(bureau, hands)
        if decision == "correction":
            bureau.correct(item, title="关于试播的通知（更正）")
        else:
            review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
        hands.start("web")
        until(lambda: bureau.state(item, "web") == "confirmed")
        wake_up(asleep)
        until(lambda: ends(bureau, item) == 2)
    confirm.verify(bureau.rt)
    cell, wanted = bureau.cell(item, "web"), 2 if decision == "correction" else None
    assert (cell.state, cell.wanted, cell.held, cell.held_known) == ("confirmed", wanted, wanted, True)
    assert {call.generation for call in bureau.effects("web")} == {2}


@pytest.mark.parametrize("decision", ["correction", "withdrawal"])
def test_a_worker_that_wakes_within_its_lease_sends_nothing_that_a_decision_overtook(
    found: Found, decision: str
) -> None:
    bureau = found(channels={"sms": {"senders": 1, "call_seconds": 10.0}}, limits={"lease_seconds": 30.0})
    bureau.subscribe(*numbers(5))
    with hands_of(bureau) as hands:
        with hanging(bureau, "sms"):
            item = bureau.publish("sms")
            hands.start("sms")
            until(lambda: bureau.calls("sms"))
            if decision == "correction":
                bureau.correct(item, title="关于试播的通知（更正）")
            else:
                review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
        until(lambda: settled(bureau, "sms"))
    first, *others = bureau.effects("sms")
    assert first.generation == 1
    if decision == "correction":
        assert states(bureau, "sms") == {"accepted": 5}
        assert [call.generation for call in others] == [2] * 4
        assert first.digest not in {call.digest for call in others}
    else:
        assert (others, states(bureau, "sms")) == ([], {"accepted": 1, "skipped": 4})
    assert set(times(bureau.calls("sms")).values()) == {1}


def publish_and_stop(bureau: Bureau, hands: Hands) -> tuple[int, int]:
    """An item whose worker was stopped in the middle of the call, before the effect: the item, and the worker."""
    asleep = hands.start("web")
    with hanging(bureau, "web"):
        item = bureau.publish("web")
        until(lambda: bureau.calls("web"))
        stop(asleep)
    assert [row.state for row in rows(bureau, "web")] == [State.SENDING]
    return item, asleep


def ends(bureau: Bureau, item: int) -> int:
    """How many attempts have ended."""
    return sum(bool(attempt.ends) for attempt in reach.item_reach(bureau.rt, item).attempts)
