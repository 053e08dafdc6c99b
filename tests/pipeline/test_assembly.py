"""Assembling an issue: what goes in, in which order, and what its editor makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import select

from channels.contract import File
from pipeline import assembly, checks, issue_pages, issues, operate, reach, review, sources
from pipeline.arrangement import Arrangement, numeral
from pipeline.decisions import Refused
from pipeline.drafts import Draft, latest_revision, read_draft
from pipeline.models import AuditLine, StoredRendition
from tests.office import Bureau
from tests.pipeline.newsletter import (
    DEADLINE,
    TYPES,
    approved,
    assembled,
    built,
    newsletter,
    published,
    stored,
    submitted,
    with_newsletter,
)

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.fixture
def office(open_office: Callable[..., Bureau]) -> Bureau:
    return with_newsletter(open_office)


def text_of(bureau: Bureau, item: int) -> Draft:
    with bureau.rt.reading() as db:
        return read_draft(db, latest_revision(db, item))


def arranged(bureau: Bureau, item: int) -> Arrangement:
    issue = text_of(bureau, item).issue
    assert issue is not None
    return issue


def columns(bureau: Bureau, item: int) -> dict[str, list[int]]:
    return {section.name: [piece.item for piece in section.pieces] for section in arranged(bureau, item).sections}


def test_an_issue_is_made_of_what_became_public_before_its_cut_off(office: Bureau) -> None:
    first = published(office, "关于试播的通知")
    office.write(title="还没有审查的")
    second = published(office, "关于停机检修的公告", item_type="公告")
    news = published(office, "发射台检修完成", item_type="工作动态", department="tech")
    other = published(office, "征集意见", item_type="公示", period=(date(2026, 11, 23), date(2026, 11, 30)),
                      objection_contact="办公室")  # fmt: skip
    issue, item = built(office)
    assert columns(office, item) == {"要闻": [second, first], "工作动态": [news], "其他": [other]}  # 公告 before 通知
    draft = text_of(office, item)
    assert draft.title == "广电通讯2026年第23期（总第1期）"  # the 23rd of 24 days in the year
    assert draft.summary == "本期载有《关于停机检修的公告》等4则信息。"
    assert draft.text.splitlines()[:3] == ["一、要闻", "（一）关于停机检修的公告", "关于停机检修的公告的正文。"]
    assert f"（新闻部，2026年11月23日发布，原文：/i/{first}）" in draft.text
    assert issues.line(office.rt, issue).phase is issues.Phase.DRAFT


def test_each_item_is_in_one_issue_only_and_what_came_too_late_in_the_next(office: Bureau) -> None:
    early = published(office, "早的通知")
    built(office)
    late = published(office, "晚的通知")
    assert assembly.build_due(office.rt) == []
    _, second = built(office, DEADLINE + timedelta(days=14))
    assert [*arranged(office, second).pieces] == [late] and early != late


def test_what_an_outage_kept_from_one_issue_is_in_the_next(office: Bureau) -> None:
    """It was public in time; that it was seen is known only afterwards."""
    first = published(office, "第一条")
    lagging = office.publish("web", draft={"title": "没有及时看到的"})
    built(office)
    office.work("web")
    office.clock.forward(minutes=5)
    _, second = built(office, DEADLINE + timedelta(days=14))
    assert [*arranged(office, second).pieces] == [lagging] and lagging != first


def test_an_issue_without_anything_is_not_made_and_leaves_the_next_one_its_own(office: Bureau) -> None:
    office.clock.moment = DEADLINE
    issues.ensure(office.rt)
    assert assembly.build_due(office.rt) == []
    item = published(office, "十二月的通知")
    _, second = built(office, DEADLINE + timedelta(days=14))
    assert [*arranged(office, second).pieces] == [item]
    assert [one.item_id is None for one in stored(office)] == [True, False, True]


def test_an_issue_without_anything_is_tried_once_and_takes_nothing_from_the_next(office: Bureau) -> None:
    lagging = office.publish("web", draft={"title": "没有及时看到的"})  # not seen yet
    office.clock.moment = DEADLINE
    issues.ensure(office.rt)
    assert assembly.build_due(office.rt) == []
    first = stored(office)[0]
    assert first.built_at == DEADLINE and first.item_id is None
    office.work("web")
    office.clock.forward(minutes=2)
    assert assembly.build_due(office.rt) == []  # not a late issue for one late item
    _, second = built(office, DEADLINE + timedelta(days=14))
    assert [*arranged(office, second).pieces] == [lagging]


def test_a_clock_that_ran_ahead_for_a_moment_keeps_no_issue_from_being_assembled(office: Bureau) -> None:
    published(office, "通知一")
    office.clock.forward(days=400)
    issues.ensure(office.rt)
    (item,) = assembly.build_due(office.rt)
    office.clock.forward(days=-400)
    later = published(office, "通知二")
    office.clock.moment = DEADLINE
    assert assembly.build_due(office.rt) == [item] and later in arranged(office, item).pieces
    assert assembly.build_due(office.rt) == []
    third = published(office, "通知三")
    _, second = built(office, DEADLINE + timedelta(days=14))
    assert [*arranged(office, second).pieces] == [third]


def test_an_issue_that_went_to_review_before_its_cut_off_is_left_alone(office: Bureau) -> None:
    published(office, "通知一")
    issues.ensure(office.rt)
    issue = stored(office)[0].id
    item = assembly.build(office.rt, office.actor("wang"), issue).item
    hash = submitted(office, issue)
    office.clock.moment = DEADLINE
    assert assembly.build_due(office.rt) == [] and office.state_of(item) == "reviewing"
    office.approve(item, hash)
    assert assembly.build_due(office.rt) == []


def test_what_no_column_takes_is_offered_to_the_editor(open_office: Callable[..., Bureau]) -> None:
    office = with_newsletter(open_office, columns=[{"name": "要闻", "item_types": ["公告"]}])
    published(office, "公告一", item_type="公告")
    other, issue, item = assembled(office, "通知一")
    page = issue_pages.page(office.rt, issue)
    assert [one.item for one in page.left_out] == [other] and page.left_out[0].heading == "通知一"
    assembly.put_back(office.rt, office.actor("wang"), issue, page.revision, other)
    assert columns(office, item)["要闻"][-1] == other and issue_pages.page(office.rt, issue).left_out == ()


def test_the_editor_moves_drops_and_puts_back(office: Bureau) -> None:
    one, two, three = (published(office, f"通知{n}") for n in "一二三")
    issue, item = built(office)
    wang = office.actor("wang")
    assert assembly.move(office.rt, wang, issue, 1, three, "要闻", 0) == 2
    assert columns(office, item)["要闻"] == [three, one, two]
    assert assembly.move(office.rt, wang, issue, 2, one, "其他") == 3
    assert columns(office, item) == {"要闻": [three, two], "工作动态": [], "其他": [one]}
    assert assembly.drop(office.rt, wang, issue, 3, two) == 4
    assert "通知二" not in text_of(office, item).text
    assert [line.item for line in issue_pages.page(office.rt, issue).left_out] == [two]
    assert assembly.put_back(office.rt, wang, issue, 4, two, place=0) == 5
    assert columns(office, item)["要闻"] == [two, three]
    with office.rt.reading() as db:
        facts = db.scalars(select(AuditLine.facts).where(AuditLine.decision == "arrange").order_by(AuditLine.id)).all()
    assert [json.loads(one)["what"] for one in facts] == ["move", "move", "drop", "put_back"]


def test_two_editors_never_overwrite_each_other(office: Bureau) -> None:
    one, two = published(office, "通知一"), published(office, "通知二")
    issue, item = built(office)
    assembly.drop(office.rt, office.actor("wang"), issue, 1, one)
    with pytest.raises(Refused) as caught:
        assembly.drop(office.rt, office.actor("wang"), issue, 1, two)
    assert caught.value.code == "review.newer_revision" and [*arranged(office, item).pieces] == [two]


def test_a_shortened_text_is_marked_and_the_full_one_comes_back(office: Bureau) -> None:
    one, issue, item = assembled(office, "很长的通知")
    wang = office.actor("wang")
    assembly.shorten(office.rt, wang, issue, 1, one, "只说要点。")
    assert "（一）很长的通知（节选）\n只说要点。" in text_of(office, item).text
    assembly.shorten(office.rt, wang, issue, 2, one, "")
    assert "节选" not in text_of(office, item).text and "很长的通知的正文。" in text_of(office, item).text


def test_an_editorial_and_pictures_are_part_of_what_is_approved(office: Bureau) -> None:
    one, issue, item = assembled(office, "通知一")
    wang = office.actor("wang")
    assembly.write_editorial(office.rt, wang, issue, 1, "岁末寄语。\n\n感谢各位。")
    assembly.set_picture(office.rt, wang, issue, 2, one, File("现场.png", "image/png", PNG))
    draft = text_of(office, item)
    assert draft.text.startswith("岁末寄语。") and [file.name for file in draft.files] == ["现场.png"]
    assert arranged(office, item).pieces[one].picture == "现场.png"
    assembly.set_picture(office.rt, wang, issue, 3, one, None)
    assert text_of(office, item).files == () and arranged(office, item).pieces[one].picture == ""
    with pytest.raises(Refused) as caught:
        assembly.set_picture(office.rt, wang, issue, 4, one, File("表.doc", "application/msword", b"x"))
    assert caught.value.code == "issue.no_picture"


def test_a_renewed_draft_keeps_the_editors_order(office: Bureau) -> None:
    one, two = published(office, "通知一"), published(office, "通知二")
    issues.ensure(office.rt)
    issue = stored(office)[0].id
    wang = office.actor("wang")
    item = assembly.build(office.rt, wang, issue).item  # before the cut-off, to begin with
    assembly.move(office.rt, wang, issue, 1, two, "要闻", 0)
    three = published(office, "通知三")
    office.correct(one, title="通知一（改）", text="改过的正文。")
    review.withdraw(office.rt, office.actor("li"), two, "内容有误")
    done = assembly.build(office.rt, wang, issue)
    assert (done.added, done.withdrawn, done.corrected) == ((three,), (two,), (one,))
    assert columns(office, item)["要闻"] == [one, three]
    assert "改过的正文。" in text_of(office, item).text
    assert assembly.build(office.rt, wang, issue).revision == done.revision  # nothing new, no new revision


def test_only_the_editor_assembles(office: Bureau) -> None:
    published(office, "通知一")
    issues.ensure(office.rt)
    issue = stored(office)[0].id
    for person in ("zhao", "li", "chen", "sun"):
        with pytest.raises(Refused) as caught:
            assembly.build(office.rt, office.actor(person), issue)
        assert caught.value.code == "decision.not_permitted"


def test_the_text_of_an_issue_is_changed_through_its_entries_only(office: Bureau) -> None:
    published(office, "通知一")
    _, item = built(office)
    draft = replace(text_of(office, item), issue=None)  # as an ordinary form gives it back
    assert review.edit(office.rt, office.actor("wang"), item, replace(draft, summary="年末一期")) == 2
    assert arranged(office, item).pieces and text_of(office, item).summary == "年末一期"
    with pytest.raises(Refused) as caught:
        review.edit(office.rt, office.actor("wang"), item, replace(draft, text=draft.text + "\n另外一段。"))
    assert caught.value.code == "issue.edit_entries"


def test_an_issue_goes_the_way_of_every_item(office: Bureau) -> None:
    office.subscribe("1", "2")
    one, issue, item = assembled(office, "通知一")
    office.approve(item, submitted(office, issue))
    assert issues.line(office.rt, issue).phase is issues.Phase.APPROVED
    office.work()
    assert office.state(item, "web") == "due"  # its time has not come
    office.clock.moment = issues.line(office.rt, issue).send_at
    office.work()
    assert office.state(item, "web") == "confirmed" and len(office.effects("sms")) == 2
    assert issues.line(office.rt, issue).phase is issues.Phase.SENT
    (carrier,) = [reach.item_reach(office.rt, one).issue]
    assert carrier is not None and carrier.item == item and carrier.numbers == "2026年第23期（总第1期）"


def test_what_a_channel_is_given_has_the_structure_of_the_issue(office: Bureau) -> None:
    one, issue, item = assembled(office, "通知一")
    submitted(office, issue)
    with office.rt.reading() as db:
        latest = select(StoredRendition.body).order_by(StoredRendition.id.desc()).limit(1)
        body = json.loads(db.scalars(latest).one())
    assert body["issue"]["columns"][0]["name"] == "要闻"
    entry = body["issue"]["columns"][0]["entries"][0]
    assert (entry["number"], entry["address"]) == (one, f"http://gk.example/i/{one}")
    assert body["issue"]["running"] == 1 and item


# ── internal material ────────────────────────────────────────────────────────────────────────────────────────────────

IMPRINT = {
    "准印证号": "（鲁）0533号",
    "编印单位": "张店区广播电视局",
    "发送对象": "本局各科室",
    "印刷单位": "区机关文印室",
    "印数": "50册",
}


def refusal(bureau: Bureau, issue: int) -> list[str]:
    with pytest.raises(Refused) as caught:
        submitted(bureau, issue)
    assert caught.value.code == "review.blocked"
    return [finding.code for finding in caught.value.findings]


def test_internal_material_reaches_no_public_channel(open_office: Callable[..., Bureau]) -> None:
    office = with_newsletter(open_office, internal=True, imprint=IMPRINT)
    published(office, "通知一")
    issue, _ = built(office)
    assert refusal(office, issue) == ["check.internal_channel"]


def test_internal_material_goes_where_the_office_says_that_only_its_own_read(
    open_office: Callable[..., Bureau],
) -> None:
    own = {"sms": {"internal": True, "after": ""}}
    office = with_newsletter(open_office, internal=True, imprint=IMPRINT, channels=["sms"], configured=own)
    _, issue, item = assembled(office, "通知一")
    imprint = dict(arranged(office, item).imprint)
    assert imprint["资料性质"] == "内部资料，免费交流" and imprint["期号"] == "2026年第23期（总第1期）"
    assert imprint["印刷日期"] == "2026年12月1日"
    assert submitted(office, issue)


def test_internal_material_without_its_whole_imprint_is_blocked(open_office: Callable[..., Bureau]) -> None:
    own = {"sms": {"internal": True, "after": ""}}
    lacking = {**IMPRINT, "印数": ""}
    office = with_newsletter(open_office, internal=True, imprint=lacking, channels=["sms"], configured=own)
    published(office, "通知一")
    issue, _ = built(office)
    assert refusal(office, issue) == ["check.imprint_missing"]


def test_internal_material_does_not_call_itself_a_newspaper_or_a_journal(open_office: Callable[..., Bureau]) -> None:
    own = {"sms": {"internal": True, "after": ""}}
    office = with_newsletter(open_office, internal=True, imprint=IMPRINT, channels=["sms"], configured=own)
    _, issue, item = assembled(office, "通知一")
    assembly.write_editorial(office.rt, office.actor("wang"), issue, 1, "本刊编辑部祝大家新年好。")
    assert refusal(office, issue) == ["check.internal_name"]
    (found,) = [one for one in checks.report(office.rt, text_of(office, item)) if one.code == "check.internal_name"]
    assert text_of(office, item).text[found.start : found.end] == "本刊"


def test_numerals_count_as_official_texts_do() -> None:
    assert [numeral(n) for n in (0, 9, 10, 19, 20, 98)] == ["一", "十", "十一", "二十", "二十一", "九十九"]
    assert [numeral(n) for n in (99, 100, 109, 110, 214)] == [
        "一百", "一百零一", "一百一十", "一百一十一", "二百一十五",
    ]  # fmt: skip


def test_an_issue_may_be_longer_than_any_item(open_office: Callable[..., Bureau]) -> None:
    """After an outage it holds what several would have held; nobody could shorten it before it is assembled."""
    office = open_office(newsletter=newsletter(), item_types=TYPES, limits={"text_characters": 60})
    items = [published(office, f"通知{n}") for n in range(4)]
    _, item = built(office)
    assert [*arranged(office, item).pieces] == items and len(text_of(office, item).text) > 60


def test_an_issue_that_is_late_is_held_for_a_person(office: Bureau) -> None:
    office.subscribe("1")
    _, issue, item = assembled(office, "通知一")
    hash = submitted(office, issue)
    office.clock.moment = issues.line(office.rt, issue).send_at + timedelta(days=2)
    assert issues.line(office.rt, issue).late
    office.approve(item, hash)
    office.work()
    assert office.state(item, "web") == "confirmed"  # a page is not sent to anybody
    assert office.state(item, "sms") == "on_hold" and office.effects("sms") == []
    assert issues.line(office.rt, issue).phase is issues.Phase.HELD
    assert issues.release(office.rt, office.actor("wang"), issue) == 1
    office.work()
    assert len(office.effects("sms")) == 1
    with pytest.raises(Refused) as caught:
        issues.release(office.rt, office.actor("wang"), issue)
    assert caught.value.code == "issue.nothing_held"


def test_lateness_counts_from_the_day_of_the_issue_and_only_once(office: Bureau) -> None:
    """Approved five hours late, which is in time, and stood still for two more."""
    office.subscribe("1")
    _, issue, item = assembled(office, "通知一")
    hash = submitted(office, issue)
    office.clock.moment = issues.line(office.rt, issue).send_at + timedelta(hours=5)
    office.approve(item, hash)
    assert office.state(item, "sms") == "due"
    office.clock.forward(hours=2)
    office.work()
    assert office.cell(item, "sms").reason == "late" and office.effects("sms") == []


def test_an_issue_that_a_person_put_off_is_late_by_its_new_time(office: Bureau) -> None:
    office.subscribe("1")
    _, issue, item = approved(office, "通知一")
    put_off = issues.line(office.rt, issue).send_at + timedelta(days=2)
    operate.postpone(office.rt, office.actor("wang"), item, put_off, "等附图")
    office.clock.moment = put_off + timedelta(hours=5)
    office.work()
    assert len(office.effects("sms")) == 1


def test_what_is_not_current_cannot_be_submitted(office: Bureau) -> None:
    one, two = published(office, "通知一"), published(office, "通知二")
    issue, item = built(office)
    review.withdraw(office.rt, office.actor("li"), one, "有误")
    office.correct(two, title="通知二（改）")
    assert sorted(refusal(office, issue)) == ["check.entry_corrected", "check.entry_withdrawn"]
    page = issue_pages.page(office.rt, issue)
    assert {entry.item: entry.change for entry in page.changed} == {
        one: sources.Change.WITHDRAWN, two: sources.Change.CORRECTED,
    }  # fmt: skip
    assembly.build(office.rt, office.actor("wang"), issue)
    assert submitted(office, issue) and issue_pages.page(office.rt, issue).changed == () and item
