"""Administration in the console: people, departments, deputies, channels, tokens."""

import csv
import html
import io
import re
import zipfile
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from openpyxl import Workbook

from pipeline import accounts, health, logbook, replies, review, staff, subscribers
from pipeline.decisions import Decision
from pipeline.models import StoredPerson, Subscriber
from tests.web.console.conftest import Office, let_in


def administrator(office: Office) -> None:
    with office.bureau.rt.writing() as db:
        db.add(StoredPerson(id="root", name="管理员", department="office", roles="admin", in_charge="", email=""))
    let_in(office.bureau, "root")


def test_somebody_new_gets_in_with_a_first_password_that_is_shown_once(office: Office) -> None:
    administrator(office)
    root = office.sign_in("root")
    form = {"id": "qian", "name": "钱工", "department": "tech", "roles": ["author"], "email": "qian@example.gov.cn"}
    assert "已添加 钱工" in root.post("/admin/people/new", form)
    page = root.post("/admin/people/qian/password")
    first = re.search(r'class="mono given">([\w-]+)<', page)
    assert first and first[1] not in root.get("/admin/people")
    assert "初始密码" in office.sign_in("qian", first[1]).get("/")


def test_what_was_typed_stays_when_it_is_refused(office: Office) -> None:
    administrator(office)
    root = office.sign_in("root")
    form = {"id": "zhao", "name": "另一个赵", "department": "tech", "roles": ["author", "editor"]}
    page = root.post("/admin/people/new", form, 409)
    assert 'role="alert"' in page and 'value="另一个赵"' in page
    assert page.count("checked") == 2


def test_the_last_administrator_cannot_be_taken_away(office: Office) -> None:
    administrator(office)
    root = office.sign_in("root")
    form = {"name": "管理员", "department": "office", "roles": ["editor"], "active": "1"}
    assert 'role="alert"' in root.post("/admin/people/root", form, 409)
    assert "admin" in staff.person(office.bureau.rt, "root").roles


def test_who_is_deactivated_is_out_at_once(office: Office) -> None:
    administrator(office)
    root, zhao = office.sign_in("root"), office.sign_in("zhao")
    form = {"name": "赵记者", "department": "news", "roles": ["author"]}  # `active` not ticked
    assert "资料已保存" in root.post("/admin/people/zhao", form)
    answer = zhao.session.get(f"{office.url}/", allow_redirects=False, timeout=10)
    assert answer.status_code == 303


def test_departments_are_added_and_renamed(office: Office) -> None:
    administrator(office)
    root = office.sign_in("root")
    assert "已添加部门“新媒体部”" in root.post("/admin/departments", {"id": "media", "name": "新媒体部"})
    assert "改名为“融媒体部”" in root.post("/admin/departments/media", {"name": "融媒体部"})


def test_a_leader_names_a_deputy_and_ends_it(office: Office) -> None:
    chen = office.sign_in("chen")
    today = office.bureau.clock().date()
    form = {"person": "zhou", "from_on": str(today), "to_on": str(today + timedelta(days=7))}
    page = chen.post("/admin/deputies", form)
    assert "已指定 周副局长 为代理人" in page and "生效中" in page
    item = office.bureau.write()
    hash = office.bureau.submit(item, "web")
    review.approve(office.bureau.rt, office.bureau.actor("li"), item, hash)
    assert "代理陈局长" in office.sign_in("zhou").get("/reviews")
    end = re.search(r"/admin/deputies/(\d+)/end", page)
    assert end and "代理已结束" in chen.post(f"/admin/deputies/{end[1]}/end")


def test_channels_show_their_settings_without_secrets_and_can_be_paused(open_console: Callable[..., Office]) -> None:
    office = open_console(channels={"web": {"quiet": "20:00-08:00"}})
    wang = office.sign_in("wang")
    page = wang.get("/admin/channels")
    assert "20:00-08:00" in page
    assert "已暂停" in wang.post("/admin/channels/web/pause", {"reason": "网站维护"})
    assert "王编辑 已暂停" in wang.get("/admin/channels") and "已暂停" in wang.get("/reach") + wang.get(
        "/admin/channels"
    )
    assert "已恢复" in wang.post("/admin/channels/web/resume")
    assert "连接正常" in wang.post("/admin/channels/web/test")
    office.sign_in("sun").post("/admin/channels/web/test", status=403)


def test_a_token_is_shown_once_and_can_be_revoked(office: Office) -> None:
    wang = office.sign_in("wang")
    page = wang.post("/tokens", {"label": "月报程序"})
    token = re.search(r'class="mono given">(fabu_[\w-]+)<', page)
    assert token and accounts.bearer(office.bureau.rt, token[1]) is not None
    page = wang.get("/tokens")
    assert token[1] not in page and "月报程序" in page
    end = re.search(r"/tokens/(\d+)/revoke", page)
    assert end
    wang.post(f"/tokens/{end[1]}/revoke")
    assert accounts.bearer(office.bureau.rt, token[1]) is None


# ── subscribers ──────────────────────────────────────────────────────────────────────────────────────────────────────

LIST = (
    "手机号,姓名,同意来源,同意日期\n13800000001,甲,登记表,2026/3/5\n13800000002,乙,,2026-03-05\n"
    "13800000003,=丙,登记表,2026-03-05\n"
)


def listed(office: Office) -> list[str]:
    with office.bureau.rt.reading() as db:
        return [one.address for one in db.query(Subscriber).order_by(Subscriber.id)]


def look(office: Office, content: bytes, name: str = "名单.csv", status: int = 200) -> str:
    wang = office.sign_in("wang")
    return wang.post("/admin/subscribers/import", {"channel": "sms"}, status, files={"file": (name, content)})


def workbook(*rows: tuple[object, ...]) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def test_nobody_of_a_list_is_taken_before_somebody_has_looked_at_it(office: Office) -> None:
    page = look(office, LIST.encode("gb18030"))
    assert "可新增 2 位，已有 0 位，不能导入 1 行" in page
    assert re.search(r'<td class="amount">3</td><td>没有写明同意来源', page)
    assert listed(office) == []
    hidden = re.search(r'name="text" value="([^"]*)"', page)
    assert hidden
    wang = office.sign_in("wang")
    form = {"channel": "sms", "text": html.unescape(hidden[1])}
    assert "新增订阅人 2 位" in wang.post("/admin/subscribers/take", form)
    assert listed(office) == ["13800000001", "13800000003"]
    assert "可新增 0 位，已有 2 位" in look(office, LIST.encode())


def test_a_workbook_is_read_as_its_writer_sees_it(office: Office) -> None:
    content = workbook(
        ("手机号", "姓名", "同意来源", "同意日期"), (13800000001, "甲", "登记表", date(2026, 3, 5)),
        (), (13800000002.0, "乙", "登记表", date(2027, 3, 5)),
    )  # fmt: skip
    page = look(office, content, "名单.xlsx")
    assert "可新增 1 位" in page and re.search(r'<td class="amount">4</td><td>同意日期晚于今天', page)
    assert "13800000001,甲,登记表,2026-03-05" in page


def bomb() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("xl/workbook.xml", b"0" * 70_000_000)
    return written.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04damaged", "已损坏"), (b"\xd0\xcf\x11\xe0 old", "旧式"), (b"1" * 5_000_001, "过大"),
        ("姓名\n甲\n".encode(), "没有手机号一列"), (b"\x00\xff\x00", "请"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_list_is_refused_in_words(office: Office, content: bytes, said: str) -> None:
    alert = re.search(r'role="alert">([^<]*)<', look(office, content, status=409))
    assert alert and said in alert[1]


def test_a_workbook_that_unpacks_to_too_much_is_not_unpacked(office: Office) -> None:
    assert "过大" in look(office, bomb(), "名单.xlsx", 409)


def test_numbers_are_masked_and_found_whole_by_their_end_or_by_name(office: Office) -> None:
    office.bureau.subscribe("13800000001", "13800000002")
    wang = office.sign_in("wang")
    assert "13800000001" not in wang.get("/admin/subscribers") and "138****0001" in wang.get("/admin/subscribers")
    for words, count in (("13800000001", 1), ("0002", 1), ("1380000", 0), ("0000", 0)):
        page = wang.post("/admin/subscribers/find", {"channel": "sms", "words": words})
        assert page.count('<th scope="row" class="nowrap number">') == count, words


def test_who_refuses_further_texts_is_on_the_suppression_list_until_they_ask_again(office: Office) -> None:
    office.bureau.subscribe("13800000001")
    wang, rt = office.sign_in("wang"), office.bureau.rt
    form = {"channel": "sms", "number": "13800000001", "reason": ""}
    page = wang.post("/admin/subscribers/suppress", form, 409)
    assert 'value="13800000001"' in page  # what was typed stays
    assert "已列入拒收名单" in wang.post("/admin/subscribers/suppress", {**form, "reason": "来电要求"})
    assert subscribers.count(rt, "sms") == 0
    assert "已移出拒收名单" in wang.post("/admin/subscribers/suppress", {**form, "reason": "又来电", "act": "off"})
    assert subscribers.count(rt, "sms") == 1
    wang.post("/admin/subscribers/suppress", {**form, "reason": "又来电", "act": "off"}, 409)


def test_what_citizens_answered_stands_beside_the_list_without_their_numbers(office: Office) -> None:
    rt, wang = office.bureau.rt, office.sign_in("wang")
    assert "收到的短信" not in wang.get("/admin/subscribers")
    replies.keep(rt, "sms", "13800000001", "<b>谢谢</b>，几点恢复？".encode())
    page = wang.get("/admin/subscribers")
    assert "收到的短信（1）" in page and "138****0001" in page and "&lt;b&gt;谢谢&lt;/b&gt;，几点恢复？" in page
    assert "13800000001" not in page


def test_a_subscriber_is_removed_and_the_export_is_logged_and_holds_no_formula(office: Office) -> None:
    subscribers.import_csv(office.bureau.rt, office.bureau.actor("wang"), "sms", LIST)
    wang = office.sign_in("wang")
    text = wang.post("/admin/subscribers/export", {"channel": "sms"}).lstrip("\ufeff")
    assert text.splitlines()[1:] == ["13800000001,甲,登记表,2026-03-05,", "13800000003,'=丙,登记表,2026-03-05,"]
    [line] = logbook.lines(office.bureau.rt, office.bureau.actor("sun"), decision=Decision.READ_SUBSCRIBERS)
    assert line.person == "wang" and line.facts == {"channel": "sms", "count": 2}
    remove = re.search(r"/admin/subscribers/(\d+)/remove", wang.get("/admin/subscribers"))
    assert remove and "已从订阅人中删除" in wang.post(f"/admin/subscribers/{remove[1]}/remove", {"channel": "sms"})
    assert listed(office) == ["13800000001"]


# ── the audit log, the processes ─────────────────────────────────────────────────────────────────────────────────────


def test_the_supervision_group_finds_a_decision_by_person_item_day_and_words(office: Office) -> None:
    bureau = office.bureau
    first = bureau.write()
    bureau.submit(first, "web")
    review.return_(bureau.rt, bureau.actor("li"), first, "附件缺少公章")
    bureau.clock.forward(days=1)
    bureau.write(title="第二天的信息")
    sun = office.sign_in("sun")
    for query, count in (
        ("", 4), ("person=li", 1), (f"item={first}", 3), ("decision=return", 1), ("words=公章", 1), ("words=没有的", 0),
        ("from_on=2026-11-24", 1), ("to_on=2026-11-23", 3), ("from_on=昨天&decision=x&item=y", 4),
    ):  # fmt: skip
        assert sun.get(f"/admin/log?{query}").count('<th scope="row"') == count, query
    page = sun.get("/admin/log?decision=return")
    assert "李信息员" in page and "附件缺少公章" in page and f'href="/items/{first}"' in page
    rows = list(csv.reader(io.StringIO(sun.get("/admin/log.csv?person=li").lstrip("\ufeff"))))
    assert rows[0][0] == "时间" and rows[1][1] == "李信息员" and "附件缺少公章" in rows[1][5]


def test_a_process_that_is_silent_is_said_to_be_gone(office: Office) -> None:
    bureau, wang = office.bureau, office.sign_in("wang")
    assert wang.get("/admin/processes").count('class="wrong"') == 2
    health.note(bureau.rt, "worker@server-1:77", bureau.clock())
    health.note(bureau.rt, "beat@server-1:78", bureau.clock())
    page = wang.get("/admin/processes")
    assert 'class="wrong"' not in page and "server-1" in page
    bureau.clock.forward(minutes=30)
    wang = office.sign_in("wang")
    assert "现在没有发送进程在工作" in wang.get("/admin/processes")
