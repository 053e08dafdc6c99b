"""The portal's feeds, read as feed readers read them: the whole catalogue, a column, a department, in three forms."""

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import feedparser
import pytest
import requests
from lxml import etree, html

from tests.channels.rig_portal import portal_process
from tests.web.test_portal_process import Writer, item

FILE = b"%PDF-1.7 of the tests"
HASH = hashlib.sha256(FILE).hexdigest()
TITLE = '关于<b>&"引号"</b>]]>与<script>的公告'
OFFICE = "办公室/总编室 & Co"  # a name that needs quoting wherever it stands
XML = ("atom", "rss")


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    """A portal with 120 items of two departments and some withdrawn, which no test changes."""
    with portal_process(tmp_path_factory.mktemp("feeds") / "portal", PORTAL_SITE_NAME="张店区广播电视局") as process:
        write = Writer(process)
        write("PUT", f"/api/files/{HASH}", "", FILE)
        for number in range(1, 121):
            kind = "公告" if number % 2 else "工作动态"
            department = OFFICE if number % 3 == 0 else "新闻部"
            address = f"{process.url}/i/{number}"
            write("PUT", f"/api/items/{number}", 1, item(number, item_type=kind, department=department,
                                                         address=address))  # fmt: skip
        named = [{"name": f"附件 {place}.pdf", "media_type": "application/pdf", "sha256": HASH} for place in (1, 2)]
        write("PUT", "/api/items/119", 2, item(119, title=TITLE, item_type="公告", department=OFFICE, files=named,
                                               summary="内容 & 概述", address=f"{process.url}/i/119"))  # fmt: skip
        write("DELETE", "/api/items/120", 2)
        yield write


def pages(write: Writer, path: str) -> Iterator[Any]:
    """Every page of an Atom or RSS feed, as feedparser reads it."""
    address = write.process.url + path
    while address:
        feed = feedparser.parse(requests.get(address, timeout=10).content)
        assert not feed.bozo, feed.get("bozo_exception")
        yield feed
        address = next((link.href for link in feed.feed.links if link.rel == "next"), "")


def numbers(write: Writer, path: str) -> list[int]:
    if not path.endswith(".json"):
        return [int(entry.id.rpartition("/")[2]) for feed in pages(write, path) for entry in feed.entries]
    found, address = list[int](), write.process.url + path
    while address:
        page = requests.get(address, timeout=10).json()
        assert page["version"] == "https://jsonfeed.org/version/1.1"
        found += [entry["_fabu"]["number"] for entry in page["items"]]
        address = page.get("next_url", "")
    return found


@pytest.mark.parametrize("form", ["atom", "json", "rss"])
def test_each_form_leads_through_all_that_is_public_newest_first(write: Writer, form: str) -> None:
    assert numbers(write, f"/feeds/all.{form}") == list(range(119, 0, -1))
    assert numbers(write, f"/feeds/columns/notices.{form}") == list(range(119, 0, -2))
    theirs = [119, *range(117, 0, -3)]
    assert numbers(write, f"/feeds/departments/{quote(OFFICE, safe='')}.{form}") == theirs
    assert numbers(write, f"/feeds/columns/newsletter.{form}") == []


@pytest.mark.parametrize("form", XML)
def test_an_entry_says_the_same_in_atom_and_rss(write: Writer, form: str) -> None:
    feed = next(pages(write, f"/feeds/all.{form}"))
    entry = feed.entries[0]
    assert feed.version == {"atom": "atom10", "rss": "rss20"}[form]
    assert feed.feed.title == "张店区广播电视局"
    assert (entry.title, entry.link) == (TITLE, f"{write.process.url}/i/119")
    assert (entry.id, entry.author, entry.summary) == (
        "tag:zd.gov.cn,2026:i/119", "张店区广播电视局", "内容 & 概述",
    )  # fmt: skip
    assert entry.content[0].value == "<p>现通知如下。</p>"
    assert entry.tags[0].term == "公告"
    assert abs(time.mktime(entry.published_parsed) - time.mktime(time.gmtime())) < 120
    enclosures = [link for link in entry.links if link.rel == "enclosure"]
    assert [(link.type, link.length) for link in enclosures] == [("application/pdf", str(len(FILE)))] * (
        2 if form == "atom" else 1  # RSS 2.0 knows one enclosure an item
    )
    assert requests.get(enclosures[0].href, timeout=5).content == FILE


def test_the_xml_is_what_the_standards_ask_for(write: Writer) -> None:
    atom = etree.fromstring(write.get("/feeds/columns/notices.atom").content)
    names = {"a": "http://www.w3.org/2005/Atom"}
    for parent in (atom, *atom.iterfind("a:entry", names)):  # RFC 4287, 4.1.1 and 4.1.2: exactly one each
        assert [len(parent.findall(f"a:{name}", names)) for name in ("id", "title", "updated")] == [1, 1, 1]
        for moment in parent.findall("a:updated", names):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment.text or "")
    assert len(atom.xpath("a:link[@rel='self']", namespaces=names)) == 1
    channel = etree.fromstring(write.get("/feeds/columns/notices.rss").content).find("channel")
    assert channel is not None
    assert [len(channel.findall(name)) for name in ("title", "link", "description")] == [1, 1, 1]
    assert {guid.get("isPermaLink") for guid in channel.iterfind("item/guid")} == {"false"}
    for form, media_type in (("atom", "application/atom+xml"), ("rss", "application/rss+xml")):
        assert write.get(f"/feeds/all.{form}").headers["Content-Type"].startswith(media_type)


def test_a_feed_that_did_not_change_is_not_sent_again_to_any_reader(write: Writer) -> None:
    for path in ("/feeds/all.atom", "/feeds/columns/notices.rss", "/feeds/all.json"):
        first = write.get(path)
        assert first.headers["Content-Encoding"] == "gzip"
        assert write.get(path, **{"If-None-Match": first.headers["ETag"]}).status_code == 304
        assert requests.head(write.process.url + path, timeout=5).headers["ETag"] == first.headers["ETag"]


def test_pages_tell_browsers_where_their_feeds_are(write: Writer) -> None:
    found = set()
    theirs = quote(OFFICE, safe="")
    for path in ("/", "/columns/notices", f"/catalogue?department={theirs}"):
        for link in html.fromstring(write.get(path).content).iterfind(".//link[@rel='alternate']"):
            answer = requests.get(str(link.get("href")), timeout=5)
            assert answer.status_code == 200, link.get("href")
            assert answer.headers["Content-Type"].startswith(str(link.get("type")))
            found.add(str(link.get("href")).removeprefix(write.process.url))
    assert {"/feeds/all.atom", "/feeds/all.json", "/feeds/all.rss", "/feeds/columns/notices.atom"} <= found
    assert f"/feeds/departments/{theirs}.json" in found


def test_a_feed_that_there_is_not_is_a_page_that_there_is_not(write: Writer) -> None:
    for path in ("/feeds/all.txt", "/feeds/columns/none.atom", "/feeds/departments/没有的部门.rss", "/feeds/"):
        assert write.get(path).status_code == 404, path


def test_a_correction_moves_the_entry_and_a_withdrawal_takes_it_away(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal") as process:
        write = Writer(process)
        for number in (1, 2):
            write("PUT", f"/api/items/{number}", 1, item(number))
        first = write.get("/feeds/all.atom")
        before = feedparser.parse(first.content)
        time.sleep(1.1)  # the times of feeds are whole seconds
        write("PUT", "/api/items/1", 2, item(1, title="更正后的题目"))
        after = feedparser.parse(write.get("/feeds/all.atom").content)
        assert [entry.title for entry in after.entries] == ["关于安全播出的通知", "更正后的题目"]
        assert after.entries[1].published == before.entries[1].published
        assert after.entries[1].updated > before.entries[1].updated
        assert after.feed.updated > before.feed.updated
        write("DELETE", "/api/items/2", 2)
        for form in ("atom", "json", "rss"):
            assert numbers(write, f"/feeds/all.{form}") == [1]
        answer = write.get("/feeds/all.atom", **{"If-None-Match": first.headers["ETag"]})
        assert answer.status_code == 200


def test_a_page_stays_small_when_its_texts_are_large_and_none_is_lost(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal") as process:
        write = Writer(process)
        for number in range(1, 5):
            write("PUT", f"/api/items/{number}", 1, item(number, html=f"<p>{'文' * 300_000}</p>"))
        assert [len(feed.entries) for feed in pages(write, "/feeds/all.rss")] == [2, 2]
        assert numbers(write, "/feeds/all.json") == [4, 3, 2, 1]
