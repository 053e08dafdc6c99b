"""Watching over a real `fabu up`: doctor, health, figures and holidays, typed as an administrator types them."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.journeys import Place, office, until

NOTICE = "日期,安排\n2027-01-01,休\n2027-02-07,班\n2027-05-03,休\n2027-10-01,休\n"
PARTS = ("worker", "beat")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with office(tmp_path / "data") as place:
        yield place


def test_a_healthy_office_has_nothing_broken_and_each_part_that_stops_is_named(place: Place, tmp_path: Path) -> None:
    up = place.up()
    until(lambda: at_work(place) == {"worker", "beat"})
    said = place.run("doctor")
    assert said.returncode == 0 and "✗" not in said.stdout and "✓" in said.stdout and said.stderr == ""
    assert all(place.run("health", part).returncode == 0 for part in PARTS)

    token = place.run("metrics", "--token").stdout.strip()
    asked = {"Authorization": f"Bearer {token}"}
    figures = requests.get(place.address("inbound") + "/metrics", headers=asked, timeout=20).text
    assert 'fabu_alive{kind="worker"} 1.0' in figures and 'fabu_alive{kind="beat"} 1.0' in figures

    notice = tmp_path / "放假通知.csv"
    notice.write_text(NOTICE, "gb18030")
    assert place.json("holidays", "import", str(notice))["imported"] == [{"year": 2027, "off": 3, "work": 1}]
    assert place.json("holidays")["known_through"] == "2027-12-31"

    stopped = place.pids()
    os.kill(stopped["inbound"], signal.SIGSTOP)
    try:
        (broken,) = [one for one in findings(place) if one["level"] == "broken"]
        assert broken["code"] == "doctor.inbound_silent" and "?" not in broken["message"]
        os.kill(stopped["portal"], signal.SIGSTOP)
        assert [place.run("health", part).returncode for part in ("portal", "inbound", "worker")] == [1, 1, 0]
    finally:
        for name in ("portal", "inbound"):
            os.kill(stopped[name], signal.SIGCONT)
    up.process.terminate()
    assert up.wait() == 0


def at_work(place: Place) -> set[str]:
    """Which kinds of processes have written their line."""
    return {kind for (kind,) in place.rows("fabu.db", "SELECT kind FROM process")}


def findings(place: Place) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(place.run("doctor", "--json").stdout)
    return found
