"""The calendar: what is on which day, when the newsletter comes out, and putting off what was approved."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from pipeline import agenda, operate, review
from pipeline.agenda import Kind
from pipeline.decisions import Refused
from pipeline.models import AuditLine
from pipeline.newsletter_days import Policy, issue_day, issue_days
from tests.office import Bureau, settings_for

LATER = datetime(2026, 11, 27, 1, 0, tzinfo=UTC)  # 09:00 in Zhangdian


@pytest.mark.parametrize(
    ("nominal", "policy", "out"),
    [
        ("2015-02-15", "back", "2015-02-15"),  # a working Sunday
        ("2015-10-01", "forward", "2015-10-08"),
        ("2015-10-01", "back", "2015-09-30"),
        ("2015-10-01", "keep", "2015-10-01"),
        ("2026-02-15", "forward", "2026-02-24"),
        ("2026-02-15", "back", "2026-02-14"),  # a working Saturday
    ],
)
def test_the_newsletter_comes_out_on_a_working_day(nominal: str, policy: Policy, out: str, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "sqlite://")
    assert issue_day(settings, date.fromisoformat(nominal), policy).day == date.fromisoformat(out)


def test_a_year_has_24_issues_in_order_and_none_twice(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "sqlite://")
    for year in range(2016, 2026):
        for policy in ("back", "forward", "keep"):
            issues = issue_days(settings, date(year, 1, 8), date(year + 1, 1, 7), policy)
            nominal, out = [one for one, _ in issues], [one.day for _, one in issues]
            assert len(set(nominal)) == 24 and out == sorted(out), (year, policy)


def entries(bureau: Bureau, person: str = "wang") -> list[tuple[date, Kind, int]]:
    days = agenda.days(bureau.rt, bureau.actor(person).person, date(2026, 11, 1), date(2026, 12, 31))
    assert [one.day for one in days] == sorted(one.day for one in days) and len(days) == 61
    return [(one.day, one.kind, one.item) for day in days for one in day.entries if one.kind is not Kind.NEWSLETTER]


def test_what_is_scheduled_planned_and_due_by_law_stands_on_its_day(bureau: Bureau) -> None:
    draft = bureau.write(formed_on=date(2026, 11, 20))
    scheduled = bureau.publish("web", publish_at=LATER)
    planned = bureau.write(formed_on=date(2026, 11, 3))
    bureau.submit(planned, "web", publish_at=LATER)
    found = entries(bureau)
    assert (LATER.date(), Kind.SCHEDULED, scheduled) in found
    assert (LATER.date(), Kind.PLANNED, planned) in found
    assert (date(2026, 12, 18), Kind.DEADLINE, draft) in found
    assert (date(2026, 12, 1), Kind.DEADLINE, planned) in found
    assert not [one for one in found if one[1] is Kind.DEADLINE and one[2] == scheduled]  # approved: the clock stopped


def test_a_notice_is_to_be_taken_down_the_day_after_its_period(bureau: Bureau) -> None:
    period = (date(2026, 11, 23), date(2026, 11, 30))
    item = bureau.publish("web", "board", draft={"item_type": "公示", "period": period, "objection_contact": "办公室"})
    bureau.work()
    operate.post(bureau.rt, bureau.actor("wang"), item, "一楼公开栏")
    assert (date(2026, 12, 1), Kind.TAKE_DOWN, item) in entries(bureau)
    operate.unpost(bureau.rt, bureau.actor("wang"), item)
    assert not [one for one in entries(bureau) if one[1] is Kind.TAKE_DOWN]


def test_an_author_sees_the_own_departments_days(bureau: Bureau) -> None:
    bureau.write("wang", department="tech")
    own = bureau.write()
    assert {item for _, _, item in entries(bureau, "zhao")} == {own}


def test_what_waits_for_its_time_can_be_put_off_and_never_brought_forward(bureau: Bureau) -> None:
    item = bureau.publish("web", publish_at=LATER)
    wang = bureau.actor("wang")

    def refusal(at: datetime, reason: str = "领导出差") -> str:
        with pytest.raises(Refused) as caught:
            operate.postpone(bureau.rt, wang, item, at, reason)
        return caught.value.code

    assert refusal(LATER - timedelta(hours=1)) == "postpone.not_later"
    assert refusal(LATER + timedelta(days=1), " ") == "decision.reason_missing"
    assert refusal(LATER + timedelta(days=9999)) == "review.time_unlikely"
    assert operate.postpone(bureau.rt, wang, item, LATER + timedelta(days=1), "领导出差") == 1
    bureau.clock.moment = LATER + timedelta(hours=1)
    bureau.work()
    assert bureau.state(item, "web") == "due"
    bureau.clock.forward(days=1)
    bureau.work()
    assert bureau.state(item, "web") == "confirmed"
    assert refusal(LATER + timedelta(days=9)) == "postpone.nothing"
    with bureau.rt.reading() as db:
        assert "postpone" in db.scalars(select(AuditLine.decision)).all()


def test_a_correction_of_what_was_put_off_waits_with_it(bureau: Bureau) -> None:
    item = bureau.publish("web", publish_at=LATER)
    operate.postpone(bureau.rt, bureau.actor("wang"), item, LATER + timedelta(days=2), "等上级通知")
    review.correct(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="改了标题"))
    bureau.approve(item, bureau.submit(item))
    bureau.clock.moment = LATER + timedelta(days=1)
    bureau.work()
    assert bureau.state(item, "web") == "due" and bureau.calls("web") == []
