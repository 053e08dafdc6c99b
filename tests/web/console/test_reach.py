"""Reach in the console: what is where, live, with every attempt, and what a person decides about it."""

import re

from pipeline.models import Posting
from tests.channels.recording import Fault, set_faults
from tests.web.console.conftest import Office, Person


def live(person: Person, page: str) -> tuple[int, dict[str, str]]:
    mark, address = re.search(r'data-live="(\w+)" data-address="([^"]+)"', page).groups()  # type: ignore[union-attr]
    answer = person.session.get(f"{person.url}{address.replace('&amp;', '&')}&seen={mark}", timeout=10)
    return answer.status_code, answer.json() if answer.status_code == 200 else {}


def test_the_table_follows_what_happens_without_a_reload(office: Office) -> None:
    item = office.bureau.publish("web", "board")
    wang = office.sign_in("wang")
    page = wang.get("/reach")
    assert "待发布" in page
    assert live(wang, page)[0] == 204
    office.bureau.work("web")
    status, changed = live(wang, page)
    assert status == 200 and "已核实到达" in changed["rows"] and f"/items/{item}/reach#web" in changed["rows"]


def test_cells_are_found_by_channel_state_and_words(office: Office) -> None:
    set_faults(office.bureau.rt.settings.data / "board", Fault("rejected", times=None))
    office.bureau.publish("web", draft={"title": "只上网站的"})
    office.bureau.publish("web", "board", draft={"title": "公开栏失败的"})
    office.bureau.write(title="还是草稿")
    office.bureau.work()
    wang = office.sign_in("wang")
    assert "还是草稿" not in wang.get("/reach")
    page = wang.get("/reach?channel=board&state=failed")
    assert "公开栏失败的" in page and "只上网站的" not in page
    assert "没有找到" in wang.get("/reach?words=没有这样的标题")


def test_a_failed_delivery_is_retried_and_its_attempts_are_told(office: Office) -> None:
    set_faults(office.bureau.rt.settings.data / "board", Fault("rejected", times=None))
    item = office.bureau.publish("web", "board")
    office.bureau.work()
    wang = office.sign_in("wang")
    page = wang.get(f"/items/{item}/reach")
    assert "失败" in page and "重发" in page
    set_faults(office.bureau.rt.settings.data / "board")
    assert "已安排重发 1 项" in wang.post(f"/items/{item}/retry", {"channel": "board"})
    office.bureau.work()
    page = wang.get(f"/items/{item}/reach")
    assert "发送记录（2）" in page
    assert "已登记张贴" in wang.post(f"/items/{item}/post", {"place": "一楼公开栏", "at": ""})
    assert office.bureau.state(item, "board") == "confirmed"
    assert "时间“明天”看不懂" in wang.post(f"/items/{item}/unpost", {"at": "明天"}, 409)
    assert "已登记揭下" in wang.post(f"/items/{item}/unpost", {"at": ""})


def test_recipients_are_never_shown_in_full(office: Office) -> None:
    office.bureau.subscribe("13800001234")
    item = office.bureau.publish("web", "sms")
    office.bureau.work()
    page = office.sign_in("wang").get(f"/items/{item}/reach")
    assert "138****1234" in page and "13800001234" not in page


def test_a_withdrawal_says_first_what_it_will_do_on_each_channel(office: Office) -> None:
    office.bureau.subscribe("13800001234", "13800001235")
    item = office.bureau.publish("web", "board", "sms")
    office.bureau.work("web", "sms", "web", "sms")
    chen = office.sign_in("chen")
    page = chen.get(f"/items/{item}/withdraw")
    assert "换成“已撤下”" in page and "已发给 2 人，无法收回" in page and f"corrects={item}" in page
    assert "还没有发出，不再发" in page  # the board
    assert "请写明理由" in chen.post(f"/items/{item}/withdraw", {"reason": ""}, 409)
    assert office.bureau.cell(item, "web").wanted == 1
    assert "正在从所有渠道撤下" in chen.post(f"/items/{item}/withdraw", {"reason": "数字有误"})
    office.bureau.work()
    assert office.bureau.cell(item, "web").wanted is None


def test_only_an_officer_or_a_leader_withdraws(office: Office) -> None:
    item = office.bureau.publish("web")
    office.bureau.work()
    for person in ("zhao", "wang", "sun"):
        visitor = office.sign_in(person)
        assert f"/items/{item}/withdraw" not in visitor.get(f"/items/{item}")
        visitor.post(f"/items/{item}/withdraw", {"reason": "试试"}, 409)
    assert office.bureau.state(item, "web") == "confirmed"


def test_what_is_in_doubt_is_settled_by_a_person_with_a_reason(office: Office) -> None:
    office.bureau.subscribe("13800001234")
    set_faults(office.bureau.rt.settings.data / "sms", Fault("in_doubt", times=None))
    item = office.bureau.publish("web", "sms")
    office.bureau.work()
    wang = office.sign_in("wang")
    assert "结果待核实" in wang.get(f"/items/{item}/reach")
    assert "请选择是否已经到达" in wang.post(f"/items/{item}/settle", {"channel": "sms", "reason": "问过运营商"}, 409)
    done = wang.post(f"/items/{item}/settle", {"channel": "sms", "sent": "yes", "reason": "问过运营商"})
    assert "已认定 1 项" in done
    assert office.bureau.cell(item, "sms").counts == {"accepted": 1}


def test_a_posting_keeps_its_photo_which_only_the_office_sees(office: Office) -> None:
    item = office.bureau.publish("web", "board")
    office.bureau.work()
    wang = office.sign_in("wang")
    text = {"photo": ("说明.txt", "不是照片".encode(), "text/plain")}
    assert "不是照片" in wang.post(f"/items/{item}/post", {"place": "一楼"}, 409, files=text)
    photo = {"photo": ("IMG_0001.JPG", b"\xff\xd8\xff photo", "image/jpeg")}
    page = wang.post(f"/items/{item}/post", {"place": "一楼"}, files=photo)
    address = re.search(r'<img src="([^"]+/scans/\w{64})" alt="张贴在一楼的照片"', page)
    assert address
    answer = wang.session.get(wang.url + address[1], timeout=10)
    assert (answer.content, answer.headers["Content-Type"]) == (b"\xff\xd8\xff photo", "image/jpeg")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    other = office.bureau.publish("web")
    wang.get(address[1].replace(f"/items/{item}/", f"/items/{other}/"), 404)
    assert "已登记张贴" in wang.post(f"/items/{item}/post", {"place": "二楼"})  # a photo is no duty
    with office.bureau.rt.reading() as db:
        assert [bool(one.photo_sha256) for one in db.query(Posting).order_by(Posting.id)] == [True, False]


def test_a_clerk_reads_words_and_the_raw_answer_only_when_asked(office: Office) -> None:
    item = office.bureau.publish("web", "board")
    office.bureau.work()
    page = office.sign_in("wang").get(f"/items/{item}/reach")
    assert "对方已收下，随后从外部核实。" in page and "已生成打印文件，等待张贴或揭下。" in page
    shown = re.sub(r"<details class=\"raw\">.*?</details>", "", page, flags=re.S)
    assert "原始回应" in page and "原始回应" not in shown
