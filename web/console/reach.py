"""Reach (发布情况): items × channels, every attempt behind a cell, and what a person decides about deliveries."""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Response, UploadFile
from fastapi.responses import JSONResponse

from channels.contract import Evidence
from pipeline import desk, items, operate, proof, reach, review, scans, staff
from pipeline.decisions import Refused
from pipeline.reach import Cell
from pipeline.states import State
from pipeline.words import masked, state_code
from web.console.page import Console, Posted, Signed, date_of, upload

routes = APIRouter()
SIZE = 50
MOST_RECIPIENTS = 200  # attempts and sightings shown on one page
Text = Annotated[str, Query(max_length=200)]


def _found(console: Console, asked: dict[str, str], page: int) -> tuple[items.Found, dict[int, dict[str, Cell]]]:
    query = items.Query(
        words=asked["words"].strip(),
        department=asked["department"],
        item_type=asked["type"],
        formed_from=date_of(asked["formed_from"]),
        formed_to=date_of(asked["formed_to"]),
        channel=asked["channel"] if asked["channel"] in console.rt.channels else "",
        state=State(asked["state"]) if asked["state"] in set(State) else None,
        sent=True,
    )
    found = items.search(console.rt, console.person, query, page, SIZE)
    cells: dict[int, dict[str, Cell]] = {}
    for cell in reach.matrix(console.rt, [line.item for line in found.lines]):
        cells.setdefault(cell.item, {})[cell.channel] = cell
    return found, cells


def _asked(
    words: Text = "", department: Text = "", type: Text = "", channel: Text = "", state: Text = "",
    formed_from: Text = "", formed_to: Text = "",
) -> dict[str, str]:  # fmt: skip
    return {
        "words": words, "department": department, "type": type, "channel": channel, "state": state,
        "formed_from": formed_from, "formed_to": formed_to,
    }  # fmt: skip


Asked = Annotated[dict[str, str], Depends(_asked)]
Page = Annotated[int, Query(ge=1, le=100_000)]


@routes.get("/reach")
def reach_page(console: Signed, asked: Asked, page: Page = 1) -> Response:
    found, cells = _found(console, asked, page)
    address = urlencode({name: value for name, value in asked.items() if value})
    return console.page(
        "reach-matrix.html", found=found, cells=cells, asked=asked, address=address, page=page,
        last=max(1, -(-found.total // SIZE)), code=state_code, channels=desk.channels(console.rt),
        labels=_labels(console), departments=staff.departments(console.rt), types=console.rt.settings.item_types,
        states=list(State), live=_mark(cells),
    )  # fmt: skip


@routes.get("/reach/live")
def live(console: Signed, asked: Asked, page: Page = 1, seen: Text = "") -> Response:
    """For the page's module: the table's rows again, when they are not what it shows any more."""
    found, cells = _found(console, asked, page)
    mark = _mark(cells)
    if mark == seen:
        return Response(status_code=204)
    rows = console.fragment(
        "reach-rows.html", found=found, cells=cells, code=state_code, channels=desk.channels(console.rt)
    )  # fmt: skip
    return JSONResponse({"live": mark, "rows": rows})


def _mark(cells: dict[int, dict[str, Cell]]) -> str:
    """Changes whenever a cell shows something else."""
    shown = [
        (cell.item, cell.channel, cell.state, cell.reason, dict(cell.counts), cell.wanted, str(cell.error), cell.unseen)
        for row in cells.values()
        for cell in row.values()
    ]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


@routes.get("/items/{item:int}/reach")
def item_page(console: Signed, item: int) -> Response:
    return _item(console, item)


def _item(console: Console, item: int, wrong: Refused | None = None) -> Response:
    items.require_visible(console.rt, console.person, item)
    found = reach.item_reach(console.rt, item, MOST_RECIPIENTS)
    return console.page(
        "reach-item.html", 409 if wrong else 200,
        line=items.line(console.rt, item), found=found, code=state_code, labels=_labels(console),
        paused={one.channel for one in desk.channels(console.rt) if one.paused_by},
        masked=masked, names=staff.names(console.rt), most=MOST_RECIPIENTS,
        evidence_of=lambda name: _evidence(console, name),
        wrong=console.problem(wrong.code, wrong.facts) if wrong else "", now=console.minute(console.rt.now()),
    )  # fmt: skip


@routes.post("/items/{item:int}/retry")
def retry(
    console: Posted, item: int, channel: Annotated[str, Form()] = "", hurry: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    return _decide(
        console, item, "reach.retried",
        lambda: operate.retry(console.rt, console.actor, item, channel or None, bool(hurry), reason),
    )  # fmt: skip


@routes.post("/items/{item:int}/settle")
def settle(
    console: Posted, item: int, channel: Annotated[str, Form()] = "", sent: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    def decide() -> int:
        if sent not in ("yes", "no"):
            raise Refused("reach.choose_sent")
        return operate.settle(console.rt, console.actor, item, channel, sent == "yes", reason)

    return _decide(console, item, "reach.settled", decide)


@routes.post("/items/{item:int}/post")
def post(
    console: Posted, item: int, place: Annotated[str, Form()] = "", at: Annotated[str, Form()] = "",
    photo: UploadFile | None = None,
) -> Response:  # fmt: skip
    taken = upload(console.rt, photo, "photo.jpg") if photo is not None else None
    return _decide(
        console, item, "reach.posted",
        lambda: operate.post(console.rt, console.actor, item, place, _moment(console, at), taken),
    )  # fmt: skip


@routes.post("/items/{item:int}/unpost")
def unpost(console: Posted, item: int, at: Annotated[str, Form()] = "") -> Response:
    return _decide(
        console, item, "reach.unposted", lambda: operate.unpost(console.rt, console.actor, item, _moment(console, at))
    )


def _decide(console: Console, item: int, said: str, decide: Any) -> Response:
    items.require_visible(console.rt, console.person, item)
    try:
        count = decide()
    except Refused as error:
        return _item(console, item, error)
    return console.done(f"/items/{item}/reach", said, count=count)


@routes.get("/items/{item:int}/scans/{sha256}")
def scan(console: Signed, item: int, sha256: str) -> Response:
    """The photo of a posting, or a signed review sheet; a PDF is handed over, never opened as a page."""
    items.require_visible(console.rt, console.person, item)
    kept = scans.read(console.rt, item, sha256)
    if kept is None:
        raise HTTPException(404)
    how = "attachment" if kept.media_type == "application/pdf" else "inline"
    headers = {
        "Content-Disposition": f'{how}; filename="{kept.name}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(kept.content, media_type=kept.media_type, headers=headers)


@routes.get("/items/{item:int}/withdraw")
def withdraw_page(console: Signed, item: int) -> Response:
    """First what will happen on each channel, then the button."""
    return _withdraw(console, item)


def _withdraw(console: Console, item: int, wrong: Refused | None = None, reason: str = "") -> Response:
    items.require_visible(console.rt, console.person, item)
    return console.page(
        "reach-withdraw.html", 409 if wrong else 200,
        line=items.line(console.rt, item), effects=review.consequences(console.rt, item), labels=_labels(console),
        reason=reason, wrong=console.problem(wrong.code, wrong.facts) if wrong else "",
    )  # fmt: skip


@routes.post("/items/{item:int}/withdraw")
def withdraw(console: Posted, item: int, reason: Annotated[str, Form()] = "") -> Response:
    items.require_visible(console.rt, console.person, item)
    try:
        review.withdraw(console.rt, console.actor, item, reason)
    except Refused as error:
        return _withdraw(console, item, error, reason)
    return console.done(f"/items/{item}/reach", "reach.withdrawn", item=item)


@routes.get("/items/{item:int}/proof")
def proof_file(console: Signed, item: int) -> Response:
    """Everything about one item, as a file that can be checked without Fabu."""
    items.require_visible(console.rt, console.person, item)
    headers = {"Content-Disposition": f'attachment; filename="fabu-proof-{item}.zip"'}
    return Response(proof.of(console.rt, item, console.language), media_type="application/zip", headers=headers)


def _labels(console: Console) -> dict[str, str]:
    return {name: opened.section.label for name, opened in console.rt.channels.items()}


def _evidence(console: Console, channel: str) -> str:
    """How a channel is confirmed; one that the office has given up is read back no more."""
    opened = console.rt.channels.get(channel)
    return opened.traits.evidence.value if opened is not None else Evidence.READBACK.value


def _moment(console: Console, text: str) -> datetime | None:
    """None: now."""
    return console.moment(text) if text else None
