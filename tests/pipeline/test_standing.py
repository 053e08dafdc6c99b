"""What grows stale on our public sides is seen before an inspection sees it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from channels.contract import DeliveryError
from channels.portal import Portal
from pipeline import notify, standing
from pipeline.standing import Level
from tests.channels.fault_server import answers, closes, serving
from tests.channels.recording import Fault, set_faults
from tests.office import MORNING, Bureau


def columns(bureau: Bureau, *found: tuple[str, int | None, int | None]) -> None:
    """What the website will say: a column's id, days since its last update (None: empty), its limit."""
    directory = bureau.rt.settings.data / "web"
    directory.mkdir(exist_ok=True)
    listed = [
        {
            "id": id,
            "name": f"栏目 {id}",
            "items": 0 if days is None else 3,
            "updated_at": (bureau.clock() - timedelta(days=days)).isoformat() if days is not None else None,
            "limit_days": limit,
        }
        for id, days, limit in found
    ]
    (directory / "columns.json").write_text(json.dumps(listed))


@pytest.mark.parametrize(
    ("items", "days", "limit", "level"),
    [
        (3, 0, 14, Level.FRESH), (3, 9, 14, Level.FRESH), (3, 10, 14, Level.NEAR), (3, 14, 14, Level.NEAR),
        (3, 15, 14, Level.OVER), (3, 127, 183, Level.FRESH), (3, 129, 183, Level.NEAR), (3, 9999, None, Level.FRESH),
        (0, None, 14, Level.EMPTY), (0, 3, None, Level.EMPTY), (3, 256, 365, Level.NEAR), (3, 366, 365, Level.OVER),
    ],
)  # fmt: skip
def test_seventy_percent_of_a_limit_is_a_warning(items: int, days: int, limit: int | None, level: Level) -> None:
    assert standing.judge(items, days, limit) is level


def test_what_the_website_says_is_kept_and_grows_older_by_itself(bureau: Bureau) -> None:
    columns(bureau, ("notices", 9, 14), ("plans", 3, 365), ("people", None, 365))
    assert standing.read_all(bureau.rt) == {}
    assert [(one.id, one.level) for one in standing.lines(bureau.rt)] == [
        ("notices", Level.FRESH), ("plans", Level.FRESH), ("people", Level.EMPTY),
    ]  # fmt: skip
    bureau.clock.forward(days=1)
    assert standing.lines(bureau.rt)[0].level is Level.NEAR
    bureau.clock.forward(days=5)
    [one] = standing.troubles(bureau.rt)
    assert (one.id, one.level, one.days, one.stale) == ("notices", Level.OVER, 15, True)


def test_days_are_those_of_the_office_and_not_of_greenwich(bureau: Bureau) -> None:
    """20:00 in London is the next morning in Zhangdian."""
    columns(bureau, ("notices", 0, 14))
    standing.read_all(bureau.rt)
    bureau.clock.moment = MORNING + timedelta(hours=13, minutes=59)  # 23:59 in Zhangdian
    assert standing.lines(bureau.rt)[0].days == 0
    bureau.clock.forward(minutes=1)
    assert standing.lines(bureau.rt)[0].days == 1


def test_a_column_that_is_no_more_is_shown_no_more(bureau: Bureau) -> None:
    columns(bureau, ("notices", 1, 14), ("old", 400, 365))
    standing.read_all(bureau.rt)
    columns(bureau, ("notices", 1, 14))
    standing.read_all(bureau.rt)
    assert [one.id for one in standing.lines(bureau.rt)] == ["notices"]


def test_a_website_that_does_not_answer_leaves_what_was_known_and_is_asked_again(bureau: Bureau) -> None:
    columns(bureau, ("notices", 1, 14))
    standing.daily(bureau.rt)
    bureau.clock.forward(hours=21)
    set_faults(bureau.rt.settings.data / "web", Fault("unavailable", op="standing", times=2))
    assert list(standing.read_all(bureau.rt)) == ["web"]
    standing.daily(bureau.rt)
    before = standing.lines(bureau.rt)[0]
    assert before.id == "notices" and bureau.clock() - before.read_at == timedelta(hours=21)
    bureau.clock.forward(hours=1)
    standing.daily(bureau.rt)
    assert standing.lines(bureau.rt)[0].read_at == bureau.clock()


def test_it_is_asked_once_a_day(bureau: Bureau) -> None:
    columns(bureau, ("notices", 1, 14))
    standing.daily(bureau.rt)
    columns(bureau, ("notices", 0, 14))
    bureau.clock.forward(hours=1)
    standing.daily(bureau.rt)
    assert standing.lines(bureau.rt)[0].read_at == MORNING
    bureau.clock.forward(hours=20)
    standing.daily(bureau.rt)
    assert standing.lines(bureau.rt)[0].read_at > MORNING


def test_a_channel_as_a_whole_is_judged_by_what_was_confirmed_on_it(open_office: Callable[..., Bureau]) -> None:
    bureau = open_office(channels={"web": {"fresh_days": 14}})
    standing.read_all(bureau.rt)
    assert standing.lines(bureau.rt)[0].level is Level.EMPTY
    item = bureau.publish("web")
    bureau.work()
    assert bureau.state(item, "web") == "confirmed"
    bureau.clock.forward(days=10)
    standing.read_all(bureau.rt)
    [whole] = standing.lines(bureau.rt)
    assert (whole.name, whole.days, whole.items, whole.level) == ("网站", 10, 1, Level.NEAR)


def test_the_editor_is_mailed_of_a_column_that_grows_stale_and_a_reporter_is_not(bureau: Bureau) -> None:
    columns(bureau, ("notices", 10, 14))
    standing.read_all(bureau.rt)
    found = notify.digest(bureau.rt, bureau.actor("wang").person)
    assert found is not None and "网站，栏目 notices，快到期限" in found.body
    assert notify.digest(bureau.rt, bureau.actor("zhao").person) is None
    before = found.keys
    bureau.clock.forward(days=1)
    later = notify.digest(bureau.rt, bureau.actor("wang").person)
    assert later is not None and later.keys == before  # said once
    bureau.clock.forward(days=4)
    over = notify.digest(bureau.rt, bureau.actor("wang").person)
    assert over is not None and not over.keys <= before


# ── the portal as it answers ─────────────────────────────────────────────────────────────────────────────────────────


def portal(url: str) -> Portal:
    return Portal(url, "k" * 40, seconds=2)


def test_the_portal_is_read_signed_and_in_its_order() -> None:
    body = {
        "columns": [
            {"id": "b", "name": "公示公告", "items": 2, "updated_at": "2026-11-20T10:00:00+08:00", "limit_days": 183},
            {"id": "a", "name": "人事信息", "items": 0, "updated_at": None, "limit_days": None},
        ]
    }
    with serving(answers(200, json.dumps(body).encode(), "Content-Type: application/json")) as server:
        first, second = portal(server.url).standing() or ()
        assert server.requests[0].startswith(b"GET /api/columns ")
        assert b"x-fabu-signature: " in server.requests[0].lower()
    assert (first.id, first.updated_at) == ("b", datetime.fromisoformat("2026-11-20T10:00:00+08:00"))
    assert (second.items, second.updated_at, second.limit_days) == (0, None, None)


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b"[]", b'{"columns": [{"id": "a"}]}', b'{"columns": [3]}',
             b'{"columns": [{"id": "a", "name": "b", "items": 1, "limit_days": 1, "updated_at": "2026-11-20"}]}'],
)  # fmt: skip
def test_a_strange_answer_is_an_error_and_never_a_standing(body: bytes) -> None:
    with serving(answers(200, body)) as server, pytest.raises(DeliveryError):
        portal(server.url).standing()


def test_a_system_without_such_a_page_cannot_say_and_a_broken_one_raises() -> None:
    with serving(answers(404)) as server:
        assert portal(server.url).standing() is None
    for behaviour in (answers(500), closes):
        with serving(behaviour) as server, pytest.raises(DeliveryError):
            portal(server.url).standing()
