"""On which days the newsletter comes out: on some days of each month, moved by a rule when one is a day off. Pure.

An issue is named by its nominal day, which never moves: the 15th stays the 15th, whatever a later holiday notice makes
of the day on which it comes out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import takewhile
from typing import Literal

from config.settings import NewsletterSection, Settings
from pipeline.workdays import Deadline, is_known, is_workday

Policy = Literal["back", "forward", "keep"]
DAYS = (1, 15)


@dataclass(frozen=True)
class Dates:
    """When the issue of a nominal day is closed and comes out. `provisional`: holidays on the way are not published
    yet, the day may move (暂定)."""

    nominal: date
    out_on: date
    cut_off_at: datetime
    send_at: datetime
    provisional: bool


def issue_day(settings: Settings, nominal: date, policy: Policy | None = None) -> Deadline:
    """The day on which the issue due on `nominal` comes out: that day, or the working day before (`back`) or after
    (`forward`) it; None: by the office's rule. Provisional where a year's holidays are not published yet."""
    newsletter = settings.newsletter
    chosen = policy or (newsletter.policy if newsletter is not None else "back")
    step = {"back": -1, "forward": 1, "keep": 0}[chosen]
    day = nominal
    while step and not is_workday(settings, day):
        day += timedelta(days=step)
    return Deadline(day, not (is_known(settings, nominal.year) and is_known(settings, day.year)))


def issue_days(settings: Settings, begin: date, end: date, policy: Policy | None = None) -> list[tuple[date, Deadline]]:
    """Every issue that comes out between two days, both included: its nominal day, and the day it comes out on."""
    days = settings.newsletter.days if settings.newsletter is not None else DAYS
    nominal = takewhile(lambda day: day <= end + FARTHEST, nominal_days(days, begin - FARTHEST))
    moved = [(day, issue_day(settings, day, policy)) for day in nominal]
    return [(day, out) for day, out in moved if begin <= out.day <= end]


FARTHEST = timedelta(days=31)  # an issue is moved by less: the longest holidays have eight or nine days


def nominal_days(days: Sequence[int], begin: date) -> Iterator[date]:
    """The days of every month, from `begin` on (included), without end."""
    month = begin.year * 12 + begin.month - 1
    while True:
        for day in days:
            if (nominal := date(month // 12, month % 12 + 1, day)) >= begin:
                yield nominal
        month += 1


def before(days: Sequence[int], nominal: date) -> date:
    """The nominal day before this one."""
    return max(day for day in takewhile(lambda day: day < nominal, nominal_days(days, nominal - timedelta(days=62))))


def between(days: Sequence[int], after: date, upto: date) -> int:
    """How many nominal days lie after one day and up to another, this one included."""
    return sum(1 for _ in takewhile(lambda day: day <= upto, nominal_days(days, after + timedelta(days=1))))


def dates(settings: Settings, newsletter: NewsletterSection, nominal: date) -> Dates:
    """When the issue of a nominal day is closed and sent. Aware times in the office's zone."""
    out = issue_day(settings, nominal, newsletter.policy)
    send_at = datetime.combine(out.day, time.fromisoformat(newsletter.time), settings.zone)
    cut_off_at = send_at - timedelta(hours=newsletter.cut_off_hours)
    return Dates(nominal, out.day, cut_off_at, send_at, out.provisional)
