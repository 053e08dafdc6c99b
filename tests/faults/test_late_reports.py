"""Reports that come late, early, twice or never (fault 15), while real workers send."""

from pipeline import operate
from tests.faults.conftest import Found
from tests.faults.stack import hands_of, hanging, numbers, rows, settled, states, times, until


def test_a_report_that_comes_after_its_worker_died_settles_the_doubt(found: Found) -> None:
    bureau = found()
    bureau.subscribe(*numbers(1))
    with hands_of(bureau) as hands:
        with hanging(bureau, "sms"):
            bureau.publish("sms")
            pid = hands.start("sms")
            until(lambda: bureau.calls("sms"))
            hands.kill(pid)
        hands.start("sms")
        until(lambda: states(bureau, "sms") == {"in_doubt": 1})
        for _ in range(2):
            assert bureau.report(bureau.calls("sms")[0], "delivered")
            assert states(bureau, "sms") == {"confirmed": 1}
    assert len(bureau.calls("sms")) == 1


def test_a_report_that_overtakes_the_record_of_its_own_call_waits_for_it(found: Found) -> None:
    bureau = found(channels={"sms": {"call_seconds": 10.0}}, limits={"lease_seconds": 30.0})
    bureau.subscribe(*numbers(2))
    with hands_of(bureau) as hands:
        with hanging(bureau, "sms"):
            bureau.publish("sms")
            hands.start("sms")
            until(lambda: len(bureau.calls("sms")) == 2)
            for call in bureau.calls("sms"):
                assert bureau.report(call, "delivered")
            assert states(bureau, "sms") == {"sending": 2}
        until(lambda: states(bureau, "sms") == {"confirmed": 2})
    assert set(times(bureau.effects("sms")).values()) == {1}


def test_an_early_report_of_a_worker_that_died_is_applied_when_its_lease_runs_out(found: Found) -> None:
    bureau = found()
    bureau.subscribe(*numbers(1))
    with hands_of(bureau) as hands:
        with hanging(bureau, "sms"):
            bureau.publish("sms")
            pid = hands.start("sms")
            until(lambda: bureau.calls("sms"))
            hands.kill(pid)
        assert bureau.report(bureau.calls("sms")[0], "delivered")
        hands.start("sms")
        until(lambda: states(bureau, "sms") == {"confirmed": 1})
    assert len(bureau.calls("sms")) == 1


def test_without_any_report_a_doubt_stays_until_a_person_settles_it(found: Found) -> None:
    bureau = found()
    bureau.subscribe(*numbers(3))
    with hands_of(bureau) as hands:
        with hanging(bureau, "sms", numbers(3)[0]):
            item = bureau.publish("sms")
            pid = hands.start("sms")
            until(lambda: len(bureau.calls("sms")) == 3 and states(bureau, "sms")["accepted"] == 2)
            hands.kill(pid)
        hands.start("sms")
        until(lambda: states(bureau, "sms") == {"accepted": 2, "in_doubt": 1})
        later = bureau.publish("sms")  # when this one is through, the workers have had their chance at the first
        until(lambda: settled(bureau, "sms") and len(rows(bureau, "sms")) == 6)
        assert bureau.cell(item, "sms").counts == {"accepted": 2, "in_doubt": 1}
        operate.settle(bureau.rt, bureau.actor("wang"), item, "sms", sent=False, reason="运营商确认未收到")
        until(lambda: states(bureau, "sms") == {"accepted": 6})
    assert set(times(bureau.effects("sms")).values()) == {1}
    assert bureau.cell(later, "sms").attempts == 3
