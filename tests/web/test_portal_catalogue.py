"""The portal's catalogue, history, columns and the pages in its memory, on either database."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from alembic import command
from alembic.config import Config
from sqlalchemy import column, create_engine, event, insert, select, table

from tests.channels.rig_portal import free_port, portal_process, start
from tests.faults.stack import until
from tests.parts import create_database
from tests.web.test_portal_process import Writer, item
from web.portal import office
from web.portal.cache import Cache, Front, watch
from web.portal.catalogue import BLOCK, Order, Rule, Wanted, What, bitmap, highest, packed, with_place, without_place
from web.portal.storage import Kind, Storage
from web.portal.tables import slots

COLUMNS = {
    "notices": Rule(item_types=("通知", "公告")),
    "news": Rule(item_types=("工作动态",), departments=("新闻部",)),
    "annual": Rule(item_types=("报告",), titles=("年度报告",)),
    "all": Rule(),
}


@pytest.fixture
def storage(empty_database_url: str) -> Iterator[Storage]:
    opened = Storage.open(empty_database_url, COLUMNS)
    yield opened
    opened.engine.dispose()


def put(storage: Storage, number: int, generation: int = 1, **fields: Any) -> None:
    storage.put(Kind.ITEM, number, generation, item(number, **fields))


def withdraw(storage: Storage, number: int, generation: int) -> None:
    storage.put(Kind.ITEM, number, generation, None)


EVERYTHING = Wanted()


def found(storage: Storage, wanted: Wanted = EVERYTHING, page: int = 1, size: int = 20) -> list[int]:
    slots, count = storage.find(wanted, page, size)
    assert count >= len(slots)
    return [slot.number for slot in slots]


def test_the_catalogue_is_narrowed_by_every_field_and_by_all_of_them(storage: Storage) -> None:
    put(storage, 1, item_type="通知", theme="安全生产", department="技术科", validity="有效", formed_on="2025-12-30")
    put(storage, 2, item_type="通知", theme="安全生产", department="办公室", validity="废止", formed_on="2026-01-02")
    put(storage, 3, item_type="公示", theme="人事信息", department="办公室", validity="有效", formed_on="2026-02-01")
    assert found(storage) == [3, 2, 1]
    assert found(storage, Wanted(item_type="通知")) == [2, 1]
    assert found(storage, Wanted(theme="人事信息")) == [3]
    assert found(storage, Wanted(department="办公室")) == [3, 2]
    assert found(storage, Wanted(year=2026)) == [3, 2]
    assert found(storage, Wanted(validity="有效")) == [3, 1]
    assert found(storage, Wanted(item_type="通知", year=2026, department="办公室", validity="废止")) == [2]
    assert found(storage, Wanted(item_type="通知", year=2024)) == []
    assert found(storage, Wanted(theme="安全")) == [], "a value is a value, not a word in it"


def test_what_the_catalogue_can_be_narrowed_by_is_counted_as_if_that_field_were_open(storage: Storage) -> None:
    for number in range(1, 8):
        put(
            storage,
            number,
            item_type="通知" if number > 2 else "公示",
            formed_on=f"{2020 + number % 3}-05-01",
            theme="",
        )
    facets = storage.facets(Wanted(item_type="通知"))
    assert facets["item_type"] == [("通知", 5), ("公示", 2)]
    assert facets["year"] == [("2022", 1), ("2021", 2), ("2020", 2)]
    assert facets["theme"] == []
    assert facets["column"] == [("notices", 5), ("news", 0), ("annual", 0), ("all", 5)]
    assert dict(storage.facets(Wanted(column="notices"))["column"]) == {"notices": 5, "news": 0, "annual": 0, "all": 7}


def test_a_column_holds_what_its_rule_lets_in(storage: Storage) -> None:
    put(storage, 1, item_type="工作动态", department="新闻部")
    put(storage, 2, item_type="工作动态", department="办公室")
    put(storage, 3, item_type="报告", title="2025年政府信息公开工作年度报告")
    put(storage, 4, item_type="报告", title="年度工作情况报告")
    for id, numbers in {"notices": [], "news": [1], "annual": [3], "all": [4, 3, 2, 1], "none": []}.items():
        assert found(storage, Wanted(column=id)) == numbers
    fields = {"item_type": "报告", "department": "办公室", "title": "2025年政府信息公开工作年度报告"}
    assert [id for id, rule in COLUMNS.items() if rule.lets_in(fields)] == ["annual", "all"]


def test_the_order_is_that_of_publication_or_of_the_date_formed(storage: Storage) -> None:
    for number, formed_on in ((5, "2026-03-01"), (9, "2026-01-01"), (7, "2026-02-01")):
        put(storage, number, formed_on=formed_on)
    put(storage, 9, 2, formed_on="2026-01-01", title="更正")
    assert found(storage) == [7, 9, 5], "a correction brings nothing to the top"
    assert found(storage, Wanted(order=Order.FORMED)) == [5, 7, 9]
    assert [found(storage, Wanted(order=Order.FORMED), page, 1) for page in (1, 2, 3, 4)] == [[5], [7], [9], []]
    withdraw(storage, 7, 2)
    assert found(storage) == [9, 5]
    put(storage, 7, 3)
    assert found(storage) == [7, 9, 5], "published again, it stands where it stood"


def test_by_date_many_are_walked_and_few_are_sorted_with_the_same_outcome(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 31):
        put(storage, number, formed_on=f"2026-01-{1 + number * 7 % 28:02d}", item_type="通知" if number % 3 else "公示")
    wanted = Wanted(item_type="通知", order=Order.FORMED)
    few = [found(storage, wanted, page, 6) for page in range(1, 6)]
    monkeypatch.setattr("web.portal.catalogue.FEW", 5)
    assert [found(storage, wanted, page, 6) for page in range(1, 6)] == few
    assert [len(page) for page in few] == [6, 6, 6, 2, 0]


def test_an_item_tells_what_became_of_it_and_its_publication_is_never_dated_back(storage: Storage) -> None:
    before = datetime.now(UTC)
    put(storage, 1, formed_on="2015-01-01")
    first = storage.slot(Kind.ITEM, 1)
    put(storage, 1, 2, formed_on="2015-01-01")  # the same text under a new generation
    put(storage, 1, 3, title="更正后的题目")
    withdraw(storage, 1, 4)
    put(storage, 1, 5)
    history = storage.history(1)
    assert [change.what for change in history] == [What.PUBLISHED, What.CORRECTED, What.WITHDRAWN, What.REPUBLISHED]
    assert [change.at for change in history] == sorted(change.at for change in history)
    last = storage.slot(Kind.ITEM, 1)
    assert first is not None and last is not None and first.first_published_at is not None
    assert before <= first.first_published_at == last.first_published_at == history[0].at
    withdraw(storage, 2, 1)
    assert storage.history(2) == [], "what never was public was never withdrawn"
    assert [(row.number, row.formed_on, row.published_at) for row in storage.rows()] == [
        (1, date(2015, 3, 2), first.first_published_at)
    ]


def test_what_was_published_in_a_month_is_listed_without_its_texts(storage: Storage) -> None:
    for number in range(1, 4):
        put(storage, number)
    withdraw(storage, 2, 2)
    rows = list(storage.rows())
    assert [row.index_number for row in rows] == ["370303/2015-00001", "370303/2015-00003"]
    assert list(storage.rows(begin=rows[1].published_at)) == rows[1:]
    assert list(storage.rows(end=rows[1].published_at)) == rows[:1]


def test_columns_tell_how_fresh_they_are(storage: Storage) -> None:
    put(storage, 1, item_type="通知")
    put(storage, 2, item_type="公告")
    withdraw(storage, 2, 2)
    first = storage.slot(Kind.ITEM, 1)
    assert first is not None
    put(storage, 1, 2, item_type="通知", title="更正")
    newest = first.first_published_at
    assert storage.updated() == {
        "": (1, newest), "notices": (1, newest), "news": (0, None), "annual": (0, None), "all": (1, newest)
    }  # fmt: skip


def test_writers_that_meet_lose_no_item_and_no_word(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as writers:
        list(
            writers.map(
                lambda number: put(storage, number, title=f"第{number}号通知", theme=f"主题{number % 3}"), range(1, 41)
            )
        )
    assert sorted(found(storage, Wanted(words="号通知"), 1, 100)) == list(range(1, 41))
    assert dict(storage.facets(Wanted())["theme"]) == {"主题0": 13, "主题1": 14, "主题2": 13}
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda number: withdraw(storage, number, 2), range(1, 41, 2)))
    assert sorted(found(storage, Wanted(words="号通知"), 1, 100)) == list(range(2, 41, 2))


def test_what_lies_on_an_old_portal_is_found_after_the_upgrade(empty_database_url: str, tmp_path: Path) -> None:
    present = Storage.open(f"sqlite:///{tmp_path / 'present.db'}", COLUMNS)
    for number in range(1, 6):
        put(present, number, title=f"关于第{number}号线路的通知", formed_on=f"2026-01-0{number}")
    put(present, 2, 2, title="更正的通知")
    withdraw(present, 4, 2)
    withdraw(present, 5, 2)
    put(present, 5, 3, title="又见通知")
    _old_portal(empty_database_url, present)
    storage = Storage.open(empty_database_url, COLUMNS)
    wanted = (
        Wanted(),
        Wanted(words="线路"),
        Wanted(item_type="通知", order=Order.FORMED),
        Wanted(words="370303/2015-00005"),
    )
    assert [found(storage, one) for one in wanted] == [found(present, one) for one in wanted]
    assert found(storage, wanted[1]) == [3, 1]
    assert storage.facets(Wanted()) == present.facets(Wanted())
    assert list(storage.rows()) == list(present.rows())
    assert [[change.what for change in storage.history(number)] for number in (1, 2, 4, 5)] == [
        ["published"],
        ["published", "corrected"],
        ["published", "withdrawn"],
        ["published", "republished"],
    ]
    put(storage, 6, title="新的通知")
    put(storage, 2, 3, title="再更正的通知")
    assert found(storage, Wanted(words="通知")) == [6, 5, 3, 2, 1]
    assert [change.what for change in storage.history(2)] == ["published", "corrected", "corrected"]
    present.engine.dispose()
    storage.engine.dispose()


def _old_portal(url: str, present: Storage) -> None:
    """A database as the first release of the portal left it, with the slots of a present one."""
    columns = [slots.c[name] for name in ("kind", "number", "generation", "body", "digest", "change", "changed_at",
                                          "first_published_at", "shown_since")]  # fmt: skip
    with present.engine.connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(select(*columns))]
    config = Config()
    config.set_main_option("script_location", str(Path(office.__file__).parent / "migrations"))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "p001")
        connection.execute(insert(table("slots", *(column(one.name, one.type) for one in columns))), rows)
    engine.dispose()


def test_bits_survive_packing_and_the_highest_are_found_past_whole_blocks() -> None:
    for places in ([], [0], [BLOCK - 1], [3, 700], [*range(0, BLOCK, 64)], [*range(0, BLOCK, 60)], [*range(BLOCK)]):
        bits = b""
        for place in (*places, *places):
            bits = with_place(bits, place)
        assert int.from_bytes(bitmap(bits), "little") == sum(1 << place for place in places)
        assert int.from_bytes(bitmap(packed(places)), "little") == sum(1 << place for place in places)
        assert len(bits) <= BLOCK // 8
        for place in (*places, 7, *places):
            bits = without_place(bits, place)
        assert bits == b""
    places = sorted({place * 37 % 9000 for place in range(3000)}, reverse=True)
    many = sum(1 << place for place in places)
    for skip, take in ((0, 20), (1, 1), (2047, 5), (2990, 20), (4000, 5), (0, 0)):
        assert highest(many, skip, take) == places[skip : skip + take]


# ── portal.toml ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shipped_portal_toml_has_every_column_and_a_form(tmp_path: Path) -> None:
    told = office.read({"PORTAL_DATA": str(tmp_path)})
    assert told.annual_reports in told.by_id
    assert told.newsletter in told.by_id
    assert told.form is not None
    assert told.form.name == "政府信息公开申请表.docx"
    assert all(part.paragraphs for part in (*told.guide.parts, *told.apply.parts))
    assert [column.name for column in told.columns_of({"item_type": "公告"})] == ["通知公告"]


OFFICE = '[contact]\nname = "局"\n'
COLUMN = '[[columns]]\nid = "a"\nname = "甲"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("colums = []", "contact: Field required"),
        (OFFICE + '[[columns]]\nid = "A"\nname = "甲"', "columns.1.id: String should match"),
        (OFFICE + COLUMN + "limit = 1", "columns.1.limit: Extra inputs"),
        (OFFICE + COLUMN + "limit_days = 0", "columns.1.limit_days: Input"),
        (OFFICE + COLUMN + COLUMN, "columns.id: a is taken"),
        ('newsletter = "b"\n' + OFFICE + COLUMN, "newsletter: there is no column b"),
        (OFFICE + COLUMN + '[apply]\nform = "x.docx"', "apply.form: "),
        (OFFICE + COLUMN + '[apply]\nform = "x.exe"', "apply.form: .exe is none of"),
        ("name = ", "portal.toml: "),
    ],
)
def test_a_mistake_in_portal_toml_is_named_by_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "portal.toml").write_text(text, "utf-8")
    with pytest.raises(office.OfficeError) as refused:
        office.read({"PORTAL_DATA": str(tmp_path)})
    assert str(tmp_path / "portal.toml") in str(refused.value)
    assert complaint in str(refused.value)


def test_the_office_may_name_its_portal_toml(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('columns = []\n[contact]\nname = "自己的局"', "utf-8")
    assert office.read({"PORTAL_CONFIG": str(own), "PORTAL_DATA": "/nowhere"}).contact.name == "自己的局"
    with pytest.raises(office.OfficeError, match=r"no\.toml"):
        office.read({"PORTAL_CONFIG": str(tmp_path / "no.toml")})


def test_the_staff_is_told_the_freshness_of_columns_and_nobody_else_is(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal") as process:
        write = Writer(process)
        write("PUT", "/api/items/1", 1, item(item_type="通知"))
        assert write.get("/api/columns").status_code == 401
        told = {one["id"]: one for one in write("GET", "/api/columns").json()["columns"]}
    assert next(iter(told)) == "home"
    assert (told["home"]["items"], told["home"]["limit_days"]) == (1, 14)
    assert (told["notices"]["name"], told["notices"]["items"], told["notices"]["limit_days"]) == ("通知公告", 1, 180)
    published = datetime.fromisoformat(told["notices"]["updated_at"])
    assert timedelta(0) <= datetime.now(UTC) - published < timedelta(minutes=5)
    assert (told["policies"]["items"], told["policies"]["updated_at"]) == (0, None)


# ── pages in memory ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_page_is_served_from_memory_until_a_slot_changes(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal") as process:
        write = Writer(process)
        write("PUT", "/api/items/1", 1, item(html=f"<p>{'现通知如下。' * 200}</p>"))
        first = write.get("/i/1")
        again = write.get("/i/1", **{"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "x-portal-keep" not in first.headers
        packed = requests.get(f"{process.url}/i/1", headers={"Accept-Encoding": "gzip"}, timeout=5)
        plain = requests.get(f"{process.url}/i/1", headers={"Accept-Encoding": "gzip;q=0, identity"}, timeout=5)
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert packed.content == plain.content
        assert packed.headers["ETag"] == plain.headers["ETag"] == first.headers["ETag"]
        assert "Accept-Encoding" in plain.headers["Vary"]
        head = requests.head(f"{process.url}/i/1", headers={"Accept-Encoding": "identity"}, timeout=5)
        assert (head.headers["Content-Length"], head.content) == (str(len(plain.content)), b"")
        write("PUT", "/api/items/1", 2, item(title="更正后的题目"))
        changed = write.get("/i/1", **{"If-None-Match": first.headers["ETag"]})
        assert changed.status_code == 200
        assert "更正后的题目" in changed.text
        write("DELETE", "/api/items/1", 3)
        assert [write.get("/i/1").status_code for _ in range(2)] == [410, 410]


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_portals_on_one_database_see_each_others_changes(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    told = {} if database == "SQLite" else {"PORTAL_DATABASE_URL": _new_database(request)}
    processes = [start(tmp_path / "portal", free_port(), **told) for _ in range(2)]
    try:
        first, second = (Writer(process) for process in processes)
        for generation in range(1, 16):
            first("PUT", "/api/items/1", generation, item(title=f"第{generation}版"))
            assert f"第{generation}版" in first.get("/i/1").text, "who wrote reads what was written"
            if database == "SQLite":
                assert f"第{generation}版" in second.get("/i/1").text
            else:
                until(lambda wanted=f"第{generation}版": wanted in second.get("/i/1").text)  # type: ignore[misc]
        first("DELETE", "/api/items/1", 16)
        until(lambda: second.get("/i/1").status_code == 410)
    finally:
        for process in processes:
            process.stop()


def test_on_postgresql_a_change_is_told_and_not_waited_for(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.portal.cache.HEARTBEAT", 600.0)
    storage = Storage.open(_new_database(request))
    listening = watch(storage)
    until(lambda: listening.version() == storage.version())
    put(storage, 1)
    until(lambda: listening.version() == storage.version())
    listening.close()
    put(storage, 2)  # wakes it, so that it ends
    storage.engine.dispose()


def test_the_home_page_finds_all_its_lists_in_one_look(storage: Storage) -> None:
    put(storage, 1, item_type="通知")
    put(storage, 2, item_type="工作动态", department="新闻部")
    put(storage, 3, item_type="报告", title="2025年度政府信息公开工作年度报告")
    put(storage, 4, item_type="公告")
    asked = [(Wanted(), 3), *((Wanted(column=id), 2) for id in COLUMNS), (Wanted(item_type="公示"), 5)]
    statements = list[str]()
    event.listen(storage.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    held = [[slot.number for slot in some] for some in storage.first(asked)]
    assert held == [[4, 3, 2], [4, 1], [2], [3], [4, 3], []]
    assert len(statements) < 9, "however many columns there are"
    assert held == [found(storage, wanted, 1, size) for wanted, size in asked]


_databases = itertools.count(1)


def _new_database(request: pytest.FixtureRequest) -> str:
    return create_database(request.getfixturevalue("cluster"), f"portal_{os.getpid()}_{next(_databases)}")


class _Told:
    """An application that counts what it is asked for, and answers with what it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.headers = [(b"content-type", b"text/html"), (b"x-portal-keep", b"1")]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await send({"type": "http.response.start", "status": 200, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": str(self.asked).encode()})


async def _get(front: Front, path: str = "/", query: bytes = b"") -> bytes:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "headers": [],
        "raw_path": path.encode(),
        "query_string": query,
        "path": path,
    }
    await front(scope, None, send)  # type: ignore[arg-type]
    assert not any(name == b"x-portal-keep" for name, _ in sent[0]["headers"])
    return b"".join(message.get("body", b"") for message in sent[1:])


def test_what_was_kept_yesterday_is_made_anew_today(tmp_path: Path) -> None:
    storage = Storage.open(f"sqlite:///{tmp_path / 'portal.db'}")
    days = [date(2026, 11, 23)]
    told = _Told()
    front = Front(told, Cache(watch(storage), lambda: days[-1]))

    async def story() -> None:
        assert [await _get(front), await _get(front), await _get(front, query=b"page=2")] == [b"a1", b"a1", b"a2"]
        days.append(date(2026, 11, 24))
        assert [await _get(front), await _get(front)] == [b"a3", b"a3"]
        put(storage, 1)
        assert await _get(front) == b"a4"
        storage.log("PUT", "items", "1", "1")
        assert await _get(front) == b"a4", "a refused write drops nothing"
        told.headers.pop()
        assert [await _get(front, "/other"), await _get(front, "/other")] == [b"a5", b"a6"], "only what may be kept is"

    asyncio.run(story())
    front.cache.watch.close()
    storage.engine.dispose()


def test_the_memory_for_pages_is_bounded_and_the_least_wanted_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.portal.cache.LARGEST", 3 * 2100)
    storage = Storage.open(f"sqlite:///{tmp_path / 'portal.db'}")
    front = Front(_Told(), Cache(watch(storage)))

    async def story() -> None:
        assert [await _get(front, path) for path in ("/1", "/2", "/3")] == [b"a1", b"a2", b"a3"]
        assert await _get(front, "/1") == b"a1"
        assert await _get(front, "/4") == b"a4"
        assert await _get(front, "/1") == b"a1"
        assert await _get(front, "/2") == b"a5", "it had gone"

    asyncio.run(story())
    front.cache.watch.close()
    storage.engine.dispose()
