"""Working days and the law's clocks: checked against the calendar as it was published."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.settings import HolidayYear, Settings
from pipeline.workdays import (
    LAWS,
    Deadline,
    add_workdays,
    disclosure_deadline,
    is_workday,
    known_through,
    law,
    workdays_left,
)
from tests.office import settings_for

Office = Callable[..., Settings]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    def make(**changes: Any) -> Settings:
        return settings_for(tmp_path, "sqlite://", **changes)

    return make


@pytest.mark.parametrize(
    ("start", "days", "expected"),
    [
        (date(2015, 1, 28), 20, date(2015, 3, 2)),
        (date(2015, 2, 10), 20, date(2015, 3, 13)),
        (date(2015, 8, 20), 20, date(2015, 9, 18)),
        (date(2015, 9, 25), 15, date(2015, 10, 22)),
        (date(2015, 12, 28), 20, date(2016, 1, 26)),
    ],
)
def test_a_period_of_working_days_ends_where_the_calendar_of_2015_says(
    office: Office, start: date, days: int, expected: date
) -> None:
    assert add_workdays(office(), start, days) == Deadline(expected, provisional=False)


@pytest.mark.parametrize(
    ("day", "working"),
    [
        (date(2015, 2, 15), True),  # a Sunday worked in lieu
        (date(2015, 2, 19), False),
        (date(2015, 9, 3), False),  # a holiday of that year only
        (date(2015, 10, 1), False),
        (date(2026, 2, 14), True),
        (date(2026, 2, 15), False),
        (date(2026, 11, 23), True),
        (date(2026, 11, 22), False),
    ],
)
def test_holidays_and_weekends_worked_in_lieu_are_known(office: Office, day: date, working: bool) -> None:
    assert is_workday(office(), day) is working


def test_the_calendar_knows_every_year_from_2004_to_2026(office: Office) -> None:
    assert not add_workdays(office(), date(2004, 1, 1), 20).provisional
    assert not add_workdays(office(), date(2026, 12, 1), 20).provisional
    assert known_through(office(), date(2026, 11, 23)) == date(2026, 12, 31)
    assert add_workdays(office(), date(2003, 12, 31), 1).provisional


def test_a_clock_that_crosses_into_a_year_without_a_notice_is_provisional(office: Office) -> None:
    assert disclosure_deadline(office(), date(2026, 12, 11)) == Deadline(date(2027, 1, 8), provisional=True)
    assert known_through(office(), date(2027, 1, 4)) == date(2026, 12, 31)


def test_an_imported_notice_makes_it_final_and_counts_its_days(office: Office) -> None:
    notice = HolidayYear(off=frozenset({date(2027, 1, 1), date(2027, 1, 4)}), work=frozenset({date(2027, 1, 9)}))
    settings = office(holidays={2027: notice})
    assert disclosure_deadline(settings, date(2026, 12, 11)) == Deadline(date(2027, 1, 11), provisional=False)
    assert known_through(settings, date(2026, 11, 23)) == date(2027, 12, 31)


def test_an_imported_notice_goes_before_the_calendar(office: Office) -> None:
    settings = office(holidays={2026: HolidayYear(off=frozenset({date(2026, 11, 23)}))})
    assert not is_workday(settings, date(2026, 11, 23))


@pytest.mark.parametrize(
    ("regime", "disclosure", "reply", "report"), [("2007", 20, 15, (3, 31)), ("2019", 20, 20, (1, 31))]
)
def test_the_clocks_follow_the_regime_that_the_office_goes_by(
    office: Office, regime: str, disclosure: int, reply: int, report: tuple[int, int]
) -> None:
    chosen = law(office(law={"regime": regime}))
    assert (chosen.disclosure.days, chosen.reply.days, chosen.annual_report) == (disclosure, reply, report)
    assert (chosen.third_party is None) == (regime == "2007")


def test_the_present_regime_holds_where_none_was_chosen(office: Office) -> None:
    assert law(office()) is LAWS["2019"]


def test_days_left_count_working_days_only_and_go_below_zero_once_the_day_has_passed(office: Office) -> None:
    settings, friday = office(), date(2026, 11, 20)
    deadline = disclosure_deadline(settings, friday - timedelta(days=28))
    assert deadline.day == friday
    left = [workdays_left(settings, friday + timedelta(days=n), deadline) for n in (-28, -4, -1, 0, 1, 2, 3, 4)]
    assert left == [20, 4, 1, 0, -1, -1, -1, -2]
