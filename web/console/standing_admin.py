"""How our public sides stand: how fresh each column is, and which links lead nowhere."""

from collections.abc import Mapping

from fastapi import APIRouter, Response

from pipeline import links, standing
from pipeline.decisions import Decision, permit
from web.console.page import Console, Posted, Signed

routes = APIRouter()
SHOWN = 200  # dead links


@routes.get("/admin/standing")
def standing_page(console: Signed) -> Response:
    lines, labels = standing.lines(console.rt), _labels(console)
    by_channel = {name: [one for one in lines if one.channel == name] for name in labels}
    empty = sum(one.level is standing.Level.EMPTY for one in lines if one.id != standing.WHOLE)
    return console.page(
        "admin-standing.html",
        labels=labels, by_channel={name: found for name, found in by_channel.items() if found}, whole=standing.WHOLE,
        empty=empty, most_empty=standing.EMPTY_COLUMNS, walked=links.report(console.rt), shown=SHOWN,
    )  # fmt: skip


def _labels(console: Console) -> Mapping[str, str]:
    return {name: opened.section.label for name, opened in console.rt.channels.items()}


@routes.post("/admin/standing")
def read_now(console: Posted) -> Response:
    permit(console.actor, Decision.RETRY)  # those who see to what does not arrive
    silent = standing.read_all(console.rt)
    if silent:
        name, error = next(iter(silent.items()))
        why = console.problem(error.code, error.facts)
        return console.done("/admin/standing", "standing.silent", channel=_labels(console)[name], why=why)
    return console.done("/admin/standing", "standing.read")
