"""Decisions that overtake a publication which is in flight or waits to be tried again (faults 12, 18, 19)."""

from datetime import timedelta

import pytest

from pipeline import operate, review
from tests.channels.recording import Fault, set_faults
from tests.faults.conftest import Found
from tests.faults.stack import hands_of, hanging, now, numbers, settled, states, times, until


def test_a_withdrawal_during_the_call_has_the_last_word(found: Found) -> None:
    bureau = found(channels={"web": {"call_seconds": 30.0}}, limits={"lease_seconds": 60.0})
    with hands_of(bureau) as hands:
        with hanging(bureau, "web"):
            item = bureau.publish("web")
            hands.start("web")
            hands.start("web")
            until(lambda: bureau.calls("web"))
            review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
            assert bureau.state(item, "web") == "sending"
        until(lambda: bureau.state(item, "web") == "confirmed", seconds=20)  # it does not wait as long as a call may
    assert [(call.op, call.generation) for call in bureau.effects("web")] == [("deliver", 1), ("withdraw", 2)]
    cell = bureau.cell(item, "web")
    assert (cell.wanted, cell.held, cell.held_known) == (None, None, True)


@pytest.mark.parametrize("trouble", ["unavailable", "in_doubt", "in_doubt_after_effect", "rejected"])
def test_an_old_text_that_is_tried_again_never_overwrites_its_correction(found: Found, trouble: str) -> None:
    bureau = found()
    set_faults(bureau.rt.settings.data / "web", Fault(raises=trouble))  # type: ignore[arg-type]
    with hands_of(bureau) as hands:
        first = hands.start("web")
        item = bureau.publish("web")
        until(lambda: times(bureau.calls("web")) and not [s for s in states(bureau, "web") if s == "sending"])
        bureau.correct(item, title="关于试播的通知（更正）")
        until(lambda: bureau.cell(item, "web").held == 2 and bureau.state(item, "web") == "confirmed")
        hands.kill(first)
    generations = [call.generation for call in bureau.calls("web")]
    assert generations == sorted(generations)
    assert bureau.effects("web")[-1].generation == 2


@pytest.mark.parametrize("trouble", ["unavailable", "in_doubt"])
def test_a_correction_reaches_by_sms_only_whom_nothing_was_sent(found: Found, trouble: str) -> None:
    bureau = found()
    everybody = numbers(4)
    bureau.subscribe(*everybody)
    set_faults(bureau.rt.settings.data / "sms", Fault(raises=trouble, recipient=everybody[1]))  # type: ignore[arg-type]
    with hands_of(bureau) as hands:
        hands.start("sms")
        item = bureau.publish("sms")
        until(lambda: len(bureau.effects("sms")) == 3 and states(bureau, "sms")["accepted"] == 3)
        bureau.correct(item, title="关于试播的通知（更正）")
        until(lambda: settled(bureau, "sms"))
    old, new = bureau.effects("sms")[0].digest, bureau.effects("sms")[-1].digest
    if trouble == "unavailable":
        assert states(bureau, "sms") == {"accepted": 4}
        assert old != new and bureau.effects("sms")[-1].recipient == everybody[1]
    else:
        assert states(bureau, "sms") == {"accepted": 3, "in_doubt": 1}
        assert old == new
    assert set(times(bureau.effects("sms")).values()) == {1}


def test_no_hand_reaches_for_a_correction_before_its_time(found: Found) -> None:
    bureau = found()
    with hands_of(bureau) as hands:
        for _ in range(3):
            hands.start("web")
        at = now() + timedelta(seconds=8)  # time enough to publish and correct on a crowded machine
        item = bureau.publish("web", publish_at=at)
        bureau.correct(item, title="关于试播的通知（更正）")
        until(lambda: bureau.state(item, "web") == "confirmed")
    assert [(call.generation, call.at >= at.timestamp()) for call in bureau.calls("web")] == [(2, True)]


def test_a_notice_whose_taking_down_is_in_doubt_is_not_taken_for_gone(found: Found) -> None:
    bureau = found()
    set_faults(bureau.rt.settings.data / "board", Fault(raises="in_doubt", op="withdraw"))
    with hands_of(bureau) as hands:
        hands.start("web", "board")
        item = bureau.publish("web", "board")
        until(lambda: bureau.state(item, "board") == "accepted")
        operate.post(bureau.rt, bureau.actor("wang"), item, "局一楼公开栏")
        review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
        until(lambda: bureau.state(item, "board") in ("accepted", "confirmed"))
    assert bureau.state(item, "board") == "accepted"  # it hangs there until a person takes it down
    assert [call.op for call in bureau.calls("board")] == ["deliver", "withdraw", "withdraw"]
