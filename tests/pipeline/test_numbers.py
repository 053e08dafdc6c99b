"""The numbers: what they say is what the ledger holds, whatever happened meanwhile and however it was counted."""

import random
import statistics
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from pipeline import counting, numbers, operate, publish, review, staff, workdays
from pipeline.counting import refresh
from pipeline.models import Attempt, Delivery, Item, Revision, Sighting, StoredRendition, Submission
from pipeline.numbers import Numbers, Tally
from pipeline.states import Ground, Stage, State
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau

BEGIN, END = date(2026, 1, 1), date(2027, 12, 31)


def read(bureau: Bureau, person: str = "wang", begin: date = BEGIN, end: date = END, department: str = "") -> Numbers:
    return numbers.numbers(bureau.rt, staff.person(bureau.rt, person), begin, end, department)


def naive(bureau: Bureau, begin: date, end: date, department: str = "") -> dict[str, Any]:
    """The same, row by row from the ledger itself, without a thought for speed."""
    zone, settings = bureau.rt.settings.zone, bureau.rt.settings
    with bureau.rt.reading() as db:
        items = {one.id: one for one in db.scalars(select(Item))}
        deliveries = {one.id: one for one in db.scalars(select(Delivery))}
        revisions = {one.id: one for one in db.scalars(select(Revision))}
        renditions = {one.id: one for one in db.scalars(select(StoredRendition))}
        attempts = db.scalars(select(Attempt)).all()
        sightings = db.scalars(select(Sighting).order_by(Sighting.at.desc(), Sighting.id.desc())).all()
        submissions = db.scalars(select(Submission)).all()
    sent = {(one.delivery_id, one.generation): one.rendition_id for one in attempts if one.rendition_id}
    first = {
        deliveries[one.delivery_id].item_id: (one.at, sent[one.delivery_id, one.generation])
        for one in sightings
        if one.state is State.CONFIRMED and (one.delivery_id, one.generation) in sent
    }
    in_force = {one.item_id for one in submissions if one.stage is Stage.APPROVED}
    took: dict[object, list[int]] = {}
    counts = Counter[tuple[object, str]]()

    def add(day: date, of: str, what: str) -> bool:
        inside = begin <= day <= end and department in ("", of)
        counts.update([(key, what) for key in ("total", day.replace(day=1), of) if inside])
        return inside

    for item, (at, rendition) in first.items():
        day, of = at.astimezone(zone).date(), items[item].department
        formed = revisions[renditions[rendition].revision_id].formed_on
        days = [formed + timedelta(days=n) for n in range(1, (day - formed).days + 1)]
        if add(day, of, "items"):
            for key in ("total", day.replace(day=1), of):
                took.setdefault(key, []).append(sum(workdays.is_workday(settings, one) for one in days))
        if item not in in_force:
            add(day, of, "withdrawn")
        if day <= workdays.disclosure_deadline(settings, formed).day:
            add(day, of, "on_time")
    for one in submissions:
        if one.stage in (Stage.RETURNED, Stage.REFUSED) and one.closed_at:
            add(one.closed_at.astimezone(zone).date(), items[one.item_id].department, one.stage.value)
    channels = Counter[tuple[str, str]]()
    for row in deliveries.values():
        inside = begin <= row.publish_at.astimezone(zone).date() <= end
        if row.expanded_at is None and inside and department in ("", items[row.item_id].department):
            withdrawn = row.state is State.CONFIRMED and row.wanted_id is None
            channels[row.channel, "withdrawn" if withdrawn else row.state.value] += 1
    words = ("items", "withdrawn", "on_time", "returned", "refused")
    tallies = {key: {word: counts[key, word] for word in words} for key, _ in counts}
    return {
        "tallies": {key: {**one, "median": statistics.median(took[key]) if key in took else None}
                    for key, one in tallies.items()},
        "channels": dict(channels),
    }  # fmt: skip


def told(found: Numbers) -> dict[str, Any]:
    """What was read, in the naive shape."""

    def plain(one: Tally) -> dict[str, Any]:
        return {"items": one.items, "withdrawn": one.withdrawn, "on_time": one.on_time, "returned": one.returned,
                "refused": one.refused, "median": one.median}  # fmt: skip

    every = {"total": found.total, **found.months, **found.departments}
    return {
        "tallies": {key: plain(one) for key, one in every.items() if any(plain(one).values())},
        "channels": {(name, state): n for name, counts in found.channels.items() for state, n in counts.items()},
    }


def a_year(bureau: Bureau, seed: int, turns: int, between: Callable[[int], None]) -> None:
    """Whatever an office does, in no order, over about a year."""
    chance, data = random.Random(seed), bureau.rt.settings.data
    bureau.subscribe("13800000001", "13800000002", "13800000003")
    items: list[int] = []
    for turn in range(turns):
        bureau.clock.forward(days=chance.randrange(1, 8), hours=chance.randrange(24))
        today = bureau.clock().astimezone(bureau.rt.settings.zone).date()
        department = chance.choice(["news", "office", "tech"])
        formed = today - timedelta(days=chance.randrange(0, 45))
        item = bureau.write("wang", formed_on=formed, department=department)
        channels = chance.choice([("web",), ("web", "board"), ("web", "board", "sms")])
        hash = bureau.submit(item, *channels, person="wang")
        match chance.randrange(6):
            case 0:
                review.return_(bureau.rt, bureau.actor("li"), item, "请核对")
            case 1:
                review.refuse(bureau.rt, bureau.actor("li"), item, Ground.INTERNAL_AFFAIRS, "内部事务")
            case _:
                bureau.approve(item, hash)
                items.append(item)
        set_faults(data / "board", *([Fault("rejected", times=1)] if chance.random() < 0.3 else []))
        bureau.work(*chance.choice([(), ("web",), ("web", "board")]))
        if items and chance.random() < 0.3:
            bureau.clock.forward(hours=1)
            one = items.pop(chance.randrange(len(items)))
            review.withdraw(bureau.rt, bureau.actor("chen"), one, "内容有误")
            if chance.random() < 0.7:
                bureau.work()
        if items and chance.random() < 0.3:
            one = chance.choice(items)
            review.correct(bureau.rt, bureau.actor("wang"), one, bureau.draft(department="tech", formed_on=today))
            bureau.approve(one, bureau.submit(one, person="wang"))
        for call in bureau.calls("sms"):
            bureau.report(call, chance.choice(["delivered", "failed"]))
        between(turn)


@pytest.fixture
def in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and steps so small that a short life has many."""
    for name, value in (("BLOCK", 5), ("LINES", 7), ("ITEMS", 2), ("BLOCKS", 3), ("UNSENT_BLOCKS", 2)):
        monkeypatch.setattr(counting, name, value)


@pytest.mark.usefixtures("in_small_steps")
def test_the_numbers_equal_the_ledger_recounted_row_by_row(bureau: Bureau) -> None:
    def now_and_then(turn: int) -> None:
        if turn % 3 == 0:
            refresh(bureau.rt)

    a_year(bureau, 7, 30, now_and_then)
    for _ in range(30):  # few blocks with something unsent are looked at in one refresh
        refresh(bureau.rt)
    whole = told(read(bureau))
    assert whole == naive(bureau, BEGIN, END)
    assert whole["tallies"]["total"]["withdrawn"] > 0 < whole["tallies"]["total"]["refused"]
    assert {state for _, state in whole["channels"]} >= {"confirmed", "withdrawn", "failed", "accepted"}
    spring = (date(2027, 1, 5), date(2027, 4, 20))
    assert told(read(bureau, begin=spring[0], end=spring[1], department="tech")) == naive(bureau, *spring, "tech")


def test_a_ledger_that_was_never_counted_is_counted_at_once(bureau: Bureau) -> None:
    a_year(bureau, 3, 8, lambda _: None)
    assert read(bureau).counted_at is None and not read(bureau).channels
    refresh(bureau.rt)
    assert told(read(bureau)) == naive(bureau, BEGIN, END)
    assert read(bureau).counted_at == bureau.clock()


def test_an_item_counts_once_however_many_channels_and_recipients_it_reached(bureau: Bureau) -> None:
    bureau.subscribe("13800000001", "13800000002")
    item = bureau.publish("web", "board", "sms")
    bureau.work("web", "board", "sms", "web", "sms")
    operate.post(bureau.rt, bureau.actor("wang"), item, "一楼公开栏")
    for call in bureau.calls("sms"):
        bureau.report(call, "delivered")
    refresh(bureau.rt)
    found = read(bureau)
    assert (found.total.items, found.departments.keys()) == (1, {"news"})
    assert found.channels == {"web": {"confirmed": 1}, "board": {"confirmed": 1}, "sms": {"confirmed": 2}}


def test_a_withdrawn_item_stays_counted_in_its_month_and_is_marked(bureau: Bureau) -> None:
    item = bureau.publish("web")
    bureau.work()
    bureau.clock.forward(days=20)
    review.withdraw(bureau.rt, bureau.actor("chen"), item, "内容有误")
    bureau.work()
    refresh(bureau.rt)
    november = read(bureau).months[date(2026, 11, 1)]
    assert (november.items, november.withdrawn) == (1, 1)
    assert read(bureau).channels == {"web": {"withdrawn": 1}}


def test_a_correction_moves_nothing_to_another_month(bureau: Bureau) -> None:
    item = bureau.publish("web")
    bureau.work()
    refresh(bureau.rt)
    bureau.clock.forward(days=40)
    bureau.correct(item, title="关于试播的通知（更正）", formed_on=date(2026, 12, 30))
    bureau.work()
    refresh(bureau.rt)
    months = read(bureau).months
    assert months[date(2026, 11, 1)].items == 1 and months[date(2027, 1, 1)].items == 0


def test_what_was_approved_and_reached_nobody_is_not_published(bureau: Bureau) -> None:
    set_faults(bureau.rt.settings.data / "web", Fault("rejected", times=None))
    bureau.publish("web")
    bureau.work()
    refresh(bureau.rt)
    assert read(bureau).total.items == 0 and read(bureau).channels == {"web": {"failed": 1}}


def test_a_rehearsal_is_no_publication(open_office: Callable[..., Bureau]) -> None:
    bureau = open_office(channels={"web": {"rehearsal": True}})
    bureau.publish("web")
    bureau.work()
    refresh(bureau.rt)
    assert read(bureau).total.items == 0 and read(bureau).channels == {"web": {"confirmed": 1}}


@pytest.mark.parametrize(
    ("published", "on_time", "days"),
    [
        (date(2026, 10, 9), 1, 0),  # on the day itself
        (date(2026, 11, 5), 1, 20),  # the twentieth working day: 10 October is one, in lieu
        (date(2026, 11, 6), 0, 21),
        (date(2026, 11, 7), 0, 21),  # a Saturday
    ],
)
def test_the_legal_twenty_working_days_end_on_their_last_day(
    bureau: Bureau, published: date, on_time: int, days: int
) -> None:
    bureau.clock.moment = datetime(published.year, published.month, published.day, 1, tzinfo=UTC)
    bureau.publish("web", draft={"formed_on": date(2026, 10, 9)})
    bureau.work()
    refresh(bureau.rt)
    total = read(bureau).total
    assert (total.items, total.on_time, total.median) == (1, on_time, days)


def test_a_weekend_after_the_last_day_is_late_though_no_working_day_has_passed(bureau: Bureau) -> None:
    friday = workdays.disclosure_deadline(bureau.rt.settings, date(2026, 11, 13)).day
    assert friday == date(2026, 12, 11)
    bureau.clock.moment = datetime(2026, 12, 12, 2, tzinfo=UTC)
    bureau.publish("web", draft={"formed_on": date(2026, 11, 13)})
    bureau.work()
    refresh(bureau.rt)
    total = read(bureau).total
    assert (total.on_time, total.median) == (0, 20)


def test_the_day_is_the_offices_not_the_clocks(bureau: Bureau) -> None:
    bureau.clock.moment = datetime(2026, 11, 30, 17, tzinfo=UTC)  # 01:00 on the first of December
    bureau.publish("web")
    bureau.work()
    refresh(bureau.rt)
    assert read(bureau).months[date(2026, 12, 1)].items == 1
    assert not read(bureau, end=date(2026, 11, 30)).channels


def test_an_empty_office_has_numbers_too(bureau: Bureau) -> None:
    refresh(bureau.rt)
    found = read(bureau, begin=date(2026, 11, 1), end=date(2027, 1, 31))
    assert list(found.months) == [date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)]
    assert (found.total.items, found.total.permille, found.total.median) == (0, None, None)
    assert found.channels == {} == found.departments


def test_an_author_sees_the_numbers_of_their_own_department_only(bureau: Bureau) -> None:
    bureau.publish("web")
    item = bureau.write("wang", department="tech")
    bureau.approve(item, bureau.submit(item, "web", person="wang"))
    bureau.work()
    refresh(bureau.rt)
    assert read(bureau).channels == {"web": {"confirmed": 2}}
    mine = read(bureau, "zhao", department="tech")
    assert (mine.department, mine.total.items, mine.channels) == ("news", 1, {"web": {"confirmed": 1}})


def settled(bureau: Bureau) -> Numbers:
    """What is read when every line was read twice: whatever is counted from now on has a reason of its own."""
    for _ in range(3):
        refresh(bureau.rt)
    return read(bureau)


def test_a_line_that_is_committed_after_others_with_higher_numbers_is_counted(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    bureau.publish("web")
    settled(bureau)
    bureau.work()
    with monkeypatch.context() as not_yet_there:
        not_yet_there.setattr(counting, "_blocks", lambda *_: select(Item.id).where(Item.id < 0))
        not_yet_there.setattr(counting, "_items", lambda *_: None)
        not_yet_there.setattr(counting, "_unsent", lambda *_: [])
        refresh(bureau.rt)
    assert read(bureau).channels == {"web": {"due": 1}}
    refresh(bureau.rt)
    assert read(bureau).total.items == 1 and read(bureau).channels == {"web": {"confirmed": 1}}


def test_what_leaves_the_unsent_without_a_line_is_counted(bureau: Bureau) -> None:
    bureau.publish("web", "sms")
    bureau.work("web")
    assert settled(bureau).channels["sms"] == {"due": 1}
    bureau.work("sms")  # nobody has subscribed
    refresh(bureau.rt)
    assert read(bureau).channels["sms"] == {"skipped": 1}


def test_a_decision_is_counted_before_anything_is_sent(bureau: Bureau) -> None:
    set_faults(bureau.rt.settings.data / "web", Fault("rejected", times=1))
    item = bureau.publish("web")
    bureau.work()
    assert settled(bureau).channels == {"web": {"failed": 1}}
    operate.retry(bureau.rt, bureau.actor("wang"), item, "web")
    refresh(bureau.rt)
    assert read(bureau).channels == {"web": {"due": 1}}


def test_a_withdrawal_of_what_was_never_seen_is_no_publication(bureau: Bureau) -> None:
    set_faults(bureau.rt.settings.data / "web", Fault("in_doubt", times=1))
    item = bureau.publish("web")
    publish.deliver(bureau.rt, "web")
    assert bureau.state(item, "web") == "in_doubt"
    review.withdraw(bureau.rt, bureau.actor("chen"), item, "内容有误")
    for _ in range(3):
        bureau.clock.forward(minutes=30)
        bureau.work("web")
    assert settled(bureau).channels == {"web": {"withdrawn": 1}}
    assert read(bureau).total.items == 0


def test_refreshing_again_changes_nothing_and_so_do_two_at_once(bureau: Bureau) -> None:
    a_year(bureau, 5, 6, lambda _: None)
    errors: list[Exception] = []

    def one() -> None:
        try:
            refresh(bureau.rt)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    once = told(read(bureau))
    refresh(bureau.rt)
    assert told(read(bureau)) == once == naive(bureau, BEGIN, END)
