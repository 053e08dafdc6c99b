"""The list of items: every phase of an item's life, found by the very filter that bears its name."""

from datetime import date

import pytest
from sqlalchemy import select

from pipeline import deputies, items, listing, review
from pipeline.decisions import Refused
from pipeline.items import Phase, Query
from pipeline.models import Item
from pipeline.states import Ground, State
from tests.office import Bureau


def one_of_each(bureau: Bureau) -> dict[Phase, int]:
    """An item in each phase of its life."""
    li, chen, zhao = (bureau.actor(one) for one in ("li", "chen", "zhao"))
    made = {phase: bureau.write(title=f"一条{phase}的信息") for phase in Phase}
    for phase in (Phase.RETURNED, Phase.REVIEWING, Phase.REFUSED):
        bureau.submit(made[phase], "web")
    review.return_(bureau.rt, li, made[Phase.RETURNED], "缺附件")
    review.refuse(bureau.rt, li, made[Phase.REFUSED], Ground.INTERNAL_AFFAIRS, "属内部事务")
    for phase in (Phase.APPROVED, Phase.CORRECTING, Phase.WITHDRAWN):
        bureau.approve(made[phase], bureau.submit(made[phase], "web"))
    review.correct(bureau.rt, zhao, made[Phase.CORRECTING], bureau.draft(title="更正后的标题"))
    review.withdraw(bureau.rt, chen, made[Phase.WITHDRAWN], "内容有误")
    return made


def found(bureau: Bureau, person: str = "wang", **query: object) -> list[int]:
    who = bureau.actor(person).person
    return sorted(line.item for line in items.search(bureau.rt, who, Query(**query)).lines)  # type: ignore[arg-type]


def test_every_phase_is_said_and_found(bureau: Bureau) -> None:
    made = one_of_each(bureau)
    for phase, item in made.items():
        assert items.line(bureau.rt, item).phase is phase
        assert found(bureau, phase=phase) == [item], phase
    assert items.line(bureau.rt, made[Phase.REVIEWING]).turn == "officer"
    assert items.line(bureau.rt, made[Phase.RETURNED]).reason == "缺附件"


def test_a_returned_item_that_was_edited_is_a_draft_again(bureau: Bureau) -> None:
    item = one_of_each(bureau)[Phase.RETURNED]
    review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="补了附件"))
    assert items.line(bureau.rt, item).phase is Phase.DRAFT
    assert item in found(bureau, phase=Phase.DRAFT)


def test_what_a_list_keeps_of_an_item_is_what_its_texts_and_reviews_say(bureau: Bureau) -> None:
    made = one_of_each(bureau)
    bureau.submit(made[Phase.CORRECTING])
    review.return_(bureau.rt, bureau.actor("li"), made[Phase.CORRECTING], "再核对")
    review.edit(
        bureau.rt, bureau.actor("zhao"), made[Phase.REVIEWING], bureau.draft(title="审查中改了", item_type="公告")
    )

    def kept() -> list[tuple[object, ...]]:
        with bureau.rt.reading() as db:
            names = ("id", "latest_id", "title", "item_type", "author", "formed_on", "phase", "unsubmitted", "sent")
            return [tuple(row) for row in db.execute(select(*(getattr(Item, one) for one in names)).order_by(Item.id))]

    before = kept()
    with bureau.rt.writing() as db:
        listing.renew(db, list(made.values()))  # anew, from the tables themselves
    assert kept() == before and all(latest for _, latest, *_ in before)
    waiting = {id for id, *_, unsubmitted, _ in before if unsubmitted}
    assert waiting == {made[one] for one in (Phase.DRAFT, Phase.RETURNED, Phase.REVIEWING, Phase.CORRECTING)}
    assert {id for id, *_, sent in before if sent} == {
        made[one] for one in (Phase.APPROVED, Phase.CORRECTING, Phase.WITHDRAWN)
    }


def test_a_list_by_delivery_says_when_there_are_more_than_it_holds(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "MOST_BY_DELIVERY", 2)
    made = [bureau.publish("web") for _ in range(3)]
    wang = bureau.actor("wang").person

    def page(number: int) -> items.Found:
        return items.search(bureau.rt, wang, Query(channel="web", sent=True), number, 1)

    assert [[line.item for line in page(number).lines] for number in (1, 2, 3)] == [[made[2]], [made[1]], []]
    assert (page(1).total, page(1).bounded) == (2, True)
    bureau.work()
    assert found(bureau, state=State.CONFIRMED) == made[1:] and found(bureau, state=State.FAILED) == []
    assert not items.search(bureau.rt, wang, Query(sent=True), 1, 1).bounded


def test_items_are_found_by_words_type_department_and_date(bureau: Bureau) -> None:
    first = bureau.write(title="关于100%覆盖_试播的通知", formed_on=date(2026, 11, 2))
    second = bureau.write(title="公开招聘公告", item_type="公告", formed_on=date(2026, 11, 20))
    assert found(bureau, words="试播 通知") == [first]
    assert found(bureau, words="100%覆盖_试") == [first] and found(bureau, words="100_") == []
    assert found(bureau, item_type="公告") == [second]
    assert found(bureau, formed_from=date(2026, 11, 20)) == [second]
    assert found(bureau, formed_to=date(2026, 11, 19)) == [first]
    assert found(bureau, department="tech") == []
    assert found(bureau, author="zhao") == [first, second] and found(bureau, author="wang") == []


def test_an_author_sees_the_own_department_and_nothing_else(bureau: Bureau) -> None:
    own = bureau.write()
    others = bureau.write("wang", department="tech")
    assert found(bureau, "zhao") == [own]
    assert found(bureau, "sun") == [own, others]
    items.require_visible(bureau.rt, bureau.actor("zhao").person, own)
    with pytest.raises(Refused, match="item.unknown"):
        items.require_visible(bureau.rt, bureau.actor("zhao").person, others)


def test_pages_of_a_long_list_hold_every_item_once(bureau: Bureau) -> None:
    made = {bureau.write(title=f"第{n}条") for n in range(7)}
    who = bureau.actor("wang").person
    pages = [items.search(bureau.rt, who, Query(), page, 3) for page in (1, 2, 3)]
    assert [page.total for page in pages] == [7, 7, 7]
    listed = [line.item for page in pages for line in page.lines]
    assert len(listed) == 7 and set(listed) == made


def test_the_history_tells_every_round_of_review(bureau: Bureau) -> None:
    item = one_of_each(bureau)[Phase.CORRECTING]
    told = items.history(bureau.rt, item)
    assert [one.number for one in told.versions] == [2, 1]
    assert [(one.role, one.person) for one in told.rounds[0].approvals] == [("officer", "li"), ("leader", "chen")]


def test_an_author_who_stands_in_for_a_leader_sees_what_the_leader_sees(bureau: Bureau) -> None:
    others = bureau.write("wang", department="tech")
    assert others not in found(bureau, "zhao")
    today = bureau.clock().date()
    deputies.name(bureau.rt, bureau.actor("chen"), "zhao", "chen", today, today)
    assert others in found(bureau, "zhao")
    items.require_visible(bureau.rt, bureau.actor("zhao").person, others)
    bureau.clock.forward(days=1)
    assert others not in found(bureau, "zhao")
