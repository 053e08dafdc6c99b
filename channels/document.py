"""Text in official style → blocks; blocks → HTML, plain text, data for Typst.

Levels of an official text (GB/T 9704-2012, 7.3.3): 一、 then （一） then 1. 1． or 1、 then （1） or (1).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A numbered heading. `level` 1–4; `text` with its number; `run_in`: body text following in the same paragraph."""

    level: int
    text: str
    run_in: str = ""


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells, all rows equally long; the first row is the header."""

    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Closing:
    """Signature (署名) and date (成文日期) that close a text, either may be empty."""

    name: str
    date: str


Block = Heading | Paragraph | Table | Closing
