"""Items: the list that people search, and one item with where it stands and what may be done with it."""

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Query, Response

from channels.document import parse, to_html
from pipeline import collect, issues, items, reach, staff
from pipeline.items import Phase
from pipeline.words import state_code
from web.console.page import Posted, Signed, date_of

routes = APIRouter()
SIZE = 30
Text = Annotated[str, Query(max_length=200)]


@routes.get("/items")
def items_page(
    console: Signed, words: Text = "", phase: Text = "", department: Text = "", type: Text = "", mine: Text = "",
    formed_from: Text = "", formed_to: Text = "", page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:  # fmt: skip
    query = items.Query(
        words=words.strip(),
        phase=Phase(phase) if phase in set(Phase) else None,
        department=department,
        item_type=type,
        author=console.person.id if mine else "",
        formed_from=date_of(formed_from),
        formed_to=date_of(formed_to),
    )
    found = items.search(console.rt, console.person, query, page, SIZE)
    asked = {
        "words": words, "phase": phase, "department": department, "type": type, "mine": mine,
        "formed_from": formed_from, "formed_to": formed_to,
    }  # fmt: skip
    return console.page(
        "items-list.html", found=found, asked=asked, phases=list(Phase), departments=staff.departments(console.rt),
        types=console.rt.settings.item_types, names=staff.names(console.rt), page=page,
        withdraws=console.may_withdraw(),
        last=max(1, -(-found.total // SIZE)),
        address=urlencode({name: value for name, value in asked.items() if value}),
    )  # fmt: skip


@routes.get("/items/{item:int}")
def item_page(console: Signed, item: int) -> Response:
    items.require_visible(console.rt, console.person, item)
    history = items.history(console.rt, item)
    cells = reach.matrix(console.rt, [item])
    return console.page(
        "items-item.html", history=history, line=history.line, draft=history.draft, cells=cells, code=state_code,
        names=staff.names(console.rt), channels=console.rt.channels,
        html=to_html(parse(history.draft.text)),
        public=f"{console.rt.settings.public_url}/i/{item}", changes=collect.changes_of(console.rt, item),
        issue=issues.of_item(console.rt, item),
    )  # fmt: skip


@routes.post("/items/{item:int}/compare")
def compare(console: Posted, item: int) -> Response:
    """The source was changed, and the item stays as it is."""
    items.require_visible(console.rt, console.person, item)
    collect.compared(console.rt, console.actor, item)
    return console.done(f"/items/{item}", "items.compared_done")


@routes.get("/items/{item:int}/files/{sha256}")
def file(console: Signed, item: int, sha256: str) -> Response:
    """An attachment of the latest revision; handed over, never opened in the console's own name."""
    items.require_visible(console.rt, console.person, item)
    for one in items.history(console.rt, item).draft.files:
        if one.sha256 == sha256:
            headers = {
                "Content-Disposition": f"attachment; filename*=UTF-8''{quote(one.name, safe='')}",
                "Content-Security-Policy": "default-src 'none'; sandbox",
            }
            return Response(one.content, media_type=one.media_type, headers=headers)
    raise HTTPException(404)
