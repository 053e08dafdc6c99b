"""A PDF read back: every glyph where it really stands."""

import ctypes
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pypdfium2  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium  # type: ignore[import-untyped]

MM = 72 / 25.4


@dataclass(frozen=True)
class Glyph:
    character: str
    x: float  # points from the left edge of the paper
    y: float  # baseline, points from the upper edge


def glyphs(pdf: bytes) -> list[list[Glyph]]:
    """Page by page."""
    return [list(_glyphs(page)) for page in pypdfium2.PdfDocument(pdf)]


def _glyphs(page: pypdfium2.PdfPage) -> Iterator[Glyph]:
    text = page.get_textpage()
    for at in range(text.count_chars()):
        x, y = ctypes.c_double(), ctypes.c_double()
        pdfium.FPDFText_GetCharOrigin(text, at, x, y)
        character = chr(pdfium.FPDFText_GetUnicode(text, at))
        if not character.isspace():
            yield Glyph(character, x.value, page.get_height() - y.value)


def lines(page: list[Glyph]) -> list[list[Glyph]]:
    """The glyphs of a page by line, from above, each from the left."""
    by_line = defaultdict(list)
    for glyph in page:
        by_line[round(glyph.y, 1)].append(glyph)
    return [sorted(by_line[y], key=lambda glyph: glyph.x) for y in sorted(by_line)]


def words(line: list[Glyph]) -> str:
    return "".join(glyph.character for glyph in line)


def text_of(pdf: bytes) -> str:
    """The text without white space: where a line broke is not part of it."""
    return "".join("".join(page.get_textpage().get_text_range().split()) for page in pypdfium2.PdfDocument(pdf))
