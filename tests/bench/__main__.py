"""`python -m tests.bench`: measure, print the table, write the file. Ends with 1 when a bar is missed."""

import argparse
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from rich.console import Console

from tests.bench import mail, measures
from tests.bench.figures import Figure, show, write
from tests.bench.newsletter_pdf import newsletter_pdf
from tests.bench.portal import portal_page, portal_search

MEASURES = (measures.chunks, measures.one_by_one, measures.approval, mail.mails, measures.growth)  # on each database
ALONE = (measures.pages, newsletter_pdf, portal_page, portal_search, mail.signing)


def main() -> int:
    names = [measure.__name__ for measure in (*ALONE, *MEASURES)]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=measures.__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: does it run? its figures mean little")
    parser.add_argument("--only", choices=names, action="append", help="one measure; may be given again")
    parser.add_argument("--out", type=Path, default=Path("var/bench.json"))
    chosen = parser.parse_args()
    console, figures, begun = Console(width=120), list[Figure](), time.monotonic()
    scale = measures.QUICK if chosen.quick else measures.FULL
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    # Not in /tmp, which may be memory: a commit must reach a disk.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.out.parent.resolve()) as folder:
        data = Path(folder)

        def begins(name: str, *where: str) -> bool:
            wanted = name in (chosen.only or names)
            if wanted:
                console.print(f"{time.monotonic() - begun:4.0f} s  {', '.join((name, *where))} …", style="dim")
            return wanted

        for alone in ALONE:
            if begins(alone.__name__):
                figures += alone(data, scale)
        with measures.places(data) as places:
            for measure, place in product(MEASURES, places):
                if begins(measure.__name__, place.name):
                    figures += measure(data, place, scale)
    write(figures, chosen.out)
    show(figures, console)
    load = os.getloadavg()
    console.print(f"{time.monotonic() - begun:.0f} s on {os.cpu_count()} cores; load {load[0]:.1f}. {chosen.out}")
    return 0 if chosen.quick or all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
