"""Administration in the console: people, departments, deputies, channels, tokens."""

import re
from collections.abc import Callable
from datetime import timedelta

from pipeline import accounts, review, staff
from pipeline.models import StoredPerson
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
