"""The portal as its neighbours meet it: a real process, its write API, its pages and feeds."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import feedparser
import pytest
import requests
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Select, event

from channels.signing import signed
from tests import parts
from tests.channels.rig_portal import KEY, Process, free_port, portal_process, start
from web.portal.storage import Kind, Storage, Stored, metadata


@dataclass(frozen=True)
class Writer:
    """Writes to a portal as the adapters do, and shows the raw answers."""

    process: Process

    def __call__(
        self, method: str, target: str, generation: int | str = "", body: bytes = b"", key: str = KEY, **headers: str
    ) -> requests.Response:
        proof = signed(key, method, target, str(generation), body) | headers
        return requests.request(method, self.process.url + target, data=body, headers=proof, timeout=20)

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.process.url + path, headers=headers, timeout=20)


def item(number: int = 1, **fields: Any) -> bytes:
    document: dict[str, Any] = {
        "number": number,
        "index_number": f"370303/2015-{number:05d}",
        "title": "关于安全播出的通知",
        "html": "<p>现通知如下。</p>",
        "publisher": "张店区广播电视局",
        "department": "办公室",
        "item_type": "通知",
        "formed_on": "2015-03-02",
        "address": f"http://127.0.0.1/i/{number}",
    }
    return json.dumps(document | fields, ensure_ascii=False).encode()


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Writer]:
    with portal_process(tmp_path / "portal") as process:
        yield Writer(process)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    """A portal that is only ever sent what it must refuse."""
    with portal_process(tmp_path_factory.mktemp("refusing") / "portal") as process:
        yield Writer(process)


def code(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_an_older_revision_never_overwrites_a_newer_one(write: Writer) -> None:
    assert write("PUT", "/api/items/1", 3, item(title="第三版")).json() == {"status": "stored", "generation": 3}
    assert code(write("PUT", "/api/items/1", 2, item(title="第二版"))) == (409, "generation_superseded")
    assert code(write("DELETE", "/api/items/1", 2)) == (409, "generation_superseded")
    assert "第三版" in write.get("/i/1").text


def test_the_same_revision_twice_is_a_duplicate_and_another_text_under_its_generation_a_conflict(write: Writer) -> None:
    write("PUT", "/api/items/1", 1, item())
    before = write.get("/i/1").text
    assert write("PUT", "/api/items/1", 1, item()).json()["status"] == "duplicate"
    assert code(write("PUT", "/api/items/1", 1, item(title="别的"))) == (409, "generation_conflict")
    assert code(write("DELETE", "/api/items/1", 1)) == (409, "generation_conflict")
    assert write.get("/i/1").text == before


def test_a_late_original_does_not_come_out_after_its_withdrawal(write: Writer) -> None:
    for collection in ("items", "feed"):  # the withdrawal overtakes the publication
        assert write("DELETE", f"/api/{collection}/1", 2).status_code == 200
        assert write("DELETE", f"/api/{collection}/1", 2).json()["status"] == "duplicate"
        assert code(write("PUT", f"/api/{collection}/1", 1, item())) == (409, "generation_superseded")
    page = write.get("/i/1")
    assert page.status_code == 410
    assert "该信息已撤下" in page.text


def test_of_revisions_that_arrive_together_the_highest_stands(write: Writer) -> None:
    generations = list(range(1, 25))
    random.Random(7).shuffle(generations)
    with ThreadPoolExecutor(8) as senders:
        answers = list(
            senders.map(lambda n: write("PUT", "/api/items/1", n, item(title=f"第{n}版")).status_code, generations)
        )
    assert set(answers) <= {200, 409}
    assert answers[generations.index(24)] == 200
    assert "第24版" in write.get("/i/1").text
    assert write.process.requests() == {"PUT /api/items": 24}


def test_what_was_acknowledged_survives_kill_9_and_the_fence_with_it(tmp_path: Path) -> None:
    port = free_port()
    process = start(tmp_path / "portal", port)
    acknowledged: list[int] = []

    def send_until_it_dies() -> None:
        for number in range(1, 5000):
            try:
                answer = Writer(process)("PUT", f"/api/items/{number}", 2, item(number))
            except requests.RequestException:
                return
            if answer.status_code == 200:
                acknowledged.append(number)

    sender = threading.Thread(target=send_until_it_dies)
    sender.start()
    while len(acknowledged) < 20:
        sender.join(0.01)
    process.stop(signal.SIGKILL)
    sender.join()
    again = start(tmp_path / "portal", port)
    try:
        assert [n for n in acknowledged if Writer(again).get(f"/i/{n}").status_code != 200] == []
        last = acknowledged[-1]
        assert code(Writer(again)("PUT", f"/api/items/{last}", 1, item(last))) == (409, "generation_superseded")
    finally:
        assert again.stop() in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in (tmp_path / f"portal-{port}.log").read_text()


def test_two_portals_that_start_at_once_on_an_empty_folder_both_serve(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as starters:
        processes = list(starters.map(lambda _: start(tmp_path / "portal", free_port()), range(3)))
    try:
        assert Writer(processes[0])("PUT", "/api/items/1", 1, item()).status_code == 200
        assert [Writer(process).get("/i/1").status_code for process in processes] == [200, 200, 200]
    finally:
        for process in processes:
            process.stop()


def test_who_does_not_hold_the_key_changes_nothing_and_is_not_even_counted(write: Writer) -> None:
    assert code(write("PUT", "/api/items/1", 1, item(), key="another key of 16 characters")) == (401, "wrong_signature")
    assert code(requests.put(f"{write.process.url}/api/items/1", data=item(), timeout=5)) == (401, "wrong_signature")
    proof = signed(KEY, "PUT", "/api/items/1", "1", item())
    stolen: dict[str, Any] = {"headers": proof, "timeout": 5}
    assert code(requests.put(f"{write.process.url}/api/items/1", data=item(title="x"), **stolen)) == (
        422,
        "hash_mismatch",
    )
    assert code(requests.put(f"{write.process.url}/api/items/2", data=item(), **stolen)) == (401, "wrong_signature")
    assert code(requests.put(f"{write.process.url}/api/items/1?x", data=item(), **stolen)) == (401, "wrong_signature")
    assert write.get("/i/1").status_code == 404
    assert write.get("/api/requests").status_code == 401
    assert write.process.requests() == {"PUT /api/items": 1}  # that with another body: only its head was ours


def test_an_old_signature_is_refused_by_its_clock(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.signing.time.time", lambda: (datetime.now(UTC) - timedelta(minutes=6)).timestamp())
    assert code(write("PUT", "/api/items/1", 1, item())) == (401, "clock_skew")


def test_what_is_too_large_is_refused_with_a_clear_answer(write: Writer) -> None:
    large = b"x" * (20 * 1024 * 1024 + 1)
    assert code(write("PUT", f"/api/files/{hashlib.sha256(large).hexdigest()}", "", large)) == (413, "too_large")
    assert code(write("PUT", "/api/items/1", 1, item(summary="长" * 800_000))) == (413, "too_large")
    assert code(write("PUT", "/api/items/1", 1, large, key="another key of 16 characters")) == (401, "wrong_signature")


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        '<p onclick="x()">文</p>',
        '<p style="color:red">文</p>',
        "<p>文",
        "<p>文</strong></p>",
        '<a href="javascript:x">文</a>',
        "<!-- 文 -->",
        "<p <b>文</p>",
        "<P>文</P>",
        "a < b",
        "<img src=x onerror=x()>",
    ],
)
def test_html_outside_the_subset_is_refused(refusing: Writer, html: str) -> None:
    assert code(refusing("PUT", "/api/items/1", 1, item(html=html))) == (422, "bad_document")
    assert code(refusing("PUT", "/api/feed/1", 1, item(html=html))) == (422, "bad_document")
    assert refusing.get("/i/1").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b"[]",
        item(2),
        item(title=""),
        item(title="\x00"),
        item(address="javascript:x"),
        item(unknown="x"),
        item().replace("通知".encode(), b"\\ud800"),
        item(files=[{"name": "../x", "media_type": "text/plain", "sha256": "0" * 64}]),
        item(files=[{"name": "a\u202efdp.exe", "media_type": "text/plain", "sha256": "0" * 64}]),
    ],
)
def test_what_is_not_the_document_of_an_item_is_refused(refusing: Writer, body: bytes) -> None:
    assert code(refusing("PUT", "/api/items/1", 1, body)) == (422, "bad_document")
    assert refusing.get("/i/1").status_code == 404


def test_every_tag_of_the_subset_is_taken(write: Writer) -> None:
    html = (
        '<h2>一、事项</h2><p class="closing">文<br><strong>重</strong><em>点</em></p>'
        '<table><thead><tr><th scope="col">甲</th></tr></thead>'
        '<tbody><tr><td colspan="2">乙 &lt; 丙</td></tr></tbody></table>'
    )
    assert write("PUT", "/api/items/1", 1, item(html=html)).status_code == 200
    text, _, table = html.partition("<table>")
    page = write.get("/i/1").text
    assert text in page and f"<table>{table}" in page


def test_a_title_with_markup_is_shown_literally_and_runs_nothing(write: Writer) -> None:
    title = '关于<b>&"引号"</b><script>的通知'
    write("PUT", "/api/items/1", 1, item(title=title, keywords=['"><script>']))
    write("PUT", "/api/feed/1", 1, item(title=title))
    for page in (write.get("/"), write.get("/i/1"), write.get("/search?q=<script>")):
        assert "<script>" not in page.text
        assert "关于&lt;b&gt;&amp;" in page.text
        assert "script-src 'self';" in page.headers["Content-Security-Policy"]
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    feed = feedparser.parse(write.get("/feed.atom").content)
    assert feed.entries[0].title == title
    assert write.get("/feed.json").json()["items"][0]["title"] == title


def test_the_publication_date_is_the_portals_own_and_stays_through_corrections(write: Writer) -> None:
    begin = datetime.now(UTC).replace(second=0, microsecond=0)
    write("PUT", "/api/items/1", 1, item(formed_on="2015-01-01"))
    shown = (begin + timedelta(hours=8)).strftime("%Y-%m-%d %H:")  # Asia/Shanghai
    page = write.get("/i/1").text
    assert f'<meta name="PubDate" content="{shown}' in page
    assert "更正于" not in page
    write("PUT", "/api/items/1", 2, item(formed_on="2015-01-01"))
    assert "更正于" not in write.get("/i/1").text  # a new generation of the same text corrects nothing
    write("PUT", "/api/items/1", 3, item(title="更正后的题目"))
    corrected = write.get("/i/1").text
    assert "更正于" in corrected
    first = page.partition('name="PubDate" content="')[2][:16]
    assert f'name="PubDate" content="{first}"' in corrected
    write("DELETE", "/api/items/1", 4)
    write("PUT", "/api/items/1", 5, item())
    again = write.get("/i/1").text
    assert "重新发布于" in again
    assert "更正于" not in again
    assert f'name="PubDate" content="{first}"' in again


def test_an_attachment_is_public_only_while_a_live_item_names_it(write: Writer, tmp_path: Path) -> None:
    content = b"<script>alert(1)</script>"
    sha256 = hashlib.sha256(content).hexdigest()
    named = [{"name": "附件 1.html", "media_type": "text/html", "sha256": sha256}]
    assert code(write("PUT", "/api/items/1", 1, item(files=named))) == (409, "file_missing")
    assert write.get("/i/1").status_code == 404
    assert code(write("PUT", f"/api/files/{'0' * 64}", "", content)) == (422, "hash_mismatch")
    assert write("PUT", f"/api/files/{sha256}", "", content).status_code == 200
    assert write.get(f"/files/{sha256}/附件 1.html").status_code == 404
    write("PUT", "/api/items/1", 1, item(files=named))
    answer = write.get(f"/files/{sha256}/附件 1.html")
    assert answer.content == content
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert write.get(f"/files/{sha256}/别名.html").status_code == 404
    write("DELETE", "/api/items/1", 2)
    assert write.get(f"/files/{sha256}/附件 1.html").status_code == 404
    with sqlite3.connect(tmp_path / "portal" / "portal.db") as database:
        assert database.execute("select count(*) from files").fetchone() == (0,)


def test_the_list_shows_the_newest_first_page_by_page(write: Writer) -> None:
    for number in range(1, 24):
        write("PUT", f"/api/items/{number}", 1, item(number))
    write("DELETE", "/api/items/23", 2)
    first, second = write.get("/catalogue").text, write.get("/?page=2").text  # its address before it had one
    assert first.index("2015-00022") < first.index("2015-00003")
    assert "2015-00023" not in first
    assert "2015-00001" in second
    assert "共 22 条" in first
    assert [
        write.get(path).status_code for path in ("/catalogue?page=3", "/?page=x", "/i/99", "/i/99999999999999", "/no")
    ] == [404] * 5


def test_every_page_carries_the_tags_of_a_government_site(tmp_path: Path) -> None:
    told = {"PORTAL_SITE_NAME": "张店区广播电视局", "PORTAL_SITE_ID_CODE": "3703030001", "PORTAL_ICP": "鲁ICP备1号"}
    with portal_process(tmp_path / "portal", **told) as process:
        write = Writer(process)
        write("PUT", "/api/items/1", 1, item())
        for path in ("/", "/i/1", "/i/9"):
            page = write.get(path).text
            for name, value in (
                ("SiteName", "张店区广播电视局"),
                ("SiteDomain", "zd.gov.cn"),
                ("SiteIDCode", "3703030001"),
            ):
                assert f'<meta name="{name}" content="{value}">' in page
            assert "鲁ICP备1号" in page
        for name in ("ColumnName", "ColumnDescription", "ColumnKeywords", "ColumnType"):
            assert f'<meta name="{name}"' in write.get("/").text
        for name in ("ArticleTitle", "PubDate", "ContentSource"):
            assert f'<meta name="{name}"' in write.get("/i/1").text


def test_a_feed_that_did_not_change_is_not_sent_again(write: Writer) -> None:
    write("PUT", "/api/feed/1", 1, item())
    for name in ("/feed.json", "/feed.atom"):
        first = write.get(name)
        assert first.headers["Last-Modified"].endswith("GMT")
        same = write.get(name, **{"If-None-Match": first.headers["ETag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["ETag"] == first.headers["ETag"]
    write("PUT", "/api/feed/1", 2, item(title="新"))
    assert write.get(name, **{"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_both_feeds_lead_through_all_changes_by_their_next_pages(write: Writer) -> None:
    for number in range(1, 121):
        write("PUT", f"/api/feed/{number}", 1, item(number))
    for number in range(1, 31):
        write("DELETE", f"/api/feed/{number}", 2)
    live: list[int] = []
    withdrawn: list[int] = []
    address = f"{write.process.url}/feed.json"
    while address:
        page = requests.get(address, timeout=5).json()
        assert page["version"] == "https://jsonfeed.org/version/1.1"
        for entry in page["items"]:
            (withdrawn if entry["_fabu"].get("withdrawn") else live).append(entry["_fabu"]["number"])
        address = page.get("next_url", "")
    assert withdrawn == list(range(30, 0, -1))  # the newest change first
    assert live == list(range(120, 30, -1))
    numbers, tombstones, address = [], 0, f"{write.process.url}/feed.atom"
    while address:
        body = requests.get(address, timeout=5).content
        feed = feedparser.parse(body)
        assert not feed.bozo
        numbers += [int(entry.id.rpartition("/")[2]) for entry in feed.entries]
        tombstones += body.count(b"<at:deleted-entry ")
        address = next((link.href for link in feed.feed.links if link.rel == "next"), "")
    assert (numbers, tombstones) == (live, 30)


def test_a_feed_page_stays_small_when_its_entries_are_large(write: Writer) -> None:
    for number in range(1, 4):
        write("PUT", f"/api/feed/{number}", 1, item(number, html=f"<p>{'文' * 400_000}</p>"))
    page = write.get("/feed.json").json()
    assert [entry["_fabu"]["number"] for entry in page["items"]] == [3]
    assert "next_url" in page


def test_a_portal_without_a_key_or_with_an_unasked_for_fault_does_not_start(tmp_path: Path) -> None:
    for told in (
        {"PORTAL_KEY": ""},
        {"PORTAL_KEY": KEY, "PORTAL_FAULT": "amnesia"},
        {"PORTAL_KEY": KEY, "PORTAL_SITE_ID_CODE": "1"},
    ):
        run = subprocess.run(
            [sys.executable, "-c", "import web.portal.app as app; app.create()"],
            env=os.environ | {"PORTAL_DATA": str(tmp_path)} | told,
            capture_output=True,
            timeout=30,
        )
        assert b"SettingsError" in run.stderr


def test_a_portal_below_a_path_links_and_signs_below_it(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal", PORTAL_BASE_PATH="/gk") as process:
        write = Writer(process)
        proof = signed(KEY, "PUT", "/api/items/1", "1", item())
        assert requests.put(f"{process.url}/gk/api/items/1", data=item(), headers=proof, timeout=5).status_code == 200
        assert 'href="/gk/i/1"' in write.get("/gk/").text
        assert write.get("/gk/static/portal.css").status_code == 200
        assert write.get("/i/1").status_code == 200  # a proxy may take the path off


def test_on_postgresql_the_fence_the_list_and_the_feed_are_the_same(tmp_path: Path) -> None:
    with parts.postgres(tmp_path, fsync=False) as url:
        told = {"PORTAL_DATABASE_URL": url}
        with ThreadPoolExecutor(2) as starters:
            first, second = starters.map(lambda _: start(tmp_path / "portal", free_port(), **told), range(2))
        try:
            writers = (Writer(first), Writer(second))
            generations = random.Random(7).sample(range(1, 25), 24)
            with ThreadPoolExecutor(8) as senders:
                answers = list(
                    senders.map(
                        lambda n: writers[n % 2]("PUT", "/api/items/1", n, item(title=f"第{n}版")).status_code,
                        generations,
                    )
                )
            assert set(answers) <= {200, 409}
            assert "第24版" in writers[0].get("/i/1").text
            assert "第24版" in writers[1].get("/").text
            assert code(writers[1]("PUT", "/api/items/1", 24, item())) == (409, "generation_conflict")
            writers[0]("PUT", "/api/feed/1", 1, item())
            writers[1]("DELETE", "/api/feed/2", 1)
            entries = writers[0].get("/feed.json").json()["items"]
            assert [entry["_fabu"].get("withdrawn", False) for entry in entries] == [True, False]
            assert writers[0].get("/feed.atom?before=2147483647").status_code == 200
            assert writers[0].get(f"/files/{'0' * 64}/%00").status_code == 404
            assert writers[0].process.requests() == {"PUT /api/items": 25, "PUT /api/feed": 1, "DELETE /api/feed": 1}
        finally:
            first.stop()
            second.stop()


def test_on_postgresql_nothing_slips_in_between_the_fence_and_the_write(tmp_path: Path) -> None:
    with parts.postgres(tmp_path, fsync=False) as url, ThreadPoolExecutor(1) as other:
        storage = Storage.open(url)
        storage.put(Kind.ENTRY, 1, 1, item())

        def overtake(_connection: object, statement: object, *_: object) -> None:
            if isinstance(statement, Select) and not later:  # generation 40 has read the fence; 50 arrives
                later.append(other.submit(storage.put, Kind.ENTRY, 1, 50, item(title="第50版")))
                wait(later, timeout=0.5)

        later: list[Future[Stored]] = []
        event.listen(storage.engine, "after_execute", overtake)
        storage.put(Kind.ENTRY, 1, 40, item(title="第40版"))
        assert later[0].result() == Stored.STORED
        slot = storage.slot(Kind.ENTRY, 1)
        assert slot is not None
        assert slot.generation == 50
        storage.engine.dispose()


def test_the_migrations_build_the_tables_that_the_code_speaks_of(tmp_path: Path) -> None:
    storage = Storage.open(f"sqlite:///{tmp_path / 'portal.db'}")
    with storage.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    storage.engine.dispose()
