"""What the portal gives to programs that collect: open data of the catalogue, sitemap, robots.txt."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import openpyxl
import pytest
import requests
from lxml import etree

from tests.channels.rig_portal import portal_process
from tests.web.test_portal_process import Writer, item
from web.portal import sitemap
from web.portal.open_data import FIELDS, Month, months
from web.portal.storage import Kind, Storage
from web.portal.words import SHANGHAI

SITEMAP = {"s": "http://www.sitemaps.org/schemas/sitemap/0.9"}
FORMULAS = ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "＝1", "\t=1"]
NOW = Month.of(datetime.now(UTC))


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    with portal_process(tmp_path_factory.mktemp("open") / "portal") as process:
        write = Writer(process)
        for number, title in enumerate(['关于"安全，播出"的\n通知', *FORMULAS], 1):
            write("PUT", f"/api/items/{number}", 1, item(number, title=title, document_number="张广发〔2026〕1号"))
        write("PUT", "/api/items/8", 1, item(8, title="不该公开的标题", summary="不该公开的概述"))
        write("DELETE", "/api/items/8", 2)
        write("DELETE", "/api/items/9", 1)  # never was public
        yield write


def test_the_csv_opens_in_a_spreadsheet_and_calculates_nothing(write: Writer) -> None:
    answer = write.get("/open-data/catalogue-current.csv")
    assert answer.content.startswith(b"\xef\xbb\xbf")
    assert answer.headers["Content-Type"].startswith("text/csv; charset=utf-8")
    head, *rows = csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    assert head == [name for name, _, _ in FIELDS.values()]
    assert {len(row) for row in rows} == {len(head)}
    assert [row[2] for row in rows[:7]] == ['关于"安全，播出"的\n通知', *(f"'{formula}" for formula in FORMULAS)]
    sheet = openpyxl.Workbook().active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}  # "f" would be a formula


def test_of_a_withdrawn_item_index_number_and_state_are_left(write: Writer) -> None:
    body = write.get(f"/open-data/catalogue-{NOW}.json").json()
    assert body["items"][7:] == [{"index_number": "370303/2015-00008", "state": "已撤下"}]
    rows = list(csv.reader(io.StringIO(write.get(f"/open-data/catalogue-{NOW}.csv").content.decode("utf-8-sig"))))
    assert rows[-1] == ["370303/2015-00008", "已撤下", *[""] * 12]
    assert "不该公开" not in json.dumps(body, ensure_ascii=False) + str(rows)


def test_every_file_and_every_field_is_described(write: Writer) -> None:
    package = write.get("/open-data/datapackage.json").json()
    for resource in package["resources"]:
        answer = requests.get(resource["path"], timeout=5)
        assert answer.headers["Content-Type"].startswith(resource["mediatype"])
        schema = requests.get(resource["schema"], timeout=5).json()
        described = {field["name"]: field["type"] for field in schema["fields"]}
        if resource["format"] == "csv":
            assert list(described) == next(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
        else:
            first = answer.json()["items"][0]
            assert set(described) == set(first)
            assert answer.json()["fields"].keys() == described.keys()
    assert [resource["format"] for resource in package["resources"]] == ["csv", "json"]


def test_a_month_without_a_file_and_an_unknown_form_are_not_there(write: Writer) -> None:
    for path in ("1999-01.csv", f"{NOW.following}.csv", "2026-13.json", "current.xml", "x.csv"):
        assert write.get(f"/open-data/catalogue-{path}").status_code == 404


def test_each_item_stands_in_the_month_in_which_it_came_out_in_shanghai(tmp_path: Path) -> None:
    with portal_process(tmp_path / "portal") as process:
        write = Writer(process)
        for number in (1, 2, 3):
            write("PUT", f"/api/items/{number}", 1, item(number))
        # The last second of a month there, and the first of the next: 16:00 UTC.
        turn = datetime(NOW.year - 1, 3, 31, 16, tzinfo=UTC)
        with sqlite3.connect(tmp_path / "portal" / "portal.db") as database:
            for number, at in ((1, turn - timedelta(seconds=1)), (2, turn)):
                when = at.strftime("%Y-%m-%d %H:%M:%S.000000")
                database.execute("UPDATE slots SET first_published_at = ? WHERE number = ?", (when, number))
                database.execute("UPDATE catalogue SET published_at = ? WHERE number = ?", (when, number))

        def numbers(month: str) -> list[str]:
            items = write.get(f"/open-data/catalogue-{month}.json").json()["items"]
            return [one["index_number"][-1] for one in items]

        year = NOW.year - 1
        assert (numbers(f"{year}-03"), numbers(f"{year}-04"), numbers(f"{year}-05"), numbers("current")) == (
            ["1"], ["2"], [], ["3"],
        )  # fmt: skip
        named = [one["path"] for one in write.get("/open-data/datapackage.json").json()["resources"]]
        assert named[-1].endswith(f"/catalogue-{year}-03.json")
        assert len(named) == 2 * len(months_between(Month(year, 3), NOW))
    storage = Storage.open(f"sqlite:///{tmp_path / 'empty.db'}")
    assert months(storage) == [NOW]
    storage.engine.dispose()
    assert Month(2026, 12).following == Month(2027, 1)
    assert Month(2026, 12).begin == datetime(2026, 12, 1, tzinfo=SHANGHAI)


def months_between(first: Month, last: Month) -> list[Month]:
    found = [first]
    while found[-1] != last:
        found.append(found[-1].following)
    return found


def addresses(content: bytes) -> list[tuple[str, str]]:
    """Each with its lastmod."""
    document = etree.fromstring(content)
    return [
        (str(place.findtext("s:loc", "", SITEMAP)), str(place.findtext("s:lastmod", "", SITEMAP))) for place in document
    ]


def test_the_sitemap_leads_to_every_page_that_answers_and_to_no_other(write: Writer) -> None:
    index = addresses(write.get("/sitemap.xml").content)
    pages = [page for part, _ in index for page in addresses(requests.get(part, timeout=5).content)]
    assert {requests.get(page, timeout=5).status_code for page, _ in pages} == {200}
    items = {page: changed for page, changed in pages if "/i/" in page}
    assert sorted(items) == [f"{write.process.url}/i/{number}" for number in range(1, 8)]
    for changed in (*items.values(), index[1][1]):
        assert datetime.now(UTC) - timedelta(minutes=3) < datetime.fromisoformat(changed) <= datetime.now(UTC)
    assert f"Sitemap: {write.process.url}/sitemap.xml" in write.get("/robots.txt").text
    assert "Disallow: /api/" in write.get("/robots.txt").text
    assert [write.get(f"/sitemap-{part}.xml").status_code for part in ("0", "2", "x")] == [404] * 3


def test_a_correction_moves_lastmod_and_large_numbers_get_a_part_of_their_own(empty_database_url: str) -> None:
    storage = Storage.open(empty_database_url)
    part = sitemap.LARGEST
    for number in (1, part, part + 1, 3 * part):
        storage.put(Kind.ITEM, number, 1, item(number))
    before = dict(sitemap._parts(storage))
    assert list(before) == [1, 2, 3]
    storage.put(Kind.ITEM, part + 1, 2, item(part + 1, title="更正后的题目"))
    after = dict(sitemap._parts(storage))
    assert (after[1], after[3]) == (before[1], before[3])
    assert after[2] > before[2]
    assert [number for number, _ in sitemap._items(storage, 1)] == [1, part]
    storage.engine.dispose()
