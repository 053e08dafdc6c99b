"""The numbers in the console: charts, tables and files that say the same, for an office of any age."""

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from openpyxl import load_workbook

from pipeline import review
from pipeline.counting import refresh
from pipeline.models import StoredDepartment
from pipeline.states import Ground
from tests.conftest import CHROMIUM
from tests.office import Bureau
from tests.web.console.conftest import Office
from web.console import charts

TWELVE_MONTHS = "?from=2025-12&to=2026-11"


def publish(bureau: Bureau, department: str = "news", formed_on: date = date(2026, 11, 20)) -> int:
    item = bureau.write("wang", department=department, formed_on=formed_on)
    bureau.approve(item, bureau.submit(item, "web", person="wang"))
    bureau.work("web")
    return item


def some_months(bureau: Bureau) -> None:
    """Three items in November, one withdrawn, one late; one returned in December; counted."""
    publish(bureau)
    publish(bureau, "tech", bureau.clock().date() - timedelta(days=60))
    item = publish(bureau)
    review.withdraw(bureau.rt, bureau.actor("chen"), item, "内容有误")
    bureau.work("web")
    bureau.clock.forward(days=10)
    bureau.submit(item := bureau.write("wang"), "web", person="wang")
    review.return_(bureau.rt, bureau.actor("li"), item, "请核对")
    refresh(bureau.rt)


def rows_of(page: str, title: str) -> list[list[str]]:
    """The cells of the table with this name."""
    table = page.split(f'aria-label="{title}"', 1)[1].split("</table>")[0]
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr")[1:]]
    return [cells for cells in found if cells]


def test_an_item_is_counted_by_month_and_department_with_its_delay(office: Office) -> None:
    some_months(office.bureau)
    page = office.sign_in("wang").get("/numbers?from=2026-11&to=2026-12")
    months = rows_of(page, "按月")
    assert months[1] == ["2026-11", "3", "1", "2", "66.6%", "1", "0", "0"]
    assert months[2] == ["2026-12", "0", "0", "0", "—", "—", "1", "0"]
    assert months[3] == ["合计", "3", "1", "2", "66.6%", "1", "1", "0"]
    departments = {row[0]: row[1:] for row in rows_of(page, "按部门")}
    assert departments["技术科"][:4] == ["1", "0", "0", "0.0%"] and departments["新闻部"][:3] == ["2", "1", "2"]
    assert rows_of(page, "各渠道的发布任务")[1] == ["网站", "3", "2", "0", "1"]


def test_the_page_and_both_files_say_the_same(office: Office) -> None:
    some_months(office.bureau)
    wang = office.sign_in("wang")
    query = "?from=2026-11&to=2026-12"
    page = wang.get("/numbers" + query)
    answer = wang.session.get(f"{wang.url}/numbers.csv{query}", timeout=10)
    assert answer.content.startswith(b"\xef\xbb\xbf"), "without this mark WPS and Excel show the wrong characters"
    assert "%E7%BB%9F%E8%AE%A1-2026-11-2026-12.csv" in answer.headers["Content-Disposition"]
    lines = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    written = wang.session.get(f"{wang.url}/numbers.xlsx{query}", timeout=10).content
    book = load_workbook(io.BytesIO(written))
    assert book.sheetnames == ["按月", "按部门", "各渠道的发布任务"]
    for title in book.sheetnames:
        shown = rows_of(page, title)
        begin = lines.index([title]) + 1
        assert [[cell or "—" for cell in row] for row in lines[begin : begin + len(shown)]] == shown
        cells = [["—" if cell is None else str(cell) for cell in row] for row in book[title].values]
        assert cells == shown


def test_no_cell_of_a_file_is_a_formula(office: Office) -> None:
    bureau, evil = office.bureau, '=HYPERLINK("http://evil.example","x")'
    with bureau.rt.writing() as db:
        db.get_one(StoredDepartment, "news").name = evil
    publish(bureau)
    refresh(bureau.rt)
    wang = office.sign_in("wang")
    lines = list(csv.reader(io.StringIO(wang.get("/numbers.csv" + TWELVE_MONTHS))))
    assert [row[0] for row in lines if row and "HYPERLINK" in row[0]] == ["'" + evil]
    content = wang.session.get(f"{wang.url}/numbers.xlsx{TWELVE_MONTHS}", timeout=10).content
    (cell,) = [row[0] for row in load_workbook(io.BytesIO(content))["按部门"].iter_rows() if "HYPER" in row[0].value]
    assert (cell.value, cell.data_type) == (evil, "s")
    assert "<script" not in wang.get("/numbers" + TWELVE_MONTHS).split("<main")[1].split("</main>")[0]


def test_a_new_office_is_told_what_will_stand_here(office: Office) -> None:
    wang = office.sign_in("wang")
    page = wang.get("/numbers")
    assert "还没有统计过" in page and "这段时间没有可统计的信息" in page
    refresh(office.bureau.rt)
    page = wang.get("/numbers")
    assert "还没有统计过" not in page and "这段时间没有可统计的信息" in page
    assert wang.session.get(f"{wang.url}/numbers.xlsx", timeout=10).status_code == 200


def test_a_count_that_stopped_is_said(office: Office) -> None:
    publish(office.bureau)
    refresh(office.bureau.rt)
    wang = office.sign_in("wang")
    assert "统计停在" not in wang.get("/numbers")
    office.bureau.clock.forward(minutes=11)
    assert "统计停在 2026-11-23 10:00" in wang.get("/numbers")


def test_an_author_finds_their_own_department_only(office: Office) -> None:
    publish(office.bureau)
    publish(office.bureau, "tech")
    refresh(office.bureau.rt)
    page = office.sign_in("zhao").get("/numbers?department=tech")
    assert "新闻部" in page and "技术科" not in page
    assert rows_of(page, "按月")[-1][1] == "1"
    assert "技术科" not in office.sign_in("zhao").get("/numbers.csv?department=tech")
    everything = office.sign_in("sun").get("/numbers?department=tech")
    assert [row[0] for row in rows_of(everything, "按部门")] == ["部门", "技术科", "合计"]


@pytest.mark.parametrize(
    ("query", "begin", "end"),
    [
        ("", "2025-12", "2026-11"),
        ("?from=2026-05&to=2026-02", "2026-02", "2026-05"),
        ("?from=x&to=2026-13", "2025-12", "2026-11"),
        ("?from=2000-01&to=2026-11", "2021-12", "2026-11"),
        ("?from=2026-12&to=2026-12", "2026-12", "2026-12"),
    ],
)
def test_any_period_that_is_asked_for_makes_sense(office: Office, query: str, begin: str, end: str) -> None:
    assert f"统计：{begin} 至 {end}" in office.sign_in("wang").get("/numbers" + query)


def test_more_than_five_years_stand_in_the_files(office: Office) -> None:
    publish(office.bureau)
    refresh(office.bureau.rt)
    reader = office.sign_in("sun")
    page = reader.get("/numbers?from=2018-01&to=2026-11")
    assert "现从 2021-12 起。2018-01 以来的全部数字在上面下载的表格里" in page
    whole = html.unescape(re.findall(r'href="([^"]*/numbers\.csv[^"]*)"', page)[0])
    assert "2018-01,0" in reader.get(whole.removeprefix(office.url)) and "2018-01" not in "".join(
        rows_of(page, "按月")[1]
    )
    assert "最多显示五年" not in reader.get("/numbers?from=2021-12&to=2026-11")


def test_the_refusal_of_an_item_is_counted_where_it_belongs(office: Office) -> None:
    bureau = office.bureau
    bureau.submit(item := bureau.write(), "web")
    review.refuse(bureau.rt, bureau.actor("li"), item, Ground.INTERNAL_AFFAIRS, "内部事务")
    page = office.sign_in("wang").get("/numbers")
    assert rows_of(page, "按部门")[1] == ["新闻部", "0", "0", "0", "—", "—", "0", "1"]


def test_bars_and_lines_stay_inside_their_chart_whatever_they_show() -> None:
    for values in ([0], [1], [3, 0, 7], [0] * 12, [999_999, 1], list(range(120))):
        labels = [charts.Label(str(n), "2026" if not n else "") for n in range(len(values))]
        drawn = charts.bars(labels, [(value, value // 3) for value in values])
        assert all(box.y >= charts.TOP and box.y + box.height <= charts.FLOOR + 0.2 for box in drawn.boxes)
        assert sum(bool(label.text) for label in drawn.labels) <= charts.MOST_LABELS
        assert len({tick.text for tick in drawn.ticks}) == len(drawn.ticks) <= charts.MOST_STEPS + 1
    drawn = charts.line([charts.Label("1")] * 5, [1, 2, None, 3, 30.5], 20)
    assert len(drawn.lines) == 2, "no line across a month without a value"
    assert drawn.limit is not None and all(charts.TOP <= one.y <= charts.FLOOR for one in drawn.values)


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")
def test_the_numbers_can_be_used_by_everybody(office: Office, chromium: object) -> None:
    from axe_playwright_python.sync_playwright import Axe

    some_months(office.bureau)
    wang = office.sign_in("wang")
    for width in (1440, 390):
        context = chromium.new_context(viewport={"width": width, "height": 900})  # type: ignore[attr-defined]
        context.add_cookies([{"name": one.name, "value": one.value, "url": office.url} for one in wang.session.cookies])
        page = context.new_page()
        page.goto(f"{office.url}/numbers?from=2025-12&to=2026-12")
        page.locator("details.card summary").click()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
        context.close()


def test_a_rehearsal_says_so_in_the_numbers(open_console: Callable[..., Office]) -> None:
    office = open_console(channels={"web": {"rehearsal": True}})
    publish(office.bureau)
    refresh(office.bureau.rt)
    page = office.sign_in("wang").get("/numbers")
    assert rows_of(page, "各渠道的发布任务")[1][0] == "网站（演练）"
