"""The numbers as tables in words: the same on the page, in spreadsheets and on the command line."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from config.locale import Language, catalogue, say
from pipeline import staff
from pipeline.counting import WITHDRAWN
from pipeline.logbook import FORMULAS
from pipeline.numbers import Numbers, Tally
from pipeline.runtime import Runtime
from pipeline.states import State

Cell = str | int | float | None

# Columns in this order; a state that nothing is in has none, unless its absence is good news to read.
STATES = (*(one.value for one in (State.CONFIRMED, State.ACCEPTED, State.DUE, State.SENDING, State.FAILED,
                                  State.IN_DOUBT, State.ON_HOLD, State.SKIPPED)), WITHDRAWN)  # fmt: skip
ALWAYS = {State.CONFIRMED.value, State.FAILED.value}


@dataclass(frozen=True)
class Sheet:
    """A table: each row begins with what it is about. None: there is nothing to say. `totalled`: the last row adds up
    the others."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    totalled: bool = False


@dataclass(frozen=True)
class Sheets:
    months: Sheet
    departments: Sheet
    channels: Sheet

    def __iter__(self) -> Iterator[Sheet]:
        return iter((self.months, self.departments, self.channels))


def sheets(rt: Runtime, found: Numbers, language: Language) -> Sheets:
    """By month, by department, and deliveries by channel and state."""
    words, names = catalogue(language), staff.names(rt)

    def word(code: str) -> str:
        return say(language, code)

    columns = (
        word("numbers.items"), word("numbers.withdrawn"), word("numbers.on_time"), word("numbers.share"),
        word("numbers.median"), word("numbers.returned"), word("numbers.refused"),
    )  # fmt: skip
    total = (word("numbers.total"), *_cells(found.total))
    months = [(f"{month:%Y-%m}", *_cells(tally)) for month, tally in found.months.items()]
    departments = [(names.department(one), *_cells(tally)) for one, tally in found.departments.items()]
    states = [one for one in STATES if one in ALWAYS or any(one in counts for counts in found.channels.values())]
    channels: list[tuple[Cell, ...]] = [
        (_label(rt, name, words["numbers.rehearsal"]), sum(counts.values()), *(counts.get(one, 0) for one in states))
        for name, counts in found.channels.items()
    ]
    return Sheets(
        Sheet(word("numbers.by_month"), (word("numbers.month"), *columns), (*months, total), True),
        Sheet(word("numbers.by_department"), (words["word.department"], *columns), (*departments, total), True),
        Sheet(
            word("numbers.by_channel"),
            (words["word.channel"], word("numbers.deliveries"), *(words[f"state.{one}"] for one in states)),
            tuple(channels),
        ),
    )


def _cells(tally: Tally) -> tuple[Cell, ...]:
    share = f"{tally.permille // 10}.{tally.permille % 10}%" if tally.permille is not None else None
    median = int(tally.median) if tally.median is not None and tally.median.is_integer() else tally.median
    return tally.items, tally.withdrawn, tally.on_time, share, median, tally.returned, tally.refused


def _label(rt: Runtime, channel: str, rehearsal: str) -> str:
    """The channel's name; of one that the office has given up, its id. A rehearsal says so."""
    if channel not in rt.channels:
        return channel
    section = rt.channels[channel].section
    return f"{section.label}（{rehearsal}）" if section.rehearsal else section.label


def as_csv(tables: Sheets) -> str:
    """All tables as one CSV (RFC 4180), each under its title; no cell is a formula."""
    written = io.StringIO()
    rows = csv.writer(written)
    for place, one in enumerate(tables):
        rows.writerows([[]] if place else [])
        rows.writerow([one.title])
        rows.writerow(map(_plain, one.head))
        rows.writerows(map(_plain, row) for row in one.rows)
    return written.getvalue()


def _plain(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) else cell


def as_xlsx(tables: Sheets) -> bytes:
    """A workbook (ISO/IEC 29500) with a sheet for each table; text is text, whatever it begins with."""
    from openpyxl import Workbook  # slow to import, and seldom asked for
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    book.remove(book.active)
    for one in tables:
        sheet = book.create_sheet(one.title)
        for row, cells in enumerate((one.head, *one.rows), 1):
            for column, value in enumerate(cells, 1):
                cell = sheet.cell(row, column, value)
                if isinstance(value, str):
                    cell.data_type = "s"
                if row == 1 or (one.totalled and row == len(one.rows) + 1):
                    cell.font = Font(bold=True)
        for column, width in enumerate(_widths((one.head, *one.rows)), 1):
            sheet.column_dimensions[get_column_letter(column)].width = width
        sheet.freeze_panes = "B2"
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def _widths(rows: Sequence[Sequence[Cell]]) -> list[int]:
    """In characters: a Chinese one is two wide."""
    wide = [[len(str(cell).encode("gb18030", "replace")) for cell in row] for row in rows]
    return [min(max(column) + 2, 60) for column in zip(*wide, strict=True)]
