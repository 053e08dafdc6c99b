"""The portal's write API towards who must not write, or writes what must not stand: refused, and nothing changed."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance
from sqlalchemy import create_engine

from channels.signing import signed
from tests.channels.rig_portal import KEY, portal_process
from tests.faults.stack import until
from tests.web.test_portal_process import Writer, code, item
from web.portal.content import Item
from web.portal.storage import Kind, Storage
from web.portal.upkeep import LOG_KEPT, sweep

FILE = b"%PDF-1.7 of the tests"
HASH = hashlib.sha256(FILE).hexdigest()
STRANGER = "another key of 16 characters"
NAMED = [{"name": "附件.pdf", "media_type": "application/pdf", "sha256": HASH}]
TOO_LARGE = b"x" * (20 * 1024 * 1024 + 1)

Refused = Callable[[Writer], requests.Response]


class Place:
    """A portal that holds an item in its second revision with a file, and a withdrawn feed entry."""

    def __init__(self, write: Writer, database: Path) -> None:
        self.write = write
        self.database = database

    def contents(self) -> dict[str, list[Any]]:
        """Every row of every table."""
        with sqlite3.connect(self.database) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
        return {table: sorted(of_it, key=repr) for table, of_it in rows.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data = tmp_path_factory.mktemp("writing") / "portal"
    with portal_process(data) as process:
        write = Writer(process)
        assert write("PUT", f"/api/files/{HASH}", "", FILE).status_code == 200
        assert write("PUT", "/api/items/1", 1, item(files=NAMED)).status_code == 200
        assert write("PUT", "/api/items/1", 5, item(title="第二版", files=NAMED)).status_code == 200
        assert write("PUT", "/api/feed/1", 1, item()).status_code == 200
        assert write("DELETE", "/api/feed/1", 5).status_code == 200
        yield Place(write, data / "portal.db")


def unsigned(method: str, target: str, body: bytes = b"", **headers: str) -> Refused:
    return lambda write: requests.request(method, write.process.url + target, data=body, headers=headers, timeout=20)


def old(minutes: int) -> Refused:
    """Signed with the right key, that long ago."""

    def send(write: Writer) -> requests.Response:
        with pytest.MonkeyPatch.context() as patch:
            then = time.time() - minutes * 60
            patch.setattr("channels.signing.time.time", lambda: then)
            return write("PUT", "/api/items/1", 9, item(title="旧"))

    return send


def stolen(method: str, target: str, generation: str, body: bytes) -> Refused:
    """The proof of one request under another."""

    def send(write: Writer) -> requests.Response:
        proof = signed(KEY, "PUT", "/api/items/1", "9", item(title="新"))
        return unsigned(method, target, body, **(proof | {"X-Fabu-Generation": generation}))(write)

    return send


STRANGERS: dict[str, tuple[Refused, str]] = {
    "no signature": (unsigned("PUT", "/api/items/1", item()), "wrong_signature"),
    "an empty signature": (unsigned("PUT", "/api/items/1", item(), **{"X-Fabu-Signature": ""}), "wrong_signature"),
    "another key": (lambda write: write("PUT", "/api/items/1", 9, item(), key=STRANGER), "wrong_signature"),
    "another key, a withdrawal": (lambda write: write("DELETE", "/api/items/1", 9, key=STRANGER), "wrong_signature"),
    "another key, a file": (lambda write: write("PUT", f"/api/files/{HASH}", "", FILE, key=STRANGER),
                            "wrong_signature"),
    "another key, too large": (lambda write: write("PUT", "/api/items/1", 9, TOO_LARGE, key=STRANGER),
                               "wrong_signature"),
    "the proof of another item": (stolen("PUT", "/api/items/2", "9", item(2)), "wrong_signature"),
    "the proof of another generation": (stolen("PUT", "/api/items/1", "10", item(title="新")), "wrong_signature"),
    "the proof of another method": (stolen("DELETE", "/api/items/1", "9", b""), "wrong_signature"),
    "the proof of another query": (stolen("PUT", "/api/items/1?x=1", "9", item(title="新")), "wrong_signature"),
    "the listing": (unsigned("GET", "/api/items"), "wrong_signature"),
    "the counts": (unsigned("GET", "/api/requests"), "wrong_signature"),
    "a clock far behind": (old(6), "clock_skew"),
    "a clock far ahead": (old(-6), "clock_skew"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGERS)
def test_who_is_not_known_changes_not_a_row(place: Place, case: str) -> None:
    send, reason = STRANGERS[case]
    before = place.contents()
    assert code(send(place.write)) == (401, reason)
    assert place.contents() == before  # not even the count of requests: strangers make no table grow


def put(target: str, generation: int | str, body: bytes, **headers: str) -> Refused:
    return lambda write: write("PUT", target, generation, body, **headers)


def html(text: str) -> Refused:
    return put("/api/items/1", 9, item(html=text))


REFUSED: dict[str, tuple[Refused, tuple[int, str]]] = {
    "another body than was signed": (stolen("PUT", "/api/items/1", "9", item(title="别的")), (422, "hash_mismatch")),
    "a file too large": (put(f"/api/files/{hashlib.sha256(TOO_LARGE).hexdigest()}", "", TOO_LARGE), (413, "too_large")),
    "a document too large": (put("/api/items/1", 9, item(summary="长" * 800_000)), (413, "too_large")),
    "a file that is not its address": (put(f"/api/files/{'0' * 64}", "", FILE), (422, "hash_mismatch")),
    "a script": (html("<script>alert(1)</script>"), (422, "bad_document")),
    "a handler": (html('<p onclick="x()">文</p>'), (422, "bad_document")),
    "a style": (html('<p style="color:red">文</p>'), (422, "bad_document")),
    "a link": (html('<a href="https://example.com">文</a>'), (422, "bad_document")),
    "a picture": (html('<img src="x" onerror="x()">'), (422, "bad_document")),
    "a comment": (html("<!-- 文 -->"), (422, "bad_document")),
    "a tag left open": (html("<p>文"), (422, "bad_document")),
    "not JSON": (put("/api/items/1", 9, b"{"), (422, "bad_document")),
    "another item's document": (put("/api/items/1", 9, item(2)), (422, "bad_document")),
    "an unknown field": (put("/api/items/1", 9, item(colour="red")), (422, "bad_document")),
    "a media type that is no header": (put("/api/items/1", 9, item(files=[NAMED[0] | {"media_type": "text/文"}])),
                                       (422, "bad_document")),
    "a lower generation": (put("/api/items/1", 4, item(title="旧")), (409, "generation_superseded")),
    "a withdrawal of a lower generation": (lambda write: write("DELETE", "/api/items/1", 4),
                                           (409, "generation_superseded")),
    "an entry below its withdrawal": (put("/api/feed/1", 4, item()), (409, "generation_superseded")),
    "the generation again, another text": (put("/api/items/1", 5, item(title="别的")), (409, "generation_conflict")),
    "a file that never came": (put("/api/items/1", 9, item(files=[NAMED[0] | {"sha256": "0" * 64}])),
                               (409, "file_missing")),
    "no generation": (put("/api/items/1", "", item()), (400, "bad_generation")),
    "generation nought": (put("/api/items/1", 0, item()), (400, "bad_generation")),
    "a generation that is no number": (put("/api/items/1", "１", item(), **{"X-Fabu-Generation": "1e3"}),
                                       (401, "wrong_signature")),
    "item nought": (put("/api/items/0", 1, item(0)), (404, "bad_number")),
    "an item beyond all numbers": (put("/api/items/99999999999", 1, item()), (404, "bad_number")),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_changes_nothing_but_the_count(place: Place, case: str) -> None:
    send, reason = REFUSED[case]
    before = place.contents()
    assert code(send(place.write)) == reason
    after = place.contents()
    counted = len(after.pop("request_log")) - len(before.pop("request_log"))
    sequence = [contents.pop("sqlite_sequence") for contents in (before, after)]
    assert after == before
    assert counted == (0 if reason[0] == 401 else 1), sequence


@pytest.mark.parametrize(
    ("method", "target", "status", "reason"),
    [
        ("GET", "/api/nothing/here", 404, "no_such_address"),
        ("PUT", "/api/others/1", 404, "no_such_address"),
        ("PUT", f"/api/files/{'z' * 64}", 404, "no_such_address"),
        ("PATCH", "/api/items/1", 405, "method_not_allowed"),
        ("POST", "/api/items", 405, "method_not_allowed"),
    ],
)
def test_an_address_that_there_is_not_says_so_in_the_same_form(
    place: Place, method: str, target: str, status: int, reason: str
) -> None:
    before = place.contents()
    answer = place.write(method, target, 1, b"")
    assert code(answer) == (status, reason)
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert problem["detail"]
    assert place.contents() == before


def test_a_request_that_was_caught_and_is_sent_again_undoes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "portal"
    with portal_process(data) as process:
        write = Writer(process)

        def caught(method: str, target: str, generation: str, body: bytes = b"") -> Callable[[], requests.Response]:
            proof = signed(KEY, method, target, generation, body)
            again = lambda: requests.request(method, process.url + target, data=body, headers=proof, timeout=5)  # noqa: E731
            assert again().status_code == 200
            return again

        upload = caught("PUT", f"/api/files/{HASH}", "", FILE)
        first = caught("PUT", "/api/items/1", "1", item(files=NAMED))
        withdrawal = caught("DELETE", "/api/items/1", "2")
        replayed = (401, "signature_replayed")
        assert (code(first()), write.get("/i/1").status_code) == (replayed, 410)
        caught("PUT", "/api/items/1", "3", item(title="第三版"))
        for again in (first, withdrawal):
            assert code(again()) == replayed
        assert "第三版" in write.get("/i/1").text
        assert code(upload()) == replayed
        assert write.get(f"/files/{HASH}/附件.pdf").status_code == 404


def test_a_file_that_no_item_names_is_swept_after_a_day_and_one_that_is_named_stays(tmp_path: Path) -> None:
    storage = Storage.open(f"sqlite:///{tmp_path / 'portal.db'}")
    orphan = hashlib.sha256(b"orphan").hexdigest()
    storage.keep(HASH, FILE)
    storage.keep(orphan, b"orphan")
    body = item(files=NAMED)
    storage.log("PUT", "items", "1", "1")
    storage.put(Kind.ITEM, 1, 1, body, Item.model_validate_json(body).files)

    def kept() -> set[str]:
        with sqlite3.connect(tmp_path / "portal.db") as database:
            return {sha256 for (sha256,) in database.execute("SELECT sha256 FROM files")}

    sweep(storage, datetime.now(UTC) + timedelta(hours=23))
    assert kept() == {HASH, orphan}
    with storage.writing() as connection:  # a day ago; then it comes once more
        connection.exec_driver_sql("UPDATE files SET kept_at = datetime('now', '-25 hours')")
    storage.keep(orphan, b"orphan")
    sweep(storage, datetime.now(UTC))
    assert kept() == {HASH, orphan}
    sweep(storage, datetime.now(UTC) + timedelta(hours=25))
    assert kept() == {HASH}
    assert storage.file(HASH, "附件.pdf") == ("application/pdf", FILE)
    assert storage.requests() == {"PUT /api/items": 1}
    sweep(storage, datetime.now(UTC) + LOG_KEPT + timedelta(days=1))
    assert (storage.requests(), kept()) == ({}, {HASH})
    storage.engine.dispose()


def test_a_portal_that_runs_sweeps_by_itself(tmp_path: Path) -> None:
    data = tmp_path / "portal"
    data.mkdir()
    storage = Storage.open(f"sqlite:///{data / 'portal.db'}")
    storage.keep(HASH, FILE)
    with storage.writing() as connection:
        connection.exec_driver_sql("UPDATE files SET kept_at = datetime('now', '-25 hours')")
    storage.engine.dispose()

    def files() -> int:
        with sqlite3.connect(data / "portal.db") as database:
            return int(database.execute("SELECT count(*) FROM files").fetchone()[0])

    assert files() == 1
    with portal_process(data):
        until(lambda: files() == 0)


def test_changes_are_numbered_as_they_are_committed_not_as_they_came_in(tmp_path: Path) -> None:
    storage = Storage.open(f"sqlite:///{tmp_path / 'portal.db'}")
    storage.log("PUT", "items", "1", "1")  # came first, and was held up
    storage.log("PUT", "items", "2", "1")
    storage.put(Kind.ITEM, 2, 1, item(2))
    storage.put(Kind.ITEM, 1, 1, item(1))
    first, second = storage.slot(Kind.ITEM, 2), storage.slot(Kind.ITEM, 1)
    assert first and second and first.change < second.change
    storage.engine.dispose()


def test_a_portal_of_before_keeps_its_files_and_learns_its_index_numbers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'portal.db'}"
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", "web/portal/migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "p001")
        connection.exec_driver_sql("INSERT INTO files (sha256, content) VALUES (?, ?)", (HASH, FILE))
        connection.exec_driver_sql(
            "INSERT INTO slots (kind, number, generation, body, digest, change, changed_at, first_published_at, "
            "shown_since) VALUES ('item', 1, 1, ?, ?, 7, ?, ?, ?)",
            (item(), hashlib.sha256(item()).hexdigest(), *["2026-11-01 00:00:00"] * 3),
        )
    engine.dispose()
    storage = Storage.open(url)
    sweep(storage, datetime.now(UTC) + timedelta(hours=1))
    storage.put(Kind.ITEM, 1, 2, None)
    with sqlite3.connect(tmp_path / "portal.db") as database:
        index_number, change = database.execute("SELECT index_number, change FROM slots").fetchone()
        assert (index_number, change > 7) == ("370303/2015-00001", True)
        assert database.execute("SELECT count(*) FROM files").fetchone() == (1,)
    storage.engine.dispose()


@pytest.mark.parametrize("after", [0, -1, 2**31, 2**63, 10**30])
def test_a_listing_begins_wherever_it_is_told_to(place: Place, after: int) -> None:
    answer = place.write("GET", f"/api/items?after={after}", "")
    assert (answer.status_code, len(answer.json()["slots"])) == (200, 1 if after < 1 else 0)


@pytest.mark.timeout(170)
def test_no_write_that_a_fuzzer_thinks_of_breaks_the_portal(place: Place) -> None:
    """Each case goes twice: as it is, from a stranger; and signed, as from a pipeline gone mad."""
    description = requests.get(f"{place.write.process.url}/api/openapi.json", timeout=10).json()
    assert description["openapi"].startswith("3.1")
    schema = schemathesis.openapi.from_dict(description)
    schema.config.base_url = place.write.process.url
    tried, stored = set[str](), list[int]()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=40, derandomize=True, deadline=None, database=None,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def fuzz(case: schemathesis.Case) -> None:
            checks = [not_a_server_error, status_code_conformance, content_type_conformance]
            case.call_and_validate(checks=checks, timeout=20)
            request = requests.Request(**case.as_transport_kwargs(base_url=place.write.process.url)).prepare()
            body = request.body.encode() if isinstance(request.body, str) else bytes(request.body or b"")
            target = request.url.removeprefix(place.write.process.url) if request.url else ""
            if target.startswith("/api/files/") and "?" not in target:
                target = f"/api/files/{hashlib.sha256(body).hexdigest()}"
            if body.startswith(b"{"):
                body = json.dumps(json.loads(body) | {"number": int(target.rpartition("/")[2])}).encode()
            generation = request.headers.get("X-Fabu-Generation", "")
            answer = place.write(request.method or "", target, generation, body)
            assert answer.status_code < 500
            if answer.status_code >= 400:
                assert answer.headers["Content-Type"] == "application/problem+json"
            elif request.method != "GET":
                stored.append(answer.status_code)

        fuzz()
        tried.add(operation.label)
    assert len(tried) >= 7, tried
    assert len(stored) > 20  # the fuzz also gets behind the door
