"""On which days 《广电通讯》 comes out: twice a month, moved by a rule when the day is no working day. Pure."""

from datetime import date, timedelta
from typing import Literal

from config.settings import Settings
from pipeline.workdays import Deadline, is_known, is_workday

Policy = Literal["back", "forward", "keep"]
DAYS = (1, 15)


def issue_day(settings: Settings, nominal: date, policy: Policy = "back") -> Deadline:
    """The day on which the issue due on `nominal` comes out: that day, or the working day before (`back`) or after
    (`forward`) it. Provisional where a year's holidays are not published yet."""
    step = {"back": -1, "forward": 1, "keep": 0}[policy]
    day = nominal
    while step and not is_workday(settings, day):
        day += timedelta(days=step)
    return Deadline(day, not (is_known(settings, nominal.year) and is_known(settings, day.year)))


def issue_days(settings: Settings, begin: date, end: date, policy: Policy = "back") -> list[tuple[date, Deadline]]:
    """Every issue that comes out between two days, both included: its nominal day, and the day it comes out on."""
    months = range(begin.year * 12 + begin.month - 2, end.year * 12 + end.month + 1)  # one more on both sides
    nominal = [date(month // 12, month % 12 + 1, day) for month in months for day in DAYS]
    moved = [(day, issue_day(settings, day, policy)) for day in nominal]
    return [(day, out) for day, out in moved if begin <= out.day <= end]
