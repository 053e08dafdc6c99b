"""How what programs read goes out: kept finished in memory, with its tag and compressed (cache.py), and open to the
scripts of other sites (CORS): it is public, and nothing in it depends on who asks."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Response

from web.portal.cache import KEEP

OPEN = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT = OPEN | {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "If-None-Match",  # makes a browser ask first
    "Access-Control-Max-Age": "86400",
}
_HEADERS = OPEN | KEEP | {
    "Access-Control-Expose-Headers": "ETag",
    "Cache-Control": "no-cache",  # ask again each time: it may be withdrawn
    "X-Content-Type-Options": "nosniff",
}  # fmt: skip

_Handler = Callable[..., Any]


def answer(content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """`content` must be a function of the address, the slots and today's date (cache.py)."""
    return Response(content, media_type=media_type, headers=_HEADERS | dict(headers or {}))


def reading(routes: APIRouter, path: str, **described: Any) -> Callable[[_Handler], _Handler]:
    """A route for GET, and what follows of it: HEAD, and OPTIONS for the browsers that ask before they read."""

    def add(handler: _Handler) -> _Handler:
        routes.add_api_route(path, handler, methods=["GET"], **described)
        routes.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)
        routes.add_api_route(path, _preflight, methods=["OPTIONS"], include_in_schema=False)
        return handler

    return add


def _preflight() -> Response:
    return Response(status_code=204, headers=PREFLIGHT)
