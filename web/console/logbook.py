"""The audit log (操作日志) for those who watch over the office, and whether its processes are at work."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import chain
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from pipeline import health, logbook, staff
from pipeline.decisions import Decision
from web.console.page import Console, Signed, date_of

routes = APIRouter()
SIZE = 50
BOM = "\ufeff"  # the mark that spreadsheets look for
Text = Annotated[str, Query(max_length=100)]
# What each kind of process is called, what it does, and what it means when none is at work.
KINDS = {
    health.Kind.WORKER: ("processes.worker", "processes.worker_what", "processes.worker_gone"),
    health.Kind.BEAT: ("processes.beat", "processes.beat_what", "processes.beat_gone"),
}


@dataclass(frozen=True)
class _Asked:
    """What is looked for, as it was typed."""

    person: str = ""
    decision: str = ""
    item: str = ""
    from_on: str = ""
    to_on: str = ""
    words: str = ""

    def query(self) -> str:
        return urlencode({name: value for name, value in vars(self).items() if value})

    def chosen(self, console: Console) -> logbook.Chosen:
        begin, end = date_of(self.from_on), date_of(self.to_on)
        zone = console.rt.settings.zone
        return logbook.Chosen(
            person=self.person or None,
            decision=Decision(self.decision) if self.decision in set(Decision) else None,
            item=int(self.item) if self.item.isascii() and self.item.isdigit() and len(self.item) < 18 else None,
            since=datetime.combine(begin, time.min, zone) if begin else None,
            until=datetime.combine(end + timedelta(days=1), time.min, zone) if end else None,
            words=self.words.strip(),
        )  # fmt: skip


def _asked(
    person: Text = "", decision: Text = "", item: Text = "", from_on: Text = "", to_on: Text = "", words: Text = ""
) -> _Asked:
    return _Asked(person, decision, item, from_on, to_on, words)


Asked = Annotated[_Asked, Depends(_asked)]


@routes.get("/admin/log")
def log_page(console: Signed, asked: Asked, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
    found = logbook.lines(
        console.rt, console.actor, skip=(page - 1) * SIZE, most=SIZE + 1, **asked.chosen(console)
    )  # fmt: skip
    names = staff.names(console.rt)
    return console.page(
        "admin-log.html", asked=asked, address=asked.query(), page=page, names=names, decisions=list(Decision),
        lines=[(line, logbook.details(console.rt, console.language, names, line)) for line in found[:SIZE]],
        more=len(found) > SIZE,
    )  # fmt: skip


@routes.get("/admin/log.csv")
def log_csv(console: Signed, asked: Asked) -> Response:
    found = logbook.every(console.rt, console.actor, **asked.chosen(console))
    text = logbook.as_table(console.rt, found, console.language)
    headers = {"Content-Disposition": f'attachment; filename="log-{console.today}.csv"'}
    return StreamingResponse(chain([BOM], text), media_type="text/csv; charset=utf-8", headers=headers)


@routes.get("/admin/processes")
def processes_page(console: Signed) -> Response:
    seen = health.processes(console.rt)
    return console.page(
        "admin-processes.html",
        kinds=[(codes, [one for one in seen if one.kind is kind]) for kind, codes in KINDS.items()],
        alive=lambda one: health.is_alive(console.rt, one.seen_at),
    )  # fmt: skip
