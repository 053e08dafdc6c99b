"""The numbers of the office: how much was published, how fast, what came back, and what arrived where.

An item counts once, in the month in which it was first seen in public, on however many channels (domain: Annual
report, counting rule); deliveries are counted by themselves. Read from what `pipeline.counting` keeps.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import cast

from sqlalchemy import Text, and_, func, select, text, true
from sqlalchemy import cast as converted
from sqlalchemy.orm import Session

from config.settings import Person, Settings
from pipeline import workdays
from pipeline.models import CountMark, Delivery, DeliveryCount, Item, Publication, Submission
from pipeline.runtime import Runtime
from pipeline.states import Stage

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Tally:
    """What happened in a month, in a department, or altogether. `median`: of the working days from the date formed to
    being public; None: there are no items."""

    items: int
    withdrawn: int  # of these, by now
    on_time: int  # of these, within the legal period
    median: float | None
    returned: int
    refused: int

    @property
    def permille(self) -> int | None:
        """How much of the items was on time, in tenths of a percent, rounded down: 1000 only when all of them were.
        None: there are none."""
        return self.on_time * 1000 // self.items if self.items else None


@dataclass(frozen=True)
class Numbers:
    """The numbers of a period, both days included. `months`: by their first day, all of them; `channels`: by channel,
    how many deliveries are in which state (`counting.WITHDRAWN` beside those of `State`); `counted_at` None: nothing
    was ever counted."""

    begin: date
    end: date
    department: str
    total: Tally
    months: Mapping[date, Tally]
    departments: Mapping[str, Tally]
    channels: Mapping[str, Mapping[str, int]]
    counted_at: datetime | None


def only_department(person: Person) -> str:
    """The one department whose numbers a person is shown: an author their own; everybody else all ("")."""
    return "" if person.roles - {"author"} else person.department


def numbers(rt: Runtime, person: Person | None, begin: date, end: date, department: str = "") -> Numbers:
    """The numbers from `begin` to `end` of one department, or of all (""), as far as this person may see them; None:
    whoever works at the server, who sees all."""
    department = (only_department(person) if person else "") or department
    sums = _Sums(_Sum(), {month: _Sum() for month in _months(begin, end)}, defaultdict(_Sum))
    with rt.reading() as db:
        _add_published(rt, db, sums, begin, end, department)
        _add_sent_back(rt, db, sums, begin, end, department)
        channels = _deliveries(rt, db, begin, end, department)
        counted_at = db.scalar(select(CountMark.at).where(CountMark.name == Delivery.__tablename__))
    return Numbers(
        begin, end, department, sums.total.tally(),
        {month: one.tally() for month, one in sums.months.items()},
        {name: one.tally() for name, one in sorted(sums.departments.items())},
        channels, counted_at,
    )  # fmt: skip


@dataclass
class _Sum:
    """A tally that is still being added up. `days`: how many items took how many working days."""

    withdrawn: int = 0
    on_time: int = 0
    returned: int = 0
    refused: int = 0
    days: Counter[int] = field(default_factory=Counter)

    def tally(self) -> Tally:
        items = self.days.total()
        return Tally(items, self.withdrawn, self.on_time, _median(self.days), self.returned, self.refused)


@dataclass(frozen=True)
class _Sums:
    total: _Sum
    months: dict[date, _Sum]
    departments: defaultdict[str, _Sum]

    def of(self, day: date, department: str) -> tuple[_Sum, ...]:
        """All that something on this day, of this department, counts in."""
        return self.total, self.months[day.replace(day=1)], self.departments[department]


def _add_published(rt: Runtime, db: Session, sums: _Sums, begin: date, end: date, department: str) -> None:
    # Days as texts, and no row kept: in years there are tens of thousands of pairs of days.
    day, formed_on = converted(Publication.day, Text), converted(Publication.formed_on, Text)
    mine = and_(Publication.day.between(begin, end), Publication.department == department if department else true())
    earliest, latest = db.execute(select(func.min(formed_on), func.max(formed_on)).where(mine)).one()
    first, last = begin.isoformat(), end.isoformat()
    passed = _passed(rt.settings, min(earliest or first, first), max(latest or last, last))
    alike = defaultdict[tuple[str, str, bool, int, int], int](int)
    key = (Publication.day, Publication.department, Publication.formed_on, Publication.withdrawn)
    chosen = select(day, Publication.department, formed_on, Publication.withdrawn, func.count()).where(mine)
    for seen_on, of, formed, gone, count in db.connection().execute(chosen.group_by(*key)):
        before, upto = passed[seen_on]
        since = passed[formed][1]
        alike[seen_on[:7], of, gone, upto - since, before - since] += count
    limit = workdays.law(rt.settings).disclosure.days
    for (month, of, gone, took, took_before), count in alike.items():
        for sum in sums.of(date.fromisoformat(f"{month}-01"), of):
            sum.days[max(took, 0)] += count
            sum.withdrawn += count * gone
            # Before the last day, one working day less than the limit has passed; on a weekend after it, all have.
            sum.on_time += count * (took_before < limit)


def _add_sent_back(rt: Runtime, db: Session, sums: _Sums, begin: date, end: date, department: str) -> None:
    zone = rt.settings.zone
    first, after = (datetime.combine(day, time.min, zone) for day in (begin, end + _DAY))
    chosen = (
        select(Submission.closed_at, Item.department, Submission.stage)
        .join(Item, Item.id == Submission.item_id)
        .where(text("submission.stage IN ('returned', 'refused')"))  # as the index says it
        .where(Submission.closed_at >= first, Submission.closed_at < after)
    )
    if department:
        chosen = chosen.where(Item.department == department)
    for at, of, stage in db.execute(chosen):
        for sum in sums.of(cast(datetime, at).astimezone(zone).date(), of):
            sum.returned += stage is Stage.RETURNED
            sum.refused += stage is Stage.REFUSED


def _deliveries(rt: Runtime, db: Session, begin: date, end: date, department: str) -> dict[str, dict[str, int]]:
    """By channel and state; the channels in the office's order, then those it has given up."""
    chosen = select(DeliveryCount.channel, DeliveryCount.state, func.sum(DeliveryCount.count))
    chosen = chosen.where(DeliveryCount.day.between(begin, end))
    if department:
        chosen = chosen.where(DeliveryCount.department == department)
    counts = defaultdict[str, dict[str, int]](dict)
    for channel, state, count in db.execute(chosen.group_by(DeliveryCount.channel, DeliveryCount.state)):
        counts[channel][state] = int(count)
    order = [name for name in rt.channels if name in counts]
    return {name: counts[name] for name in (*order, *sorted(counts.keys() - set(order)))}


def _passed(settings: Settings, first: str, last: str) -> dict[str, tuple[int, int]]:
    """For each day of a span (ISO 8601): how many working days of it had passed before that day, and with it."""
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    found, passed = dict[str, tuple[int, int]](), 0
    for day in (begin + n * _DAY for n in range((end - begin).days + 1)):
        before, passed = passed, passed + workdays.is_workday(settings, day)
        found[day.isoformat()] = before, passed
    return found


def _months(begin: date, end: date) -> Iterator[date]:
    month = begin.replace(day=1)
    while month <= end:
        yield month
        month = (month + timedelta(days=31)).replace(day=1)


def _median(days: Counter[int]) -> float | None:
    count = days.total()
    if not count:
        return None
    found, passed = [], 0
    for value, times in sorted(days.items()):
        found += [value for place in ((count - 1) // 2, count // 2) if passed <= place < passed + times]
        passed += times
    return sum(found) / 2
