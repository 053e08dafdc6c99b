"""Finished pages in memory, served before any framework is asked.

A page that is a function of its address, of the slots and of today's date alone is answered with the header `KEEP`;
all else is done here: it is kept with its compressed copy and its tag, served until a slot changes or the day ends in
Shanghai, and answered with 304 to who holds it. The header itself never goes out.

    return HTMLResponse(html, headers=KEEP)

Several portals on one database see each other's changes: on SQLite by `PRAGMA data_version`, asked at every request (a
few microseconds); on PostgreSQL by LISTEN, within milliseconds. Where it cannot be told, nothing is served from here.
"""

import gzip
import hashlib
import logging
import re
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

import psycopg
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.portal.storage import CHANGED, Storage
from web.portal.turns import WRITERS, apart
from web.portal.words import SHANGHAI

KEEP = {"X-Portal-Keep": "1"}
LARGEST = 64 * 1024 * 1024  # bytes of all pages kept in a process
LARGEST_PAGE = 2 * 1024 * 1024
SMALLEST_COMPRESSED = 500
HEARTBEAT = 2.0  # seconds in which a silent PostgreSQL is asked whether it is still there
AGAIN = 1.0  # seconds after which a lost one is called again

_KEEP = b"x-portal-keep"
_READING = ("GET", "HEAD")
_NOT_COMPRESSED = re.compile(rb"gzip\s*;\s*q=0(?:\.0*)?(?:\s*(?:,|$))")

Key = tuple[bytes, bytes]  # path, query
Asked = tuple[int, date]  # what pages are good for: the slots' version, and the day


class Watch(Protocol):
    """Tells how often the slots have changed, without waiting for anything."""

    def version(self) -> int | None:
        """None: it cannot be told now."""

    async def look(self) -> None:
        """Learn of an own write."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Page:
    """A finished answer in the two shapes of ASGI messages, as it is and compressed, and the one for who holds it."""

    asked: Asked
    tag: bytes
    plain: tuple[Message, Message]
    compressed: tuple[Message, Message] | None
    unchanged: Message
    size: int


class Cache:
    """Pages by address, the least recently asked for dropped first; used by one event loop only."""

    def __init__(self, watch: Watch, today: Callable[[], date] | None = None) -> None:
        self.watch = watch
        self._today = today or (lambda: datetime.now(SHANGHAI).date())
        self._pages: OrderedDict[Key, Page] = OrderedDict()
        self._size = 0

    def asked(self) -> Asked | None:
        version = self.watch.version()
        return None if version is None else (version, self._today())

    def get(self, key: Key, asked: Asked) -> Page | None:
        page = self._pages.get(key)
        if page is None or page.asked != asked:
            return None
        self._pages.move_to_end(key)
        return page

    def put(self, key: Key, page: Page) -> None:
        if (old := self._pages.pop(key, None)) is not None:
            self._size -= old.size
        self._pages[key] = page
        self._size += page.size
        while self._size > LARGEST:
            self._size -= self._pages.popitem(last=False)[1].size


class Front:
    """Stands before the application. `base_path`: where the portal stands below its host's root."""

    def __init__(self, app: ASGIApp, cache: Cache, base_path: str = "") -> None:
        self.app = app
        self.cache = cache
        self._base_path = base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        if method not in _READING:
            scope["root_path"] = self._base_path
            await self._write(scope, receive, send)
            return
        tags = accepted = b""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accepted = value
            elif name == b"if-none-match":
                tags = value
        key = (scope["raw_path"], scope["query_string"])
        asked = self.cache.asked()
        page = self.cache.get(key, asked) if asked else None
        if page is None:
            scope["root_path"] = self._base_path
            page = await self._make(scope, receive, send, key, asked)
            if page is None:  # it is sent, and not kept
                return
        await _send(page, tags, accepted, send, method == "HEAD")

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Who wrote reads what was written: before the answer goes out, this process knows of the change."""

        async def look_first(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300:
                await self.cache.watch.look()
            await send(message)

        await self.app(scope, receive, look_first)

    async def _make(self, scope: Scope, receive: Receive, send: Send, key: Key, asked: Asked | None) -> Page | None:
        """Let the application answer; a page that may be kept is held back, and given."""
        started: Message | None = None
        body = bytearray()
        made: Page | None = None

        async def hold_back(message: Message) -> None:
            nonlocal started, made
            if message["type"] == "http.response.start":
                kept = any(name == _KEEP for name, _ in message["headers"])
                message["headers"] = [(name, value) for name, value in message["headers"] if name != _KEEP]
                if kept and message["status"] in (200, 410) and scope["method"] == "GET":
                    started = message
                    return
            elif started is not None:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    made = _page(started, bytes(body), asked or (-1, date.min))
                    if asked is not None and made.size <= LARGEST_PAGE:
                        self.cache.put(key, made)
                return
            await send(message)

        await self.app(scope, receive, hold_back)
        return made


def _page(started: Message, body: bytes, asked: Asked) -> Page:
    drop = (b"content-length", b"etag", b"vary")
    tag = b'W/"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'  # weak: of the compressed one, too
    common = [(name, value) for name, value in started["headers"] if name not in drop]
    common += [(b"etag", tag), (b"vary", b"Accept-Encoding")]
    small = gzip.compress(body, 6, mtime=0) if len(body) >= SMALLEST_COMPRESSED else b""

    def shape(content: bytes, *more: tuple[bytes, bytes]) -> tuple[Message, Message]:
        length = (b"content-length", str(len(content)).encode())
        start = {"type": "http.response.start", "status": started["status"], "headers": [*common, length, *more]}
        return start, {"type": "http.response.body", "body": content}

    held = [(name, value) for name, value in common if name != b"content-type"]
    return Page(
        asked=asked,
        tag=tag,
        plain=shape(body),
        compressed=shape(small, (b"content-encoding", b"gzip")) if small else None,
        unchanged={"type": "http.response.start", "status": 304, "headers": held},
        size=len(body) + len(small) + 2000,
    )


_NOTHING: Message = {"type": "http.response.body", "body": b""}


async def _send(page: Page, tags: bytes, accepted: bytes, send: Send, head: bool) -> None:
    start, content = page.plain
    if tags and start["status"] == 200 and _holds(tags, page.tag):
        await send(page.unchanged)
        await send(_NOTHING)
        return
    if page.compressed is not None and b"gzip" in accepted and not _NOT_COMPRESSED.search(accepted):
        start, content = page.compressed
    await send(start)
    await send(_NOTHING if head else content)


def _holds(tags: bytes, tag: bytes) -> bool:
    """RFC 9110, 13.1.2: any of the tags, compared weakly."""
    opaque = tag.removeprefix(b"W/")
    return tags.strip() == b"*" or any(one.strip().removeprefix(b"W/") == opaque for one in tags.split(b","))


# ── who tells that something changed ─────────────────────────────────────────────────────────────────────────────────


def watch(storage: Storage) -> Watch:
    return SqliteWatch(storage) if storage.engine.dialect.name == "sqlite" else PostgresWatch(storage)


class SqliteWatch:
    """A connection that never writes: SQLite tells it in a few microseconds whether anybody else has."""

    def __init__(self, storage: Storage) -> None:
        database = storage.engine.url.database
        assert database
        self._connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None, timeout=0)
        self._seen: int | None = None
        self._version: int | None = None

    def version(self) -> int | None:
        try:
            (seen,) = self._connection.execute("PRAGMA data_version").fetchone()
            if seen != self._seen:
                (self._version,) = self._connection.execute("SELECT version FROM standing").fetchone()
                self._seen = seen
            return self._version
        except sqlite3.Error:
            self._seen = None
            return None

    async def look(self) -> None:
        """The next `version` sees it."""

    def close(self) -> None:
        self._connection.close()


class PostgresWatch:
    """A thread that listens; a writer's NOTIFY comes with its commit."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._version: int | None = None
        self._closing = threading.Event()
        threading.Thread(target=self._listen, name="portal-watch", daemon=True).start()

    def version(self) -> int | None:
        return self._version

    async def look(self) -> None:
        self._version = None  # until we know, nothing is served as if it were the present
        self._learn(await apart(WRITERS, self._storage.version))

    def close(self) -> None:
        self._closing.set()

    def _learn(self, version: int) -> None:
        """Versions only grow: what was asked earlier and came later is old."""
        self._version = max(version, self._version or 0)

    def _listen(self) -> None:
        arguments: Any
        _, arguments = self._storage.engine.dialect.create_connect_args(self._storage.engine.url)
        while not self._closing.is_set():
            try:
                with psycopg.connect(**arguments | {"autocommit": True, "connect_timeout": 5}) as connection:
                    connection.execute(f"LISTEN {CHANGED}")
                    while not self._closing.is_set():
                        (version,) = connection.execute("SELECT version FROM standing").fetchone() or (0,)
                        self._learn(version)
                        for _ in connection.notifies(timeout=HEARTBEAT, stop_after=1):
                            pass
            except psycopg.Error as error:
                self._version = None
                logging.getLogger(__name__).warning("the database does not answer: %s", type(error).__name__)
            self._closing.wait(AGAIN)
