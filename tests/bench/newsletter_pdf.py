"""What it costs to make a PDF of a 24-page issue, against the bare compiler with the same source."""

import json
import statistics
import time
from pathlib import Path
from typing import Protocol

import pypdfium2  # type: ignore[import-untyped]
import typst

from channels import newsletter
from channels.bulletin import Bulletin
from channels.typst import TEMPLATES, fonts
from tests.bench.figures import Figure
from tests.channels.issues import number

ENTRIES, PARAGRAPHS, PHOTOS, PAGES = 18, 5, 8, 24
FIRST, ALIKE = 1051, 210  # so many items further on, an issue has its tables, titles and days at the same places
SOURCE = TEMPLATES / "newsletter.typ"


class Runs(Protocol):
    @property
    def runs(self) -> int: ...


def newsletter_pdf(data: Path, scale: Runs) -> list[Figure]:
    """From the approved rendition to the file's bytes as the notice board prints them, against `typst.compile` with all
    at hand. Turn about, and no text comes twice: Typst remembers what it has set. Beside it the whole way from the
    message: pictures are read and made smaller, characters looked up in the fonts."""
    board, times = Bulletin(data / "board"), list[tuple[float, float, float]]()
    families = json.dumps(fonts().families)
    for turn in range(scale.runs + 1):
        firsts = (FIRST + ALIKE * (3 * turn + at) for at in range(3))
        bare, ready, whole = (number(ENTRIES, paragraphs=PARAGRAPHS, photos=PHOTOS, first=first) for first in firsts)
        written, source = newsletter.printed(ready), newsletter.page(newsletter.printed(bare))
        inputs = {"data": json.dumps(source, ensure_ascii=False), "fonts": families}
        begun = time.monotonic()
        typst.compile(SOURCE, root=TEMPLATES, font_paths=fonts().loaded, ignore_system_fonts=True, sys_inputs=inputs,
                      format="pdf", pdf_standards="ua-1", timestamp=0)  # fmt: skip
        compiled = time.monotonic()
        pdf = board.preview(written)
        set_ = time.monotonic()
        newsletter.pdf(whole)
        times.append((compiled - begun, set_ - compiled, time.monotonic() - set_))
        assert len(pypdfium2.PdfDocument(pdf)) == PAGES
    compiler, ours, all_of_it = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return [
        Figure(f"a {PAGES}-page issue set ÷ bare typst.compile", ours / compiler, "ratio", at_most=2),
        Figure(f"a {PAGES}-page issue set", ours * 1000, "ms"),
        Figure(f"bare typst.compile of {PAGES} pages", compiler * 1000, "ms"),
        Figure(f"a {PAGES}-page issue from the message, {PHOTOS} photographs made smaller", all_of_it * 1000, "ms"),
    ]
