"""My desk: what waits for me and nothing else."""

from fastapi import APIRouter, Response

from web.console.page import Signed

routes = APIRouter()


@routes.get("/")
def my_desk(console: Signed) -> Response:
    return console.page("desk.html")
