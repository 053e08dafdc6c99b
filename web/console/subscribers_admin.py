"""The subscribers of a channel: looking for one, taking in a list after a look at it, the suppression list, export.

A number is only ever posted: what stands in an address ends up in the log of every server on the way.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Response
from starlette.datastructures import UploadFile

from pipeline import audience, replies, spreadsheets, subscribers
from pipeline.decisions import Refused
from pipeline.runtime import Opened
from web.console.page import Console, Posted, Signed
from web.console.writing import Typed

routes = APIRouter()
SIZE = 50
MOST_BAD = 200  # lines with an error that are shown
MOST_REPLIES = 50
One = Annotated[str, Form()]
PATH = "/admin/subscribers"


def _channels(console: Console) -> list[Opened]:
    return [one for one in console.rt.channels.values() if one.adapter.addressed]


@routes.get("/admin/subscribers")
def subscribers_page(
    console: Signed, channel: Annotated[str, Query(max_length=40)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1, group: Annotated[str, Query(max_length=40)] = "",
) -> Response:  # fmt: skip
    return _page(console, channel, page=page, group=group)


@routes.post("/admin/subscribers/find")
def find(console: Posted, channel: One = "", words: One = "", group: One = "") -> Response:
    return _page(console, channel, words, group=group)


def _page(
    console: Console, channel: str, words: str = "", page: int = 1, typed: tuple[str, str] = ("", ""),
    wrong: Refused | None = None, group: str = "",
) -> Response:  # fmt: skip
    """`typed`: number and reason for the suppression list, to be sent again."""
    addressed, groups = _channels(console), audience.groups(console.rt.settings)
    name = channel or (addressed[0].name if addressed else "")
    found = subscribers.search(console.rt, console.actor, name, words, page, SIZE, group) if addressed else None
    barred, all_barred = subscribers.suppressions(console.rt, console.actor, name) if addressed else ([], 0)
    answers, all_answers = replies.received(console.rt, console.actor, name, MOST_REPLIES) if addressed else ([], 0)
    return console.page(
        "admin-subscribers.html", 409 if wrong else 200,
        addressed=addressed, channel=name, found=found, words=words.strip(), page=page, typed=typed,
        last=max(1, -(-found.total // SIZE)) if found else 1, barred=barred, all_barred=all_barred,
        replies=answers, all_replies=all_answers, kept_days=replies.KEPT.days,
        groups=groups, group=group, names={one.id: one.name for one in groups},
        columns=_columns(console), wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


@routes.get("/admin/subscribers/template.csv")
def template(console: Signed) -> Response:
    return _csv(",".join(_columns(console)) + "\r\n", "subscribers-template")


def _columns(console: Console) -> tuple[str, ...]:
    """What a list says of each; of groups only where there are any."""
    groups = subscribers.GROUP_COLUMNS[1:] if audience.groups(console.rt.settings) else ()
    return (*subscribers.FILE_COLUMNS[:4], *groups)


@routes.post("/admin/subscribers/import")
def look(console: Posted, data: Typed) -> Response:
    """What would become of the list, line by line; nothing is taken yet."""
    channel, file = str(data.get("channel", "")), data.get("file")
    try:
        if not isinstance(file, UploadFile) or not file.filename:
            raise Refused("people.no_file")
        text = spreadsheets.as_csv(file.file.read(spreadsheets.LARGEST + 1))
        foreseen = subscribers.foresee(console.rt, console.actor, channel, text)
    except Refused as error:
        return _page(console, channel, wrong=error)
    return console.page(
        "admin-import.html", foreseen=foreseen, text=text, channel=channel, file=file.filename[:200],
        label=console.rt.channels[channel].section.label, most=MOST_BAD,
    )  # fmt: skip


@routes.post("/admin/subscribers/take")
def take(console: Posted, channel: One = "", text: One = "") -> Response:
    taken = subscribers.import_csv(console.rt, console.actor, channel, text)
    facts = {"new": taken.new, "known": taken.known, "bad": len(taken.bad)}
    return console.done(_back(channel), "subscribers.imported", **facts)


@routes.post("/admin/subscribers/export")
def export(console: Posted, channel: One = "") -> Response:
    return _csv(subscribers.export(console.rt, console.actor, channel), f"subscribers-{console.today}")


@routes.post("/admin/subscribers/{id:int}/remove")
def remove(console: Posted, id: int, channel: One = "") -> Response:
    address = subscribers.remove_listed(console.rt, console.actor, id)
    return console.done(_back(channel), "people.unsubscribed", address=address)


@routes.post("/admin/subscribers/suppress")
def suppress(console: Posted, channel: One = "", number: One = "", reason: One = "", act: One = "") -> Response:
    """Onto the suppression list; with `act` off: from it."""
    decide = subscribers.unsuppress if act == "off" else subscribers.suppress
    try:
        address = decide(console.rt, console.actor, channel, number, reason)
    except Refused as error:
        return _page(console, channel, typed=(number, reason), wrong=error)
    said = "people.unsuppressed" if act == "off" else "people.suppressed"
    return console.done(_back(channel), said, address=address)


def _back(channel: str) -> str:
    return f"{PATH}?channel={channel}" if channel.isidentifier() else PATH


def _csv(text: str, name: str) -> Response:
    """A file with the mark that spreadsheets look for."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text.encode("utf-8-sig"), media_type="text/csv; charset=utf-8", headers=headers)
