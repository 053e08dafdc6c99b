"""The fake that the pipeline is tested with must itself be true: shared by processes, outliving their death."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from channels.contract import Call, Evidence, InDoubt, Rejected, Rendition, Seen, Unavailable
from tests.channels.fault_server import wait_for
from tests.channels.recording import (
    Fault,
    Person,
    Recall,
    Report,
    calls,
    channel_class,
    effects,
    set_faults,
)

rendition = Rendition("text/plain", "通知".encode())

SENDER = """
import sys
from pathlib import Path
from channels.contract import Call, Rendition, Unavailable
from tests.channels.recording import Report
channel, rendition = Report(Path(sys.argv[1])), Rendition("text/plain", b"x")
for number in range(200):
    try:
        channel.deliver(rendition, Call(f"sms/{sys.argv[2]}", 1, str(number)))
    except Unavailable:
        pass
"""


def test_several_processes_lose_no_line_and_spend_each_fault_once(tmp_path: Path) -> None:
    set_faults(tmp_path, Fault("unavailable", times=37))
    senders = [subprocess.Popen([sys.executable, "-c", SENDER, str(tmp_path), str(one)]) for one in range(3)]
    assert [sender.wait(60) for sender in senders] == [0, 0, 0]
    assert len(calls(tmp_path)) == len({call.key for call in calls(tmp_path)}) == 600
    assert len(effects(tmp_path)) == 600 - 37
    assert len({call.pid for call in calls(tmp_path)}) == 3


def test_what_a_killed_worker_had_begun_is_still_known(tmp_path: Path) -> None:
    set_faults(tmp_path, Fault(seconds=60, slot="sms/1", recipient="5"))
    sender = subprocess.Popen([sys.executable, "-c", SENDER, str(tmp_path), "1"])
    wait_for(lambda: len(calls(tmp_path)) == 6)
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    assert [call.recipient for call in effects(tmp_path)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("raises", "error", "took_effect"),
    [
        ("unavailable", Unavailable, False),
        ("rejected", Rejected, False),
        ("in_doubt", InDoubt, False),
        ("in_doubt_after_effect", InDoubt, True),
    ],
)
def test_a_fault_happens_as_often_as_it_is_told(
    tmp_path: Path, raises: str, error: type[Exception], took_effect: bool
) -> None:
    channel, call = Recall(tmp_path), Call("portal/1", 1)
    set_faults(tmp_path, Fault(raises, slot="portal/1", times=2))  # type: ignore[arg-type]
    channel.deliver(rendition, Call("portal/2", 1))
    channel.withdraw(Call("portal/1", 1))
    for _ in range(2):
        with pytest.raises(error):
            channel.deliver(rendition, call)
    assert len(effects(tmp_path, "deliver")) == (3 if took_effect else 1)
    assert channel.verify([(rendition, call)]) == [Seen.SAME if took_effect else Seen.NOTHING]
    channel.deliver(rendition, call)
    assert len(calls(tmp_path, "deliver")) == 4


def test_a_fault_may_last_and_be_lifted(tmp_path: Path) -> None:
    channel = Recall(tmp_path)
    set_faults(tmp_path, Fault("unavailable", times=None, retry_after=9), Fault("in_doubt", op="verify", times=None))
    for _ in range(3):
        with pytest.raises(Unavailable) as error:
            channel.deliver(rendition, Call("portal/1", 1))
        assert error.value.retry_after == 9
    assert channel.verify([(rendition, Call("portal/1", 1))]) == [Seen.UNKNOWN]
    set_faults(tmp_path)
    channel.deliver(rendition, Call("portal/1", 1))
    assert channel.verify([(rendition, Call("portal/1", 1))]) == [Seen.SAME]


def test_the_kinds_are_those_of_the_real_channels(tmp_path: Path) -> None:
    assert (Report.recall, Report.evidence, Report.addressed, Report.fenced) == (False, Evidence.REPORT, True, False)
    assert (Person.recall, Person.evidence, Person.addressed) == (True, Evidence.PERSON, False)
    other = channel_class(recall=True, evidence=Evidence.READBACK, addressed=False, fenced=False)(tmp_path)
    other.deliver(rendition, Call("web/1", 2))
    other.deliver(rendition, Call("web/1", 1))
    assert len(effects(tmp_path)) == 2, "without a fence the older one overwrites"


def test_thousands_of_calls_take_seconds(tmp_path: Path) -> None:
    channel, begun = Recall(tmp_path), time.monotonic()
    for number in range(1000):
        channel.deliver(rendition, Call(f"portal/{number}", 1))
    assert time.monotonic() - begun < 5
