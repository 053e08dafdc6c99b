"""Writing in the console: nothing that is typed is lost, and what is previewed is what is submitted."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import lxml.html
import pytest
import requests
from sqlalchemy import delete, func, select

from channels.contract import File
from pipeline import attachments, drafts, items, review, working_copy
from pipeline.models import Item, Revision, SignedIn, StoredRendition, Submission
from pipeline.models import WorkingCopy as WorkingCopyRow
from tests.office import TEXT, Bureau
from tests.pipeline.papers import PNG, cell, document, p, row, style, styled, table
from tests.web.console.conftest import PASSWORD, Office, Person
from web.console import writing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

LONG = "关于" + "进一步做好全区广播电视公共服务" * 8 + "工作的通知"


def form_of(page: str, id: str = "writing") -> dict[str, Any]:
    """What a browser would send of a form as it stands; a name with several values has a list."""
    form: Any = lxml.html.document_fromstring(page).find(f".//form[@id='{id}']")
    values = form.form_values()
    several = {"file", "channels"}
    return {
        name: [one for other, one in values if other == name] if name in several else value for name, value in values
    }


def save(person: Person, path: str, page: str, status: int = 200, files: Any = None, **typed: Any) -> str:
    return person.post(path, {**form_of(page), "act": "save", **typed}, status, files=files)


def keep(person: Person, page: str, status: int = 200, **typed: Any) -> dict[str, Any]:
    """What the page's module does every few seconds."""
    data = {**form_of(page), **typed, "csrf": person.csrf()}
    answer = person.session.post(f"{person.url}/writing/keep", data, timeout=20)
    assert answer.status_code == status, answer.text[-500:]
    return dict(answer.json())


def latest(bureau: Bureau, item: int) -> drafts.Draft:
    return items.history(bureau.rt, item).draft


def count(bureau: Bureau, table: Any) -> int:
    with bureau.rt.reading() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0


# ── saving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_author_writes_saves_and_goes_on_writing(office: Office) -> None:
    zhao = office.sign_in("zhao")
    page = save(
        zhao, "/items/new", zhao.get("/items/new"), title="关于试播的通知", text=TEXT, keywords="试播，广播 新闻"
    )
    assert "信息 1 已保存为第 1 版" in page
    kept = latest(office.bureau, 1)
    assert (kept.title, kept.department, kept.keywords) == ("关于试播的通知", "news", ("试播", "广播", "新闻"))
    assert kept.formed_on.isoformat() == "2026-11-23"
    page = save(zhao, "/items/1/edit", page, summary="试播安排")
    assert "第 2 版" in page and latest(office.bureau, 1).summary == "试播安排"
    assert "没有改动，仍是第 2 版" in save(zhao, "/items/1/edit", page)
    assert count(office.bureau, Revision) == 2 and count(office.bureau, WorkingCopyRow) == 0


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"title": LONG}, "超过 120 字"),
        ({"title": " "}, "请填写标题"),
        ({"formed_on": "去年春天"}, "生成日期“去年春天”不是日期"),
        ({"period_from": "2026-11-20"}, "公示期限须同时填写"),
        ({"text": "正文\u202e反了"}, "隐藏字符"),
        ({"item_type": "通报"}, "没有体裁"),
    ],
)
def test_what_is_refused_comes_back_as_it_was_typed(office: Office, typed: dict[str, str], sentence: str) -> None:
    zhao = office.sign_in("zhao")
    told = {"title": "关于试播的通知", "text": TEXT, "summary": "写了很久的概述", **typed}
    page = save(zhao, "/items/new", zhao.get("/items/new"), 409, **told)
    assert sentence in page
    shown = form_of(page)
    assert shown["summary"] == "写了很久的概述"
    assert all(shown[name].strip("\n") == value.strip("\n") for name, value in typed.items())
    assert count(office.bureau, Item) == 0
    assert "已保存为第 1 版" in save(
        zhao, "/items/new", page, title="短标题", text=TEXT, formed_on="", period_from="", item_type="通知"
    )


def test_a_text_far_too_long_is_refused_in_words_and_comes_back(office: Office) -> None:
    zhao = office.sign_in("zhao")
    text = "字" * 400_000
    files = [("new_files", ("甲.pdf", b"x", "application/pdf"))]
    page = save(zhao, "/items/new", zhao.get("/items/new"), 409, files=files, title="长文", text=text)
    assert "正文有 400000 字，超过 200000 字" in page and len(form_of(page)["text"]) >= 400_000


def test_a_form_sent_twice_makes_one_item(office: Office) -> None:
    zhao = office.sign_in("zhao")
    page = zhao.get("/items/new")
    kept = keep(zhao, page, title="关于试播的通知", text=TEXT)
    form = {"title": "关于试播的通知", "text": TEXT, "copy": kept["copy"], "known": kept["known"]}
    save(zhao, "/items/new", page, **form)
    again = save(zhao, "/items/new", page, 409, **form)
    assert "已经在别处保存成信息" in again and "一、时间安排" in again
    assert count(office.bureau, Item) == 1


def test_only_those_who_may_write_are_given_the_form(office: Office) -> None:
    item = office.bureau.write()
    foreign = office.bureau.write("wang", department="tech")
    assert "不能撰写" in office.sign_in("sun").get("/items/new", 409)
    assert "不能撰写" in office.sign_in("li").get(f"/items/{item}/edit", 409)
    zhao = office.sign_in("zhao")
    zhao.get(f"/items/{foreign}/edit", 404)
    zhao.get(f"/items/{foreign}/preview/web", 404)
    form = {**form_of(zhao.get(f"/items/{item}/edit")), "act": "save", "title": "别的部门的"}
    zhao.post(f"/items/{foreign}/edit", form, 404)
    assert "只能办理本部门" in zhao.post("/items/new", {**form, "item": "", "department": "tech"}, 409)
    assert latest(office.bureau, foreign).title == "关于试播的通知"


# ── the working copy ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_typed_is_offered_again_and_can_be_discarded(office: Office) -> None:
    zhao = office.sign_in("zhao")
    kept = keep(zhao, zhao.get("/items/new"), title="写了一半", text="第一段还没写完")
    page = office.sign_in("zhao").get("/items/new")
    assert "写了一半" in page and "继续写" in page and "丢弃" in page
    assert "写了一半" not in office.sign_in("wang").get("/items/new")
    resumed = zhao.get(f"/items/new?copy={kept['copy']}")
    assert form_of(resumed)["text"].strip() == "第一段还没写完"
    assert "已丢弃" in zhao.post("/writing/discard", {"copy": kept["copy"]})
    assert "写了一半" not in zhao.get("/items/new")


def test_nobody_reaches_the_working_copy_of_another(office: Office) -> None:
    zhao, wang = office.sign_in("zhao"), office.sign_in("wang")
    kept = keep(zhao, zhao.get("/items/new"), title="未公开的想法", text="保密")
    assert "未公开的想法" not in wang.get(f"/items/new?copy={kept['copy']}")
    assert "被丢弃了" in keep(wang, wang.get("/items/new"), 409, copy=kept["copy"], title="改掉")["wrong"]
    wang.post("/writing/discard", {"copy": kept["copy"]})
    assert "未公开的想法" in zhao.get("/items/new")


def test_a_second_window_never_overwrites_what_the_first_one_kept(office: Office) -> None:
    zhao = office.sign_in("zhao")
    item = office.bureau.write()
    first, second = zhao.get(f"/items/{item}/edit"), zhao.get(f"/items/{item}/edit")
    office.bureau.clock.forward(seconds=3)
    keep(zhao, first, text="第一个窗口写的")
    office.bureau.clock.forward(seconds=3)
    assert "另一个窗口" in keep(zhao, second, 409, text="第二个窗口写的")["wrong"]
    office.bureau.clock.forward(seconds=3)
    keep(zhao, first, text="第一个窗口又写的")
    kept = working_copy.read(office.bureau.rt, "zhao", item)
    assert kept is not None and kept.sheet.text == "第一个窗口又写的"


def test_two_people_at_one_item_are_told_and_neither_loses_a_word(office: Office) -> None:
    item = office.bureau.write()
    zhao, wang = office.sign_in("zhao"), office.sign_in("wang")
    mine, theirs = zhao.get(f"/items/{item}/edit"), wang.get(f"/items/{item}/edit")
    assert "也在改这条" not in mine + theirs
    keep(zhao, mine, text=TEXT + "\n赵记者补充的一段。")
    assert "赵记者 2026-11-23 10:00 也在改这条" in keep(wang, theirs)["others"]
    assert "第 2 版" in save(wang, f"/items/{item}/edit", theirs, text=TEXT + "\n王编辑补充的一段。")
    refused = save(zhao, f"/items/{item}/edit", mine, 409, text=TEXT + "\n赵记者补充的一段。")
    assert "王编辑 于 2026-11-23 10:00 保存了第 2 版" in refused
    assert "王编辑补充的一段" in refused and "赵记者补充的一段" in form_of(refused)["text"]
    assert latest(office.bureau, item).text.endswith("王编辑补充的一段。")
    both = TEXT + "\n王编辑补充的一段。\n\n赵记者补充的一段。"
    assert "第 3 版" in save(zhao, f"/items/{item}/edit", refused, text=both)


def test_a_copy_older_than_the_latest_revision_is_shown_against_it(office: Office) -> None:
    item = office.bureau.write()
    zhao = office.sign_in("zhao")
    kept = keep(zhao, zhao.get(f"/items/{item}/edit"), text=TEXT + "\n我的一段。")
    review.edit(office.bureau.rt, office.bureau.actor("wang"), item, office.bureau.draft(text=TEXT + "\n别人的一段。"))
    assert "王编辑 于" in zhao.get(f"/items/{item}/edit")
    page = zhao.get(f"/items/{item}/edit?copy={kept['copy']}")
    assert "别人的一段" in page and "我的一段" in form_of(page)["text"]


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_attachments_are_added_ordered_removed_and_survive_a_closed_browser(office: Office) -> None:
    zhao = office.sign_in("zhao")
    chosen = [("new_files", (name, name.encode(), "application/pdf")) for name in ("甲.pdf", "乙.pdf", "丙.pdf")]
    page = save(zhao, "/items/new", zhao.get("/items/new"), title="带附件", text=TEXT, act="add", files=chosen)
    keys = form_of(page)["file"]
    assert [key.partition(" ")[2] for key in keys] == ["甲.pdf", "乙.pdf", "丙.pdf"]
    copy = form_of(page)["copy"]
    page = office.sign_in("zhao").get(f"/items/new?copy={copy}")
    page = save(zhao, "/items/new", page, act=f"up:{keys[2]}")
    page = save(zhao, "/items/new", page, act=f"remove:{keys[0]}")
    save(zhao, "/items/new", page)
    assert [(file.name, file.content) for file in latest(office.bureau, 1).files] == [
        ("丙.pdf", "丙.pdf".encode()), ("乙.pdf", "乙.pdf".encode()),
    ]  # fmt: skip


def test_a_file_that_is_too_large_is_refused_and_the_rest_stays(open_console: Callable[..., Office]) -> None:
    office = open_console(limits={"lease_seconds": 60, "file_bytes": 1_000_000})
    zhao = office.sign_in("zhao")
    big = [("new_files", ("大.pdf", b"x" * 1_000_001, "application/pdf"))]
    page = save(zhao, "/items/new", zhao.get("/items/new"), 409, files=big, title="带附件", text=TEXT)
    assert "附件 大.pdf 超过 1 MB" in page and "一、时间安排" in form_of(page)["text"]
    assert count(office.bureau, Item) == 0


def test_nobody_takes_an_attachment_of_another_item_by_naming_it(office: Office) -> None:
    secret = File("内部.pdf", "application/pdf", b"secret")
    office.bureau.write("wang", department="tech", files=(secret,))
    zhao = office.sign_in("zhao")
    page = save(
        zhao, "/items/new", zhao.get("/items/new"), 409, title="x", text=TEXT, file=f"{secret.sha256} 内部.pdf"
    )  # fmt: skip
    assert "附件“内部.pdf”需要重新添加" in page
    assert count(office.bureau, Item) == 1


def test_a_word_file_becomes_the_text_with_its_title_table_and_pictures(office: Office) -> None:
    shown = "<w:r><w:drawing><a:blip r:embed='p1'/></w:drawing></w:r>"
    word = document(
        p("关于值班的公告", styled("t")) + p("各科室要值好班。", inside=shown)
        + table(row(cell(p("科室")), cell(p("电话"))), row(cell(p("技术科")), cell(p("0533-0000102")))),
        styles=style("t", "Title"),
        related={"p1": ("image", "media/a.png")},
        parts={"word/media/a.png": PNG},
    )  # fmt: skip
    zhao = office.sign_in("zhao")
    chosen = [("body_file", ("值班.docx", word, "application/octet-stream"))]
    page = save(zhao, "/items/new", zhao.get("/items/new"), act="import", files=chosen)
    form = form_of(page)
    assert form["title"].strip() == "关于值班的公告" and "| 技术科 | 0533-0000102 |" in form["text"]
    assert "图片已成为附件" in page and form["file"][0].endswith("图1.png")
    refused = save(zhao, "/items/new", page, 409, act="import", files=[("body_file", ("a.pdf", b"%PDF-1.7", "x"))])
    assert "另存为 .docx" in refused and "各科室要值好班" in form_of(refused)["text"]


# ── corrections ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_public_is_corrected_never_edited(office: Office) -> None:
    item = office.bureau.publish("web")
    zhao = office.sign_in("zhao")
    page = zhao.get(f"/items/{item}/edit")
    assert "更正信息" in page
    page = save(zhao, f"/items/{item}/correct", page, text=TEXT.replace("23日", "24日"), act="submit")
    assert "正在公开，不能去掉" in page
    zhao.post(f"/items/{item}/submit", form_of(page, "submitting"))
    assert "审查中" in zhao.get(f"/items/{item}") and "已有的审查作废" in zhao.get(f"/items/{item}/correct")


def test_a_correction_notice_begins_with_what_it_corrects(office: Office) -> None:
    wrong = office.bureau.publish("web")
    zhao = office.sign_in("zhao")
    form = form_of(zhao.get(f"/items/new?corrects={wrong}"))
    assert form["title"].strip() == "关于《关于试播的通知》的更正说明" and "370303/2026-00001" in form["text"]
    save(zhao, "/items/new", zhao.get(f"/items/new?corrects={wrong}"))
    assert latest(office.bureau, 2).corrects == "370303/2026-00001"


# ── structure and preview ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_structure_is_found_while_typing(office: Office) -> None:
    zhao = office.sign_in("zhao")
    text = "通知如下。\n\n一、时间<b>\n\n（一）白天\n\n| 甲 | 乙 |\n| 一 | 二 |\n\n张店区广播电视局\n2026年11月20日"
    page = zhao.post("/writing/outline", {"text": text})
    assert "2 个标题" in page and "1 个表格" in page and "落款：张店区广播电视局" in page
    assert "一、时间&lt;b&gt;" in page and "<b>" not in page


def test_an_unsaved_text_is_previewed_on_every_channel_and_nothing_is_kept(office: Office) -> None:
    zhao = office.sign_in("zhao")
    form = {**form_of(zhao.get("/items/new")), "title": "关于<i>试播</i>的通知", "text": TEXT}
    page = zhao.post("/writing/preview?part=1", form)
    assert [label in page for label in ("网站", "公开栏", "短信")] == [True, True, True]
    assert "关于&lt;i&gt;试播" in page and "<i>" not in page
    assert "0 人 × 1 条" in zhao.post("/writing/preview?part=1", {**form, "sms_text": "请看通知"})
    assert "填好标题和正文后" in zhao.post("/writing/preview?part=1", {**form, "title": ""})
    assert "公示须写明起止日期" in zhao.post("/writing/preview", {**form, "item_type": "公示"})
    assert count(office.bureau, Item) == count(office.bureau, WorkingCopyRow) == 0


# ── submission ───────────────────────────────────────────────────────────────────────────────────────────────────────


def submission(bureau: Bureau) -> tuple[Submission, set[str]]:
    with bureau.rt.reading() as db:
        last = db.scalars(select(Submission).order_by(Submission.id.desc()).limit(1)).one()
        stored = db.scalars(select(StoredRendition.channel).where(StoredRendition.submission_id == last.id))
        return last, set(stored)


def test_what_attachments_hold_is_told_while_the_text_is_typed(office: Office) -> None:
    zhao = office.sign_in("zhao")
    page = zhao.get("/items/new")
    secret = {"new_files": ("名单.txt", "张三 370303198001010012\n".encode(), "text/plain")}
    added = zhao.session.post(
        f"{zhao.url}/writing/files", {**form_of(page), "act": "add", "csrf": zhao.csrf()}, files=secret, timeout=20
    ).json()
    key = re.search(r'name="file" value="([^"]+)"', added["files"])
    assert key
    typed = {**form_of(page), "title": "名单", "text": "一、名单见附件。", "copy": added["copy"], "file": key[1]}
    shown = zhao.post("/writing/preview?part=1", typed)
    assert "附件“名单.txt”有居民身份证号码 1 处" in shown and "198001010012" not in shown
    other = office.sign_in("wang")  # who names it by its hash learns nothing of it
    assert "名单.txt" not in other.post("/writing/preview?part=1", {**typed, "copy": ""})


def test_an_attachment_that_takes_long_is_told_of_later(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(content: bytes) -> attachments.Inside:
        begun.set()
        go_on.wait(20)
        return attachments.Inside(("370303198001010012",))

    monkeypatch.setattr(attachments, "_look", slow)
    monkeypatch.setattr(writing, "LOOK_SECONDS", 0.2)
    item = office.bureau.write(files=(File("慢.bin", "application/octet-stream", b"slow file"),))
    zhao = office.sign_in("zhao")
    typed = form_of(zhao.get(f"/items/{item}/edit"))
    first = zhao.post("/writing/preview?part=1", typed)
    assert begun.wait(5) and "正在检查附件：慢.bin" in first and 'data-again="yes"' in first
    monkeypatch.setattr(writing, "LOOK_SECONDS", 20.0)
    threading.Timer(0.5, go_on.set).start()  # the preview waits for it
    second = zhao.post("/writing/preview?part=1", typed)
    assert "附件“慢.bin”有居民身份证号码 1 处" in second and "正在检查附件" not in second


def test_a_document_that_no_longer_applies_says_so_everywhere(office: Office) -> None:
    item = office.bureau.publish("web")
    office.bureau.work("web")
    zhao = office.sign_in("zhao")
    page = zhao.get(f"/items/{item}/correct")
    assert 'name="validity"' in page and form_of(page)["validity"] == "有效"
    assert "没有“过期”这种有效性" in save(zhao, f"/items/{item}/correct", page, 409, validity="过期")
    save(zhao, f"/items/{item}/correct", page, validity="废止")
    assert latest(office.bureau, item).validity == "废止"
    office.bureau.submit(item)
    seen = office.sign_in("li").get(f"/items/{item}/review")
    assert "有效性" in seen and "有效</del>" in seen and "废止</ins>" in seen  # among the changes, too
    assert "废止" in zhao.get(f"/items/{item}")


def test_a_submission_begins_with_the_channels_of_its_type_and_sms_off(open_console: Callable[..., Office]) -> None:
    office = open_console(default_channels={"公示": ["web", "board"], "通知": ["web"]})
    office.bureau.subscribe("13800001234", "13800005678")
    item = office.bureau.write()
    zhao = office.sign_in("zhao")
    page = zhao.get(f"/items/{item}/submit")
    assert form_of(page, "submitting")["channels"] == ["web"]
    assert "2 人 × " in page
    report = office.bureau.write(item_type="报告")
    assert form_of(zhao.get(f"/items/{report}/submit"), "submitting")["channels"] == ["web", "board"]


def test_a_submission_takes_channels_time_and_short_texts(office: Office) -> None:
    item = office.bureau.write()
    zhao = office.sign_in("zhao")
    form = form_of(zhao.get(f"/items/{item}/submit"), "submitting")
    chosen = {"channels": ["web", "sms"], "when": "at", "at": "2026-11-24T09:00", "sms_text": "试播通知，请看网站。"}
    assert "（370303/2026-00001）已提交审查" in zhao.post(f"/items/{item}/submit", {**form, **chosen})
    last, channels = submission(office.bureau)
    assert channels == {"web", "sms"} and last.publish_at == datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
    assert latest(office.bureau, item).sms_text == "试播通知，请看网站。"
    assert "已经在审查中" in zhao.get(f"/items/{item}/submit", 409)


def test_an_item_that_is_not_public_goes_to_no_channel_and_names_its_ground(office: Office) -> None:
    item = office.bureau.write()
    zhao = office.sign_in("zhao")
    form = form_of(zhao.get(f"/items/{item}/submit"), "submitting")
    refused = zhao.post(f"/items/{item}/submit", {**form, "class": "not_public"}, 409)
    assert "须写明法定理由" in refused and form_of(refused, "submitting")["class"] == "not_public"
    zhao.post(f"/items/{item}/submit", {**form, "class": "not_public", "ground": "16_internal_affairs"})
    last, channels = submission(office.bureau)
    assert (last.disclosure, last.ground, channels) == ("not_public", "16_internal_affairs", set())


def test_what_must_be_put_right_is_said_with_its_place_and_the_choices_stay(office: Office) -> None:
    item = office.bureau.write(item_type="公示")
    zhao = office.sign_in("zhao")
    page = zhao.get(f"/items/{item}/submit")
    assert "公示须写明起止日期" in page
    form = {**form_of(page, "submitting"), "channels": ["web"], "when": "at", "at": "2026-11-25T08:30"}
    page = zhao.post(f"/items/{item}/submit", form, 409)
    shown = form_of(page, "submitting")
    assert "异议联系方式" in page and (shown["channels"], shown["at"]) == (["web"], "2026-11-25T08:30")
    assert "看不懂" in zhao.post(f"/items/{item}/submit", {**form, "at": "下周"}, 409)


def test_what_the_checks_question_is_masked_by_one_click_or_submitted_with_a_reason(office: Office) -> None:
    text = TEXT + "\n身份证370303198001010012，联系人手机13812345678。"
    item = office.bureau.write(text=text)
    zhao = office.sign_in("zhao")
    page = zhao.get(f"/items/{item}/submit")
    form = form_of(page, "submitting")
    assert "370303********0012" in page
    refused = zhao.post(f"/items/{item}/submit", form, 409)
    assert "有必须改正的地方" in refused and count(office.bureau, Submission) == 0
    [mend] = re.findall(r'value="(mend:\w+)"[^>]*>改为“370303', page)
    page = zhao.post(f"/items/{item}/submit", {**form, "act": mend, "channels": ["web", "board"]})
    assert "身份证370303********0012，联系人手机13812345678" in latest(office.bureau, item).text
    form = form_of(page, "submitting")
    assert (form["revision"], form["channels"]) == ("2", ["web", "board"])
    zhao.post(f"/items/{item}/submit", form, 409)
    [why] = [name for name in form if name.startswith("why:")]
    assert "已提交审查" in zhao.post(f"/items/{item}/submit", {**form, why: "值班电话，经本人同意"})
    review.return_(office.bureau.rt, office.bureau.actor("li"), item, "补充时间")
    assert form_of(zhao.get(f"/items/{item}/submit"), "submitting")[why] == "值班电话，经本人同意"


def test_a_text_that_was_edited_since_is_not_submitted_unseen(office: Office) -> None:
    item = office.bureau.write()
    zhao = office.sign_in("zhao")
    form = form_of(zhao.get(f"/items/{item}/submit"), "submitting")
    review.edit(office.bureau.rt, office.bureau.actor("wang"), item, office.bureau.draft(text=TEXT + "\n又一段。"))
    assert "有人修改了这条信息" in zhao.post(f"/items/{item}/submit", form, 409)
    assert count(office.bureau, Submission) == 0


def test_a_returned_item_is_submitted_again_with_what_was_chosen(office: Office) -> None:
    item = office.bureau.write()
    office.bureau.submit(item, "web", "sms")
    review.return_(office.bureau.rt, office.bureau.actor("li"), item, "补充时间")
    form = form_of(office.sign_in("zhao").get(f"/items/{item}/submit"), "submitting")
    assert form["channels"] == ["web", "sms"]


# ── in a browser ─────────────────────────────────────────────────────────────────────────────────────────────────────


def enter(context: "BrowserContext", office: Office, person: str) -> "Page":
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.goto(f"{office.url}/sign-in")
    page.fill("[name=name]", person)
    page.fill("[name=password]", PASSWORD)
    page.click("button.main")
    return page


def test_typed_and_the_browser_closed_the_text_is_there_again(office: Office, chromium: "Browser") -> None:
    context = chromium.new_context()
    page = enter(context, office, "zhao")
    page.goto(f"{office.url}/items/new")
    page.fill("[name=title]", "关于冬季安全播出的通知")
    page.set_input_files("[name=new_files]", {"name": "名单.txt", "mimeType": "text/plain", "buffer": b"list"})
    page.get_by_text("移除").wait_for()
    with page.expect_response("**/writing/keep"):
        page.fill("[name=text]", "一、检查机房\n\n值班人员要到位。")
    context.close()
    page = enter(chromium.new_context(), office, "zhao")
    page.goto(f"{office.url}/items/new")
    page.get_by_role("link", name="继续写").click()
    assert page.input_value("[name=title]") == "关于冬季安全播出的通知"
    assert page.input_value("[name=text]") == "一、检查机房\n\n值班人员要到位。"
    page.locator("#outline", has_text="一、检查机房").wait_for()
    page.locator("#previews .channel").first.wait_for()
    page.get_by_text("公开栏", exact=True).click()
    page.locator("#previews [data-channel=board]:not([data-waits])", has_text="关于冬季").wait_for()
    page.keyboard.press("Control+s")
    page.get_by_text("已保存为第 1 版").wait_for()
    assert [file.name for file in latest(office.bureau, 1).files] == ["名单.txt"]
    page.context.close()


PASTED = """<html><head><style>p{}</style></head><body>
<p class=MsoListParagraph style='mso-list:l0 level1 lfo1'><![if !supportLists]><span style='mso-list:Ignore'>一、<span>
&nbsp;</span></span><![endif]>时间安排和人
员</p><p>请于<del>11月20日</del><ins>11月25日</ins>前报送。<span style='mso-hide:all'>内部编号</span></p>
<table><tr><td><p>科室</p></td><td><p>人数</p></td></tr><tr><td>技术科</td><td>1|2</td></tr></table>
<ol><li>报名</li><li>参加<script>alert(1)</script></li></ol><img src=x></body></html>"""


def test_pasted_from_word_lists_keep_their_numbers_and_tables_their_rows(office: Office, chromium: "Browser") -> None:
    page = enter(chromium.new_context(), office, "zhao")
    page.goto(f"{office.url}/items/new")
    page.locator("#previews").wait_for()
    paste = """([html, plain]) => {
        const data = new DataTransfer(); data.setData('text/html', html); data.setData('text/plain', plain);
        const field = document.querySelector('[name=text]'); field.focus();
        return field.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}));
    }"""
    page.wait_for_function("() => document.querySelector('.notice').hidden")
    page.wait_for_load_state("networkidle")
    assert page.evaluate(paste, [PASTED, "x"]) is False
    text = page.input_value("[name=text]").splitlines()
    assert [line for line in text if line] == [
        "一、 时间安排和人员", "请于11月25日前报送。", "| 科室 | 人数 |", "| 技术科 | 1｜2 |", "1．报名", "2．参加",
    ]  # fmt: skip
    assert "1 张图片没有带入" in page.inner_text("#pasted")
    assert page.evaluate(paste, ["<p>只有文字</p>", "只有文字"]) is True  # the browser's own way
    page.context.close()


def test_a_session_that_ends_while_somebody_writes_loses_nothing(office: Office, chromium: "Browser") -> None:
    context = chromium.new_context()
    page = enter(context, office, "zhao")
    page.goto(f"{office.url}/items/new")
    page.fill("[name=title]", "写了一个上午的通知")
    page.locator("#kept", has_text="已自动保存").wait_for()
    with office.bureau.rt.writing() as db:
        db.execute(delete(SignedIn))
    page.fill("[name=text]", TEXT)
    page.click(".savebar button.main")
    page.locator("#kept", has_text="登录已过期").wait_for()
    assert page.input_value("[name=text]").strip() == TEXT.strip()
    enter(context, office, "zhao").close()
    page.click(".savebar button.main")
    page.get_by_text("已保存为第 1 版").wait_for()
    assert latest(office.bureau, 1).text.strip() == TEXT.strip()
    context.close()


def test_the_forms_are_usable_by_everybody_and_fit_a_phone(office: Office, chromium: "Browser") -> None:
    from axe_playwright_python.sync_playwright import Axe

    item = office.bureau.write(title=LONG[:120], sms_text="短" * 80)
    page = enter(chromium.new_context(viewport={"width": 390, "height": 844}), office, "zhao")
    for path in (f"/items/{item}/edit", f"/items/{item}/submit", f"/items/{item}/preview/web"):
        page.goto(office.url + path)
        page.locator(".channel").first.wait_for(state="attached")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{office.url}/items/{item}/edit")
    assert page.locator("[name=text]").is_visible() and not page.locator("#previews").is_visible()
    page.get_by_role("button", name="预览", exact=True).click()
    page.locator("#previews .channel").first.wait_for()
    page.context.close()


def test_a_stranger_keeps_nothing_here(office: Office) -> None:
    answer = requests.post(f"{office.url}/writing/keep", {"title": "x"}, timeout=10, allow_redirects=False)
    assert answer.status_code in (303, 403)
    zhao = office.sign_in("zhao")
    assert zhao.session.post(f"{zhao.url}/writing/keep", {"title": "x"}, timeout=10).status_code == 403
