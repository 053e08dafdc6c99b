"""A bureau with a newsletter: its channels are the website, the board and SMS of the bureau in tests/office.py."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from pipeline import assembly, issues
from pipeline.models import StoredIssue
from tests.office import Bureau

TYPES = ["通知", "公告", "公示", "工作动态", "通讯"]
COLUMNS: list[dict[str, Any]] = [
    {"name": "要闻", "item_types": ["公告", "通知"]},
    {"name": "工作动态", "item_types": ["工作动态"], "departments": ["tech", "news"]},
    {"name": "其他"},
]
DEADLINE = datetime(2026, 11, 30, 1, 0, tzinfo=UTC)  # 09:00 in Zhangdian, a day before the first issue


def newsletter(**changes: Any) -> dict[str, Any]:
    """A section of the configuration."""
    return {
        "first": "2026-12-01",
        "editor": "wang",
        "channels": ["web", "sms"],
        "columns": COLUMNS,
        **changes,
    }


def with_newsletter(open_office: Callable[..., Bureau], **changes: Any) -> Bureau:
    """The bureau with a newsletter whose first issue comes out on 1 December 2026; `changes` of its section."""
    channels = changes.pop("configured", {})
    return open_office(newsletter=newsletter(**changes), item_types=TYPES, channels=channels)


def published(bureau: Bureau, title: str, **changes: Any) -> int:
    """An item that citizens have seen on the website."""
    item = bureau.write("wang", title=title, text=f"{title}的正文。\n\n特此通知。", **changes)
    bureau.approve(item, bureau.submit(item, "web", person="wang"))
    bureau.work("web")
    bureau.clock.forward(minutes=1)
    return item


def built(bureau: Bureau, at: datetime = DEADLINE) -> tuple[int, int]:
    """The issue that is closed at this time: its id, and its item."""
    bureau.clock.moment = max(at, bureau.clock.moment)
    issues.ensure(bureau.rt)
    (item,) = assembly.build_due(bureau.rt)
    issue = issues.of_item(bureau.rt, item)
    assert issue is not None
    return issue, item


def submitted(bureau: Bureau, issue: int, person: str = "wang") -> str:
    return assembly.submit(bureau.rt, bureau.actor(person), issue).hash


def assembled(bureau: Bureau, *titles: str) -> tuple[int, ...]:
    """An issue of these items, which citizens have seen: the items, the issue, the issue's item."""
    items = [published(bureau, title) for title in titles]
    return (*items, *built(bureau))


def approved(bureau: Bureau, *titles: str) -> tuple[int, ...]:
    """The same with both reviews behind it."""
    *items, issue, item = assembled(bureau, *titles)
    bureau.approve(item, submitted(bureau, issue))
    return (*items, issue, item)


def stored(bureau: Bureau) -> list[StoredIssue]:
    with bureau.rt.reading() as db:
        return list(db.query(StoredIssue).order_by(StoredIssue.nominal))


def go_to_sending(bureau: Bureau, issue: int) -> None:
    bureau.clock.moment = max(issues.line(bureau.rt, issue).send_at + timedelta(minutes=1), bureau.clock.moment)


def numbered_once(lines: list[StoredIssue]) -> None:
    """In the order of their days both numbers grow by one, and the one within the year begins with 1."""
    for one, two in pairwise(lines):
        assert two.running == one.running + 1 and two.nominal > one.nominal
        assert (two.year, two.number) == ((one.year, one.number + 1) if two.year == one.year else (one.year + 1, 1))
