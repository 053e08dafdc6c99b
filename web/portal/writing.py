"""The write API: files, items and feed entries come in. First it is asked who sends them, then they are counted, then
fenced; a refusal changes nothing. Described by OpenAPI at `/api/openapi.json`, for whoever puts another portal here."""

import asyncio
import hashlib
import time
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from web.portal import description, signing
from web.portal.content import Entry, Item, Publication, read
from web.portal.office import HOME
from web.portal.problems import Problem
from web.portal.settings import AMNESIA
from web.portal.state import Portal, State
from web.portal.storage import LARGEST_NUMBER, Kind, Stored
from web.portal.turns import WATCHERS, WRITERS, apart

LARGEST_FILE = 20 * 1024 * 1024
LARGEST_DOCUMENT = 2 * 1024 * 1024
LISTED = 50  # slots on one page of a listing: their bodies are read for it
HEALTH_SECONDS = 3.0

routes = APIRouter(prefix="/api")


Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


class Collection(StrEnum):
    ITEMS = "items"
    FEED = "feed"

    @property
    def kind(self) -> Kind:
        return Kind.ITEM if self is Collection.ITEMS else Kind.ENTRY

    @property
    def document(self) -> type[Publication]:
        return Item if self is Collection.ITEMS else Entry


@routes.put("/files/{sha256}", **description.written("application/octet-stream", fenced=False))
async def put_file(request: Request, portal: Portal, sha256: Sha256) -> JSONResponse:
    """Keep a file of at most 20 MB under its hash. It is public while an item names it, and swept away when for a day
    none did."""
    await _admit(request, portal, "files", sha256)
    content = await _body(request, LARGEST_FILE)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Problem(422, "hash_mismatch", "the address is not the hash of the file")
    if portal.settings.fault != AMNESIA:
        await apart(WRITERS, portal.storage.keep, sha256, content)
    return JSONResponse({"status": Stored.STORED})


@routes.put("/{collection}/{number:int}", **description.written("application/json", Item, Entry))
async def put(request: Request, portal: Portal, collection: Collection, number: int) -> JSONResponse:
    """Fill a slot with a document of at most 2 MB: an `Item` in items, an `Entry` in feed."""
    await _admit(request, portal, collection, str(number))
    generation = _generation(request, number)
    body = await _body(request, LARGEST_DOCUMENT)
    stored = await apart(WRITERS, _fill, portal, collection, number, generation, body)
    return JSONResponse({"status": stored, "generation": generation})


def _fill(portal: State, collection: Collection, number: int, generation: int, body: bytes) -> Stored:
    files = read(collection.document, number, body).files
    if portal.settings.fault == AMNESIA:
        return Stored.STORED
    return portal.storage.put(collection.kind, number, generation, body, files)


@routes.delete("/{collection}/{number:int}", **description.written())
async def delete(request: Request, portal: Portal, collection: Collection, number: int) -> JSONResponse:
    """Take down what the slot shows. The tombstone stays, also where nothing was: a late original does not come out."""
    await _admit(request, portal, collection, str(number))
    generation = _generation(request, number)
    await _body(request, 0)
    stored = await apart(WRITERS, portal.storage.put, collection.kind, number, generation, None)
    return JSONResponse({"status": stored, "generation": generation})


@routes.get("/health", responses={503: {"description": "the database does not answer"}})
async def health(request: Request, portal: Portal) -> JSONResponse:
    """Anyone may ask; who signs also learns whether the key is right. 503 soon when the database does not answer."""
    if signing.SIGNATURE in request.headers:
        _check(request, portal)
    try:
        await asyncio.wait_for(asyncio.shield(apart(WATCHERS, portal.storage.ping)), HEALTH_SECONDS)
    except (TimeoutError, SQLAlchemyError):
        return JSONResponse({"status": "the database does not answer"}, status_code=503)
    return JSONResponse({"status": "ok"})


@routes.get("/openapi.json", include_in_schema=False)
async def described(portal: Portal) -> JSONResponse:
    return JSONResponse(description.write_interface(portal.settings, routes.routes))


@routes.get("/requests", **description.signed())
async def requests(request: Request, portal: Portal) -> JSONResponse:
    """How many write requests came in from who holds the key, the repeated and the otherwise refused included, as far
    back as the log is kept (upkeep.LOG_KEPT)."""
    _check(request, portal)
    return JSONResponse(await apart(WRITERS, portal.storage.requests))


@routes.get("/columns", **description.signed())
async def columns(request: Request, portal: Portal) -> JSONResponse:
    """How fresh the portal is: the whole of it (`home`) and each column, with how many items it shows, when the newest
    of them was first published (null: it shows none), and after how many days without a new one it counts as
    abandoned (null: never)."""
    _check(request, portal)
    return JSONResponse({"columns": await apart(WRITERS, _columns, portal)})


def _columns(portal: State) -> list[dict[str, Any]]:
    office, updated = portal.office, portal.storage.updated()
    limits = [(HOME, "首页", office.home_limit_days), *((one.id, one.name, one.limit_days) for one in office.columns)]
    return [
        {"id": id, "name": name, "items": items, "updated_at": at.isoformat() if at else None, "limit_days": limit}
        for id, name, limit in limits
        for items, at in [updated["" if id == HOME else id]]
    ]


@routes.get("/{collection}", **description.signed())
async def kept(request: Request, portal: Portal, collection: Collection, after: int = 0) -> JSONResponse:
    """Every slot that was ever filled, tombstones included, by number, a page at a time; `next`: where to go on."""
    _check(request, portal)
    begin = min(max(after, 0), LARGEST_NUMBER)
    slots = await apart(WRITERS, portal.storage.kept, collection.kind, begin, LISTED)
    following = slots[-1]["number"] if len(slots) == LISTED else None
    return JSONResponse({"slots": slots, "next": following})


async def _admit(request: Request, portal: Portal, collection: str, name: str) -> None:
    """Ask who sends the request, then count it: strangers make no table grow."""
    try:
        _check(request, portal)
    except Problem:
        await _drain(request)
        raise
    generation, nonce = request.headers.get(signing.GENERATION, ""), request.headers[signing.NONCE]
    try:
        await apart(WRITERS, portal.storage.log, request.method, collection, name, generation, nonce)
    except Problem:
        await _drain(request)
        raise


def _check(request: Request, portal: Portal) -> None:
    target = request.url.path.removeprefix(portal.settings.base_path)
    if request.url.query:
        target += f"?{request.url.query}"
    signing.check(portal.settings.key, request.method, target, request.headers, time.time())


def _generation(request: Request, number: int) -> int:
    text = request.headers.get(signing.GENERATION, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and 1 <= int(text) <= LARGEST_NUMBER):
        raise Problem(400, "bad_generation", signing.GENERATION)
    if not 1 <= number <= LARGEST_NUMBER:
        raise Problem(404, "bad_number")
    return int(text)


async def _body(request: Request, limit: int) -> bytes:
    """The body, checked against the hash that was signed. Raises Problem 413 or 422."""
    kept, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            kept += chunk
        elif size > limit + LARGEST_FILE:
            break
    if size > limit:
        raise Problem(413, "too_large", f"at most {limit} bytes")
    if hashlib.sha256(kept).hexdigest() != request.headers.get(signing.CONTENT):
        raise Problem(422, "hash_mismatch", signing.CONTENT)
    return bytes(kept)


async def _drain(request: Request) -> None:
    """Read on for a while before refusing: who is cut off while sending never sees the answer."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST_FILE:
            return
