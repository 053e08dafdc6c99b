"""What OpenAPI 3.1 says of the two interfaces: what the app reads, and what the pipeline writes."""

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from web.portal import signing
from web.portal.content import Entry, Item
from web.portal.problems import MEDIA_TYPE
from web.portal.settings import Settings

APP = "/api/app/v1"

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `code` is stable and meant for programs, `detail` is for people.",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "description": "The phrase of the HTTP status."},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
    "examples": [
        {
            "type": "about:blank",
            "title": "Gone",
            "status": 410,
            "code": "withdrawn",
            "detail": "该信息已撤下。",
        }
    ],
}
_WRITING = """How the pipeline puts items on a portal; a bureau's own CMS may answer in its place.

**Signature.** Every request carries `X-Fabu-Timestamp` (Unix seconds, at most 300 from the portal's clock),
`X-Fabu-Nonce` (32 hexadecimal digits by chance, new for each request: a write is taken once),
`X-Fabu-Content-SHA256` (of the body, hexadecimal), `X-Fabu-Generation` (of a slot; else empty) and `X-Fabu-Signature`:
the HMAC-SHA256, with the shared key, of method, path and query below the base address, generation, timestamp, nonce and
content hash, each on its line, joined with `\\n`.

**Fence.** A slot keeps the highest generation that it was given, that of a withdrawal included. A lower one is refused
with 409 `generation_superseded`; the same one again is answered `duplicate` when the content is the same, and refused
with 409 `generation_conflict` when it is not. A late request undoes nothing.

**Refusals** are problem documents; none of them changes anything.

**HTML** of a document is the subset `h2`-`h5 p br strong em table thead tbody tr th td`, with no other attributes than
`class`, `scope` and `colspan`, every tag closed in order.
"""


def problems(*refusals: tuple[int, str]) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for `responses`."""
    schema = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": why, "content": schema} for status, why in refusals}


def signed(*, fenced: bool = False, writes: bool = False) -> dict[str, Any]:
    """What a route says of its headers and refusals: arguments of the decorator that makes it one."""
    headers = [
        _header(signing.SIGNATURE, "^[0-9a-f]{64}$"),
        _header(signing.TIMESTAMP, "^[0-9]{1,12}$"),
        _header(signing.NONCE, "^[0-9a-f]{32}$"),
        _header(signing.CONTENT, "^[0-9a-f]{64}$"),
    ]
    if fenced:
        headers.append(_header(signing.GENERATION, "^[1-9][0-9]{0,9}$"))
    refusals = [(401, "wrong_signature, clock_skew, or signature_replayed: unknown, by a wrong clock, or sent again")]
    if fenced:
        refusals += [
            (400, "bad_generation"),
            (404, "bad_number"),
            (409, "generation_superseded, generation_conflict, or file_missing: an attachment was not stored before"),
        ]
    if writes:
        refusals += [(413, "too_large"), (422, "hash_mismatch, or bad_document with the place of the first fault")]
    return {"openapi_extra": {"parameters": headers}, "responses": problems(*refusals)}


def written(media_type: str = "", *documents: type[BaseModel], fenced: bool = True) -> dict[str, Any]:
    """A signed write, with or without a body."""
    route = signed(fenced=fenced, writes=True)
    if media_type:
        schema: dict[str, Any] = {"type": "string", "format": "binary"}
        if documents:
            schema = {"anyOf": [{"$ref": f"#/components/schemas/{document.__name__}"} for document in documents]}
        route["openapi_extra"]["requestBody"] = {"required": True, "content": {media_type: {"schema": schema}}}
    return route


def write_interface(settings: Settings, routes: Sequence[BaseRoute]) -> dict[str, Any]:
    described = _describe(settings, "The write API of the portal", _WRITING, routes)
    _, schemas = models_json_schema(
        [(Item, "validation"), (Entry, "validation")], ref_template="#/components/schemas/{model}"
    )
    described["components"]["schemas"] |= schemas["$defs"]
    return described


def app_interface(settings: Settings, routes: Sequence[BaseRoute], text: str) -> dict[str, Any]:
    return _describe(settings, f"{settings.site_name} · 应用接口", text, routes)


def _describe(settings: Settings, title: str, text: str, routes: Sequence[BaseRoute]) -> dict[str, Any]:
    described = get_openapi(
        title=title, version="1", description=text, routes=routes, servers=[{"url": settings.public_url}]
    )
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return described


def _header(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"type": "string", "pattern": pattern}}
