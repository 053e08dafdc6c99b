"""What was measured, against its bar: printed for a person, written for a machine."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One value and its bar; without a bar it is there to be read beside the others."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bar(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""

    @property
    def met(self) -> bool:
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )


def write(figures: Sequence[Figure], file: Path) -> None:
    """Keep the figures as a list of `{name, value, unit, at_least, at_most}`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(figure) for figure in figures], ensure_ascii=False, indent=1) + "\n", "utf-8")


def head(console: Console) -> None:
    """What stands above the figures."""
    console.print(_lines([("measured", "value", "unit", "bar", "")]), style="bold")


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print figures, a line each; the columns of all that are printed stand below each other."""
    console.print(
        _lines(
            (
                figure.name,
                f"{figure.value:,.4g}" if figure.value < 1000 else f"{figure.value:,.0f}",
                figure.unit,
                figure.bar,
                "" if not figure.bar else "met" if figure.met else "[bold red]missed[/]",
            )
            for figure in figures
        )
    )


def _lines(rows: Iterable[tuple[str, str, str, str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=76)
    table.add_column(width=7, justify="right")
    table.add_column(width=12)
    table.add_column(width=7, justify="right")
    table.add_column(width=6)
    for row in rows:
        table.add_row(*row)
    return table
