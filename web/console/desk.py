"""My desk: what waits for me and nothing else."""

from fastapi import APIRouter, Response

from pipeline import desk, staff, standing, working_copy
from pipeline.decisions import Decision
from web.console.page import Signed

routes = APIRouter()
MOST = 50  # of each kind; the rest is in its own list


@routes.get("/")
def my_desk(console: Signed) -> Response:
    labels = {name: opened.section.label for name, opened in console.rt.channels.items()}
    return console.page(
        "desk.html", desk=desk.desk(console.rt, console.person), names=staff.names(console.rt), labels=labels,
        most=MOST, unsaved=working_copy.all_of(console.rt, console.person.id),
        stale=standing.troubles(console.rt) if console.may(Decision.RETRY) else [],
    )  # fmt: skip
