"""The newsletter in the console: its calendar, its contents by keyboard and mouse, and how it goes out."""

import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from PIL import Image

from pipeline import accounts, issue_pages, issues, review
from pipeline.issues import Phase
from pipeline.models import AuditLine, Delivery, StoredPerson
from tests.channels.recording import Fault, set_faults
from tests.pipeline.newsletter import DEADLINE, TYPES, built, go_to_sending, newsletter, published, submitted
from tests.web.console.conftest import PASSWORD, Office, Person

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (320, 200), "#9b1c1f").save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def bureau_of(open_console: Callable[..., Office]) -> Callable[..., Office]:
    def open_it(**changes: Any) -> Office:
        return open_console(newsletter=newsletter(**changes), item_types=TYPES)

    return open_it


@pytest.fixture
def newsroom(bureau_of: Callable[..., Office]) -> tuple[Office, int, list[int]]:
    """An issue assembled from three items: two in 要闻, one in 工作动态."""
    office = bureau_of()
    published_items = [
        published(office.bureau, "甲公告", item_type="公告"),
        published(office.bureau, "乙通知"),
        published(office.bureau, "丙动态", item_type="工作动态"),
    ]
    issue, _ = built(office.bureau)
    return office, issue, published_items


def order(office: Office, issue: int) -> dict[str, list[int]]:
    return {
        one.name: [entry.item for entry in one.entries] for one in issue_pages.page(office.bureau.rt, issue).columns
    }


def arrange(person: Person, issue: int, act: str, status: int = 200, based_on: int | None = None) -> str:
    if based_on is None:
        found = re.search(r'name="based_on" value="(\d+)"', person.get(f"/newsletter/{issue}"))
        based_on = int(found[1]) if found else 0
    return person.post(f"/newsletter/{issue}/arrange", {"act": act, "based_on": based_on}, status)


def test_without_a_newsletter_the_page_says_what_to_do(office: Office) -> None:
    page = office.sign_in("wang").get("/newsletter")
    assert "还没有设置通讯" in page and 'href="/newsletter"' not in page


def test_the_plan_shows_the_next_24_issues_and_leaves_one_out_with_a_reason(bureau_of: Callable[..., Office]) -> None:
    office = bureau_of()
    wang = office.sign_in("wang")
    page = wang.get("/newsletter")
    assert page.count("总第") >= 24 and "2026年第23期（总第1期）" in page
    assert "请写明理由" in wang.post("/newsletter/skip", {"day": "2026-12-15", "reason": " "}, 409)
    merged = wang.post("/newsletter/skip", {"day": "2026-12-15", "reason": "稿件少", "into": "2027-01-01"})
    assert "2026-12-15 一期并入 2027-01-01 一期" in merged and "稿件少" in merged
    back = wang.post("/newsletter/take-back", {"day": "2026-12-15", "reason": "照常出"})
    assert "2026-12-15 一期恢复出刊" in back and "稿件少" not in back
    assert "不出或合刊" not in office.sign_in("zhao").get("/newsletter")


def test_entries_are_moved_dropped_and_taken_in_again_by_buttons(newsroom: tuple[Office, int, list[int]]) -> None:
    office, issue, (first, second, third) = newsroom
    wang = office.sign_in("wang")
    assert order(office, issue) == {"要闻": [first, second], "工作动态": [third], "其他": []}
    page = arrange(wang, issue, f"down:{first}")
    assert f"信息 {first} 已移动" in page
    assert order(office, issue)["要闻"] == [second, first]
    arrange(wang, issue, f"down:{first}")  # beyond the end of its column: the next one
    assert order(office, issue) == {"要闻": [second], "工作动态": [first, third], "其他": []}
    arrange(wang, issue, f"up:{first}")
    assert order(office, issue)["要闻"] == [second, first]
    page = arrange(wang, issue, f"drop:{second}")
    assert "没有收入的（1）" in page and order(office, issue)["要闻"] == [first]
    arrange(wang, issue, f"back:{second}")
    assert order(office, issue)["要闻"] == [first, second]
    arrange(wang, issue, f"place:{third}:0:1")  # as the mouse does it
    assert order(office, issue)["要闻"] == [first, third, second]
    arrange(wang, issue, "place:x:0:1", 422)


def test_two_editors_never_overwrite_each_other(newsroom: tuple[Office, int, list[int]]) -> None:
    office, issue, (first, _, _) = newsroom
    wang = office.sign_in("wang")
    arrange(wang, issue, f"down:{first}")
    before = order(office, issue)
    late = wang.post(f"/newsletter/{issue}/arrange", {"act": f"drop:{first}", "based_on": "1"}, 409)
    assert 'role="alert"' in late and order(office, issue) == before


def test_an_entry_is_shortened_gets_a_picture_and_its_whole_text_again(newsroom: tuple[Office, int, list[int]]) -> None:
    office, issue, (first, _, _) = newsroom
    wang, place = office.sign_in("wang"), f"/newsletter/{issue}/entries/{first}"
    assert "甲公告的正文" in wang.get(place)
    done = wang.post(place, {"text": "只有一句。", "act": "shorten", "based_on": "1"})
    assert "甲公告（节选）" in done and "只有一句" in wang.get(place)
    assert "还没有选择图片" in wang.post(place, {"act": "picture", "based_on": "2"}, 409)
    picture = {"picture": ("主席台.png", photo(), "image/png")}
    assert "有配图" in wang.post(place, {"act": "picture", "based_on": "2"}, files=picture)
    assert "节选" not in wang.post(place, {"act": "whole", "based_on": "3"}).split("entries")[1].split("</ol>")[0]
    assert "卷首语已保存" in wang.post(
        f"/newsletter/{issue}/editorial", {"text": "岁末寄语。", "act": "save", "based_on": "4"}
    )
    assert issue_pages.page(office.bureau.rt, issue).editorial == "岁末寄语。"


def test_all_forms_are_looked_at_and_the_mail_can_do_nothing(newsroom: tuple[Office, int, list[int]]) -> None:
    office, issue, _ = newsroom
    wang = office.sign_in("wang")
    pages = re.findall(r'<img src="([^"]+)"', wang.get(f"/newsletter/{issue}/preview"))
    assert pages == [f"/newsletter/{issue}/pages/{number}" for number in range(1, len(pages) + 1)] and len(pages) > 1
    pictures = [wang.session.get(office.url + page, timeout=30) for page in pages]
    assert all(one.content.startswith(b"\x89PNG") for one in pictures)
    assert len({one.content for one in pictures}) == len(pages), "each its own"
    for number in (0, len(pages) + 1):
        wang.get(f"/newsletter/{issue}/pages/{number}", 404)
    mail = wang.get(f"/newsletter/{issue}/preview?form=mail")
    assert mail.count("<iframe") == 2 and "甲公告" in mail  # phone and desk; the text part below
    assert "第23期" in wang.get(f"/newsletter/{issue}/preview?form=web")
    wang.get(f"/newsletter/{issue}/preview?form=nonsense", 404)
    answer = wang.session.get(f"{office.url}/newsletter/{issue}/mail", timeout=20)
    policy = answer.headers["Content-Security-Policy"]
    assert "甲公告" in answer.text and "sandbox" in policy and "script-src" not in policy
    assert "default-src 'none'" in policy and "{{" not in answer.text
    pdf = wang.session.get(f"{office.url}/newsletter/{issue}/issue.pdf", timeout=30)
    assert pdf.content.startswith(b"%PDF")


def test_an_issue_goes_through_review_and_its_progress_is_live(newsroom: tuple[Office, int, list[int]]) -> None:
    office, issue, (first, _, _) = newsroom
    bureau = office.bureau
    bureau.subscribe("13800001234", "13800001235")
    set_faults(bureau.rt.settings.data / "sms", Fault("rejected", times=1))
    wang, line = office.sign_in("wang"), issues.line(bureau.rt, issue)
    page = wang.get(f"/newsletter/{issue}")
    assert "已截稿，距发布还有" in page and "提交审查" in page
    revision = {"revision": str(issue_pages.page(bureau.rt, issue).revision)}
    assert "已提交审查" in wang.post(f"/newsletter/{issue}/submit", revision)
    hash = re.search(r'name="hash" value="(\w{64})"', office.sign_in("li").get(f"/items/{line.item}/review"))
    assert hash
    bureau.approve(line.item, hash[1])
    bureau.clock.moment = line.send_at + timedelta(minutes=1)
    wang = office.sign_in("wang")  # a day later
    address = f"{office.url}/newsletter/{issue}/live"
    before = wang.session.get(address, timeout=10).json()
    assert wang.session.get(address, params={"seen": before["live"]}, timeout=10).status_code == 204
    bureau.work("web", "sms", "web", "sms")
    after = wang.session.get(address, params={"seen": before["live"]}, timeout=10).json()
    assert "1 / 2" in after["html"] and "失败" in after["html"]
    page = wang.get(f"/newsletter/{issue}")
    assert "只重发没有到达的（短信）" in page
    set_faults(bureau.rt.settings.data / "sms")
    assert "已安排重发 1 项" in wang.post(f"/newsletter/{issue}/retry", {"channel": "sms"})
    bureau.work("sms")
    assert len(bureau.effects("sms")) == 2  # nobody was told twice
    page = wang.get(f"/newsletter/{issue}")
    assert 'value="up:' not in page and "?correct=1" in page  # what is out is not moved by a slip
    assert 'value="up:' in wang.get(f"/newsletter/{issue}?correct=1")
    corrected = arrange(wang, issue, f"down:{first}", based_on=1)
    assert "现在的改动是更正" in corrected and 'action="/newsletter/1/submit"' in corrected
    revision = {"revision": str(issue_pages.page(bureau.rt, issue).revision)}
    assert "已提交审查" in wang.post(f"/newsletter/{issue}/submit", revision)


def test_what_comes_late_waits_for_a_person_who_lets_it_go(newsroom: tuple[Office, int, list[int]]) -> None:
    office, issue, _ = newsroom
    bureau, line = office.bureau, issues.line(office.bureau.rt, issue)
    bureau.subscribe("13800001234")
    wang = office.sign_in("wang")
    assert "没有等人放行的发布任务" in wang.post(f"/newsletter/{issue}/release", status=409)
    wang.post(f"/newsletter/{issue}/submit", {"revision": str(issue_pages.page(bureau.rt, issue).revision)})
    bureau.clock.moment = line.send_at + timedelta(days=2)
    wang = office.sign_in("wang")
    page = wang.get(f"/newsletter/{issue}")
    assert "要由人放行" in page
    hash = re.search(r'name="hash" value="(\w{64})"', office.sign_in("li").get(f"/items/{line.item}/review"))
    assert hash
    bureau.approve(line.item, hash[1])
    bureau.work()
    assert issues.line(bureau.rt, issue).phase is Phase.HELD and not bureau.effects("sms")
    assert "放行，现在发布" in wang.get(f"/newsletter/{issue}")
    assert "已放行" in wang.post(f"/newsletter/{issue}/release")
    bureau.work()
    assert len(bureau.effects("sms")) == 1


def test_an_issue_is_moved_by_the_keyboard_and_by_the_mouse_in_a_real_browser(
    newsroom: tuple[Office, int, list[int]], chromium: "Browser"
) -> None:
    office, issue, (first, second, third) = newsroom
    page = chromium.new_context(viewport={"width": 1280, "height": 1200}, locale="zh-CN").new_page()
    page.goto(f"{office.url}/sign-in")
    page.fill("[name=name]", "wang")
    page.fill("[name=password]", PASSWORD)
    page.click("button.main")
    page.goto(f"{office.url}/newsletter/{issue}")
    page.focus(f'button[value="down:{first}"]')
    page.keyboard.press("Enter")
    page.wait_for_selector(".said")
    assert order(office, issue)["要闻"] == [second, first]
    page.wait_for_function(f"document.activeElement.value === 'down:{first}'")  # it can be pressed again
    page.drag_and_drop(f"#entry-{third} .meta", f"#entry-{second} .meta", target_position={"x": 5, "y": 1})
    page.wait_for_function(f"document.querySelector('#entry-{third}').closest('ol').dataset.column === '0'")
    page.wait_for_load_state()
    assert third in order(office, issue)["要闻"]
    page.context.close()


def test_an_editor_tries_the_mail_on_themselves_and_no_subscriber_gets_it(
    open_console: Callable[..., Office], tmp_path: Path
) -> None:
    mail = {"kind": "tests.pipeline.letters:Letters", "label": "邮件", "directory": tmp_path / "mail"}
    office = open_console(newsletter=newsletter(), item_types=TYPES, channels={"mail": mail})
    bureau = office.bureau
    with bureau.rt.writing() as db:
        for person in ("wang", "chen", "sun"):
            db.get_one(StoredPerson, person).email = f"{person}@gd.example"
    bureau.subscribe("citizen@town.example", channel="mail")
    published(bureau, "甲公告", item_type="公告")
    issue, _ = built(bureau)
    wang = office.sign_in("wang")
    assert "邮件发到 w****@gd.example" in wang.get(f"/newsletter/{issue}")
    for _ in range(2):  # each is a mail of its own
        assert "已发到 w****@gd.example" in wang.post(f"/newsletter/{issue}/try", {"channel": "mail"})
    assert [one.recipient for one in bureau.effects("mail")] == ["wang@gd.example"] * 2
    assert "发给自己试看" not in office.sign_in("li").get(f"/newsletter/{issue}")  # no address
    assert "没有登记邮箱" in office.sign_in("li").post(f"/newsletter/{issue}/try", {"channel": "mail"}, 409)
    office.sign_in("sun").post(f"/newsletter/{issue}/try", {"channel": "mail"}, 403)
    with bureau.rt.reading() as db:
        assert db.query(Delivery).filter_by(channel="mail").count() == 0
        assert [one.person for one in db.query(AuditLine).filter_by(decision="try")] == ["wang", "wang"]


def test_an_issue_whose_editorial_names_what_was_withdrawn_says_so_and_is_not_let_go(
    newsroom: tuple[Office, int, list[int]],
) -> None:
    office, issue, (first, _, _) = newsroom
    bureau, wang = office.bureau, office.sign_in("wang")
    wang.post(f"/newsletter/{issue}/editorial", {"text": "本期请看《甲公告》。", "act": "save", "based_on": "1"})
    wang.post(f"/newsletter/{issue}/submit", {"revision": "2"})
    line = issues.line(bureau.rt, issue)
    hash = re.search(r'name="hash" value="(\w{64})"', office.sign_in("li").get(f"/items/{line.item}/review"))
    assert hash
    bureau.approve(line.item, hash[1])
    review.withdraw(bureau.rt, bureau.actor("li"), first, "内容有误")
    page = wang.get(f"/newsletter/{issue}")
    mend = page.partition('id="mend"')[2].partition("</div>")[0]
    assert f"《甲公告》（信息 {first}），这条信息已撤下" in mend and "fabu " not in mend
    assert "暂缓，待更正并重新审查" in page and "放行，现在发布" not in page
    corrected = wang.get(f"/newsletter/{issue}?correct=1")
    assert '<button class="main big" disabled>' in corrected
    revision = str(issue_pages.page(bureau.rt, issue).revision)
    mended = wang.post(f"/newsletter/{issue}/editorial", {"text": "寄语。", "act": "save", "based_on": revision})
    assert "甲公告" not in mended.partition('id="contents"')[2] and '<button class="main big">' in mended


def test_an_issue_is_not_offered_for_merging_once_it_is_closed(bureau_of: Callable[..., Office]) -> None:
    office = bureau_of()
    published(office.bureau, "甲公告", item_type="公告")
    built(office.bureau, DEADLINE + timedelta(days=14))  # 15 December is closed, and 1 December is overdue
    page = office.sign_in("wang").get("/newsletter")
    assert '<option value="2026-12-15">' not in page and '<option value="2027-01-01">' in page


def test_a_program_sets_pictures_tries_the_mail_and_sends_again_to_the_failed(
    open_console: Callable[..., Office], tmp_path: Path
) -> None:
    mail = {"kind": "tests.pipeline.letters:Letters", "label": "邮件", "directory": tmp_path / "mail"}
    office = open_console(newsletter=newsletter(), item_types=TYPES, channels={"mail": mail})
    bureau = office.bureau
    with bureau.rt.writing() as db:
        db.get_one(StoredPerson, "wang").email = "wang@gd.example"
    bureau.subscribe("13800001234", "13800001235")
    first = published(bureau, "甲公告", item_type="公告")
    issue, item = built(bureau)
    url = f"{office.url}/api/v1"
    headers = {"Authorization": f"Bearer {accounts.make_token(bureau.rt, bureau.actor('wang'), '编辑程序')}"}

    def post(path: str, body: dict[str, Any], status: int = 200) -> Any:
        answer = requests.post(f"{url}{path}", json=body, headers=headers, timeout=20)
        assert answer.status_code == status, answer.text
        return answer.json()

    kept = requests.post(f"{url}/files", files={"file": ("x.png", photo())}, headers=headers, timeout=20).json()
    picture = {"name": "主席台.png", "media_type": "image/png", "sha256": kept["sha256"]}
    place = f"/newsletter/{issue}"
    assert post(f"{place}/pictures", {"based_on": 1, "item": first, "picture": picture}) == {"revision": 2}
    assert post(f"{place}/pictures", {"based_on": 2, "picture": picture}) == {"revision": 3}
    shown = requests.get(f"{url}{place}", headers=headers, timeout=20).json()
    assert shown["editorial_picture"] == shown["columns"][0]["entries"][0]["picture"] == "主席台.png"
    assert shown["findings"] == []
    assert post(f"{place}/pictures", {"based_on": 3, "item": first}) == {"revision": 4}
    unknown = {**picture, "sha256": "0" * 64}
    assert post(f"{place}/pictures", {"based_on": 4, "picture": unknown}, 404)["code"] == "api.unknown_file"
    assert post(f"{place}/trial", {"channel": "mail"}) == {"address": "w****@gd.example"}
    assert [one.recipient for one in bureau.effects("mail")] == ["wang@gd.example"]
    set_faults(bureau.rt.settings.data / "sms", Fault("rejected", times=1))
    bureau.approve(item, submitted(bureau, issue))
    go_to_sending(bureau, issue)
    bureau.work("web", "sms")
    set_faults(bureau.rt.settings.data / "sms")
    assert post(f"{place}/retry", {"channel": "sms"}) == {"count": 1}
    bureau.work("sms")
    assert len(bureau.effects("sms")) == 2
    assert post(f"{place}/retry", {"channel": "sms"}, 422)["code"] == "retry.nothing"
