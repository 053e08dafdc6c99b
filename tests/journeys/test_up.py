"""`fabu up`: the office's own stack, whose every process is really killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.journeys import PATIENCE, Place, office, page, until
from workers.supervise import free_ports

EVERYWHERE = {"portal": "confirmed", "app_feed": "confirmed"}
# The broker last: worker and beat must find the new one, not the new one them.
EACH_IN_TURN = ("beat", "worker", "sandbox", "inbound", "console", "portal", "valkey")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with office(tmp_path / "data") as place:
        yield place


def test_whichever_process_is_killed_it_comes_back_and_the_next_item_arrives(place: Place) -> None:
    up = place.up()
    assert page(place.address("portal")) and page(place.address("sandbox"))
    assert page(place.address("inbound") + "/health") == page(place.address("console") + "/health") == "ok"
    assert set(place.pids()) == set(EACH_IN_TURN)

    for name in EACH_IN_TURN:
        killed = place.pids()[name]
        os.kill(killed, signal.SIGKILL)
        until(lambda name=name, killed=killed: place.pids()[name] != killed and _runs(place.pids()[name]))  # type: ignore[misc]
    until(lambda: all(page(place.address(part)) for part in ("portal", "inbound", "console", "sandbox")))

    item = place.publish("每个进程都重启过")
    until(lambda: "每个进程都重启过" in page(f"{place.address('portal')}/i/{item}"))
    until(lambda: "每个进程都重启过" in page(place.address("portal") + "/feed.json"))
    until(lambda: place.states(item) == EVERYWHERE)

    up.process.terminate()
    assert up.wait() == 0
    assert place.processes() == []
    assert up.says("up.stopping")
    order = place.stopped()
    assert (order[:2], order[-1]) == (["beat", "worker"], "valkey")
    assert sorted(order) == sorted(EACH_IN_TURN)


def test_what_was_approved_while_nothing_ran_goes_out_when_the_next_up_resumes(place: Place) -> None:
    first = place.up()
    ports = (place.data / "ports.json").read_bytes()
    [supervisord] = [each for each in place.processes() if "supervisor.supervisord" in each.cmdline()]
    supervisord.kill()
    until(lambda: not place.processes(), 10)
    assert first.wait() != 0  # nobody asked it to end: who started it must learn of it
    assert first.says("supervise.ended", log=place.data / "logs" / "supervisord.log")

    item = place.publish("无人值守时通过")
    assert place.states(item) == {"portal": "due", "app_feed": "due"}

    second = place.up()
    assert (place.data / "ports.json").read_bytes() == ports
    until(lambda: "无人值守时通过" in page(f"{place.address('portal')}/i/{item}"))
    until(lambda: place.states(item) == EVERYWHERE)

    third = place.run("up")
    assert third.returncode == 1
    assert str(place.data) in "".join(third.stderr.split())
    assert "已在运行" in third.stderr
    assert second.process.poll() is None and page(place.address("portal"))

    second.process.kill()
    until(lambda: not place.processes())
    assert sorted(place.stopped()) == sorted(EACH_IN_TURN)  # in order, not by force


def test_a_port_that_another_program_took_is_named_with_its_holder_and_nothing_starts(
    place: Place, tmp_path: Path
) -> None:
    ports = free_ports(("portal", "inbound", "sandbox"))
    place.data.mkdir()
    (place.data / "ports.json").write_text(str(ports).replace("'", '"'))
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(ports["portal"])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path) as stranger:
        try:
            until(lambda: page(f"http://127.0.0.1:{ports['portal']}/nothing-of-ours") == "404")
            name = psutil.Process(stranger.pid).name()
            up = place.start("up")
            assert up.wait(PATIENCE / 2) == 1, up.output
            taken = {"program": "portal", "port": ports["portal"], "holder": f"{name} ({stranger.pid})"}
            assert up.says("supervise.port_taken", **taken), up.output
            assert stranger.poll() is None
        finally:
            stranger.kill()


def _runs(pid: int) -> bool:
    """Is it the program itself, no longer what ties it to the supervisor?"""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return bool(words) and not any(word.endswith("tied.py") for word in words)
