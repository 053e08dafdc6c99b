"""The word table in the console, and what reviewers see of the checks."""

from typing import TYPE_CHECKING

from pipeline import review
from tests.web.console.conftest import PASSWORD, Office

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WARNED = "联系人张三，电话13800001234，截止目前有效。"


def test_an_editor_adds_words_and_ends_one(office: Office) -> None:
    editor = office.sign_in("wang")
    page = editor.post("/admin/words", {"correct": "张店融媒", "wrong": "张店融煤、张店溶媒"})
    assert "已加入词表：“张店融煤”“张店溶媒”应为“张店融媒”" in page
    assert page.count("王编辑") >= 3  # in the head, and beside both lines
    page = editor.post("/admin/words/1/end")
    assert "不再提示“已申请公开”" in page and "已停用" in page


def test_what_was_typed_stays_when_a_word_is_refused(office: Office) -> None:
    page = office.sign_in("li").post("/admin/words", {"correct": "截至目前", "wrong": "截止目前", "to_on": ""}, 409)
    assert "“截止目前”已在词表中" in page and 'value="截止目前"' in page
    page = office.sign_in("li").post("/admin/words", {"correct": "甲乙", "wrong": "丙丁", "to_on": "明天"}, 409)
    assert 'value="丙丁"' in page and "明天" in page


def test_others_read_the_word_table_and_change_nothing(office: Office) -> None:
    author = office.sign_in("zhao")
    page = author.get("/admin/words")
    assert "依申请公开" in page and "<button>停用" not in page and 'name="correct"' not in page
    author.post("/admin/words", {"correct": "甲乙", "wrong": "丙丁"}, 409)
    author.post("/admin/words/1/end", status=403)
    assert "丙丁" not in author.get("/admin/words")


def test_a_word_is_shown_as_text_whatever_stands_in_it(office: Office) -> None:
    page = office.sign_in("wang").post("/admin/words", {"correct": "<script>alert", "wrong": "<b>错</b>"})
    assert "<script>alert" not in page and "&lt;b&gt;错&lt;/b&gt;" in page


def test_the_reviewer_sees_what_was_found_and_why_it_was_submitted(office: Office) -> None:
    bureau = office.bureau
    item = bureau.write(text=WARNED)
    why = {"check.phrase": "引用<b>原文</b>", "check.mobile": "值班电话，本人同意公布"}
    review.submit(bureau.rt, bureau.actor("zhao"), item, ["web"], why=why)
    page = office.sign_in("li").get(f"/items/{item}/review")
    assert "138****1234" in page and "值班电话，本人同意公布" in page and "引用&lt;b&gt;原文&lt;/b&gt;" in page
    assert page.index("值班电话，本人同意公布") < page.index("赵记者　2026-11-23 10:00")


def test_the_word_table_and_the_findings_are_accessible(office: Office, chromium: "Browser") -> None:
    from axe_playwright_python.sync_playwright import Axe

    bureau = office.bureau
    item = bureau.write(text=WARNED)
    why = {"check.phrase": "引用原文", "check.mobile": "本人同意"}
    review.submit(bureau.rt, bureau.actor("zhao"), item, ["web"], why=why)
    with chromium.new_context(locale="zh-CN", viewport={"width": 390, "height": 800}) as context:
        page = context.new_page()
        sign_in(page, office, "li")
        for path in ("/admin/words", f"/items/{item}/review"):
            page.goto(office.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            serious = [
                one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")
            ]
            assert serious == []


def sign_in(page: "Page", office: Office, name: str) -> None:
    page.goto(f"{office.url}/sign-in")
    page.fill("[name=name]", name)
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_selector("nav")


def test_one_click_masks_a_number_in_the_form_and_ctrl_z_brings_it_back(office: Office, chromium: "Browser") -> None:
    with chromium.new_context(locale="zh-CN") as context:
        page = context.new_page()
        sign_in(page, office, "zhao")
        page.goto(f"{office.url}/items/new")
        page.fill("[name=title]", "关于试播的通知")
        page.fill(
            "[name=text]",
            "关于试播的通知\n\n张三，370303 19800101 0012，已申请公开，138****5678，13800005678。内部资料。",
        )
        for instead, left in (
            ("370303 ******** 0012", "19800101"),
            ("依申请公开", "已申请"),
            ("138****5678", "13800005678"),
        ):
            button = page.locator(f"button[data-instead='{instead}']").first
            button.click()
            text = page.input_value("[name=text]")
            assert instead in text and left not in text
        page.locator(".findings li", has_text="“内部资料”").locator("button").click()
        chosen = page.evaluate("(f => f.value.slice(f.selectionStart, f.selectionEnd))(document.activeElement)")
        assert chosen == "内部资料"
        page.keyboard.press("Control+z")
        assert "13800005678" in page.input_value("[name=text]")
