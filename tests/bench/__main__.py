"""`python -m tests.bench`: measure, print what is found at once, write the file. Ends with 1 when a bar is missed."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

from rich.console import Console

from tests.bench import mail, measures
from tests.bench.console import console_pages
from tests.bench.figures import Figure, head, show, write
from tests.bench.newsletter_pdf import newsletter_pdf
from tests.bench.portal import portal_page, portal_search

ALONE = (measures.pages, newsletter_pdf, portal_page, portal_search, mail.signing)
MEASURES = (measures.chunks, measures.one_by_one, measures.approval, mail.mails, console_pages)  # on each database
TOGETHER = (measures.growth,)  # on both: their ledgers are filled at the same time


def main() -> int:
    names = [measure.__name__ for measure in (*ALONE, *MEASURES, *TOGETHER)]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=measures.__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: does it run? its figures mean little")
    parser.add_argument("--only", choices=names, action="append", help="one measure; may be given again")
    parser.add_argument("--out", type=Path, default=Path("var/bench.json"))
    chosen = parser.parse_args()
    console, figures, begun = Console(width=120), list[Figure](), time.monotonic()
    scale = measures.QUICK if chosen.quick else measures.FULL
    chosen.out.parent.mkdir(parents=True, exist_ok=True)

    def take(name: str, measure: Callable[[], list[Figure]], where: str = "") -> None:
        if name not in (chosen.only or names):
            return
        began = time.monotonic()
        found = measure()
        show(found, console)
        took = f"{', '.join(filter(None, (name, where)))}: {time.monotonic() - began:.0f} s"
        console.print(f"{took}, {time.monotonic() - begun:.0f} s in all", style="dim")
        figures.extend(found)
        write(figures, chosen.out)  # a run that is broken off has said what it knows

    head(console)
    # Not in /tmp, which may be memory: a commit must reach a disk.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.out.parent.resolve()) as folder:
        data = Path(folder)
        for alone in ALONE:
            take(alone.__name__, partial(alone, data, scale))
        with measures.places(data) as places:
            for measure, place in product(MEASURES, places):
                take(measure.__name__, partial(measure, data, place, scale), place.name)
            for together in TOGETHER:
                take(together.__name__, partial(together, data, places, scale))
    load, missed = os.getloadavg(), [figure.name for figure in figures if not figure.met]
    console.print(f"{time.monotonic() - begun:.0f} s on {os.cpu_count()} cores; load {load[0]:.1f}. {chosen.out}")
    for name in missed:
        console.print(f"missed: {name}", style="bold red")
    return 1 if missed and not chosen.quick else 0


if __name__ == "__main__":
    sys.exit(main())
