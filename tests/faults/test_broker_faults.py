"""A broker that forgets, or takes every word and never answers (faults 6, 7, 16). The database is the queue."""

import time
from urllib.parse import unquote, urlsplit

import redis

from pipeline import review
from pipeline.wake import queue_of
from tests.channels.recording import Fault, set_faults
from tests.faults.conftest import Found
from tests.faults.stack import beat, moved, numbers, states, times, until, until_begun, worker
from tests.parts import silent_server


def test_a_broker_that_is_emptied_in_the_middle_of_a_batch_loses_nothing(found: Found, valkey_url: str) -> None:
    bureau = found(valkey_url, channels={"sms": {"batch": 10, "senders": 4}})
    bureau.subscribe(*numbers(60))
    set_faults(bureau.rt.settings.data / "sms", Fault(seconds=0.02, times=None))
    broker = client(valkey_url)
    bureau.publish("web", "sms")
    until(lambda: broker.llen(queue_of("web")) and broker.llen(queue_of("sms")))
    broker.flushall()  # all that told of the first item is gone before anybody heard it
    with worker(bureau, "web", "sms"), beat(bureau):
        for turn in range(4):
            until_begun(bureau, turn * 61 + 11)
            broker.flushall()
            bureau.publish("web", "sms")
        until(lambda: states(bureau, "web", "sms") == {"confirmed": 5, "accepted": 300})
    for channel, count in (("web", 5), ("sms", 300)):
        assert len(bureau.effects(channel)) == len(bureau.calls(channel)) == count
        assert set(times(bureau.effects(channel)).values()) == {1}


def test_an_approval_waits_for_no_broker_and_the_sweep_finds_what_nobody_heard_of(
    found: Found, valkey_url: str
) -> None:
    with silent_server() as (host, port):
        bureau = found(f"redis://{host}:{port}/0")
        waiting = [(item := bureau.write(), bureau.submit(item, "web")) for _ in range(20)]
        for item, seen in waiting:
            review.approve(bureau.rt, bureau.actor("li"), item, seen)
        took = []
        for item, seen in waiting:
            began = time.monotonic()
            review.approve(bureau.rt, bureau.actor("chen"), item, seen)
            took.append(time.monotonic() - began)
        assert max(took) < 0.5
    assert states(bureau, "web") == {"due": 20}
    restored = moved(bureau, valkey_url)
    with worker(restored, "web"), beat(restored):
        until(lambda: states(bureau, "web") == {"confirmed": 20})
    assert set(times(bureau.effects("web")).values()) == {1}


def client(url: str) -> redis.Redis:
    return redis.Redis(unix_socket_path=unquote(urlsplit(url).path))
