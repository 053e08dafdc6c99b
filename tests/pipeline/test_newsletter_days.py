"""On which days the newsletter comes out: pure, over ten years of the State Council's holidays."""

from datetime import date, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from config.settings import NewsletterSection, Settings
from pipeline.newsletter_days import Policy, before, between, dates, issue_day, issue_days, nominal_days
from pipeline.workdays import is_workday
from tests.office import settings_for
from tests.pipeline.newsletter import TYPES, newsletter

SECTION = NewsletterSection.model_validate(
    {"editor": "wang", "channels": ["web"], "columns": [{"name": "要闻"}], "first": "2016-01-01"}
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path, "sqlite://")


def test_the_policy_of_the_office_is_taken(tmp_path: Path) -> None:
    section = SECTION.model_copy(update={"policy": "forward"})
    forward = settings_for(tmp_path, "sqlite://").model_copy(update={"newsletter": section})
    assert issue_day(forward, date(2015, 10, 1)).day == date(2015, 10, 8)
    assert issue_day(settings_for(tmp_path, "sqlite://"), date(2015, 10, 1)).day == date(2015, 9, 30)


@pytest.mark.parametrize("policy", ["back", "forward", "keep"])
def test_ten_years_of_issues_come_out_in_order_on_working_days(settings: Settings, policy: Policy) -> None:
    section = SECTION.model_copy(update={"policy": policy})
    days = list(islice(nominal_days((1, 15), date(2016, 1, 1)), 240))
    found = [dates(settings, section, day) for day in days]
    assert days[0] == date(2016, 1, 1) and days[-1] == date(2025, 12, 15)
    assert all(one.send_at < two.send_at for one, two in pairwise(found))
    assert all(one.cut_off_at < two.cut_off_at for one, two in pairwise(found))
    assert all(one.out_on == one.nominal or policy != "keep" for one in found)
    assert policy == "keep" or all(is_workday(settings, one.out_on) for one in found)
    assert all(abs(one.out_on - one.nominal) <= timedelta(days=9) for one in found)
    assert not any(one.provisional for one in found)


def test_a_time_is_the_offices_own_whatever_the_machine_thinks(settings: Settings) -> None:
    found = dates(settings, SECTION, date(2026, 12, 1))
    zone = ZoneInfo("Asia/Shanghai")
    assert found.send_at == datetime(2026, 12, 1, 9, 0, tzinfo=zone)
    assert found.cut_off_at == datetime(2026, 11, 30, 9, 0, tzinfo=zone)


def test_days_of_a_year_without_published_holidays_are_provisional(settings: Settings) -> None:
    assert dates(settings, SECTION, date(2031, 5, 15)).provisional
    assert dates(settings, SECTION, date(2031, 6, 1)).out_on == date(2031, 5, 30)  # a Sunday: the Friday before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"time": "25:00"}, "config.bad_newsletter_time"),
        ({"first": "2026-12-02"}, "config.newsletter_first"),
        ({"columns": [{"name": "要闻"}, {"name": "要闻"}]}, "config.newsletter_column"),
        ({"channels": ["fax"]}, "config.newsletter_channel"),
        ({"item_type": "简报"}, "config.newsletter_type"),
    ],
)
def test_settings_that_make_no_sense_start_nothing(change: dict[str, object], code: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        settings_for(tmp_path, "sqlite://", newsletter=newsletter(**change), item_types=TYPES)
    assert caught.value.errors()[0]["type"] == code


def test_days_are_counted_across_years() -> None:
    assert before((1, 15), date(2026, 1, 1)) == date(2025, 12, 15)
    assert before((10,), date(2026, 3, 10)) == date(2026, 2, 10)
    assert between((1, 15), date(2025, 12, 15), date(2026, 12, 15)) == 24
    assert list(islice(nominal_days((1, 15), date(2026, 11, 16)), 3)) == [
        date(2026, 12, 1), date(2026, 12, 15), date(2027, 1, 1),
    ]  # fmt: skip


def test_an_issue_moved_into_the_period_is_found_from_outside_it(settings: Settings) -> None:
    found = issue_days(settings, date(2015, 9, 30), date(2015, 9, 30))
    assert [nominal for nominal, _ in found] == [date(2015, 10, 1)]
