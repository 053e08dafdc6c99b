"""The citizens' pages of the inbound process: subscribing, confirming and leaving, without script, cookie or trace."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from lxml import html

from pipeline import subscriptions
from tests.office import Bureau
from tests.pipeline.letters import code_in, is_out, letters, open_town, path_in
from tests.pipeline.test_subscriptions import MAIL, PHONE, kept, subscribed, told
from tests.web.test_inbound import inbound

FORM = {"to:mail": MAIL, "to:sms": PHONE, "group": ["policy"], "consent": "yes"}


@pytest.fixture
def town(open_office: Callable[..., Bureau], tmp_path: Path) -> Bureau:
    return open_town(open_office, tmp_path)


def post(address: str, data: object = None, **how: object) -> requests.Response:
    return requests.post(address, data=data, timeout=10, allow_redirects=False, **how)  # type: ignore[arg-type]


def get(address: str) -> requests.Response:
    return requests.get(address, timeout=10, allow_redirects=False)


def words(answer: requests.Response) -> str:
    return " ".join(html.document_fromstring(answer.text).find(".//main").text_content().split())


def hidden(answer: requests.Response) -> dict[str, str]:
    fields = html.document_fromstring(answer.text).findall(".//input[@type='hidden']")
    return {str(one.get("name")): str(one.get("value")) for one in fields}


def test_a_citizen_subscribes_by_mail_and_by_sms(town: Bureau) -> None:
    with inbound(town) as address:
        asked = post(f"{address}/subscribe", FORM)
        assert asked.status_code == 200 and "z****@example.cn" in asked.text and "138****0001" in asked.text
        subscriptions.invite(town.rt)
        place = address + path_in(letters(town, "mail")[0][1])
        assert "确认订阅" in words(get(place)) and told(town, "mail") == []  # a mail server follows links, too
        assert "已订阅" in words(post(place)) and told(town, "mail") == [MAIL]
        code = code_in(letters(town, "sms")[0][1])
        wrong = post(f"{address}/subscribe/code", {**hidden(asked), "code": f"{(int(code) + 1) % 1_000_000:06d}"})
        assert wrong.status_code == 409 and "验证码不对" in words(wrong) and told(town, "sms") == []
        right = post(f"{address}/subscribe/code", {**hidden(wrong), "code": code})
        assert "已订阅" in words(right) and "政策文件" in words(right) and told(town, "sms") == [PHONE]


def test_the_page_is_the_same_whoever_is_asked_for(town: Bureau) -> None:
    town.subscribe(PHONE)
    subscriptions.opt_out(town.rt, "sms", "13800000002")
    with inbound(town) as address:
        pages = [
            post(f"{address}/subscribe", {**FORM, "to:mail": "", "to:sms": number}).text
            for number in (PHONE, "13800000002", "13800000003", "13800000003")
        ]
    assert len({re.sub(r"138\*\*\*\*\d{4}|value=\"[\w-]{40,}\"", "", page) for page in pages}) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"consent": ""}, "勾选同意"),
        ({"group": []}, "至少选择一个"),
        ({"to:mail": "", "to:sms": ""}, "至少一项"),
        ({"to:mail": "zhang"}, "邮件一栏"),
        ({"to:mail": "a" * 300 + "@example.cn"}, "邮件一栏"),
    ],
)
def test_a_form_that_lacks_something_says_so_and_keeps_what_was_typed(
    town: Bureau, change: dict[str, object], said: str
) -> None:
    with inbound(town) as address:
        answer = post(f"{address}/subscribe", {**FORM, **change})
    assert answer.status_code == 409 and said in words(answer) and kept(town) == 0
    page = html.document_fromstring(answer.text)
    assert page.find(".//p[@role='alert']") is not None
    assert page.get_element_by_id("to-sms").get("value") == {**FORM, **change}["to:sms"]


def test_too_many_are_asked_to_come_back_later(open_office: Callable[..., Bureau], tmp_path: Path) -> None:
    town = open_town(open_office, tmp_path, hourly=1)
    with inbound(town) as address:
        post(f"{address}/subscribe", {**FORM, "to:mail": ""})
        answer = post(f"{address}/subscribe", {**FORM, "to:sms": ""})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3600")


def leave_place(town: Bureau, address: str, to: str = PHONE) -> str:
    return address + subscriptions.unsubscribe_address(town.rt, "sms", to).removeprefix(town.rt.settings.inbound_url)


def test_one_click_unsubscribes_without_cookie_or_redirect(town: Bureau) -> None:
    """RFC 8058, 3.1: a POST with this very body; HTTPS is the proxy's."""
    town.subscribe(PHONE)
    with inbound(town) as address:
        for _ in range(2):
            answer = post(leave_place(town, address), {"List-Unsubscribe": "One-Click"})
            assert answer.status_code == 200 and "Set-Cookie" not in answer.headers
    assert told(town, "sms") == [] and is_out(town, "sms", PHONE)


def test_who_chose_several_groups_leaves_one_with_a_click_and_may_leave_all(town: Bureau) -> None:
    """RFC 8058, 1: off the list that sent it."""
    with inbound(town) as address:
        place = address + f"/u/{subscribed(town, 'policy', 'outage')}"
        shown = get(place)
        assert "不再收到张店区广播电视局的政策文件" in words(shown) and "停电停水播出安排）照常发送" in words(shown)
        actions = [form.get("action") for form in html.document_fromstring(shown.text).findall(".//form")]
        assert actions == [place.removeprefix(address), place.removeprefix(address) + "/all"]
        left = post(place, {"List-Unsubscribe": "One-Click"})
        assert left.status_code == 200 and "停电停水播出安排）照常发送" in words(left)
        assert told(town, "sms") == [PHONE] and "已退订" in words(get(place))
        get(f"{place}/all")
        assert told(town, "sms") == [PHONE]
        assert "照常发送" not in words(post(f"{place}/all"))
        assert post(f"{address}/u/x/all").status_code == 404
    assert told(town, "sms") == [] and is_out(town, "sms", PHONE)


def test_one_click_may_also_come_as_multipart(town: Bureau) -> None:
    town.subscribe(PHONE)
    with inbound(town) as address:
        assert post(leave_place(town, address), files={"List-Unsubscribe": (None, "One-Click")}).status_code == 200
    assert told(town, "sms") == []


def test_a_get_never_unsubscribes_and_shows_a_button(town: Bureau) -> None:
    town.subscribe(PHONE)
    with inbound(town) as address:
        place = leave_place(town, address)
        shown = get(place)
        requests.head(place, timeout=10)
        assert told(town, "sms") == [PHONE] and "138****0001" in words(shown) and PHONE not in shown.text
        [form] = html.document_fromstring(shown.text).findall(".//form")
        assert (form.get("method"), form.get("action")) == ("post", place.removeprefix(address))
        left = post(place)
        assert "不会再收到" in words(left) and "重新订阅" in words(left)
        assert "已退订" in words(get(place))


def test_an_address_that_we_did_not_give_changes_nothing(town: Bureau) -> None:
    town.subscribe(PHONE)
    with inbound(town) as address:
        for place in (leave_place(town, address)[:-1], f"{address}/u/x", f"{address}/subscribe/confirm/x"):
            assert get(place).status_code == post(place).status_code == 404
        again = post(f"{address}/subscribe/code", {"channel": "sms", "token": "x", "code": "1"})
        assert again.status_code == 404
    assert told(town, "sms") == [PHONE]


def test_a_reply_by_sms_unsubscribes_and_is_answered_with_nothing(town: Bureau) -> None:
    """The gateway would send any text of the answer to the phone."""
    town.subscribe(PHONE)
    path = subscriptions.message_address(town.rt, "sms").removeprefix(town.rt.settings.inbound_url)
    with inbound(town) as address:
        answer = get(f"{address}{path}?from={PHONE}&text=%90%00%8B%A2")  # UTF-16BE, as Kannel hands it on
        assert (answer.status_code, answer.text) == (200, "")
        assert get(f"{address}{path}x?from={PHONE}&text=R").status_code == 404
        assert get(f"{address}{path}?from={PHONE}&text={'x' * 5000}").status_code == 414
    assert is_out(town, "sms", PHONE)


def test_the_pages_tell_nobody_anything_and_run_nothing(town: Bureau) -> None:
    with inbound(town) as address:
        for answer in (get(f"{address}/subscribe"), get(leave_place(town, address)), get(f"{address}/u/x")):
            assert answer.headers["Referrer-Policy"] == "no-referrer" and answer.headers["Cache-Control"] == "no-store"
            assert "script" not in answer.headers["Content-Security-Policy"] and "<script" not in answer.text
            assert "Set-Cookie" not in answer.headers
            outside = [str(one) for one in html.document_fromstring(answer.text).xpath("//@src|//link/@href")]
            assert all(one.startswith("/") for one in outside)
        assert get(f"{address}/subscribe/style.css").headers["Content-Type"].startswith("text/css")


def test_the_form_says_what_the_law_asks_for_before_anybody_agrees(town: Bureau) -> None:
    """个人信息保护法, art. 17: who, why and how, what kind, how long, which rights; nothing is ticked beforehand."""
    with inbound(town) as address:
        answer = get(f"{address}/subscribe")
    said = words(answer)
    for told_of in ("张店区广播电视局", "做什么用", "保存多久", "您的权利", "退订", "48 小时"):
        assert told_of in said
    assert html.document_fromstring(answer.text).xpath("//input[@type='checkbox'][@checked]") == []


def test_a_body_that_is_too_large_is_refused(town: Bureau) -> None:
    with inbound(town) as address:
        assert post(f"{address}/subscribe", {**FORM, "x": "x" * 100_000}).status_code == 413
        many = [("group", "policy")] * 200
        assert post(f"{address}/subscribe", many).status_code == 400


def test_an_office_without_the_form_says_so(bureau: Bureau) -> None:
    with inbound(bureau) as address:
        answer = get(f"{address}/subscribe")
        assert answer.status_code == 404 and "暂未开通" in words(answer)
        bureau.subscribe(PHONE)
        assert "重新订阅" not in words(post(leave_place(bureau, address)))  # leaving works all the same


def test_pages_behind_a_path_lead_to_pages_behind_it(open_office: Callable[..., Bureau], tmp_path: Path) -> None:
    town = open_town(open_office, tmp_path)
    moved = Bureau(town.rt, town.clock)
    moved.rt = replace(town.rt, settings=town.rt.settings.model_copy(update={"inbound_url": "https://gk.example/in"}))
    with inbound(moved) as address:
        page = html.document_fromstring(get(f"{address}/subscribe").text)
    assert page.find(".//form").get("action") == "/in/subscribe"
    assert page.find(".//link").get("href") == "/in/subscribe/style.css"


def test_a_group_that_none_of_the_offices_channels_carries_is_not_offered(
    open_office: Callable[..., Bureau], tmp_path: Path
) -> None:
    """An office without mail keeps the shipped groups as they are."""
    town = open_town(open_office, tmp_path, channels=["sms"])
    with inbound(town) as address:
        said = words(get(f"{address}/subscribe"))
    assert "政策文件" in said and "广电通讯" not in said and "只能用" not in said
