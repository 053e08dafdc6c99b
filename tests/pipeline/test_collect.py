"""Feeds → drafts: each entry once, whoever asks and however often; a change is told, and an edit never overwritten."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import func, select

from pipeline import collect, review, staff
from pipeline.collect import Changed, Known, Made, NotRead, Visit
from pipeline.decisions import Refused
from pipeline.drafts import Draft, latest_revision, read_draft
from pipeline.models import AuditLine, Feed, FeedEntry, Item
from tests.office import Bureau, settings_for
from tests.pipeline.sites import Page, Site, website

Open = Callable[..., Bureau]


@pytest.fixture
def site() -> Iterator[Site]:
    with website() as one:
        yield one


@pytest.fixture
def open_with_admin(open_office: Open, tmp_path: Any) -> Open:
    """The bureau with an administrator, and with these feeds in its settings."""

    def open_it(*feeds: dict[str, Any]) -> Bureau:
        people = [one.model_dump() for one in settings_for(tmp_path, "sqlite://").people]
        people.append({"id": "admin", "name": "管理员", "department": "office", "roles": ["admin"]})
        return open_office(people=people, feeds=list(feeds))

    return open_it


@pytest.fixture
def bureau(open_with_admin: Open, site: Site) -> Bureau:
    """One feed in the settings: the site's, allowed on loopback, its drafts those of zhao."""
    return open_with_admin(feed(site))


def feed(site: Site, path: str = "/feed", **changes: Any) -> dict[str, Any]:
    return {"url": site.url + path, "author": "zhao", "label": "市局", "allow_private": True, **changes}


def entry(name: str, text: str | None = None, **elements: str) -> str:
    told = {
        "title": f"关于{name}的通知",
        "guid": name,
        "description": text or f"现将{name}有关事项通知如下。",
        **elements,
    }
    return f"<item>{''.join(f'<{key}><![CDATA[{value}]]></{key}>' for key, value in told.items() if value)}</item>"


def show(site: Site, *entries: str, etag: str = "", path: str = "/feed") -> None:
    """Put a feed on the site, its newest entry first, as feeds have it."""
    body = f"<rss version='2.0'><channel><title>市局网站</title>{''.join(reversed(entries))}</channel></rss>"
    site.pages[path] = Page(body.encode(), headers={"ETag": etag} if etag else {})


def visit(bureau: Bureau, site: Site, person: str = "zhao", **how: Any) -> Visit:
    return collect.collect(bureau.rt, bureau.actor(person), f"{site.url}/feed", **how)


def draft_of(bureau: Bureau, item: int) -> Draft:
    with bureau.rt.reading() as db:
        return read_draft(db, latest_revision(db, item))


def count(bureau: Bureau, table: Any) -> int:
    with bureau.rt.reading() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0


def kinds(found: Visit) -> list[type]:
    return [type(one) for one in found.entries]


# ── each entry once ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_entry_becomes_a_draft_that_names_its_source(bureau: Bureau, site: Site) -> None:
    show(
        site,
        entry(
            "试播", "<p>第一段。</p><p>第二段<img src=a.png>。</p>", link="https://gd.example/1", pubDate="2026-11-20"
        ),
    )
    (made,) = visit(bureau, site).entries
    assert isinstance(made, Made) and [one.code for one in made.findings] == ["collect.pictures"]
    draft = draft_of(bureau, made.item)
    assert (draft.title, draft.text) == ("关于试播的通知", "第一段。\n\n第二段。")
    assert (draft.source, draft.formed_on) == ("市局（https://gd.example/1）", date(2026, 11, 20))
    assert (draft.item_type, draft.department) == ("通知", "news")
    with bureau.rt.reading() as db:
        assert db.get_one(Item, made.item).created_by == "zhao"


def test_an_entry_becomes_a_draft_once_and_the_oldest_first(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲"), entry("乙"))
    assert [one.title for one in visit(bureau, site).entries] == ["关于甲的通知", "关于乙的通知"]
    show(site, entry("甲"), entry("乙"), entry("丙"))
    again = visit(bureau, site)
    assert kinds(again) == [Known, Known, Made] and count(bureau, Item) == 3


def test_a_feed_that_did_not_change_is_not_read_again(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲"), etag='"1"')
    assert not visit(bureau, site).unchanged
    found = visit(bureau, site)
    assert found.unchanged and found.entries == () and site.asked[1][1]["If-None-Match"] == '"1"'


def test_an_entry_without_a_guid_is_known_by_link_and_content(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲", guid="", link="https://gd.example/"), entry("乙", guid="", link="https://gd.example/"))
    assert kinds(visit(bureau, site)) == [Made, Made]
    assert kinds(visit(bureau, site)) == [Known, Known]


def test_an_entry_that_stands_twice_in_a_feed_is_one(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲", "旧的正文。"), entry("甲", "新的正文。"))
    (made,) = visit(bureau, site).entries
    assert isinstance(made, Made) and draft_of(bureau, made.item).text == "新的正文。"
    assert kinds(visit(bureau, site)) == [Known]


def test_visits_at_the_same_moment_make_each_draft_once(bureau: Bureau, site: Site) -> None:
    show(site, *(entry(f"第{number}件") for number in range(6)))
    start = threading.Barrier(4)

    def one(_: int) -> Visit:
        start.wait(10)
        return visit(bureau, site)

    with ThreadPoolExecutor(4) as pool:
        visits = list(pool.map(one, range(4)))
    found = [each for one in visits for each in one.entries]
    assert sum(isinstance(one, Made) for one in found) == count(bureau, Item) == count(bureau, FeedEntry) == 6
    assert sum(isinstance(one, Known) for one in found) == 18
    assert len({one.item for one in found if isinstance(one, Made | Known)}) == 6


def test_somebody_elses_draft_of_the_same_moment_is_named(
    bureau: Bureau, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(site, entry("甲"))
    create = review.create

    def slower(*given: Any) -> int:
        monkeypatch.setattr(review, "create", create)
        visit(bureau, site)  # another collects it between our look and our commit
        return create(*given)

    monkeypatch.setattr(review, "create", slower)
    (found,) = visit(bureau, site).entries
    assert isinstance(found, Known) and (found.item, count(bureau, Item)) == (1, 1)


def test_nothing_is_half_collected(bureau: Bureau, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    show(site, entry("甲"))
    broken, whole = RuntimeError("power failure"), collect.insert_for

    def fails(db: Any, table: Any) -> Any:
        if table is FeedEntry:
            raise broken
        return whole(db, table)

    monkeypatch.setattr(collect, "insert_for", fails)
    with pytest.raises(RuntimeError):
        visit(bureau, site)
    assert (count(bureau, Item), count(bureau, FeedEntry), count(bureau, AuditLine)) == (0, 0, 0)
    monkeypatch.setattr(collect, "insert_for", whole)
    assert kinds(visit(bureau, site)) == [Made]


def test_a_visit_takes_so_many_and_the_next_one_the_rest(
    bureau: Bureau, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "MOST_NEW", 2)
    show(site, entry("甲"), entry("乙"), entry("丙"), etag='"1"')
    first = visit(bureau, site)
    assert (kinds(first), first.left) == ([Made, Made], 1)
    second = visit(bureau, site)  # asked for as a whole, for it was not read to the end
    assert (kinds(second), second.left) == ([Known, Known, Made], 0)
    assert visit(bureau, site).unchanged


# ── what the source changes ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_change_of_the_source_is_told_once_and_an_edit_is_not_overwritten(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲", "原来的正文。", link="https://gd.example/1"))
    (made,) = visit(bureau, site).entries
    assert isinstance(made, Made) and collect.changes_of(bureau.rt, made.item) == []
    edited = replace(draft_of(bureau, made.item), text="编辑改过的正文。")
    review.edit(bureau.rt, bureau.actor("zhao"), made.item, edited)
    bureau.clock.forward(hours=1)
    show(site, entry("甲", "来源改过的正文。", link="https://gd.example/1"))
    (found,) = visit(bureau, site).entries
    assert isinstance(found, Changed) and found.item == made.item
    (change,) = collect.changes_of(bureau.rt, made.item)
    assert (change.link, change.changed_at) == ("https://gd.example/1", bureau.clock())
    assert draft_of(bureau, made.item).text == "编辑改过的正文。" and count(bureau, Item) == 1
    assert kinds(visit(bureau, site)) == [Known] and len(collect.changes_of(bureau.rt, made.item)) == 1


def test_other_tags_around_the_same_words_are_no_change(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲", "<p>第一段。</p><p>第二段。</p>"))
    visit(bureau, site)
    show(site, entry("甲", "<div class=x>第一段。<br>第二段。</div>"))
    assert kinds(visit(bureau, site)) == [Known]


# ── entries that cannot be drafts ────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_that_cannot_be_a_draft_is_named_and_stops_no_other(bureau: Bureau, site: Site) -> None:
    show(
        site,
        entry("甲", "<img src=a.png>"),
        entry("乙", title=""),
        entry("丙", title="长" * 10_000),
        entry("丁", "正文\u202e反写。"),
        entry("戊", "<div>" * 3000 + "深"),
        entry("己"),
    )
    found = visit(bureau, site)
    assert [one.code for one in found.entries if isinstance(one, NotRead)] == [
        "collect.no_text", "collect.no_title", "draft.title_too_long", "document.direction", "html.too_deep",
    ]  # fmt: skip
    assert kinds(found)[-1] is Made and count(bureau, Item) == count(bureau, FeedEntry) == 1


@pytest.mark.parametrize(
    ("written", "code"),
    [("", "collect.no_date"), ("2026-11-24", "collect.date_unlikely"), ("0001-01-01", "collect.date_unlikely")],
)
def test_a_date_that_cannot_be_is_replaced_and_told(bureau: Bureau, site: Site, written: str, code: str) -> None:
    show(site, entry("甲", pubDate=written))
    (made,) = visit(bureau, site).entries
    assert isinstance(made, Made) and [one.code for one in made.findings] == [code]
    assert draft_of(bureau, made.item).formed_on == date(2026, 11, 23)  # today in Zhangdian


def test_an_excerpt_is_told(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲", "开头几句……", pubDate="2026-11-20"))
    (made,) = visit(bureau, site).entries
    assert isinstance(made, Made) and [one.code for one in made.findings] == ["collect.excerpt"]


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def refused(bureau: Bureau, person: str, url: str, **how: Any) -> str:
    with pytest.raises(Refused) as error:
        collect.collect(bureau.rt, bureau.actor(person), url, **how)
    return error.value.code


def test_only_an_administrator_lets_a_feed_be_in_the_own_network(open_with_admin: Open, site: Site) -> None:
    bureau, url = open_with_admin(), f"{site.url}/feed"
    show(site, entry("甲"))
    assert refused(bureau, "zhao", url) == "fetch.private_address"
    assert refused(bureau, "zhao", url, allow_private=True) == "decision.not_permitted"
    assert refused(bureau, "zhao", url, author="wang") == "decision.not_permitted"
    assert refused(bureau, "sun", url) == "decision.not_permitted"
    assert refused(bureau, "admin", url, allow_private=True) == "collect.needs_author"
    assert (site.asked, count(bureau, Item)) == ([], 0)
    found = collect.collect(bureau.rt, bureau.actor("admin"), url, author="zhao", allow_private=True)
    assert kinds(found) == [Made] and found.label == "市局网站"
    with bureau.rt.reading() as db:
        assert sorted(line.person for line in db.scalars(select(AuditLine))) == ["admin", "zhao"]


def test_a_feed_of_the_settings_is_visited_as_they_say_whoever_asks(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲"))
    (made,) = visit(bureau, site, "wang").entries
    assert isinstance(made, Made) and draft_of(bureau, made.item).department == "news"
    with bureau.rt.reading() as db:
        assert db.get_one(Item, made.item).created_by == "zhao"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"department": "tech"}, "decision.other_department"), ({"department": "none"}, "draft.unknown_department"),
        ({"item_type": "诗歌"}, "draft.unknown_type"),
    ],
)  # fmt: skip
def test_what_cannot_be_filed_is_refused_before_anything_is_asked(
    bureau: Bureau, site: Site, how: dict[str, str], code: str
) -> None:
    show(site, entry("甲"))
    assert refused(bureau, "zhao", f"{site.url}/feed", **how) == code
    assert site.asked == []


@pytest.mark.parametrize("url", ["", "feed", "file:///etc/passwd", "http://", "https://gd.example/" + "x" * 500])
def test_what_is_no_address_is_refused(bureau: Bureau, url: str) -> None:
    assert refused(bureau, "zhao", url) == "fetch.bad_address"
    assert count(bureau, Feed) == 0


# ── by itself ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_feed_is_visited_when_its_time_has_come_and_not_before(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲"))
    collect.collect_due(bureau.rt)
    assert (count(bureau, Item), site.paths) == (1, ["/feed"])
    bureau.clock.forward(minutes=59)
    collect.collect_due(bureau.rt)
    assert site.paths == ["/feed"]
    bureau.clock.forward(minutes=1)
    collect.collect_due(bureau.rt)
    assert site.paths == ["/feed", "/feed"]
    with bureau.rt.reading() as db:
        assert {line.os_user for line in db.scalars(select(AuditLine))} == {collect.MACHINE}


def test_two_beats_visit_a_feed_once(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲"))
    start = threading.Barrier(4)

    def beat(_: int) -> None:
        start.wait(10)
        collect.collect_due(bureau.rt)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(beat, range(4)))
    assert site.paths == ["/feed"]


def test_a_visit_that_fails_is_kept_with_its_reason_until_one_succeeds(bureau: Bureau, site: Site) -> None:
    collect.collect_due(bureau.rt)
    (line,) = collect.configured(bureau.rt)
    assert line.error == {"code": "fetch.status", "facts": {"status": "404"}}
    assert (line.visited_at, line.read_at, line.drafts) == (bureau.clock(), None, 0)
    show(site, entry("甲"), etag='"1"')
    for _ in range(2):  # read, then unchanged
        bureau.clock.forward(hours=1)
        collect.collect_due(bureau.rt)
        (line,) = collect.configured(bureau.rt)
        assert (line.error, line.read_at, line.drafts) == (None, bureau.clock(), 1)


def test_one_feed_stops_no_other(open_with_admin: Open, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    bureau = open_with_admin(*(feed(site, path) for path in ("/page", "/gone", "/odd", "/feed")))
    site.pages["/page"] = Page(b"<html><body>")
    for path in ("/odd", "/feed"):
        show(site, entry("甲"), path=path)
    taken = collect._collect

    def odd(rt: Any, section: Any, *rest: Any) -> Visit:
        if section.url.endswith("/odd"):
            raise RuntimeError("a bug")
        return taken(rt, section, *rest)

    monkeypatch.setattr(collect, "_collect", odd)
    collect.collect_due(bureau.rt)
    codes = [one.error and one.error["code"] for one in collect.configured(bureau.rt)]
    assert codes == ["feed.web_page", "fetch.status", "collect.failed", None] and count(bureau, Item) == 1


def test_a_feed_whose_author_has_left_says_so(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲"))
    staff.change_person(bureau.rt, bureau.actor("admin"), "zhao", staff.Change(active=False))
    collect.collect_due(bureau.rt)
    (line,) = collect.configured(bureau.rt)
    assert line.error is not None and line.error["code"] == "staff.unknown_person" and site.asked == []


def test_a_broken_feed_is_read_as_far_as_it_goes_and_again_next_time(bureau: Bureau, site: Site) -> None:
    show(site, entry("甲"), entry("乙", "很长的正文。" * 20), etag='"1"')
    whole = site.pages["/feed"]
    site.pages["/feed"] = replace(whole, body=whole.body[: whole.body.index("<title><![CDATA[关于甲".encode()) + 60])
    found = visit(bureau, site)
    assert found.broken and kinds(found) == [NotRead, Made]
    site.pages["/feed"] = whole
    assert kinds(visit(bureau, site)) == [Made, Known]
