"""Workers that die by `kill -9` in the middle of a batch (faults 1, 2, 3, 8, 13)."""

import random
import time

from pipeline.states import State
from tests.channels.recording import Fault, set_faults
from tests.faults.conftest import Found
from tests.faults.stack import beat, end, hands_of, numbers, rows, settled, times, until, until_begun, worker
from tests.office import Bureau

SENDERS = 4


def test_no_sms_is_lost_or_doubled_when_the_worker_is_killed_at_twenty_points(found: Found) -> None:
    bureau = found(channels={"sms": {"batch": 8, "senders": SENDERS}})
    bureau.subscribe(*numbers(60))
    set_faults(bureau.rt.settings.data / "sms", Fault(seconds=0.015, times=None))  # before the effect and after it
    for _ in range(4):
        bureau.publish("sms")
    chance = random.Random(20)
    torn, only_claimed = set[int](), set[int]()
    with hands_of(bureau) as hands:
        for point in range(20):
            pid = hands.start("sms")
            until_begun(bureau, point * 10)
            time.sleep(chance.uniform(0, 0.05))
            hands.kill(pid)
            sending = [row for row in rows(bureau, "sms") if row.state is State.SENDING]
            left = {row.id for row in sending if row.call_open} - torn
            assert len(left) <= SENDERS
            torn |= left
            only_claimed |= {row.id for row in sending if not row.call_open}
        assert torn
        assert only_claimed
        hands.start("sms")
        until(lambda: settled(bureau, "sms") and doubtful(bureau) == torn)
    assert_each_once(bureau, 4 * 60)


def test_no_sms_is_lost_or_doubled_when_a_celery_worker_is_killed_in_a_batch(found: Found, valkey_url: str) -> None:
    bureau = found(valkey_url, channels={"sms": {"batch": 80, "senders": SENDERS}})
    bureau.subscribe(*numbers(80))
    set_faults(bureau.rt.settings.data / "sms", Fault(seconds=0.03, times=None))
    with beat(bureau):
        with worker(bureau, "sms") as first:
            bureau.publish("sms")
            until_begun(bureau, 10)
            end(first)
        sending = [row for row in rows(bureau, "sms") if row.state is State.SENDING]
        torn = {row.id for row in sending if row.call_open}
        assert len(sending) > len(torn) > 0
        assert len(torn) <= SENDERS * 2  # a worker runs two tasks of a channel at once
        with worker(bureau, "sms"):
            until(lambda: settled(bureau, "sms") and doubtful(bureau) == torn)
    assert_each_once(bureau, 80)


def assert_each_once(bureau: Bureau, count: int) -> None:
    """Every recipient has the text once, or the ledger says that it cannot tell; nobody was called twice."""
    ledger, called, arrived = rows(bureau, "sms"), times(bureau.calls("sms")), times(bureau.effects("sms"))
    assert len(ledger) == count
    assert max(called.values()) == 1
    for row in ledger:
        if row.state is not State.IN_DOUBT:
            assert (row.state, arrived[f"sms/{row.item}", row.recipient]) == (State.ACCEPTED, 1)


def doubtful(bureau: Bureau) -> set[int]:
    return {row.id for row in rows(bureau, "sms") if row.state is State.IN_DOUBT}
