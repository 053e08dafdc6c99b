"""`fabu demo`: what a person sees who types one command on a bare machine."""

import os
import re
import shlex
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from csv import DictReader
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.locale import say
from config.settings import HERE, load
from tests.journeys import FABU, PATIENCE, Place, Running, office, page, told, until

READERS = len((HERE / "samples" / "readers.csv").read_text("utf-8").splitlines()) - 1


@dataclass(frozen=True)
class Shown:
    """A demo that has ended."""

    place: Place
    code: int
    output: str
    cells: list[dict[str, Any]]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """One demo, for all who only look at what it left."""
    with office(tmp_path_factory.mktemp("demo") / "data") as place:
        demo = place.start("demo")
        code = demo.wait(PATIENCE * 2)
        assert place.processes() == []
        yield Shown(place, code, demo.output, place.json("reach"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with office(tmp_path / "data") as place:
        yield place


def test_every_delivery_is_confirmed_and_reach_says_so_with_nothing_running(shown: Shown) -> None:
    assert shown.code == 0, shown.output
    mails = [cell for cell in shown.cells if cell["channel"] == "mail"]  # of which nobody reports that they arrived
    assert [(cell["state"], cell["counts"]) for cell in mails] == [("accepted", {"accepted": READERS})]
    cells = [cell for cell in shown.cells if cell["channel"] != "mail"]
    assert {cell["state"] for cell in cells} == {"confirmed"}
    assert {cell["channel"] for cell in cells} == {"portal", "app_feed", "sms", "bulletin"}
    assert len({cell["item"] for cell in cells}) >= 12
    assert all(cell["wanted"] == cell["held"] == cell["revision"] and cell["confirmed_at"] for cell in cells)
    assert told(shown.output, "demo.result", confirmed=len(cells), total=len(cells))


def test_every_notice_it_names_lies_there_as_a_pdf(shown: Shown) -> None:
    named = [Path(line.split()[-1]) for line in shown.output.splitlines() if line.endswith(".pdf")]
    assert len(named) == sum(cell["channel"] == "bulletin" for cell in shown.cells) > 0
    assert all(notice.read_bytes().startswith(b"%PDF-") for notice in named)


def test_each_reader_got_the_issue_once_and_it_holds_what_became_public(shown: Shown) -> None:
    got = shown.place.rows("sandbox/sandbox.sqlite3", "SELECT recipient FROM mails")
    assert len(got) == len(set(got)) == READERS
    issue = _issue(shown)
    year, number = re.findall(r"\d+", issue)[:2]
    assert [one["left"] for one in shown.place.json("newsletter", "status", f"{year}-{number}")["progress"]] == [0] * 4
    items = {cell["item"] for cell in shown.cells}
    assert told(shown.output, "demo.newsletter", issue=issue, count=len(items) - 1, all=len(items) - 1)


def _issue(shown: Shown) -> str:
    return next(line.partition("：")[0] for line in shown.output.splitlines() if "（总第" in line and "收入" in line)


def test_each_phone_got_each_text_once(shown: Shown) -> None:
    with (HERE / "samples" / "subscribers.csv").open(encoding="utf-8") as file:
        phones = {row["phone"] for row in DictReader(file)}
    texts = sum(cell["channel"] == "sms" for cell in shown.cells)
    got = Counter(shown.place.rows("sandbox/sandbox.sqlite3", "SELECT recipient, text FROM messages"))
    assert {phone for phone, _ in got} == phones
    assert len(got) == len(phones) * texts > 0
    assert set(got.values()) == {1}
    assert shown.place.rows("sandbox/sandbox.sqlite3", "SELECT count(*) FROM requests") == [(len(got),)]


def test_the_portal_counted_one_write_for_each_page_and_each_feed_entry(shown: Shown) -> None:
    wanted = {
        (collection, str(cell["item"])): 1
        for cell in shown.cells
        for channel, collection in (("portal", "items"), ("app_feed", "feed"))
        if cell["channel"] == channel
    }
    written = "SELECT collection, name FROM request_log WHERE collection IN ('items', 'feed')"
    assert Counter(shown.place.rows("portal/portal.db", written)) == wanted


def test_its_last_line_opens_the_addresses_again_and_no_demo_starts_until_they_are_closed(shown: Shown) -> None:
    place, cells = shown.place, shown.cells
    assert shlex.split(shown.output.splitlines()[-1]) == [str(FABU), "up", "--data", str(place.data)]
    before = _ledger(place)
    refusal = {"data": place.data, "command": shlex.join([str(FABU), "demo", "--data", str(place.data)])}

    up = place.up()
    for cell in cells:
        if cell["channel"] == "portal":
            assert cell["title"] in page(cell["reference"])
    assert "1380" in page(place.address("sandbox")).replace(" ", "")
    demo = place.run("demo")
    assert demo.returncode == 1
    assert told(demo.stderr, "demo.running", **refusal)
    assert up.process.poll() is None and page(place.address("portal"))

    slow = place.pids()["portal"]
    os.kill(slow, signal.SIGSTOP)  # it takes its time to stop
    up.process.kill()
    up.wait()
    demo = place.run("demo")
    os.kill(slow, signal.SIGCONT)
    assert demo.returncode == 1, demo.stdout
    assert told(demo.stderr, "demo.running", **refusal)
    assert _ledger(place) == before
    until(lambda: not place.processes())


def test_ctrl_c_leaves_no_process_at_any_moment_and_the_next_demo_on_the_directory_works(
    shown: Shown, place: Place
) -> None:
    """On the directory of an earlier demo; each demo finds what the one before it left."""
    shutil.copytree(shown.place.data, place.data, symlinks=True)
    earlier, ports = _ledger(place), (place.data / "ports.json").read_bytes()

    def starting() -> bool:
        return any("supervisor.supervisord" in " ".join(process.cmdline()) for process in place.processes())

    def reviewing() -> bool:
        return place.rows("fabu.db", "SELECT count(*) >= 3 FROM submission") == [(1,)]

    def delivering() -> bool:
        moving = "SELECT sum(state = 'confirmed') >= 3 AND sum(state != 'confirmed') > 0 FROM delivery"
        return place.rows("fabu.db", moving) == [(1,)]

    for moment in (starting, reviewing, delivering):
        interrupted = _interrupted(place, moment)
        assert interrupted.wait() == 130, (moment, interrupted.output)
        assert place.processes() == [], moment
        assert interrupted.says("up.interrupted"), interrupted.output

    last = place.start("demo")
    assert last.wait(PATIENCE * 2) == 0, last.output
    assert (place.data / "ports.json").read_bytes() == ports
    assert len(_ledger(place)) == len(earlier)


def test_a_portal_that_answers_200_and_stores_nothing_fails_the_demo_which_says_what_is_missing_and_why(
    place: Place,
) -> None:
    demo = place.start("demo", PORTAL_FAULT="amnesia", PORTAL_ALLOW_FAULTS="1")
    assert demo.wait(PATIENCE * 3) == 1
    assert place.processes() == []
    cells, channels = place.json("reach"), load(place.data).channels
    assert {(cell["channel"], cell["state"]) for cell in cells} == {
        ("portal", "failed"), ("app_feed", "failed"), ("bulletin", "due"), ("sms", "due")
    }  # fmt: skip
    why = {"failed": say("zh", "publish.not_seen"), "due": say("zh", "demo.waits", channel=channels["portal"].label)}
    for cell in cells:
        label, state = channels[cell["channel"]].label, cell["state"]
        said = {"channel": label, "state": say("zh", f"state.{state}"), "why": why[state]}
        assert demo.says("demo.missing", item=cell["item"], **said), (said, demo.output)
    assert demo.says("demo.result", confirmed=0, total=len(cells))


def test_a_directory_that_is_not_a_demos_is_refused_and_left_as_it_was(place: Place) -> None:
    place.data.mkdir()
    letter = place.data / "fabu.toml"
    letter.write_text("本单位的设置")
    refused = place.run("demo")
    assert refused.returncode == 1
    assert told(refused.stderr, "demo.not_a_demo", data=place.data)
    assert [path.name for path in place.data.iterdir()] == ["fabu.toml"]
    assert letter.read_text() == "本单位的设置"


def _interrupted(place: Place, moment: Callable[[], bool]) -> Running:
    """A demo on which Ctrl-C is pressed at a moment of its own run, not of the one before it."""
    demo = place.start("demo")
    until(lambda: demo.says("demo.starting", data=place.data) and moment())
    assert demo.process.poll() is None, demo.output
    demo.interrupt()
    return demo


def _ledger(place: Place) -> list[tuple[object, ...]]:
    """Every delivery as the ledger has it."""
    return place.rows("fabu.db", "SELECT item_id, channel, recipient, state, generation FROM delivery ORDER BY id")
