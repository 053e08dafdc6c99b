"""A small bureau for tests: real database, recording channels, a clock that can be set, and people who decide."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, make_url

from config.settings import Settings
from pipeline import confirm, items, publish, reach, reports, review, staff
from pipeline.claim import Claimed, lease, look
from pipeline.database import open_engine
from pipeline.decisions import Actor
from pipeline.drafts import Draft
from pipeline.migrate import set_up, upgrade
from pipeline.models import Subscriber
from pipeline.runtime import Opened, Runtime, open_channels
from tests.channels.recording import Recorded, calls, effects

TEXT = "根据工作安排，现将有关事项通知如下。\n\n一、时间安排\n\n自2026年11月23日起施行。\n"
MORNING = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)  # 10:00 in Zhangdian


@dataclass
class Clock:
    """The time, as the pipeline sees it: it stands still until it is moved."""

    moment: datetime = MORNING

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **delta: float) -> None:
        self.moment += timedelta(**delta)


def settings_for(data: Path, database_url: str, broker_url: str = "redis://127.0.0.1:1/0", **changes: Any) -> Settings:
    """A bureau with a web channel that can be read back, a notice board, and SMS; `changes` per channel and limits."""
    channels: dict[str, dict[str, Any]] = {
        "web": {"kind": "tests.channels.recording:Recall", "label": "网站", "directory": data / "web"},
        "board": {
            "kind": "tests.channels.recording:Person", "label": "公开栏", "after": "web", "directory": data / "board",
        },
        "sms": {
            "kind": "tests.channels.recording:Report", "label": "短信", "after": "web", "late": "hold", "senders": 4,
            "directory": data / "sms",
        },
    }  # fmt: skip
    for name, change in changes.pop("channels", {}).items():
        channels[name] = {**channels.get(name, {}), **change}
    people = [
        {"id": "zhao", "name": "赵记者", "department": "news", "roles": ["author"]},
        {"id": "wang", "name": "王编辑", "department": "office", "roles": ["editor"]},
        {"id": "li", "name": "李信息员", "department": "office", "roles": ["officer"]},
        {"id": "chen", "name": "陈局长", "department": "office", "roles": ["leader"]},
        {"id": "zhou", "name": "周副局长", "department": "office", "roles": ["leader"], "in_charge": ["tech"]},
        {"id": "both", "name": "双岗", "department": "office", "roles": ["author", "officer", "leader"]},
        {"id": "sun", "name": "孙监督", "department": "office", "roles": ["auditor"]},
    ]
    departments = [
        {"id": one, "name": name} for one, name in (("office", "局办公室"), ("news", "新闻部"), ("tech", "技术科"))
    ]
    document: dict[str, Any] = {
        "data": data,
        "database_url": database_url,
        "broker_url": broker_url,
        "public_url": "http://gk.example",
        "inbound_url": "http://inbound.example",
        "secret": "s" * 40,
        "office": {"name": "张店区广播电视局", "short_name": "张店区广电局", "code": "370303"},
        "departments": departments,
        "people": people,
        "channels": channels,
        "limits": {"lease_seconds": 60, "looks": [0, 2, 10, 60]},
        **changes,
    }
    return Settings.model_validate(document)


@dataclass
class Bureau:
    """The runtime of one bureau, its clock, and its people."""

    rt: Runtime
    clock: Clock
    woken: list[str] = field(default_factory=list)

    def actor(self, person: str) -> Actor:
        return Actor(staff.person(self.rt, person), "tester")

    def draft(self, **changes: Any) -> Draft:
        base = Draft("关于试播的通知", TEXT, "通知", "news", date(2026, 11, 20), summary="试播安排")
        return replace(base, **changes)

    def write(self, person: str = "zhao", **changes: Any) -> int:
        return review.create(self.rt, self.actor(person), self.draft(**changes))

    def submit(self, item: int, *channels: str, person: str = "zhao", **how: Any) -> str:
        return review.submit(self.rt, self.actor(person), item, channels or None, **how).hash

    def approve(self, item: int, hash: str) -> None:
        review.approve(self.rt, self.actor("li"), item, hash)
        review.approve(self.rt, self.actor("chen"), item, hash)

    def publish(self, *channels: str, **how: Any) -> int:
        """An item written, submitted and approved, as every item is."""
        item = self.write(**how.pop("draft", {}))
        self.approve(item, self.submit(item, *(channels or ("web",)), **how))
        return item

    def correct(self, item: int, **changes: Any) -> None:
        review.correct(self.rt, self.actor("zhao"), item, self.draft(**changes))
        self.approve(item, self.submit(item))

    def subscribe(self, *numbers: str, channel: str = "sms") -> None:
        with self.rt.writing() as db:
            db.add_all(Subscriber(channel=channel, address=one, added_at=self.clock()) for one in numbers)

    def work(self, *channels: str) -> None:
        """What the workers would do now: everything that is due, to the end."""
        for name in channels or tuple(self.rt.channels):
            publish.deliver(self.rt, name)
            confirm.confirm(self.rt, name)
        confirm.expire_leases(self.rt)

    def cell(self, item: int, channel: str) -> reach.Cell:
        return next(cell for cell in reach.matrix(self.rt, [item]) if cell.channel == channel)

    def state(self, item: int, channel: str) -> str:
        return self.cell(item, channel).state.value

    def state_of(self, item: int) -> str:
        """Where the item itself is on its way."""
        return items.line(self.rt, item).phase.value

    def effects(self, channel: str) -> list[Recorded]:
        return effects(self.rt.settings.data / channel)

    def calls(self, channel: str) -> list[Recorded]:
        return calls(self.rt.settings.data / channel)

    def report(self, call: Recorded, status: str) -> bool:
        channel, token = call.report_to.rsplit("/", 2)[-2:]
        return reports.take(self.rt, channel, token, {"status": status})


@cache
def _new_ledger() -> bytes:
    """A SQLite ledger with the present schema and nothing else: copied in a tenth of the time of the migrations."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "new.db"
        engine = open_engine(f"sqlite:///{file}")
        upgrade(engine)
        engine.dispose()
        return file.read_bytes()


_first: dict[str, Engine] = {}


def _knowing_statements(engine: Engine) -> Engine:
    """What was compiled for one bureau serves the next: half of the time of a test went into compiling SQL anew."""
    if (first := _first.setdefault(engine.dialect.name, engine)) is engine:
        engine.connect().close()  # tells the dialect what server it speaks to
    engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
    return engine


def open_bureau(settings: Settings, now: Callable[[], datetime] | None = None) -> Bureau:
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not (file := Path(url.database or "")).exists():
        file.write_bytes(_new_ledger())
    set_up(settings)
    engine = _knowing_statements(open_engine(settings.database_url))
    clock = Clock()
    woken: list[str] = []

    def wake(*channels: str) -> None:
        woken.extend(channels)

    return Bureau(Runtime(settings, engine, open_channels(settings), wake, now or clock), clock, woken)


def claim(rt: Runtime, opened: Opened) -> tuple[list[Claimed], int]:
    """Lease a batch of due rows in a commit of its own. Returns them, and how many were settled without a call."""
    with rt.reading() as db:  # a look that takes no lock: most sweeps find nothing
        found = look(rt, db, opened)
    if found is None:
        return [], 0
    with rt.writing() as db:
        return lease(rt, db, opened, found)


def recipients(calls: Sequence[Recorded]) -> list[str]:
    return sorted(call.recipient for call in calls)
