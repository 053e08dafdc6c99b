"""The calendar: month or list; what is scheduled may be put off by a form."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from pipeline import agenda, items, operate
from web.console.page import Posted, Signed, date_of

routes = APIRouter()


@routes.get("/calendar")
def calendar_page(
    console: Signed, month: Annotated[str, Query(max_length=7)] = "", view: Annotated[str, Query(max_length=5)] = ""
) -> Response:
    first = _month(month) or console.today.replace(day=1)
    last = _next(first) - timedelta(days=1)
    begin = first - timedelta(days=first.weekday())
    days = agenda.days(console.rt, console.person, begin, last + timedelta(days=6 - last.weekday()))
    return console.page(
        "calendar.html", first=first, weeks=[days[n : n + 7] for n in range(0, len(days), 7)],
        listed=[one for one in days if one.day.month == first.month and (one.entries or one.moved)],
        previous=(first - timedelta(days=1)).replace(day=1), following=_next(first), view=view,
        now=console.rt.now().astimezone(console.rt.settings.zone),
    )  # fmt: skip


@routes.post("/items/{item:int}/postpone")
def postpone(
    console: Posted, item: int, at: Annotated[str, Form()] = "", reason: Annotated[str, Form()] = ""
) -> Response:  # fmt: skip
    items.require_visible(console.rt, console.person, item)
    moment = console.moment(at)
    operate.postpone(console.rt, console.actor, item, moment, reason)
    return console.done(f"/calendar?month={moment:%Y-%m}", "calendar.postponed", item=item, at=console.minute(moment))


def _month(text: str) -> date | None:
    found = date_of(f"{text}-01")
    return found if found and 2000 <= found.year <= 2100 else None


def _next(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)
