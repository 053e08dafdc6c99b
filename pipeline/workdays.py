"""Working days, and what the law counts in them (条例 2007 and 2019).

Holidays and make-up days (调休) of 2004–2026 come from `chinesecalendar`; what the office imported from a later notice
of the State Council goes before it. In years that neither knows Monday to Friday are counted, and every date that was
reached through such a year is provisional (暂定).
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import chinese_calendar
from chinese_calendar.constants import holidays as _holidays

from config.settings import Regime, Settings

_DATA_YEARS = frozenset(day.year for day in _holidays)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Deadline:
    """The last day of a period. `provisional`: a year on the way has no published holidays yet, the day may move."""

    day: date
    provisional: bool


@dataclass(frozen=True)
class Period:
    """A number of working days, and the article that names it."""

    days: int
    article: int


@dataclass(frozen=True)
class Law:
    """The clocks of one text of the 政府信息公开条例. None: that text has no such clock."""

    disclosure: Period  # from the information being formed or changed
    reply: Period  # to a request
    extension: Period
    clarification: Period | None  # within which an applicant is asked; then the clock starts anew
    third_party: Period | None  # to answer; excluded from the reply's clock
    annual_report: tuple[int, int]  # month and day, of the year after
    annual_report_article: int


LAWS: dict[Regime, Law] = {
    "2007": Law(Period(20, 18), Period(15, 24), Period(15, 24), None, None, (3, 31), 31),
    "2019": Law(Period(20, 26), Period(20, 33), Period(20, 33), Period(7, 30), Period(15, 32), (1, 31), 49),
}


def law(settings: Settings) -> Law:
    """The clocks that this office goes by (`[law] regime`)."""
    return LAWS[settings.law.regime]


def is_workday(settings: Settings, day: date) -> bool:
    """Is `day` a working day, weekends worked in lieu included?"""
    for notice in settings.holidays.values():  # one may reach into the year before or after its own
        if day in notice.off or day in notice.work:
            return day in notice.work
    if day.year in _DATA_YEARS and day.year not in settings.holidays:
        return _by_the_notices(day)
    return day.weekday() < 5


@lru_cache(maxsize=20_000)  # the library looks through all its days each time
def _by_the_notices(day: date) -> bool:
    return bool(chinese_calendar.is_workday(day))


def is_known(settings: Settings, year: int) -> bool:
    """Are the holidays of this year published and here?"""
    return year in settings.holidays or year in _DATA_YEARS


def known_through(settings: Settings, today: date) -> date:
    """The last day up to which, from `today` on, every year's holidays are known; the day before this year when its
    own are not."""
    year = today.year
    while is_known(settings, year):
        year += 1
    return date(year, 1, 1) - _DAY


def add_workdays(settings: Settings, start: date, days: int) -> Deadline:
    """The day that is `days` working days after `start`, which itself is not counted (as the 条例's periods run)."""
    day, left = start, days
    while left > 0:
        day += _DAY
        left -= is_workday(settings, day)
    return Deadline(day, not all(is_known(settings, year) for year in range(start.year, day.year + 1)))


def workdays_left(settings: Settings, today: date, deadline: Deadline) -> int:
    """Working days after `today`, up to and with the deadline: 0 on its day. When it has passed, minus the working days
    since, at least -1."""
    if today <= deadline.day:
        return _between(settings, today, deadline.day)
    return min(-_between(settings, deadline.day, today), -1)


def disclosure_deadline(settings: Settings, formed_on: date) -> Deadline:
    """The last day to make public what was formed or changed on `formed_on` (2007: art. 18; 2019: art. 26)."""
    return add_workdays(settings, formed_on, law(settings).disclosure.days)


def _between(settings: Settings, after: date, upto: date) -> int:
    return sum(is_workday(settings, after + n * _DAY) for n in range(1, (upto - after).days + 1))
