"""Which issues there are: made from the calendar, numbered once, whatever the clock and the processes do."""

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from pipeline import agenda, assembly, issue_pages, issues, review
from pipeline.decisions import Refused
from pipeline.drafts import latest_revision, read_draft
from pipeline.issues import Phase
from pipeline.models import AuditLine, Bounce, Delivery, Suppression
from pipeline.states import State
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau, open_bureau, settings_for
from tests.pipeline.newsletter import (
    DEADLINE,
    TYPES,
    approved,
    assembled,
    built,
    go_to_sending,
    newsletter,
    numbered_once,
    published,
    stored,
    submitted,
    with_newsletter,
)


@pytest.fixture
def office(open_office: Callable[..., Bureau]) -> Bureau:
    return with_newsletter(open_office)


def numbered(bureau: Bureau) -> list[tuple[str, int, int]]:
    return [(one.nominal.isoformat(), one.number, one.running) for one in stored(bureau)]


def test_the_issue_that_is_next_is_there_before_its_cut_off(office: Bureau) -> None:
    assert len(issues.ensure(office.rt)) == 1 and issues.ensure(office.rt) == []
    assert numbered(office) == [("2026-12-01", 23, 1)]
    office.clock.moment = DEADLINE
    issues.ensure(office.rt)
    assert numbered(office) == [("2026-12-01", 23, 1), ("2026-12-15", 24, 2)]


def test_the_first_numbers_are_the_offices(open_office: Callable[..., Bureau]) -> None:
    office = with_newsletter(open_office, first_number=3, first_running=51)
    office.clock.moment = datetime(2027, 1, 10, tzinfo=UTC)
    issues.ensure(office.rt)
    assert numbered(office) == [
        ("2026-12-01", 3, 51), ("2026-12-15", 4, 52), ("2027-01-01", 1, 53), ("2027-01-15", 2, 54),
    ]  # fmt: skip
    assert issues.line(office.rt, 1).numbers == "2026年第3期（总第51期）"


def test_without_a_first_day_the_next_issue_is_the_first(open_office: Callable[..., Bureau]) -> None:
    office = with_newsletter(open_office, first=None)
    office.clock.moment = DEADLINE + timedelta(minutes=1)
    issues.ensure(office.rt)
    assert numbered(office) == [("2026-12-15", 24, 1)]


def test_an_office_without_a_newsletter_has_no_issues(bureau: Bureau) -> None:
    assert issues.ensure(bureau.rt) == [] and assembly.build_due(bureau.rt) == []
    with pytest.raises(Refused) as caught:
        issues.plan(bureau.rt)
    assert caught.value.code == "issue.no_newsletter"


def test_after_forty_days_the_missed_issues_are_there_late_and_held(office: Bureau) -> None:
    office.subscribe("1")
    issues.ensure(office.rt)
    item = published(office, "停机之前公开的通知")
    office.clock.forward(days=40)  # to 2 January: the cut-offs of 1 and 15 December and 1 January have passed
    issues.ensure(office.rt)
    assert [one for one, _, _ in numbered(office)] == ["2026-12-01", "2026-12-15", "2027-01-01", "2027-01-15"]
    made = assembly.build_due(office.rt)
    assert len(made) == 1  # nothing became public afterwards
    lines = {one.nominal.isoformat(): one for one in issues.plan(office.rt)}
    assert lines["2026-12-01"].late and lines["2026-12-01"].phase is Phase.DRAFT
    assert lines["2026-12-15"].late and lines["2026-12-15"].phase is Phase.PLANNED
    assert not lines["2027-01-15"].late
    assert issues.find(office.rt, "") == lines["2026-12-01"].id
    issue = lines["2026-12-01"].id
    office.approve(made[0], submitted(office, issue))
    office.work()
    assert office.effects("sms") == [] and issues.line(office.rt, issue).phase is Phase.HELD
    assert issues.line(office.rt, issue).late and item


def test_an_issue_that_was_approved_in_time_and_stood_still_is_held_too(office: Bureau) -> None:
    office.subscribe("1")
    _, issue, item = approved(office, "通知一")
    office.clock.forward(days=40)
    office.work()
    assert office.state(item, "sms") == "on_hold" and office.effects("sms") == []
    assert issues.line(office.rt, issue).late


@pytest.mark.parametrize("policy", ["back", "forward", "keep"])
def test_ten_years_of_real_holidays_number_every_issue_once(open_office: Callable[..., Bureau], policy: str) -> None:
    office = with_newsletter(open_office, first="2016-01-01", policy=policy)
    moment = datetime(2016, 1, 5, tzinfo=UTC)
    while moment < datetime(2025, 12, 20, tzinfo=UTC):
        office.clock.moment = moment
        issues.ensure(office.rt)
        moment += timedelta(days=33)  # some 2 issues a look: a slow beat
    lines = stored(office)
    assert len([one for one in lines if one.nominal <= date(2025, 12, 1)]) == 239
    numbered_once(lines)
    assert {one.number for one in lines if one.year == 2020} == set(range(1, 25))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jumps=st.lists(st.integers(-900, 900), min_size=1, max_size=12))
def test_a_clock_that_jumps_back_and_forth_changes_no_number(jumps: list[int], tmp_path: Path) -> None:
    folder = tmp_path / str(abs(hash(tuple(jumps))))
    folder.mkdir(exist_ok=True)
    data = settings_for(folder, f"sqlite:///{folder / 'fabu.db'}", newsletter=newsletter(first="2025-01-15"),
                        item_types=TYPES)  # fmt: skip
    office = open_bureau(data)
    try:
        known: dict[date, tuple[int, int]] = {}
        for days in [0, *jumps]:
            office.clock.forward(days=days)
            issues.ensure(office.rt)
            now = {one.nominal: (one.number, one.running) for one in stored(office)}
            assert known.items() <= now.items()  # what was given stays
            known = now
        numbered_once(stored(office))
    finally:
        office.rt.engine.dispose()


def test_any_number_of_beats_make_each_issue_once(office: Bureau) -> None:
    office.clock.moment = datetime(2027, 12, 24, tzinfo=UTC)
    start = threading.Barrier(6)
    made: list[int] = []

    def beat() -> None:
        start.wait()
        made.extend(issues.ensure(office.rt))

    beats = [threading.Thread(target=beat) for _ in range(6)]
    for one in beats:
        one.start()
    for one in beats:
        one.join()
    lines = stored(office)
    assert sorted(made) == sorted(one.id for one in lines) and lines[-1].nominal == date(2028, 1, 1)
    numbered_once(lines)


def test_any_number_of_beats_assemble_an_issue_once(office: Bureau) -> None:
    for n in range(3):
        published(office, f"通知{n}")
    office.clock.moment = DEADLINE + timedelta(days=15)  # two are missing: the first takes all
    issues.ensure(office.rt)
    start = threading.Barrier(4)

    def beat() -> None:
        start.wait()
        assembly.build_due(office.rt)

    beats = [threading.Thread(target=beat) for _ in range(4)]
    for one in beats:
        one.start()
    for one in beats:
        one.join()
    assembly.build_due(office.rt)
    made = [one for one in stored(office) if one.item_id is not None]
    assert len(made) == 1
    assert sum(len(column.entries) for column in issue_pages.page(office.rt, made[0].id).columns) == 3


def test_a_holiday_notice_moves_an_issue_that_nobody_has_assembled(
    open_office: Callable[..., Bureau],
) -> None:
    office = with_newsletter(open_office)
    office.clock.moment = datetime(2027, 4, 20, tzinfo=UTC)
    issues.ensure(office.rt)
    before = stored(office)[-1]
    assert before.nominal == date(2027, 5, 1) and before.out_on == date(2027, 4, 30)  # a Saturday
    notice = {2027: {"off": ["2027-04-30", "2027-05-01"], "work": []}}
    later = open_office(newsletter=newsletter(), item_types=TYPES, holidays=notice)
    later.clock.moment = office.clock.moment
    issues.ensure(later.rt)
    moved = stored(later)[-1]
    assert moved.out_on == date(2027, 4, 29) and (moved.number, moved.running) == (before.number, before.running)


# ── a person's decisions ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_issue_that_is_left_out_keeps_its_numbers(office: Bureau) -> None:
    office.clock.moment = DEADLINE - timedelta(days=1)
    issues.ensure(office.rt)
    issues.skip(office.rt, office.actor("wang"), date(2026, 12, 15), "印刷厂检修")
    lines = {one.nominal.isoformat(): one for one in issues.plan(office.rt, 4)}
    assert lines["2026-12-15"].phase is Phase.LEFT_OUT and lines["2026-12-15"].reason == "印刷厂检修"
    assert [one.running for one in lines.values()] == [1, 2, 3, 4]
    office.clock.moment = DEADLINE + timedelta(days=40)
    issues.ensure(office.rt)
    assert {one.nominal.isoformat(): one.phase for one in issues.archive(office.rt)}["2026-12-15"] is Phase.LEFT_OUT
    numbered_once(stored(office))
    with office.rt.reading() as db:
        assert "skip" in db.scalars(select(AuditLine.decision)).all()


def test_the_entries_of_an_issue_that_is_left_out_go_into_the_next(office: Bureau) -> None:
    one = published(office, "通知一")
    first, item = built(office)
    submitted(office, first)
    issues.skip(office.rt, office.actor("chen"), date(2026, 12, 1), "内容太少")
    assert office.state_of(item) == "draft" and issues.line(office.rt, first).phase is Phase.LEFT_OUT
    second, _ = built(office, DEADLINE + timedelta(days=14))
    assert [entry.item for column in issue_pages.page(office.rt, second).columns for entry in column.entries] == [one]


def test_a_merged_issue_says_so_in_the_imprint_of_the_later_one(office: Bureau) -> None:
    published(office, "通知一")
    office.clock.moment = DEADLINE
    issues.ensure(office.rt)
    issues.skip(office.rt, office.actor("wang"), date(2026, 12, 1), "春节前后合刊", date(2026, 12, 15))
    assert issues.line(office.rt, stored(office)[0].id).into == date(2026, 12, 15)
    with pytest.raises(Refused) as caught:
        issues.skip(office.rt, office.actor("wang"), date(2026, 12, 15), "也不出")
    assert caught.value.code == "issue.merged_into"
    _, item = built(office, DEADLINE + timedelta(days=14))
    with office.rt.reading() as db:
        draft = read_draft(db, latest_revision(db, item))
    assert draft.issue is not None and dict(draft.issue.imprint)["合刊说明"] == "与2026年第23期（总第1期）合刊"


@pytest.mark.parametrize(
    ("day", "into", "reason", "code"),
    [
        (date(2026, 12, 2), None, "理由", "issue.no_such_day"),
        (date(2026, 12, 15), date(2026, 12, 1), "理由", "issue.merge_backwards"),
        (date(2026, 12, 15), date(2026, 12, 20), "理由", "issue.no_such_day"),
        (date(2026, 12, 15), None, " ", "decision.reason_missing"),
    ],
)
def test_a_slip_of_the_pen_leaves_nothing_out(
    office: Bureau, day: date, into: date | None, reason: str, code: str
) -> None:
    with pytest.raises(Refused) as caught:
        issues.skip(office.rt, office.actor("wang"), day, reason, into)
    assert caught.value.code == code


def refused_merge(office: Bureau, day: date, into: date) -> str:
    with pytest.raises(Refused) as caught:
        issues.skip(office.rt, office.actor("wang"), day, "合刊", into)
    return caught.value.code


def test_an_issue_is_merged_only_into_one_that_still_takes_something_in(office: Bureau) -> None:
    published(office, "通知一")
    second = DEADLINE + timedelta(days=14)
    _, item = built(office, second)  # for 1 December, late; 15 December is closed, with nothing in it
    assert item and refused_merge(office, date(2026, 12, 1), date(2026, 12, 15)) == "issue.merge_too_late"
    issues.skip(office.rt, office.actor("wang"), date(2026, 12, 1), "合刊", date(2027, 1, 1))


def test_an_issue_is_merged_into_none_that_was_submitted_or_sent_before_its_cut_off(office: Bureau) -> None:
    office.clock.moment = DEADLINE + timedelta(hours=1)
    issues.ensure(office.rt)
    first, second = stored(office)
    published(office, "通知一")
    item = assembly.build(office.rt, office.actor("wang"), second.id).item
    hash = assembly.submit(office.rt, office.actor("wang"), second.id, at=office.clock() + timedelta(minutes=1)).hash
    assert refused_merge(office, first.nominal, second.nominal) == "issue.merge_too_late"
    office.approve(item, hash)
    office.clock.forward(minutes=2)
    office.work()
    assert issues.line(office.rt, second.id).phase is Phase.SENT and office.clock() < second.cut_off_at
    assert refused_merge(office, first.nominal, second.nominal) == "issue.merge_too_late"


def test_what_was_left_out_can_come_out_after_all(office: Bureau) -> None:
    wang = office.actor("wang")
    issues.ensure(office.rt)
    issues.skip(office.rt, wang, date(2026, 12, 1), "先不出")
    published(office, "通知一")
    office.clock.moment = DEADLINE
    issues.ensure(office.rt)
    assert assembly.build_due(office.rt) == []
    issues.take_back(office.rt, wang, date(2026, 12, 1), "还是要出")
    assert len(assembly.build_due(office.rt)) == 1
    with pytest.raises(Refused) as caught:
        issues.take_back(office.rt, wang, date(2026, 12, 1), "还是要出")
    assert caught.value.code == "issue.not_left_out"


def test_an_issue_in_force_is_withdrawn_not_left_out(office: Bureau) -> None:
    _, issue, item = approved(office, "通知一")
    with pytest.raises(Refused) as caught:
        issues.skip(office.rt, office.actor("chen"), date(2026, 12, 1), "不出了")
    assert caught.value.code == "issue.in_force"
    review.withdraw(office.rt, office.actor("chen"), item, "不出了")
    assert issues.line(office.rt, issue).phase is Phase.WITHDRAWN


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_plan_shows_the_next_24_issues_and_makes_none(office: Bureau) -> None:
    lines = issues.plan(office.rt)
    assert len(lines) == 24 and stored(office) == []
    assert [one.running for one in lines] == list(range(1, 25))
    assert (lines[0].numbers, lines[2].numbers) == ("2026年第23期（总第1期）", "2027年第1期（总第3期）")
    assert not lines[0].provisional and lines[-1].provisional


def test_issues_are_named_by_day_total_or_year_and_number(office: Bureau) -> None:
    published(office, "通知一")
    office.clock.moment = DEADLINE
    issues.ensure(office.rt)
    first, second = (one.id for one in stored(office))
    assert [issues.find(office.rt, name) for name in ("2026-12-01", "1", "2026-23", "")] == [first] * 4
    assert issues.find(office.rt, "2026-24") == second
    for wrong in ("2026-12-02", "99", "明天", "--", "9" * 30):
        with pytest.raises(Refused) as caught:
            issues.find(office.rt, wrong)
        assert caught.value.code == "issue.unknown"
    item = assembly.build(office.rt, office.actor("wang"), first).item
    office.approve(item, submitted(office, first))
    go_to_sending(office, first)
    office.work()
    assert issues.find(office.rt, "") == second


def test_progress_is_honest_about_what_is_left(office: Bureau) -> None:
    office.subscribe(*(str(n) for n in range(10)))
    _, issue, item = assembled(office, "通知一")
    assert issue_pages.progress(office.rt, issue) == []
    office.approve(item, submitted(office, issue))
    before = {one.channel: one for one in issue_pages.progress(office.rt, issue)}
    assert before["sms"].seconds is None and before["sms"].left == 1  # its time has not come
    go_to_sending(office, issue)
    set_faults(office.rt.settings.data / "sms", Fault("unavailable", recipient="7", times=None))
    office.work()
    office.clock.forward(seconds=60)
    now = {one.channel: one for one in issue_pages.progress(office.rt, issue)}
    assert (now["sms"].sent, now["sms"].left, now["sms"].total) == (9, 1, 10)
    assert now["sms"].per_minute == pytest.approx(9) and now["sms"].seconds == pytest.approx(60 / 9)
    assert now["web"].seconds == 0 and now["web"].counts == {State.CONFIRMED: 1}
    office.clock.forward(minutes=30)
    assert issue_pages.progress(office.rt, issue)[-1].seconds is None  # nothing moves: nobody can say


def test_figures_are_by_mail_domain(office: Bureau) -> None:
    office.subscribe("a@x.example", "b@x.example", "c@y.example", "13800001234")
    _, issue, _ = approved(office, "通知一")
    go_to_sending(office, issue)
    set_faults(office.rt.settings.data / "sms", Fault("rejected", recipient="b@x.example"))
    office.work()
    with office.rt.writing() as db:
        db.add_all(Suppression(channel="sms", address=one, at=office.clock()) for one in ("a@x.example", "c@y.example"))
        back = db.scalar(select(Delivery.id).where(Delivery.recipient == "c@y.example"))
        came = Bounce(sha256="0" * 64, channel="sms", kind="hard", status="5.1.1", address="c@y.example")
        came.delivery_id, came.read_at = back, office.clock()
        db.add(came)
    (found,) = issue_pages.figures(office.rt, issue)
    assert [(one.domain, one.total, one.sent, one.failed, one.bounced, one.opted_out) for one in found.domains] == [
        ("x.example", 2, 1, 1, 0, 1),
        ("", 1, 1, 0, 0, 0),
        ("y.example", 1, 1, 0, 1, 0),
    ]
    assert (found.whole.total, found.whole.sent, found.whole.failed) == (4, 3, 1)


def test_the_calendar_of_an_office_shows_its_own_days(open_office: Callable[..., Bureau]) -> None:
    office = with_newsletter(open_office, days=[10], first=None, policy="forward")
    days = agenda.days(office.rt, office.actor("wang").person, date(2026, 12, 1), date(2026, 12, 31))
    found = [one.day for one in days for entry in one.entries if entry.kind is agenda.Kind.NEWSLETTER]
    assert found == [date(2026, 12, 10)]


def test_the_calendar_names_an_issue_that_is_assembled_and_leaves_out_what_does_not_come_out(office: Bureau) -> None:
    published(office, "通知一")
    _, item = built(office)
    issues.skip(office.rt, office.actor("wang"), date(2026, 12, 15), "停刊")
    days = agenda.days(office.rt, office.actor("wang").person, date(2026, 12, 1), date(2026, 12, 31))
    found = [(one.day, entry.item, entry.title) for one in days for entry in one.entries if entry.kind == "newsletter"]
    assert found == [(date(2026, 12, 1), item, "广电通讯2026年第23期（总第1期）")]
    seen = agenda.days(office.rt, office.actor("zhao").person, date(2026, 12, 1), date(2026, 12, 1))
    assert [entry.item for entry in seen[0].entries if entry.kind == "newsletter"] == [0]  # another department's


def test_an_issue_that_is_submitted_like_any_item_still_waits_for_its_day(office: Bureau) -> None:
    _, issue, item = assembled(office, "通知一")
    office.approve(item, office.submit(item, "web", person="wang"))
    office.work()
    assert office.state(item, "web") == "due" and issues.line(office.rt, issue).phase is Phase.APPROVED
