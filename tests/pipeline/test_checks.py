"""What the checks find in a text, what they leave alone, and what becomes of a warning."""

import time
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from channels.contract import File, Severity
from config.settings import HERE, CheckKind
from pipeline import attachments, checks, desk, intake, logbook, phrases, reasons, review
from pipeline.checks import FIELDS, KINDS, Found, Rules
from pipeline.decisions import Refused
from pipeline.drafts import Draft
from pipeline.models import StoredFinding
from pipeline.phrases import Phrase
from pipeline.states import Disclosure, Ground
from tests.office import Bureau

SEED = Path(__file__).parents[1] / "channels" / "seed.txt"
ID = "370303198001010012"  # invented; its check character is right
CARD = "6222021234567890128"  # invented; Luhn


def draft(text: str = "正文。", **fields: object) -> Draft:
    return Draft("关于试播的通知", text, "通知", "news", date(2026, 11, 20), **fields)  # type: ignore[arg-type]


NO_RULES = Rules()


def find(text: str, rules: Rules = NO_RULES) -> list[Found]:
    return checks.find(draft(text), rules)


def kinds(text: str, rules: Rules = NO_RULES) -> list[str]:
    return [one.code.removeprefix("check.") for one in find(text, rules)]


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "written",
    [
        ID, f"身份证号：{ID}。", f"ID{ID}", f"（{ID}）", f"|张三|{ID}|", "３７０３０３１９８００１０１００１２",
        "370303 19800101 0012", "370303-19800101-0012", "3703 0319 8001 0100 12", "370303198001\n010012",
        "370303　19800101　0012", "11010519491231002X", "11010519491231002x", "11010519491231002Ｘ",
        f"12345678 {ID}",
    ],
)  # fmt: skip
def test_an_identity_card_number_is_found_however_it_is_written(written: str) -> None:
    [found] = find(f"公示如下：{written}")
    assert (found.code, found.severity, found.place) == ("check.id_number", Severity.BLOCK, "text")


@pytest.mark.parametrize(
    "written",
    [
        "370303198001010013",  # wrong check character
        "37030319801301001X",  # no such month
        "990303198001010018",  # no such province
        "12370303MB289196XT", "11341702486344515H", "91370303MA3C12345X",  # organisations' codes
        "370303/2026-00001", "000014349/2017-00110", "12370303MB289196XT/2022-5257031",
        "11341702486344515H/202110-00013",
        "张广发〔2026〕58号", "鲁公网安备37030302000123号", "鲁ICP备2021000123号-1", "网站标识码3703030001",
        "978-7-5063-1234-5", "ISBN 9787506312345", "2026-11-20", "2026年11月20日14:00", "20261120143000123",
        "https://gk.example/2026/13812345678.html",
        "www.example.cn/t/6222021234567890128", "0533-0000000", "05330000000",
        "订单编号：6222021234567890128", "流水号13812345678", "项目编号 SDGP370303202600001234", "1.13812345678",
        "13812345678元", "12345678901234567890", "112345678901", "3.14159265358979", "0533-0000101、0533-0000103",
        "37030303004220333X",  # an organisation's code of digits only: no such year
    ],
)  # fmt: skip
def test_other_numbers_are_left_alone(written: str) -> None:
    assert find(f"见 {written} ，特此说明。") == []


@pytest.mark.parametrize(
    "written",
    [
        "13800001234",
        "138 0000 1234",
        "138-0000-1234",
        "+8613800001234",
        "+86 138 0000 1234",
        "１３８００００１２３４",
        "19900001234",
    ],
)
def test_a_mobile_number_is_a_warning_that_needs_a_reason(written: str) -> None:
    [found] = find(f"联系人：张三，{written}。")
    assert (found.code, found.severity, found.needs_reason) == ("check.mobile", Severity.WARN, True)


def test_the_bureaus_own_phones_are_no_secret() -> None:
    own = Rules(frozenset({"13800001234"}))
    assert kinds("热线 13800001234、+86 138 0000 1234，张三 13900001234", own) == ["mobile"]


@pytest.mark.parametrize(
    "written", [CARD, "6222 0212 3456 7890 128", "4012888888881881", "６２２２０２１２３４５６７８９０１２８"]
)
def test_a_bank_card_is_found_by_its_check_digit(written: str) -> None:
    assert kinds(f"开户行工行，{written}") == ["bank_card"]
    assert kinds(f"开户行工行，{written[:-1]}{'7' if written[-1] != '7' else '5'}") == []


def test_an_old_identity_card_number_is_a_warning_because_it_has_no_check_character() -> None:
    assert [(one.code, one.severity) for one in find("证件 370303800101001")] == [
        ("check.old_id_number", Severity.WARN)
    ]
    assert find("证件 370303801301001") == []


def test_an_identity_number_that_could_be_a_card_is_found_once() -> None:
    assert kinds("身份证620101198001010029") == ["id_number"]  # of Gansu, 62, as UnionPay's cards begin; Luhn fits too


def test_one_number_is_found_once_and_every_number_has_its_place() -> None:
    text = f"一、名单\n张三 {ID}，13800001234\n李四 {ID}"
    found = find(text)
    assert [(one.facts["line"], text[one.start : one.end]) for one in found] == [
        ("2", ID), ("2", "13800001234"), ("3", ID),
    ]  # fmt: skip


def test_numbers_are_found_in_every_field() -> None:
    written = {name: f"电话13800001234{name}" for name in FIELDS if name not in ("keywords", "title", "text")}
    found = checks.find(draft("13800001234", keywords=("供暖", "13800001234"), **written), Rules())
    assert {one.place for one in found} == set(FIELDS) - {"title"}


# ── marks, lists, phrases ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mark", ["机密★", "绝密★20年", "秘密★5年", "机 密 ★ 长期", "秘密\n关于……", "　绝密　"])
def test_a_secrecy_mark_stops_the_submission(mark: str) -> None:
    assert [(one.code, one.severity) for one in find(mark)] == [("check.secret_mark", Severity.BLOCK)]


@pytest.mark.parametrize(
    "mark", ["内部资料 注意保存", "此件为内部文件", "管理办法（征求意见稿）", "公开方式：不予公开", "★3年"]
)
def test_a_mark_of_internal_material_is_a_warning(mark: str) -> None:
    assert kinds(f"前言\n{mark}\n正文") == ["internal_mark"]


@pytest.mark.parametrize(
    "text",
    [
        "不予公开的政务信息",
        "保守国家秘密",
        "商业秘密和个人隐私",
        "面向社会公开征求意见",
        "内部资料性出版物",
        "★★★ 三星级",
    ],
)
def test_speaking_of_secrecy_is_no_mark(text: str) -> None:
    assert find(text) == []


def test_a_wrong_phrase_is_found_but_not_inside_the_right_one() -> None:
    rules = Rules(phrases=(Phrase("依申请公开", "已申请公开"), Phrase("截至目前", "至目")))
    assert kinds("按已申请公开、依申请公开分类。截至目前", rules) == ["phrase"]


def test_the_first_report_yields_its_own_slip_of_the_pen_and_nothing_else(bureau: Bureau) -> None:
    [found] = checks.report(bureau.rt, draft(SEED.read_text("utf-8"), summary="年度报告"))
    assert (found.excerpt, found.instead, found.facts["line"]) == ("已申请公开", "依申请公开", "25")


def test_the_samples_raise_no_question(bureau: Bureau) -> None:
    samples = intake.read_samples(HERE / "samples")
    assert len(samples) == 18
    assert {
        one.draft.title: checks.report(bureau.rt, one.draft) for one in samples if checks.report(bureau.rt, one.draft)
    } == {}


ROWS = [("王芳", "13500000001"), ("李强", "13500000002"), ("欧阳雪", "13500000003"), ("赵敏", "x"), ("周杰", "1")]


def test_a_table_of_persons_with_their_data_is_a_list_of_names() -> None:
    table = "| 序号 | 姓名 | 家庭住址 |\n|---|---|---|\n" + "\n".join(
        f"| {place} | {name} | 张店区某路{place}号 |" for place, (name, _) in enumerate(ROWS)
    )
    [found] = find(f"名单如下。\n{table}\n特此公示。")
    assert (found.code, found.facts["count"], found.facts["columns"]) == ("check.name_list", "5", "家庭住址")
    assert find(table.replace("家庭住址", "推荐单位")) == []  # a list of the commended is what a 公示 is for
    assert find(table.rsplit("\n", 1)[0]) == []  # four persons are no list


# ── masking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "masked"),
    [
        (ID, "370303********0012"),
        ("370303 19800101 0012", "370303 ******** 0012"),
        ("138 0000 1234", "138 **** 1234"),
        ("+8613800001234", "+86138****1234"),
        (CARD, "***************0128"),
        ("370303800101001", "370303*****1001"),
    ],
)
def test_masking_keeps_what_may_stay_and_nothing_is_found_afterwards(written: str, masked: str) -> None:
    text = f"张三，{written}，某路。"
    [found] = find(text)
    assert checks.mask(text, found) == f"张三，{masked}，某路。"
    assert find(checks.mask(text, found)) == []


def test_nothing_else_is_masked_when_the_text_has_moved() -> None:
    [found] = find(f"张三，{ID}")
    with pytest.raises(ValueError, match="check.id_number"):
        checks.mask(f"补充：张三，{ID}", found)


def test_all_of_a_draft_is_mended_at_once() -> None:
    rules = Rules(phrases=(Phrase("政府信息依申请公开", "已申请公开"),))
    written = draft(f"已申请公开，{ID}，已申请公开，13800001234", keywords=("供暖", "13800001234"))
    mended = checks.mended(written, checks.find(written, rules))
    assert mended.text == "政府信息依申请公开，370303********0012，政府信息依申请公开，138****1234"
    assert mended.keywords == ("供暖", "138****1234")
    assert checks.find(mended, rules) == []


def test_no_finding_carries_a_number_in_full() -> None:
    text = f"张三{ID}，电话13800001234，卡{CARD}，老证370303800101001"
    file = File("名单13800001234.txt", "text/plain", text.encode())
    written = draft(text, files=(file,))
    told = repr(checks.find(written, Rules(), {file.sha256: attachments.look(file)})).replace(repr(file.name), "")
    told = told.replace(file.name, "")
    assert "370303********0012" in told and "check.file_mobile" in told
    for number in (ID, "13800001234", CARD, "370303800101001"):
        assert number not in told


def test_ten_thousand_characters_are_checked_while_somebody_types() -> None:
    seed = SEED.read_text("utf-8")
    text = (seed * 3)[:9_000] + f"张三{ID}，13800001234。" * 30
    best = min(_seconds(text) for _ in range(5))
    assert best < 0.1  # measured: 0.004; a busy machine may take longer


def _seconds(text: str) -> float:
    begun = time.perf_counter()
    find(text[:10_000], Rules(phrases=tuple(Phrase(f"正确{n}", f"错误{n}") for n in range(100))))
    return time.perf_counter() - begun


@pytest.mark.parametrize(
    "text", ["1 " * 100_000, "13800001234 " * 16_000, "|" * 100_000 + "\n" * 99_000, "★" * 200_000, "3703 " * 40_000]
)
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    begun = time.process_time()
    find(text)
    assert time.process_time() - begun < 5


def test_every_kind_that_the_settings_know_is_looked_for() -> None:
    from typing import get_args

    assert set(KINDS) == set(get_args(CheckKind))


# ── what becomes of them ─────────────────────────────────────────────────────────────────────────────────────────────

WARNED = "联系人张三，电话13800001234，截止目前有效。"


def test_an_identity_number_stops_a_submission_and_is_masked_in_one_click(bureau: Bureau) -> None:
    item = bureau.write(text=f"张三，{ID}，获二等奖。")
    with pytest.raises(Refused) as refused:
        bureau.submit(item, "web")
    assert refused.value.code == "review.blocked" and ID not in repr(refused.value.findings)
    found = checks.report(bureau.rt, bureau.draft(text=f"张三，{ID}，获二等奖。"))
    mended = checks.mended(bureau.draft(text=f"张三，{ID}，获二等奖。"), found)
    review.edit(bureau.rt, bureau.actor("zhao"), item, mended)
    assert bureau.submit(item, "web")


def test_a_warning_is_submitted_only_with_a_reason_and_the_reviewer_sees_both(bureau: Bureau) -> None:
    item = bureau.write(text=WARNED)
    with pytest.raises(Refused) as refused:
        bureau.submit(item, "web", why={"check.phrase": "引用原文", "check.mobile": "  "})
    assert refused.value.code == "review.reason_lacking"
    assert [one.code for one in refused.value.findings] == ["check.mobile"]
    bureau.submit(item, "web", why={"check.phrase": "引用原文", "check.mobile": "值班电话，本人同意"})
    seen = {one.found.code: one.answer for one in desk.submission(bureau.rt, item).findings}
    assert seen.keys() == {"check.mobile", "check.phrase"}
    answer = seen["check.mobile"]
    assert answer is not None and (answer.reason, answer.person) == ("值班电话，本人同意", "zhao")


def test_a_reason_holds_while_its_place_stays_as_it_was(bureau: Bureau) -> None:
    item = bureau.write(text=WARNED)
    why = {"check.phrase": "引用原文", "check.mobile": "本人同意"}
    bureau.submit(item, "web", why=why)
    rt, zhao = bureau.rt, bureau.actor("zhao")
    review.edit(rt, zhao, item, bureau.draft(text=f"前面加了一段，与电话无关。\n\n{WARNED}"))
    bureau.submit(item, "web")
    review.edit(rt, zhao, item, bureau.draft(text=WARNED.replace("联系人张三", "家住某处的张三")))
    with pytest.raises(Refused) as refused:
        bureau.submit(item, "web")
    assert [one.code for one in refused.value.findings] == ["check.mobile"]
    assert set(reasons.given(rt, item)) == {one.key for one in checks.report(rt, bureau.draft(text=WARNED))}


def test_a_later_reason_takes_the_place_of_an_earlier_one(bureau: Bureau) -> None:
    item = bureau.write(text=WARNED)
    for reason in ("本人口头同意", "本人书面同意"):
        bureau.submit(item, "web", why={"check.phrase": "引用原文", "check.mobile": reason})
        review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(text=WARNED))
    bureau.submit(item, "web")
    answers = [one.answer for one in desk.submission(bureau.rt, item).findings]
    assert [one.reason for one in answers if one is not None] == ["本人书面同意", "引用原文"]


def test_what_is_only_noted_needs_no_reason_and_is_seen_by_the_reviewer(bureau: Bureau) -> None:
    item = bureau.write(summary="长" * 101)
    bureau.submit(item, "web")
    [noted] = desk.submission(bureau.rt, item).findings
    assert (noted.found.code, noted.answer) == ("check.summary_long", None)


def test_what_is_not_to_be_public_may_hold_numbers(bureau: Bureau) -> None:
    item = bureau.write(text=f"张三，{ID}，机密★10年")
    how = {"disclosure": Disclosure.NOT_PUBLIC, "ground": Ground.INTERNAL_AFFAIRS}
    review.submit(bureau.rt, bureau.actor("zhao"), item, [], **how)  # type: ignore[arg-type]
    assert {one.found.severity for one in desk.submission(bureau.rt, item).findings} == {Severity.WARN}


def test_the_office_decides_how_severe_a_finding_is(open_office: object) -> None:
    bureau = open_office(checks={"allowed_phones": ["138-0000-1234"], "severity": {"phrase": "block"}})  # type: ignore[operator]
    [found] = checks.report(bureau.rt, bureau.draft(text=WARNED))
    assert (found.code, found.severity, found.needs_reason) == ("check.phrase", Severity.BLOCK, False)


def test_findings_of_a_submission_are_never_changed(bureau: Bureau) -> None:
    item = bureau.write(text=WARNED)
    bureau.submit(item, "web", why={"check.phrase": "引用", "check.mobile": "同意"})
    with pytest.raises(DBAPIError), bureau.rt.writing() as db:
        db.execute(update(StoredFinding).values(reason="改过"))


def test_neither_ledger_nor_audit_log_keeps_a_number_that_was_found(bureau: Bureau) -> None:
    item = bureau.write(text=WARNED)
    bureau.submit(item, "web", why={"check.phrase": "引用", "check.mobile": "同意"})
    with bureau.rt.reading() as db:
        kept = "".join(row.found for row in db.query(StoredFinding))
    [*told] = logbook.lines(bureau.rt, bureau.actor("sun"))
    assert "138****1234" in kept and "13800001234" not in kept + repr(told)


# ── the word table ───────────────────────────────────────────────────────────────────────────────────────────────────


def wrong_forms(bureau: Bureau, text: str) -> list[str]:
    return [one.excerpt for one in checks.report(bureau.rt, bureau.draft(text=text)) if one.code == "check.phrase"]


def test_a_word_is_looked_for_from_its_first_day_to_its_last(bureau: Bureau) -> None:
    rt, editor = bureau.rt, bureau.actor("wang")
    phrases.add(rt, editor, "张店融媒", ["张店融煤"], date(2026, 11, 24), date(2026, 11, 25))
    for ahead, found in ((0, []), (1, ["张店融煤"]), (1, ["张店融煤"]), (1, [])):
        bureau.clock.forward(days=ahead)
        assert wrong_forms(bureau, "张店融煤开播") == found


def test_an_ended_word_is_looked_for_no_more_and_stays_in_the_table(bureau: Bureau) -> None:
    rt, officer = bureau.rt, bureau.actor("li")
    line = next(one for one in phrases.lines(rt) if one.wrong == "截止目前")
    assert (line.set_by, wrong_forms(bureau, WARNED)) == ("", ["截止目前"])
    phrases.end(rt, officer, line.id)
    assert wrong_forms(bureau, WARNED) == []
    ended = phrases.lines(rt)[-1]
    assert (ended.wrong, ended.standing, ended.ended_by) == ("截止目前", "over", "li")
    with pytest.raises(Refused, match="words.ended_already"):
        phrases.end(rt, officer, line.id)
    phrases.add(rt, officer, "截至目前", ["截止目前"])
    assert wrong_forms(bureau, WARNED) == ["截止目前"]


@pytest.mark.parametrize(
    ("correct", "wrong", "code"),
    [
        ("截至目前", ["截止目前"], "words.known"), ("按部就班", ["按部就班"], "words.same"),
        ("部署", ["部"], "words.length"),
        ("甲乙", [" "], "words.nothing_wrong"), ("按步就班吧", ["按部就班"], "words.is_correct"),
        ("甲" * 41, ["乙乙"], "words.length"),
    ],
)  # fmt: skip
def test_a_word_that_makes_no_sense_is_refused(bureau: Bureau, correct: str, wrong: list[str], code: str) -> None:
    before = phrases.lines(bureau.rt)
    with pytest.raises(Refused, match=code):
        phrases.add(bureau.rt, bureau.actor("wang"), correct, ["对错", *wrong] if code == "words.known" else wrong)
    assert phrases.lines(bureau.rt) == before


@pytest.mark.parametrize("person", ["zhao", "chen", "sun"])
def test_authors_leaders_and_auditors_do_not_change_the_word_table(bureau: Bureau, person: str) -> None:
    with pytest.raises(Refused, match="decision.not_permitted"):
        phrases.add(bureau.rt, bureau.actor(person), "正确写法", ["错误写法"])
    with pytest.raises(Refused, match="decision.not_permitted"):
        phrases.end(bureau.rt, bureau.actor(person), 1)
