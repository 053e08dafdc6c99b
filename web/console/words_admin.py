"""The word table: which set phrases the checks point at."""

import re
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Form, Response

from pipeline import phrases, staff
from pipeline.decisions import Refused
from web.console.page import Console, Posted, Signed

routes = APIRouter()
One = Annotated[str, Form()]
NOTHING = {"correct": "", "wrong": "", "from_on": "", "to_on": ""}


@routes.get("/admin/words")
def words_page(console: Signed) -> Response:
    return _page(console, NOTHING)


def _page(console: Console, typed: dict[str, str], wrong: Refused | None = None) -> Response:
    return console.page(
        "admin-words.html", 409 if wrong else 200, lines=phrases.lines(console.rt), names=staff.names(console.rt),
        typed=typed, wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


@routes.post("/admin/words")
def add_words(console: Posted, correct: One = "", wrong: One = "", from_on: One = "", to_on: One = "") -> Response:
    """`wrong`: what it is mistaken for, several with marks or line breaks between."""
    mistaken = re.split(r"[、，,；;\s]+", wrong)
    try:
        added = phrases.add(console.rt, console.actor, correct, mistaken, _day(from_on), _day(to_on))
    except Refused as error:
        return _page(console, {"correct": correct, "wrong": wrong, "from_on": from_on, "to_on": to_on}, error)
    told = "”“".join(line.wrong for line in added)
    return console.done("/admin/words", "words.added", correct=added[0].correct, wrong=told)


@routes.post("/admin/words/{id:int}/end")
def end_words(console: Posted, id: int) -> Response:
    ended = phrases.end(console.rt, console.actor, id)
    return console.done("/admin/words", "words.ended", wrong=ended.wrong)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text.strip() else None
    except ValueError as error:
        raise Refused("console.bad_time", given=text[:30]) from error
