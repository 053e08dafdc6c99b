"""The app feed channel against a real portal process."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from channels import app_feed
from channels.app_feed import AppFeed
from channels.contract import Call, File, Rejected, Rendition, Seen
from channels.document import Paragraph, Table
from channels.readback import look
from tests.channels.rig_portal import KEY, Process, message, portal_process

FULL = replace(
    message(title='关于<b>&"安全播出"</b>的通知'),
    blocks=(Paragraph("第一段  有空格 <b>不是标记</b>。"), Table((("甲", "乙"), ("1 ", "2 & 3")))),
    short_title="安全播出",
    summary="检查 & 整改",
    files=(File("附件 1&2.pdf", "application/pdf", b"%PDF"),),
)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    with portal_process(tmp_path / "portal") as process:
        yield process


@pytest.fixture
def feed(process: Process) -> AppFeed:
    return AppFeed(process.url, KEY)


def test_an_entry_is_seen_as_it_was_approved(feed: AppFeed) -> None:
    rendition, call = feed.render(FULL), Call("app_feed/1", 1)
    assert feed.verify([(rendition, call)]) == [Seen.NOTHING]
    assert feed.deliver(rendition, call) == feed.deliver(rendition, call)
    assert feed.verify([(rendition, call), (None, call), (rendition, Call("app_feed/2", 1))]) == [
        Seen.SAME,
        Seen.OTHER,
        Seen.NOTHING,
    ]


CHANGES: list[dict[str, Any]] = [
    {"title": "关于安全播出的通知"},
    {"short_title": ""},
    {"summary": ""},
    {"blocks": FULL.blocks[:1]},
    {"department": "总编室"},
    {"files": ()},
    {"address": "http://127.0.0.1/i/2"},
]


def test_any_other_word_or_value_is_seen(feed: AppFeed) -> None:
    for generation, change in enumerate(CHANGES):
        first, second = Call("app_feed/1", 2 * generation + 1), Call("app_feed/1", 2 * generation + 2)
        feed.deliver(feed.render(FULL), first)
        changed = feed.render(replace(FULL, **change))
        assert feed.verify([(changed, first)]) == [Seen.OTHER], change
        feed.deliver(changed, second)
        assert feed.verify([(changed, second)]) == [Seen.SAME], change


def test_a_day_of_entries_and_withdrawals_is_verified_in_one_pass(
    feed: AppFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[tuple[Rendition | None, Call]] = []
    for number in range(1, 121):
        rendition, call = feed.render(message(number)), Call(f"app_feed/{number}", 1)
        feed.deliver(rendition, call)
        rows.append((rendition, call))
    for number in range(1, 31):
        call = Call(f"app_feed/{number}", 2)
        feed.withdraw(call)
        rows.append((None, call))
    looks: list[str] = []

    def counted(address: str, seconds: float) -> tuple[int, bytes]:
        looks.append(address)
        return look(address, seconds)

    monkeypatch.setattr(app_feed, "look", counted)
    assert feed.verify(rows[30:]) == [Seen.SAME] * 90 + [Seen.NOTHING] * 30
    assert len(looks) == 4  # the tombstones stand on the first page, the live ones on three
    assert feed.verify(rows[:30]) == [Seen.NOTHING] * 30  # withdrawn since
    looks.clear()
    assert feed.verify([rows[119]]) == [Seen.SAME]
    assert len(looks) == 1
    monkeypatch.setattr(app_feed, "MOST_PAGES", 1)
    assert feed.verify([rows[40], rows[119]]) == [Seen.UNKNOWN, Seen.SAME]


def test_a_late_original_stays_away_after_its_withdrawal(feed: AppFeed) -> None:
    rendition = feed.render(FULL)
    feed.withdraw(Call("app_feed/1", 2))
    with pytest.raises(Rejected, match=r"portal\.superseded"):
        feed.deliver(rendition, Call("app_feed/1", 1))
    assert feed.verify([(None, Call("app_feed/1", 2))]) == [Seen.NOTHING]


def test_a_feed_that_answers_200_and_stores_nothing_is_found_out(tmp_path: Path) -> None:
    fault = {"PORTAL_FAULT": "amnesia", "PORTAL_ALLOW_FAULTS": "1"}
    with portal_process(tmp_path / "portal", **fault) as process:
        feed = AppFeed(process.url, KEY)
        rendition, call = feed.render(FULL), Call("app_feed/1", 1)
        feed.deliver(rendition, call)
        assert feed.verify([(rendition, call)]) == [Seen.NOTHING]


def test_what_was_not_looked_at_is_unknown_never_nothing(process: Process) -> None:
    rows = [(AppFeed(process.url, KEY).render(FULL), Call("app_feed/1", 1)), (None, Call("app_feed/2", 1))]
    assert AppFeed("http://127.0.0.1:9", KEY).verify(rows) == [Seen.UNKNOWN] * 2
    assert AppFeed(process.url, KEY, public_url=f"{process.url}/no").verify(rows) == [Seen.UNKNOWN] * 2
