"""The app's interface as its developer meets it: pages, search, the sync loop, pictures, refusals, description."""

import hashlib
import itertools
import json
import random
import re
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.channels.rig_portal import free_port, portal_process, start
from tests.web.test_portal_process import Writer, code, item
from web.portal import listing, pictures
from web.portal.storage import Kind, Storage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

API = "/api/app/v1"
DOCUMENT = Path(__file__).parents[2] / "docs" / "app-api.md"


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * (width + 1) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg(width: int, height: int, frame: int = 0xC2) -> bytes:
    """With an Exif segment that holds another frame's marker, a table, and a filler byte before the frame."""
    exif = b"Exif\0\0" + b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01"
    segments = b"".join(
        b"\xff" + bytes([kind]) + struct.pack(">H", len(data) + 2) + data
        for kind, data in ((0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), (0xE1, exif), (0xC4, b"\0" * 17))
    )
    return b"\xff\xd8" + segments + b"\xff\xff" + bytes([frame]) + struct.pack(">HBHHB", 8, 8, height, width, 0)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


PICTURES = {
    "view.png": ("image/png", png(640, 361)),
    "hall.jpg": ("image/jpeg", jpeg(4000, 3000)),
    "dot.gif": ("image/gif", gif(1, 2)),
    "list.pdf": ("application/pdf", b"%PDF-1.7"),
}


class App:
    """What an app does with the interface."""

    def __init__(self, write: Writer) -> None:
        self.write = write

    def get(self, path: str, **headers: str) -> Any:
        answer = self.write.get(API + path, **headers)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def all_items(self, path: str) -> Iterator[dict[str, Any]]:
        address = self.write.process.url + API + path
        while address:
            page = requests.get(address, timeout=5).json()
            yield from page["items"]
            address = page["next"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A portal with 25 items of several kinds, which no test changes."""
    with portal_process(tmp_path_factory.mktemp("app") / "portal") as process:
        write = Writer(process)
        files = []
        for name, (media_type, content) in PICTURES.items():
            sha256 = hashlib.sha256(content).hexdigest()
            assert write("PUT", f"/api/files/{sha256}", "", content).status_code == 200
            files.append({"name": name, "media_type": media_type, "sha256": sha256})
        for number in range(1, 24):
            kind = "公告" if number % 2 else "工作动态"
            write("PUT", f"/api/items/{number}", 1, item(number, item_type=kind, theme="广播电视"))
        full = {
            "title": "关于2026年设备更新的公示", "item_type": "公示", "files": files, "keywords": ["设备", "更新"],
            "html": "<h2>一、事项</h2><p>更新<strong>发射机</strong>1台。<br>预算 &lt; 5万元。</p>"
                    "<table><thead><tr><th scope=\"col\">名称</th><th>数量</th></tr></thead>"
                    "<tbody><tr><td>发射机</td><td>1</td></tr></tbody></table>",
            "period": ["2026-03-02", "2026-03-10"], "objection_contact": "办公室 0533-2860000",
            "formed_on": "2026-03-01", "validity": "有效", "summary": "更新发射机",
        }  # fmt: skip
        write("PUT", "/api/items/24", 1, item(24, **full))
        write("PUT", "/api/feed/24", 1, item(24, short_title="设备更新公示"))
        write("PUT", "/api/items/25", 1, item(25))
        write("DELETE", "/api/items/25", 2)
        yield App(write)


def test_pages_lead_from_the_newest_to_the_oldest_and_filters_go_along(app: App) -> None:
    assert [one["number"] for one in app.all_items("/items?limit=7")] == list(range(24, 0, -1))
    assert [one["number"] for one in app.all_items("/items?limit=5&item_type=公告")] == list(range(23, 0, -2))
    assert [one["number"] for one in app.all_items("/items?column=notices&theme=广播电视")] == list(range(23, 0, -2))
    assert [one["number"] for one in app.all_items("/items?year=2026")] == [24]
    assert list(app.all_items("/items?department=没有的部门")) == []


def test_what_comes_in_between_two_pages_shifts_none(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal") as process:
        app = App(Writer(process))
        for number in range(1, 7):
            app.write("PUT", f"/api/items/{number}", 1, item(number))
        seen = []
        for number, one in zip(itertools.count(7), app.all_items("/items?limit=2"), strict=False):
            seen.append(one["number"])
            app.write("PUT", f"/api/items/{number}", 1, item(number))
            app.write("DELETE", "/api/items/4", 2)
        assert seen == [6, 5, 3, 2, 1]


def test_an_item_is_told_whole(app: App) -> None:
    one = app.get("/items/24")
    assert one["text"] == "一、事项\n更新发射机1台。\n预算 < 5万元。\n名称\t数量\n发射机\t1"
    assert one["html"].startswith("<h2>一、事项</h2>")
    assert (one["period"], one["columns"]) == ({"begin": "2026-03-02", "end": "2026-03-10"}, ["public-notices"])
    assert (one["in_app_feed"], one["short_title"]) == (True, "设备更新公示")
    assert [event["what"] for event in one["history"]] == ["published"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["published_at"])
    assert requests.get(app.write.process.url + API + "/items/23", timeout=5).json()["in_app_feed"] is False


def test_a_picture_comes_with_its_size_and_its_address(app: App) -> None:
    files = app.get("/items/24")["files"]
    assert [(file["name"], file["width"], file["height"]) for file in files] == [
        ("view.png", 640, 361), ("hall.jpg", 4000, 3000), ("dot.gif", 1, 2), ("list.pdf", None, None),
    ]  # fmt: skip
    for file in files:
        content = requests.get(file["url"], timeout=5).content
        assert (content, file["size"]) == (PICTURES[file["name"]][1], len(content))


@given(st.sampled_from([content for _, content in PICTURES.values()]), st.binary(max_size=40), st.data())
@settings(deadline=None, database=None, derandomize=True)
def test_a_picture_that_is_broken_has_no_size_and_breaks_nothing(
    whole: bytes, noise: bytes, data: st.DataObject
) -> None:
    assert pictures.size(noise) is None
    place = data.draw(st.integers(0, len(whole)))
    for content in (whole[:place] + noise, whole[:place] + noise + whole[place:], b"\xff\xd8" + noise):
        assert (size := pictures.size(content)) is None or all(0 < side < 2**32 for side in size)


def test_a_search_marks_what_it_found_and_leads_on(app: App) -> None:
    found = app.get("/search?q=发射机")
    assert found["count"] == 1 and found["next"] is None
    (hit,) = found["hits"]
    assert hit["item"]["number"] == 24
    assert {"text": "发射机", "match": True} in hit["excerpt"]
    assert "".join(piece["text"] for piece in hit["title"]) == hit["item"]["title"]
    page = app.get("/search?q=安全播出&item_type=公告&limit=5")
    assert page["count"] == 12
    numbers, address = [hit["item"]["number"] for hit in page["hits"]], page["next"]
    while address:
        page = requests.get(address, timeout=5).json()
        numbers += [hit["item"]["number"] for hit in page["hits"]]
        address = page["next"]
    assert numbers == list(range(23, 0, -2))
    assert app.get("/search?q=%E3%80%82%21")["count"] == 0


def test_columns_are_those_of_the_office_with_what_they_hold(app: App) -> None:
    columns = {one["id"]: one for one in app.get("/columns")["columns"]}
    assert (columns["notices"]["name"], columns["notices"]["count"]) == ("通知公告", 12)
    assert requests.get(columns["notices"]["url"], timeout=5).status_code == 200


def test_every_refusal_is_a_problem_that_any_script_may_read(app: App) -> None:
    refusals = {
        ("GET", "/items/25"): (410, "withdrawn"),
        ("GET", "/items/99"): (404, "no_such_item"),
        ("GET", "/items/99999999999"): (404, "no_such_item"),
        ("GET", "/items/x"): (404, "no_such_address"),
        ("GET", "/nothing"): (404, "no_such_address"),
        ("GET", "/items?limit=0"): (422, "bad_parameter"),
        ("GET", "/items?limit=1000"): (422, "bad_parameter"),
        ("GET", "/items?cursor=x"): (422, "bad_parameter"),
        ("GET", "/items?column=x"): (404, "no_such_column"),
        ("GET", "/search"): (422, "bad_parameter"),
        ("GET", "/changes?since=x"): (422, "bad_cursor"),
        ("GET", "/changes?since=999.1"): (410, "cursor_gone"),
        ("POST", "/items"): (405, "method_not_allowed"),
        ("DELETE", "/items/1"): (405, "method_not_allowed"),
    }
    for (method, path), refusal in refusals.items():
        answer = requests.request(method, app.write.process.url + API + path, timeout=5)
        assert code(answer) == refusal, path
        assert answer.json()["status"] == answer.status_code
        assert answer.json()["detail"]
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "电" not in requests.get(app.write.process.url + API + "/items/25", timeout=5).text


def test_what_did_not_change_is_not_sent_again_and_what_is_sent_is_packed(app: App) -> None:
    for path in ("/items", "/items/24", "/columns", "/search?q=安全", "/changes", "/openapi.json"):
        first = app.write.get(API + path)
        assert first.headers.get("Content-Encoding") == "gzip" or len(first.content) < 500
        again = app.write.get(API + path, **{"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["Access-Control-Allow-Origin"] == "*"
        head = requests.head(app.write.process.url + API + path, timeout=5)
        assert (head.status_code, head.content) == (200, b"")
        plain = app.write.get(API + path, **{"Accept-Encoding": "identity"})
        assert (plain.content, "Content-Encoding" in plain.headers) == (first.content, False)


def test_below_a_path_every_address_that_is_given_leads_there(tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}/gk"
    process = start(tmp_path / "portal", port, PORTAL_BASE_PATH="/gk", PORTAL_PUBLIC_URL=base)
    try:
        write = Writer(process)
        for number in range(1, 4):
            write("PUT", f"/api/items/{number}", 1, item(number))  # a proxy may take the path off
        page = requests.get(f"{base}/api/app/v1/items?limit=2&item_type=通知", timeout=5).json()
        assert page["next"].startswith(f"{base}/api/app/v1/items?")
        assert [one["number"] for one in requests.get(page["next"], timeout=5).json()["items"]] == [1]
        assert requests.get(page["items"][0]["url"], timeout=5).status_code == 200
        assert code(requests.get(f"{base}/api/app/v1/items/9", timeout=5)) == (404, "no_such_item")
        feed = requests.get(f"{base}/feeds/all.json", timeout=5).json()
        assert requests.get(feed["feed_url"], timeout=5).status_code == 200
        for line in requests.get(f"{base}/sitemap-1.xml", timeout=5).text.split("<loc>")[1:]:
            assert requests.get(line.partition("<")[0], timeout=5).status_code == 200
    finally:
        process.stop()


class Mirror:
    """An app that keeps what it was told, by the loop of docs/app-api.md."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.cursor = app.get("/changes")["cursor"]
        self.held = {one["number"]: one for one in app.all_items("/items?limit=3")}

    def sync(self) -> None:
        more = True
        while more:
            page = self.app.get(f"/changes?since={self.cursor}&limit=3")
            for change in page["changes"]:
                if change["what"] == "withdrawn":
                    self.held.pop(change["number"], None)
                else:
                    self.held[change["number"]] = change["item"]
            self.cursor, more = page["cursor"], page["more"]


def test_an_app_that_syncs_now_and_then_holds_what_is_public(tmp_path: Path) -> None:
    chance = random.Random(11)
    with portal_process(tmp_path / "portal") as process:
        app = App(Writer(process))
        generations: dict[int, int] = {}

        def change() -> None:
            number = chance.randint(1, 12)
            generation = generations[number] = generations.get(number, 0) + 1
            target = f"/api/{chance.choice(['items', 'items', 'feed'])}/{number}"
            if chance.random() < 0.3:
                assert app.write("DELETE", target, generation).status_code == 200
            else:
                assert app.write("PUT", target, generation, item(number, title=f"第{generation}版")).status_code == 200

        for _ in range(15):
            change()
        mirrors = [Mirror(app)]
        for _ in range(60):
            change()
            if chance.random() < 0.2:
                chance.choice(mirrors).sync()
            if chance.random() < 0.05:
                mirrors.append(Mirror(app))
        public = {one["number"]: one for one in app.all_items("/items")}
        assert len(mirrors) > 2 and 0 < len(public) < 12
        for mirror in mirrors:
            mirror.sync()
            assert mirror.held == public
            before = mirror.cursor
            mirror.sync()
            assert mirror.cursor == before


def test_a_change_says_whether_it_is_new_corrected_or_withdrawn_and_of_the_last_nothing_else(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal") as process:
        app = App(Writer(process))
        begin = app.get("/changes")["cursor"]
        app.write("PUT", "/api/items/1", 1, item(1))
        app.write("PUT", "/api/items/2", 1, item(2))
        app.write("PUT", "/api/items/1", 2, item(1, title="关于更正的通知"))
        app.write("PUT", "/api/items/3", 1, item(3, title="不该公开的标题"))
        app.write("DELETE", "/api/items/3", 2)
        app.write("DELETE", "/api/items/4", 1)  # never was public
        page = app.get(f"/changes?since={begin}")
        assert [(one["number"], one["what"]) for one in page["changes"]] == [
            (2, "new"), (1, "corrected"), (3, "withdrawn"),
        ]  # fmt: skip
        assert page["changes"][2]["item"] is None
        assert "不该公开的标题" not in json.dumps(page, ensure_ascii=False)
        assert app.get(f"/changes?since={page['cursor']}")["changes"] == []


def test_after_the_portal_was_restored_an_app_that_knows_more_is_told_to_start_anew(tmp_path: Path) -> None:
    data, port = tmp_path / "portal", free_port()
    process = start(data, port)
    app = App(Writer(process))
    app.write("PUT", "/api/items/1", 1, item(1))
    early = app.get("/changes")["cursor"]
    process.stop()
    shutil.copytree(data, tmp_path / "backup")
    process = start(data, port)
    app.write("PUT", "/api/items/2", 1, item(2))
    late = app.get("/changes")["cursor"]
    process.stop()
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "backup", data)
    process = start(data, port)
    try:
        assert code(app.write.get(f"{API}/changes?since={late}")) == (410, "cursor_gone")
        app.write("PUT", "/api/items/3", 1, item(3))
        assert [one["number"] for one in app.get(f"/changes?since={early}")["changes"]] == [3]
    finally:
        process.stop()


def test_a_restored_portal_that_has_counted_on_is_known_by_its_clock(empty_database_url: str) -> None:
    storage = Storage.open(empty_database_url)
    for number in (1, 2, 3):
        storage.put(Kind.ITEM, number, 1, item(number))
    change, at = listing.newest_change(storage)
    assert not listing.other_history(storage, change, at)
    assert not listing.other_history(storage, change - 1, at - timedelta(seconds=1))
    assert listing.other_history(storage, change + 1, at)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert listing.other_history(storage, change, yesterday)  # these changes were not there yet
    storage.engine.dispose()


def test_on_either_database_changes_are_told_in_their_order_page_by_page(empty_database_url: str) -> None:
    storage = Storage.open(empty_database_url)
    for number in range(1, 8):
        storage.put(Kind.ITEM, number, 1, item(number))
    storage.put(Kind.ENTRY, 2, 1, item(2))
    storage.put(Kind.ITEM, 5, 2, None)
    newest, _ = listing.newest_change(storage)
    storage.put(Kind.ITEM, 8, 1, item(8))  # comes in meanwhile, and is told the next time
    since, told = 0, list[tuple[int, bool]]()
    for _ in range(10):
        changed, more = listing.changes(storage, since, newest, 2)
        told += [(one.number, one.listed is not None) for one in changed]
        if not more:
            break
        since = changed[-1].change
    assert told == [(1, True), (3, True), (4, True), (6, True), (7, True), (2, True), (5, False)]
    storage.engine.dispose()


def test_who_reads_while_many_write_misses_nothing(empty_database_url: str) -> None:
    storage = Storage.open(empty_database_url)
    seen, since, done = set[int](), 0, False

    def write(number: int) -> None:
        storage.put(Kind.ITEM, number, 1, item(number))

    with ThreadPoolExecutor(4) as writers:
        writing = [writers.submit(write, number) for number in range(1, 61)]
        while not done:
            done = all(one.done() for one in writing)  # then one look more
            newest, _ = listing.newest_change(storage)
            changed, more = listing.changes(storage, since, newest, 5)
            seen |= {one.number for one in changed}
            since = changed[-1].change if more else max(since, newest)
            done = done and not more
        for one in writing:
            one.result()
    assert seen == set(range(1, 61))
    storage.engine.dispose()


def test_the_description_is_complete_and_the_guide_for_developers_names_all_of_it(app: App) -> None:
    description = app.get("/openapi.json")
    assert description["openapi"].startswith("3.1")
    guide = DOCUMENT.read_text("utf-8")
    for path, operations in description["paths"].items():
        assert path.removeprefix(API).replace("{number}", "") in guide, path
        for operation in operations.values():
            assert operation["summary"] and "200" in operation["responses"]
            assert "application/problem+json" in operation["responses"]["422"]["content"]
            for parameter in operation.get("parameters", ()):
                assert f"`{parameter['name']}`" in guide, parameter["name"]
    for shape in description["components"]["schemas"].values():
        for name in shape.get("properties", ()):
            assert f"`{name}`" in guide, name
    assert "examples" in json.dumps(description["components"]["schemas"]["Summary"])


@pytest.mark.timeout(170)
def test_no_request_that_a_fuzzer_thinks_of_breaks_the_interface(app: App) -> None:
    schema = schemathesis.openapi.from_dict(app.get("/openapi.json"))
    schema.config.base_url = app.write.process.url
    tried = set[str]()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=60, derandomize=True, deadline=None, database=None,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def fuzz(case: schemathesis.Case) -> None:
            checks = [
                not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
            ]  # fmt: skip
            case.call_and_validate(checks=checks, timeout=20)

        fuzz()
        tried.add(operation.label)
    assert len(tried) == 5


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>app</title>")

    def log_message(self, *_: object) -> None: ...


def test_a_script_on_another_site_reads_it_in_a_real_browser(app: App, chromium: "Browser") -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = chromium.new_page()
    try:
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        told = page.evaluate(
            """async (api) => {
                const first = await fetch(`${api}/items/24`);
                const tag = first.headers.get("ETag");
                const again = await fetch(`${api}/items/24`, {headers: {"If-None-Match": tag}, cache: "no-store"});
                const gone = await fetch(`${api}/items/25`);
                return [(await first.json()).title, tag !== null, again.status, (await gone.json()).code];
            }""",
            app.write.process.url + API,
        )
        assert told == ["关于2026年设备更新的公示", True, 304, "withdrawn"]
    finally:
        page.close()
        server.shutdown()
