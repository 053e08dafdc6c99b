"""The numbers: by month, department and channel, as charts and tables, and as files for a spreadsheet."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Response

from pipeline import number_sheets, numbers, staff, workdays
from pipeline.number_sheets import Sheets
from pipeline.numbers import Numbers
from web.console import charts
from web.console.page import Console, Signed

routes = APIRouter()
SHOWN_MONTHS = 60  # on the page: a five-year plan's; what is wider is read in a file
MOST_MONTHS = 120
STALE = timedelta(minutes=10)  # counted every minute while the workers run
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Month = Annotated[str, Query(max_length=7)]
Text = Annotated[str, Query(max_length=40)]


@routes.get("/numbers")
def numbers_page(
    console: Signed, begin: Annotated[Month, Query(alias="from")] = "", to: Month = "", department: Text = ""
) -> Response:
    wanted = _asked(console, begin, to, department)
    asked = replace(wanted, begin=max(wanted.begin, _months_before(wanted.end.replace(day=1), SHOWN_MONTHS - 1)))
    found, tables = _read(console, asked)
    months = list(found.months)
    labels = [charts.Label(str(one.month), str(one.year) if one.month == 1 or not n else "")
              for n, one in enumerate(months)]  # fmt: skip
    tallies = list(found.months.values())
    limit = workdays.law(console.rt.settings).disclosure.days
    today, year = console.today, console.today.replace(month=1, day=1)
    spans = {
        "numbers.twelve": _Asked.last_year(today),
        "numbers.this_year": _Asked(year, today),
        "numbers.the_year_before": _Asked(_months_before(year, 12), year - timedelta(days=1)),
    }
    return console.page(
        "numbers.html", found=found, tables=tables, wanted=wanted, asked=asked, limit=limit,
        items=charts.bars(labels, [(one.items, one.withdrawn) for one in tallies]),
        pace=charts.line(labels, [one.median for one in tallies], limit),
        departments=staff.departments(console.rt), only=numbers.only_department(console.person),
        spans=spans.items(), current=next((code for code, one in spans.items() if one.months == asked.months), ""),
        stale=found.counted_at is None or console.rt.now() - found.counted_at > STALE,
    )  # fmt: skip


@routes.get("/numbers.csv")
def numbers_csv(
    console: Signed, begin: Annotated[Month, Query(alias="from")] = "", to: Month = "", department: Text = ""
) -> Response:
    asked = _asked(console, begin, to, department)
    content = number_sheets.as_csv(_read(console, asked)[1]).encode("utf-8-sig")  # the mark that spreadsheets look for
    return _file(console, content, "text/csv; charset=utf-8", asked, "csv")


@routes.get("/numbers.xlsx")
def numbers_xlsx(
    console: Signed, begin: Annotated[Month, Query(alias="from")] = "", to: Month = "", department: Text = ""
) -> Response:
    asked = _asked(console, begin, to, department)
    return _file(console, number_sheets.as_xlsx(_read(console, asked)[1]), XLSX, asked, "xlsx")


@dataclass(frozen=True)
class _Asked:
    """A period, of one department or of all ("")."""

    begin: date
    end: date
    department: str = ""

    @classmethod
    def last_year(cls, today: date) -> "_Asked":
        """This month and the eleven before it."""
        return cls((today.replace(day=1) - timedelta(days=330)).replace(day=1), today)

    @property
    def months(self) -> tuple[str, str]:
        return f"{self.begin:%Y-%m}", f"{self.end:%Y-%m}"

    def query(self, department: str | None = None) -> str:
        """The address's query that asks for this again; of another department."""
        of = self.department if department is None else department
        return urlencode({"from": self.months[0], "to": self.months[1], **({"department": of} if of else {})})


def _asked(console: Console, begin: str, end: str, department: str) -> _Asked:
    """What was asked for. What cannot be read is the last twelve months; turned around is put right."""
    usual = _Asked.last_year(console.today)
    first, last = sorted((_month(begin) or usual.begin, _month(end) or usual.end.replace(day=1)))
    earliest = _months_before(last, MOST_MONTHS - 1)
    return _Asked(max(first, earliest), _months_before(last, -1) - timedelta(days=1), department)


def _month(text: str) -> date | None:
    try:
        found = date.fromisoformat(f"{text}-01")
    except ValueError:
        return None
    return found if 2000 <= found.year <= 2100 else None


def _months_before(first: date, count: int) -> date:
    """The first day of the month so many months earlier."""
    months = first.year * 12 + first.month - 1 - count
    return date(months // 12, months % 12 + 1, 1)


def _read(console: Console, asked: _Asked) -> tuple[Numbers, Sheets]:
    found = numbers.numbers(console.rt, console.person, asked.begin, asked.end, asked.department)
    return found, number_sheets.sheets(console.rt, found, console.language)


def _file(console: Console, content: bytes, media_type: str, asked: _Asked, ending: str) -> Response:
    name = f"{console.t('nav.numbers')}-{asked.months[0]}-{asked.months[1]}.{ending}"
    disposition = f"attachment; filename=numbers.{ending}; filename*=UTF-8''{quote(name, safe='')}"
    return Response(content, media_type=media_type, headers={"Content-Disposition": disposition})
