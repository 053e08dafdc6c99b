"""What waits for whom, and who may stand in for whom: on both databases."""

import json
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from sqlalchemy import select

from pipeline import deputies, desk, operate, review, staff
from pipeline.desk import Desk, Unsubmitted
from pipeline.models import Approval, AuditLine
from pipeline.states import Ground, Stage, State
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau
from tests.pipeline.test_review import approve, refused, submission

TODAY = date(2026, 11, 23)
FRIDAY = date(2026, 11, 27)


def desk_of(bureau: Bureau, person: str) -> Desk:
    return desk.desk(bureau.rt, staff.person(bureau.rt, person))


def name_deputy(bureau: Bureau, person: str, for_person: str, to_on: date = FRIDAY, by: str | None = None) -> int:
    return deputies.name(bureau.rt, bureau.actor(by or for_person), person, for_person, TODAY, to_on)


def turns(bureau: Bureau, person: str) -> list[int]:
    return [one.item for one in desk_of(bureau, person).reviews]


# ── reviews ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_submission_lies_on_the_desks_of_those_whose_turn_it_is(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    assert {one: turns(bureau, one) for one in ("li", "both", "chen", "zhou", "wang", "zhao", "sun")} == {
        "li": [item], "both": [item], "chen": [], "zhou": [], "wang": [], "zhao": [], "sun": [],
    }  # fmt: skip
    approve(bureau, "li", item, seen)
    assert turns(bureau, "li") == [] and turns(bureau, "chen") == [item]
    assert turns(bureau, "zhou") == []  # in charge of another department
    approve(bureau, "chen", item, seen)
    assert turns(bureau, "chen") == []


def test_nobody_finds_on_their_desk_what_they_wrote_submitted_or_reviewed(bureau: Bureau) -> None:
    own = bureau.write("both", department="office")
    seen = bureau.submit(own, "web", person="wang")
    assert turns(bureau, "both") == []
    assert [one.item for one in desk_of(bureau, "both").under_review] == [own]
    assert [one.item for one in desk_of(bureau, "wang").under_review] == [own]
    approve(bureau, "li", own, seen)
    other = bureau.write()
    reviewed = bureau.submit(other, "web")
    approve(bureau, "both", other, reviewed)
    assert turns(bureau, "both") == [] and turns(bureau, "chen") == [own, other]


def test_the_days_that_the_law_leaves_are_counted_from_the_day_formed(bureau: Bureau) -> None:
    item = bureau.write(formed_on=date(2026, 10, 28))
    bureau.submit(item, "web")
    (one,) = desk_of(bureau, "li").reviews
    assert one.clock is not None
    assert (one.clock.day, one.clock.days_left, one.clock.provisional) == (date(2026, 11, 25), 2, False)
    bureau.clock.forward(days=5)
    (one,) = desk_of(bureau, "li").reviews
    assert one.clock is not None and one.clock.days_left < 0


def test_a_clock_that_runs_into_a_year_without_published_holidays_is_provisional(bureau: Bureau) -> None:
    bureau.clock.forward(days=25)
    item = bureau.write(formed_on=date(2026, 12, 18))
    bureau.submit(item, "web")
    (one,) = desk_of(bureau, "li").reviews
    assert one.clock is not None and one.clock.provisional


def test_a_correction_of_what_is_public_has_no_clock(bureau: Bureau) -> None:
    item = bureau.publish("web", draft={"formed_on": date(2026, 10, 28)})
    review.correct(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="更正"))
    (draft,) = desk_of(bureau, "zhao").drafts
    assert (draft.state, draft.clock) == (Unsubmitted.CORRECTION, None)
    bureau.submit(item)
    (one,) = desk_of(bureau, "li").reviews
    assert one.clock is None


# ── drafts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_returned_item_lies_on_its_authors_desk_with_the_reason_and_comes_first(bureau: Bureau) -> None:
    fresh, returned = bureau.write(), bureau.write(title="第二件")
    bureau.submit(returned, "web")
    assert [one.item for one in desk_of(bureau, "zhao").drafts] == [fresh]
    review.return_(bureau.rt, bureau.actor("li"), returned, "日期有误")
    first, second = desk_of(bureau, "zhao").drafts
    assert (first.item, first.state, first.reason, first.returned_by) == (
        returned, Unsubmitted.RETURNED, "日期有误", "li",
    )  # fmt: skip
    assert (second.item, second.state, second.reason) == (fresh, Unsubmitted.DRAFT, "")
    assert desk_of(bureau, "wang").drafts == ()
    bureau.submit(returned, "web")
    assert [one.item for one in desk_of(bureau, "zhao").drafts] == [fresh]


def test_what_was_refused_published_or_withdrawn_is_no_draft(bureau: Bureau) -> None:
    refused_item = bureau.write()
    bureau.submit(refused_item, "web")
    review.refuse(bureau.rt, bureau.actor("li"), refused_item, Ground.THIRD_PARTY, "涉及第三方")
    published, withdrawn = bureau.publish("web"), bureau.publish("web")
    review.withdraw(bureau.rt, bureau.actor("chen"), withdrawn, "数据有误")
    assert desk.drafts(bureau.rt) == []
    review.edit(bureau.rt, bureau.actor("zhao"), withdrawn, bureau.draft(title="重写"))
    assert [(one.item, one.state) for one in desk.drafts(bureau.rt)] == [(withdrawn, Unsubmitted.DRAFT)]
    assert submission(bureau, published).stage is Stage.APPROVED


# ── deliveries in trouble, notices ───────────────────────────────────────────────────────────────────────────────────


def test_deliveries_in_trouble_lie_with_their_reason_on_the_desks_of_those_who_may_retry(bureau: Bureau) -> None:
    bureau.subscribe("13800000001", "13800000002")
    set_faults(bureau.rt.settings.data / "web", Fault(raises="rejected"))
    item = bureau.publish("web")
    bureau.work()
    for person in ("wang", "li", "chen"):
        (trouble,) = desk_of(bureau, person).troubles
        assert (trouble.item, trouble.channel, trouble.state, trouble.recipients) == (item, "web", State.FAILED, 0)
        assert trouble.error is not None and trouble.error["code"]
    assert desk_of(bureau, "zhao").troubles == () and desk_of(bureau, "sun").troubles == ()
    operate.retry(bureau.rt, bureau.actor("wang"), item)
    bureau.work()
    assert desk_of(bureau, "wang").troubles == ()


def test_recipients_that_failed_alike_are_one_line_with_their_count(bureau: Bureau) -> None:
    bureau.subscribe(*(f"1380000000{number}" for number in range(3)))
    faults = [Fault(raises="rejected"), Fault(raises="in_doubt"), Fault(raises="rejected")]
    set_faults(bureau.rt.settings.data / "sms", *faults)
    bureau.publish("web", "sms")
    bureau.work()
    bureau.work()
    found = {(one.state, one.recipients) for one in desk_of(bureau, "wang").troubles}
    assert found == {(State.FAILED, 2), (State.IN_DOUBT, 1)}
    told = json.dumps([one.error for one in desk_of(bureau, "wang").troubles], default=str)
    assert "1380000000" not in told


def test_a_notice_lies_on_the_desks_of_its_author_and_the_editor(bureau: Bureau) -> None:
    bureau.publish("web", "board")
    bureau.work()
    assert [one.what for one in desk_of(bureau, "zhao").notices] == ["post"]
    assert [one.what for one in desk_of(bureau, "wang").notices] == ["post"]
    assert desk_of(bureau, "both").notices == ()  # an author, but not of this one
    assert desk_of(bureau, "li").notices == ()


# ── deputies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deputy_takes_the_turn_and_the_ledger_says_for_whom(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "li", item, seen)
    refused("decision.not_permitted", approve, bureau, "wang", item, seen)
    name_deputy(bureau, "wang", "chen")
    (one,) = desk_of(bureau, "wang").reviews
    assert (one.item, one.on_behalf_of) == (item, "chen")
    assert approve(bureau, "wang", item, seen) is True
    with bureau.rt.reading() as db:
        approvals = db.scalars(select(Approval).order_by(Approval.level)).all()
        assert [(one.person, one.on_behalf_of) for one in approvals] == [("li", ""), ("wang", "chen")]
        line = db.scalars(select(AuditLine).where(AuditLine.decision == "approve").order_by(AuditLine.id)).all()[-1]
        assert (line.person, json.loads(line.facts)["on_behalf_of"]) == ("wang", "chen")


def test_who_has_the_role_acts_in_their_own_name(bureau: Bureau) -> None:
    name_deputy(bureau, "both", "chen")
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "li", item, seen)
    approve(bureau, "both", item, seen)
    with bureau.rt.reading() as db:
        assert set(db.scalars(select(Approval.on_behalf_of))) == {""}


def test_neither_the_deputy_nor_who_is_away_may_have_had_a_part_in_the_item(bureau: Bureau) -> None:
    name_deputy(bureau, "wang", "chen")
    name_deputy(bureau, "li", "chen")
    own = bureau.write("wang")
    seen = bureau.submit(own, "web", person="wang")
    approve(bureau, "li", own, seen)
    refused("review.own_item", approve, bureau, "wang", own, seen)  # the deputy wrote it
    refused("review.own_item", review.return_, bureau.rt, bureau.actor("wang"), own, "改")
    refused("review.same_person", approve, bureau, "li", own, seen)  # the deputy gave the first review
    assert turns(bureau, "wang") == turns(bureau, "li") == []


def test_a_deputy_cannot_review_what_the_one_who_is_away_wrote(bureau: Bureau) -> None:
    item = bureau.write("both", department="office")
    seen = bureau.submit(item, "web", person="both")
    name_deputy(bureau, "wang", "both")
    refused("review.represented_involved", approve, bureau, "wang", item, seen)
    refused("review.represented_involved", review.return_, bureau.rt, bureau.actor("wang"), item, "改")
    assert turns(bureau, "wang") == []
    name_deputy(bureau, "wang", "li")  # whoever else they stand in for and who had no part in it
    approve(bureau, "wang", item, seen)
    with bureau.rt.reading() as db:
        assert db.scalars(select(Approval.on_behalf_of)).all() == ["li"]


def test_in_whose_name_a_deputy_reviewed_cannot_give_the_next_review(bureau: Bureau) -> None:
    name_deputy(bureau, "wang", "both")
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "wang", item, seen)
    refused("review.same_person", approve, bureau, "both", item, seen)
    assert turns(bureau, "both") == [] and turns(bureau, "chen") == [item]


def test_a_deputy_of_a_leader_is_in_charge_of_the_leaders_departments_only(bureau: Bureau) -> None:
    name_deputy(bureau, "wang", "zhou")
    news, tech = bureau.write(), bureau.write("wang", department="tech", title="技术")
    seen = {one: bureau.submit(one, "web", person="wang" if one == tech else "zhao") for one in (news, tech)}
    for one in (news, tech):
        approve(bureau, "li", one, seen[one])
    error = refused("review.not_in_charge", approve, bureau, "wang", news, seen[news])
    assert error.facts["department"] == "新闻部" and "陈局长" in error.facts["leaders"]
    refused("review.own_item", approve, bureau, "wang", tech, seen[tech])


def test_a_deputy_may_withdraw_and_nothing_else_of_the_leaders(bureau: Bureau) -> None:
    name_deputy(bureau, "wang", "chen")
    item = bureau.publish("web")
    refused("decision.not_permitted", review.withdraw, bureau.rt, bureau.actor("zhao"), item, "数据有误")
    assert review.withdraw(bureau.rt, bureau.actor("wang"), item, "数据有误") == ["web"]
    with bureau.rt.reading() as db:
        line = db.scalars(select(AuditLine).where(AuditLine.decision == "withdraw")).one()
        assert json.loads(line.facts)["on_behalf_of"] == "chen"
    name_deputy(bureau, "zhao", "chen")
    refused("decision.not_permitted", operate.pause, bureau.rt, bureau.actor("zhao"), "web", "检修")


@pytest.mark.parametrize("days", [-1, 5])
def test_before_and_after_the_period_there_is_no_deputy(bureau: Bureau, days: int) -> None:
    deputies.name(bureau.rt, bureau.actor("chen"), "wang", "chen", TODAY, FRIDAY)
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "li", item, seen)
    bureau.clock.forward(days=days)
    assert turns(bureau, "wang") == []
    refused("decision.not_permitted", approve, bureau, "wang", item, seen)
    bureau.clock.forward(days=-days + 4)  # the last day, in Zhangdian
    assert turns(bureau, "wang") == [item]


def test_an_ended_deputy_and_the_deputy_of_somebody_who_has_left_decide_nothing(
    open_office: Callable[..., Bureau],
) -> None:
    bureau = open_office()
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "li", item, seen)
    first = name_deputy(bureau, "wang", "chen")
    refused("deputy.not_yours", deputies.end, bureau.rt, bureau.actor("zhou"), first)
    deputies.end(bureau.rt, bureau.actor("chen"), first)
    assert turns(bureau, "wang") == []
    refused("deputy.unknown", deputies.end, bureau.rt, bureau.actor("chen"), first)
    name_deputy(bureau, "wang", "chen")
    assert turns(bureau, "wang") == [item]
    with bureau.rt.writing() as db:
        (row,) = staff.represented(db, "wang", TODAY)
        row.active = False
    assert turns(bureau, "wang") == []
    refused("decision.not_permitted", approve, bureau, "wang", item, seen)


def test_a_deputy_has_no_deputies(bureau: Bureau) -> None:
    name_deputy(bureau, "li", "chen")
    name_deputy(bureau, "wang", "li")
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "both", item, seen)
    assert turns(bureau, "wang") == []
    refused("decision.not_permitted", approve, bureau, "wang", item, seen)


def test_only_a_sensible_deputy_is_named_and_by_nobody_else(bureau: Bureau) -> None:
    rt, chen = bureau.rt, bureau.actor("chen")
    end = TODAY + timedelta(days=400)
    refused("deputy.not_yours", deputies.name, rt, bureau.actor("wang"), "wang", "chen", TODAY, FRIDAY)
    refused("deputy.same_person", deputies.name, rt, chen, "chen", "chen", TODAY, FRIDAY)
    refused("deputy.auditor", deputies.name, rt, chen, "sun", "chen", TODAY, FRIDAY)
    refused("deputy.no_turns", deputies.name, rt, bureau.actor("zhao"), "wang", "zhao", TODAY, FRIDAY)
    refused("deputy.backwards", deputies.name, rt, chen, "wang", "chen", FRIDAY, TODAY)
    refused("deputy.over", deputies.name, rt, chen, "wang", "chen", date(2026, 11, 1), date(2026, 11, 22))
    refused("deputy.too_long", deputies.name, rt, chen, "wang", "chen", TODAY, end)
    refused("staff.unknown_person", deputies.name, rt, chen, "nobody", "chen", TODAY, FRIDAY)
    assert deputies.deputations(rt) == []
    first = name_deputy(bureau, "wang", "chen")
    refused("deputy.already", deputies.name, rt, chen, "wang", "chen", FRIDAY, FRIDAY)
    (one,) = deputies.deputations(rt)
    assert (one.id, one.person, one.for_person, one.in_force, one.set_by) == (first, "wang", "chen", True, "chen")
