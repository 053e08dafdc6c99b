"""In the console: who is told of what, how fresh the columns are, and which links lead nowhere."""

import json
from collections.abc import Callable
from datetime import timedelta

from pipeline import audience, links, standing, subscribers
from pipeline.models import Submission
from tests.pipeline.letters import GROUPS
from tests.pipeline.sites import website
from tests.pipeline.test_links import QUICK, page
from tests.pipeline.test_standing import columns
from tests.pipeline.test_subscriptions import LIST
from tests.web.console.conftest import Office
from tests.web.console.test_writing import form_of

SECTION = {"groups": GROUPS[:2]}


def test_the_editor_ticks_the_groups_and_the_reviewer_sees_them(open_console: Callable[..., Office]) -> None:
    office = open_console(subscription=SECTION)
    bureau, wang = office.bureau, office.sign_in("wang")
    subscribers.import_csv(bureau.rt, bureau.actor("wang"), "sms", LIST)
    item = bureau.write()
    form = form_of(wang.get(f"/items/{item}/submit"), "submitting")
    assert form["groups"] == "policy"  # those of the item's type
    wang.post(f"/items/{item}/submit", {**form, "channels": ["web", "sms"], "groups": ["outage"], "act": "submit"})
    with bureau.rt.reading() as db:
        assert audience.of_submission(bureau.rt.settings, db, db.query(Submission).one().id) == ("outage",)
    seen = office.sign_in("li").get(f"/items/{item}/review")
    assert "类别：停电停水播出安排" in seen and "3 人" in seen


def test_without_groups_the_form_asks_nothing(office: Office) -> None:
    item = office.bureau.write()
    assert 'name="groups"' not in office.sign_in("wang").get(f"/items/{item}/submit")


def test_the_list_is_filtered_by_group(open_console: Callable[..., Office]) -> None:
    office = open_console(subscription=SECTION)
    subscribers.import_csv(office.bureau.rt, office.bureau.actor("wang"), "sms", LIST)
    wang = office.sign_in("wang")
    found = wang.post("/admin/subscribers/find", {"channel": "sms", "group": "policy"})
    assert "共 3 位" in found and "138****0003" not in found and "138****0004" in found
    assert "类别" in wang.get("/admin/subscribers/template.csv")
    wang.get("/admin/subscribers?channel=sms&group=weather", 409)


def test_what_grows_stale_stands_on_the_desk_and_on_its_page(office: Office) -> None:
    bureau, wang = office.bureau, office.sign_in("wang")
    columns(bureau, ("notices", 13, 14), ("plans", 3, 365))
    assert "已查看各栏目的更新情况" in wang.post("/admin/standing")
    desk = wang.get("/")
    assert "栏目该更新了（1）" in desk and "栏目 notices" in desk and "栏目 plans" not in desk
    assert "栏目该更新了" not in office.sign_in("zhao").get("/")
    bureau.clock.forward(days=2)
    wang = office.sign_in("wang")
    seen = wang.get("/admin/standing")
    assert "超过期限" in seen and "栏目 plans" in seen
    (bureau.rt.settings.data / "web" / "faults.json").write_text(
        json.dumps([{"raises": "unavailable", "op": "standing"}])
    )
    assert "没有答复" in wang.post("/admin/standing")


def test_dead_links_are_named_in_words_of_the_office(open_console: Callable[..., Office]) -> None:
    with website() as site:
        site.pages["/"] = page("/lost.pdf", "http://10.0.0.8/oa")
        office = open_console(public_url=site.url)
        assert "还没有检查过链接" in office.sign_in("zhao").get("/admin/standing")
        links.walk(office.bureau.rt, QUICK)
    seen = office.sign_in("zhao").get("/admin/standing")
    assert f"{site.url}/lost.pdf" in seen and "网站回应 404" in seen and "内部网络的地址，公众打不开" in seen


def test_five_empty_columns_are_said_aloud(office: Office) -> None:
    columns(office.bureau, *((f"c{number}", None, 365) for number in range(5)))
    standing.read_all(office.bureau.rt)
    assert "有 5 个空栏目" in office.sign_in("zhao").get("/admin/standing")
    office.bureau.clock.moment += timedelta(days=3)
    assert "以后没有查到" in office.sign_in("zhao").get("/admin/standing")
