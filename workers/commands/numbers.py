"""The numbers: by month, department and channel."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline import counting, number_sheets, numbers, staff
from pipeline.decisions import Refused
from workers.commands.common import DEFAULT_DATA, AsJson, Data, Open, app, day, help_
from workers.show import Screen

From = Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help=help_("numbers_from"))]
To = Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help=help_("numbers_to"))]


@app.command("numbers", help=help_("numbers"))
def numbers_(
    begin: From = None,
    end: To = None,
    department: Annotated[str, typer.Option("--department", help=help_("numbers_department"))] = "",
    csv: Annotated[Path | None, typer.Option("--csv", help=help_("numbers_csv"))] = None,
    xlsx: Annotated[Path | None, typer.Option("--xlsx", help=help_("numbers_xlsx"))] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        counting.refresh(here.rt)
        last = day(end) or here.rt.now().astimezone(here.rt.settings.zone).date()
        first = day(begin) or (last.replace(day=1) - timedelta(days=330)).replace(day=1)
        if first > last:
            raise Refused("numbers.period_reversed", begin=str(first), end=str(last))
        known = staff.departments(here.rt)
        if department and department not in {one.id for one in known}:
            listed = "、".join(f"{one.id}（{one.name}）" for one in known)
            raise Refused("staff.unknown_department", given=department, known=listed)
        found = numbers.numbers(here.rt, None, first, last, department)
        tables = number_sheets.sheets(here.rt, found, here.screen.language)
        makers: dict[Path | None, Callable[[], bytes]] = {
            csv: lambda: number_sheets.as_csv(tables).encode("utf-8-sig"),  # with the mark that spreadsheets look for
            xlsx: lambda: number_sheets.as_xlsx(tables),
        }
        for file, make in makers.items():
            if file is None:
                continue
            try:
                file.write_bytes(make())
            except OSError as error:
                raise Refused("numbers.cannot_write", file=str(file), detail=error.strerror or "") from error
            here.screen.line("numbers.saved", file=file)
        here.screen.json(
            {
                **asdict(found),
                "months": {f"{month:%Y-%m}": asdict(tally) for month, tally in found.months.items()},
            }
        )
        if not as_json and csv is None and xlsx is None:
            _show(here.screen, tables)


def _show(screen: Screen, tables: number_sheets.Sheets) -> None:
    for one in tables:
        table = Table(title=one.title, title_justify="left", header_style="bold")
        for place, name in enumerate(one.head):
            table.add_column(name, justify="right" if place else "left", overflow="fold")
        for row in one.rows:
            table.add_row(*("—" if cell is None else str(cell) for cell in row))
        screen.console.print(table)
