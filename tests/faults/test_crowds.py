"""Many workers and several sweeps at once on one database (faults 5, 10, 17)."""

from tests.channels.recording import Fault, set_faults
from tests.faults.conftest import Found
from tests.faults.stack import beat, hands_of, numbers, rows, states, times, until, until_begun, worker

ITEMS, NUMBERS = 100, 300


def test_four_workers_at_once_make_each_effect_exactly_once(found: Found) -> None:
    twin = {"kind": "tests.channels.recording:Recall", "label": "应用", "directory": "{data}/app"}
    bureau = found(channels={"app": twin}, limits={"lease_seconds": 30.0})
    bureau.subscribe(*numbers(NUMBERS))
    for _ in range(ITEMS):
        bureau.publish("web", "app")
    bureau.publish("sms")
    with hands_of(bureau) as hands:
        for _ in range(4):
            hands.start("sms", "web", "app")
        until(lambda: states(bureau, "web", "app", "sms") == {"confirmed": 2 * ITEMS, "accepted": NUMBERS})
    for channel, count in (("web", ITEMS), ("app", ITEMS), ("sms", NUMBERS)):
        assert len(bureau.calls(channel)) == len(bureau.effects(channel)) == count
        assert set(times(bureau.calls(channel)).values()) == {1}
        assert {row.attempts for row in rows(bureau, channel)} == {1}
    pids = {call.pid for channel in ("web", "app", "sms") for call in bureau.calls(channel)}
    assert len(pids) > 1  # they did work at the same time


def test_two_beats_send_each_text_once(found: Found, valkey_url: str) -> None:
    bureau = found(valkey_url)
    bureau.subscribe(*numbers(40))
    with worker(bureau, "web", "sms"), beat(bureau), beat(bureau, "second"):
        for _ in range(5):
            bureau.publish("web", "sms")
        until(lambda: states(bureau, "web", "sms") == {"confirmed": 5, "accepted": 200})
    assert set(times(bureau.calls("sms")).values()) == {1}
    assert len(bureau.effects("sms")) == 200
    assert set(times(bureau.effects("web")).values()) == {1}


def test_corrections_while_four_workers_send_change_the_text_and_never_the_number_of_texts(found: Found) -> None:
    bureau = found(channels={"sms": {"batch": 10}}, limits={"lease_seconds": 30.0})
    bureau.subscribe(*numbers(200))
    set_faults(bureau.rt.settings.data / "sms", Fault(seconds=0.05, times=None))
    item = bureau.publish("sms")
    with hands_of(bureau) as hands:
        for _ in range(4):
            hands.start("sms")
        for turn in range(1, 4):
            until_begun(bureau, turn * 30)
            bureau.correct(item, title=f"关于试播的通知（更正{turn}）")
        until(lambda: states(bureau, "sms") == {"accepted": 200})
    assert len(bureau.calls("sms")) == 200
    assert set(times(bureau.effects("sms")).values()) == {1}
    sent = {call.recipient: call.generation for call in bureau.effects("sms")}
    assert sent == {row.recipient: row.generation for row in rows(bureau, "sms")}
    assert len(set(sent.values())) > 1
    assert "Traceback" not in (bureau.rt.settings.data / "hands.log").read_text()
