"""The real portal and the real feed, while workers die, lines are slow, and the portal itself is at fault (faults 13,
18, 22)."""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from pipeline import review
from pipeline.states import State
from tests.channels.rig_portal import KEY, Process, portal_process
from tests.faults.conftest import Found
from tests.faults.stack import hands_of, rows, states, until, until_begun

ITEMS = 24


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Process]:
    with portal_process(tmp_path / "portal") as process:
        yield process


def channels(url: str, public_url: str = "", **more: Any) -> dict[str, dict[str, Any]]:
    there = {"url": url, "key": KEY, "public_url": public_url, **more}
    return {
        "portal": {"kind": "portal", "label": "门户", **there},
        "feed": {"kind": "app_feed", "label": "手机应用", **there},
    }


def test_portal_and_feed_hold_every_item_once_after_workers_were_killed_again_and_again(
    found: Found, portal: Process
) -> None:
    bureau = found(channels=channels(portal.url, batch=4))
    items = [bureau.publish("portal", "feed") for _ in range(ITEMS)]
    chance = random.Random(8)
    torn = set[int]()
    with hands_of(bureau) as hands:
        for point in range(8):
            pids = [hands.start("portal"), hands.start("feed")]
            until_begun(bureau, point * 5)
            time.sleep(chance.uniform(0, 0.05))
            for pid in pids:
                hands.kill(pid)
            torn |= {row.id for row in rows(bureau, "portal", "feed") if row.call_open}
        assert torn
        for channel in ("portal", "feed"):
            hands.start(channel)
        until(lambda: states(bureau, "portal", "feed") == {"confirmed": 2 * ITEMS})
    assert not [row for row in rows(bureau, "portal", "feed") if row.call_open]
    assert all(row.attempts <= 2 * (1 + 8) for row in rows(bureau, "portal", "feed"))
    assert listed(portal) == sorted(items)
    assert [requests.get(f"{portal.url}/i/{item}", timeout=5).status_code for item in items] == [200] * ITEMS


def test_a_withdrawal_overtakes_a_publication_that_hangs_on_the_line(found: Found, portal: Process) -> None:
    with slow_line(portal.url) as line:
        bureau = found(channels=channels(line.url, portal.url))
        item = bureau.publish("portal")
        with hands_of(bureau) as hands:
            hands.start("portal")
            assert line.holds.wait(30)
            review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
            until(lambda: bureau.state(item, "portal") == "confirmed")
            line.go.set()  # the publication arrives now, after its own withdrawal
            assert line.answered.wait(30)
            assert line.answer in (409, 412)
    cell = bureau.cell(item, "portal")
    assert (cell.state, cell.wanted, cell.held, cell.held_known) == ("confirmed", None, None, True)
    assert requests.get(f"{portal.url}/i/{item}", timeout=5).status_code == 410


def test_an_old_text_that_hangs_on_the_line_never_overwrites_its_correction(found: Found, portal: Process) -> None:
    with slow_line(portal.url) as line:
        bureau = found(channels=channels(line.url, portal.url))
        item = bureau.publish("portal", draft={"title": "关于试播的通知（旧）"})
        with hands_of(bureau) as hands:
            hands.start("portal")
            assert line.holds.wait(30)
            bureau.correct(item, title="关于试播的通知（新）")
            until(lambda: bureau.state(item, "portal") == "confirmed")
            line.go.set()
            assert line.answered.wait(30)
    cell = bureau.cell(item, "portal")
    assert (cell.state, cell.wanted, cell.held) == ("confirmed", 2, 2)
    page = requests.get(f"{portal.url}/i/{item}", timeout=5).text
    assert "（新）" in page
    assert "（旧）" not in page


def test_a_portal_that_answers_200_and_keeps_nothing_is_found_out(found: Found, tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal", PORTAL_FAULT="amnesia", PORTAL_ALLOW_FAULTS="1") as portal:
        bureau = found(channels=channels(portal.url, tries=2))
        item = bureau.publish("portal", "feed")
        with hands_of(bureau) as hands:
            hands.start("portal", "feed")
            until(lambda: states(bureau, "portal", "feed") == {"failed": 2})
        for channel in ("portal", "feed"):
            cell = bureau.cell(item, channel)
            assert (cell.error and cell.error["code"], cell.attempts, cell.held_known) == ("publish.not_seen", 2, False)
            assert cell.confirmed_at is None
        assert {row.state for row in rows(bureau, "portal", "feed")} == {State.FAILED}


def listed(portal: Process) -> list[int]:
    """The numbers that the feed shows, page by page, each as often as it is shown."""
    shown, address = list[int](), f"{portal.url}/feed.json"
    while address:
        feed = requests.get(address, timeout=5).json()
        shown += [entry["_fabu"]["number"] for entry in feed["items"]]
        address = feed.get("next_url", "")
    return sorted(shown)


class Line(ThreadingHTTPServer):
    """A line to the portal that holds the first PUT until it is told to let it go; the rest passes at once."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.target = urlsplit(target).netloc
        self.holds, self.go, self.answered, self.answer = threading.Event(), threading.Event(), threading.Event(), 0

    def handle_error(self, *_: object) -> None:
        """The sender of the held request has long given up: that is the point."""


class _Passing(BaseHTTPRequestHandler):
    server: Line
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        held = self.command == "PUT" and not self.server.holds.is_set()
        if held:
            self.server.holds.set()
            self.server.go.wait(60)
        onward = http.client.HTTPConnection(self.server.target, timeout=10)
        onward.request(self.command, self.path, body, dict(self.headers))
        answer = onward.getresponse()
        content = answer.read()
        if held:
            self.server.answer = answer.status
            self.server.answered.set()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", ""))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_DELETE = do_PUT

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def slow_line(target: str) -> Iterator[Line]:
    with Line(target) as line:
        threading.Thread(target=line.serve_forever, daemon=True).start()
        try:
            yield line
        finally:
            line.go.set()
            line.shutdown()
