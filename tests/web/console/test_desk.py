"""The desk: what waits for its owner, and nothing else."""

import html
import re

import pytest

from pipeline import collect, deputies
from pipeline.decisions import Refused
from pipeline.models import AuditLine, Feed, FeedEntry
from tests.channels.recording import Fault, set_faults
from tests.web.console.conftest import Office
from web.console import desk


def changed_at_the_source(office: Office, item: int) -> None:
    """As if its feed's entry had been taken, and then been changed by its source."""
    bureau = office.bureau
    bureau.clock.forward(hours=1)
    with bureau.rt.writing() as db:
        db.add(Feed(url="https://gd.example/feed", visited_at=bureau.clock()))
        db.flush()
        db.add(
            FeedEntry(
                feed_url="https://gd.example/feed",
                key="1",
                link="https://gd.example/1",
                content_hash="",
                item_id=item,
                collected_at=bureau.clock(),
                changed_at=bureau.clock(),
            )
        )


def test_an_empty_desk_says_so(office: Office) -> None:
    assert "现在没有等您办的事" in office.sign_in("zhao").get("/")


def test_a_new_item_that_was_never_saved_is_on_the_desk_and_goes_on_in_one_click(office: Office) -> None:
    zhao = office.sign_in("zhao")
    zhao.post("/writing/keep", {"title": "写了一半的通知", "text": "一、", "window": "a"})
    item = office.bureau.write(title="已保存的草稿")
    zhao.post("/writing/keep", {"title": "改了一半的标题", "text": "二、", "window": "b", "item": str(item)})
    page = zhao.get("/")
    assert "没保存的内容（2）" in page and "写了一半的通知" in page and "改了一半的标题" in page
    assert 'value="写了一半的通知"' not in page
    assert "写了一半的通知</textarea>" in zhao.get("/items/new?copy=1")
    assert "没保存的内容" not in office.sign_in("wang").get("/")  # another's is another's


def test_a_desk_shows_some_of_each_kind_and_where_the_rest_is(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MOST", 2)
    bureau, zhao, wang = office.bureau, office.sign_in("zhao"), office.sign_in("wang")

    def refused_by_the_channel(title: str) -> None:
        set_faults(bureau.rt.settings.data / "web", Fault(raises="rejected"))
        bureau.publish("web", draft={"title": title})
        bureau.work()

    for title in ("草稿甲", "草稿乙"):
        bureau.write(title=title)
        refused_by_the_channel(f"没发出的{title}")
    assert "我的草稿（2）" in zhao.get("/") and "发布中的问题（2）" in wang.get("/")
    assert ">还有 " not in zhao.get("/") + wang.get("/")
    bureau.write(title="草稿丙")
    refused_by_the_channel("没发出的丙")
    for person, count, title in ((zhao, "我的草稿（3）", "草稿丙"), (wang, "发布中的问题（3）", "没发出的丙")):
        page = person.get("/")
        assert count in page and "还有 1 项" in page and title not in page
        [rest] = re.findall(r'href="([^"]*)">还有', page)
        assert title in person.get(html.unescape(rest))


def test_a_change_of_the_source_stays_on_the_desk_until_somebody_compared_it(office: Office) -> None:
    item = office.bureau.write(title="采集来的信息")
    changed_at_the_source(office, item)
    zhao, wang = office.sign_in("zhao"), office.sign_in("wang")
    assert "来源有改动（1）" in zhao.get("/") and "来源有改动（1）" in wang.get("/")  # its author; the office's editor
    assert "来源有改动" not in office.sign_in("li").get("/")
    page = zhao.get(f"/items/{item}")
    assert 'href="https://gd.example/1"' in page and "已对照，不需要改" in page
    assert "已对照，不需要改" not in office.sign_in("li").get(f"/items/{item}")
    assert "来源的改动已对照" in zhao.post(f"/items/{item}/compare")
    assert "来源有改动" not in zhao.get("/") and "来源有改动" not in wang.get("/")
    with office.bureau.rt.reading() as db:
        assert [one.person for one in db.query(AuditLine).filter_by(decision="compare")] == ["zhao"]
    with pytest.raises(Refused):
        collect.compared(office.bureau.rt, office.bureau.actor("wang"), item)


def test_an_edit_answers_a_change_of_the_source_too(office: Office) -> None:
    item = office.bureau.write(title="采集来的信息")
    changed_at_the_source(office, item)
    office.bureau.clock.forward(minutes=5)
    zhao = office.sign_in("zhao")
    form = {"title": "照来源改过的", "text": "照来源改过。", "item_type": "通知", "department": "news"}
    zhao.post(f"/items/{item}/edit", {**form, "formed_on": "2026-11-20", "based_on": "1", "act": "save"})
    assert "来源有改动" not in zhao.get("/")


def test_who_may_withdraw_does_so_in_one_click_from_the_desk_the_list_and_the_item(office: Office) -> None:
    item = office.bureau.publish("web", draft={"title": "已公开的信息"})
    office.bureau.write(title="草稿")
    link = f'href="/items/{item}/withdraw"'
    li = office.sign_in("li")
    for page in ("/", "/items", f"/items/{item}", f"/items/{item}/reach"):
        assert link in li.get(page), page
    assert li.get("/items").count("/withdraw") == 1  # there is nothing to withdraw of a draft
    wang = office.sign_in("wang")
    assert not [page for page in ("/", "/items", f"/items/{item}", f"/items/{item}/reach") if link in wang.get(page)]
    assert "不等免打扰时段，渠道已暂停的也照常撤下" in li.get(f"/items/{item}/withdraw")
    li.post(f"/items/{item}/withdraw", {"reason": "数字有误"})
    assert link not in li.get("/")


def test_a_deputy_is_shown_what_the_absent_leader_could_withdraw(office: Office) -> None:
    item = office.bureau.publish("web")
    today = office.bureau.clock().date()
    deputies.name(office.bureau.rt, office.bureau.actor("chen"), "wang", "chen", today, today)
    wang = office.sign_in("wang")
    assert f'href="/items/{item}/withdraw"' in wang.get("/")
    assert "正在从所有渠道撤下" in wang.post(f"/items/{item}/withdraw", {"reason": "数字有误"})
