"""One place where transport failures become our errors.

The question is always the same: did a byte of the request leave? If surely not, nothing was sent (`Unavailable`); if it
may have, the outcome is unknown (`InDoubt`). No exception of `requests` tells the two apart in all cases (a connection
reset may come from the handshake or from after the request), so our own connections note the moment a request is
handed to the socket.
"""

import http.client
import io
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError

from channels.contract import InDoubt, Rejected, Unavailable

CONNECT_SECONDS = 5.0
LARGEST_ANSWER = 8 * 1024 * 1024  # a public page or feed page; more is not ours

_BAD_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    LocationValueError,  # `http://a..b/`: requests lets it through
)
_threads = local()

# urllib3 logs request lines (all at DEBUG, some in warnings), and that of an SMS holds number, text and password.
logging.getLogger("urllib3").setLevel(logging.ERROR)


def session() -> requests.Session:
    """This thread's session: no hidden retries, and no look at the environment for each call.

    A `timeout=(connect, read)` limits the *whole* reading of head and body, not each single read as in plain
    `requests`: a server that trickles cannot outlast a lease. Pass `allow_redirects=False` with every call.
    """
    kept: requests.Session | None = getattr(_threads, "session", None)
    if kept is None:
        kept = _threads.session = requests.Session()
        kept.trust_env = False
        kept.headers["User-Agent"] = "fabu"
        for scheme in ("http://", "https://"):
            kept.mount(scheme, _Adapter(max_retries=0))
    return kept


@contextmanager
def transport() -> Iterator[None]:
    """Turn what `requests` raises into `Unavailable` (no byte left), `InDoubt` (one may have) or `Rejected` (the
    address is none)."""
    _threads.left = False
    try:
        yield
    except (requests.exceptions.RequestException, HTTPError) as error:
        # `from None`: the text of these errors holds the address, and that of an SMS holds number, text and password.
        if isinstance(error, _BAD_ADDRESS):
            raise Rejected("http.bad_address") from None
        if _threads.left:
            raise InDoubt("http.line_broke", detail=_name(error)) from None
        raise Unavailable("http.unreachable", detail=_name(error)) from None


def judge(answer: requests.Response) -> None:
    """Raise what a status means: 2xx passes; 429 and 503 nothing was done, try later; other 4xx and any redirect
    refused; the rest unknown."""
    status = answer.status_code
    if 200 <= status < 300:
        return
    facts = {"status": str(status), "detail": _problem(answer)}
    if status in (429, 503):
        raise Unavailable("http.try_later", retry_after=_seconds(answer.headers.get("Retry-After")), **facts)
    if 300 <= status < 500:
        raise Rejected("http.refused", **facts)
    raise InDoubt("http.server_error", **facts)


def read(answer: requests.Response, largest: int = LARGEST_ANSWER) -> bytes:
    """The body of an answer asked for with `stream=True`, unpacked. Call it inside `transport`. Raises InDoubt when it
    is larger than `largest`, before more than that is held."""
    body = bytearray()
    for piece in answer.iter_content(64 * 1024):
        body += piece
        if len(body) > largest:
            answer.close()
            raise InDoubt("http.answer_too_large", status=str(answer.status_code))
    return bytes(body)


class _Reader(io.RawIOBase):
    """Reads a socket until a deadline: http.client gives each single read the full timeout."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        limit = sock.gettimeout()
        self._raw, self._sock = raw, sock
        self._until = None if limit is None else time.monotonic() + limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._until is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer took too long")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock))


class _Noting:
    """A connection that notes when a request begins to leave."""

    response_class: Any = _Response

    def send(self: Any, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _threads.left = True
        super().send(data)  # type: ignore[misc]


class _Http(_Noting, HTTPConnection):
    pass


class _Https(_Noting, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        _threads.left = False
        return super().send(*args, **kwargs)


def _name(error: BaseException) -> str:
    """The kind of the innermost error, without its words."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    cause = inner.reason if isinstance(inner, MaxRetryError) and inner.reason is not None else inner
    return type(cause).__name__


def _problem(answer: requests.Response) -> str:
    """The `code` of a problem+json body (RFC 9457), or nothing: never the body itself, which may hold personal data."""
    if "json" not in answer.headers.get("Content-Type", ""):
        return ""
    try:
        body = json.loads(read(answer, 64 * 1024))
    except (requests.exceptions.RequestException, InDoubt, ValueError, RecursionError):
        return ""
    return str(body.get("code") or body.get("title") or "")[:80] if isinstance(body, dict) else ""


def _seconds(header: str | None) -> float | None:
    """Retry-After in its delta form (RFC 9110 §10.2.3); its date form is rare and means our own back-off."""
    return min(float(header), 86_400.0) if header is not None and header.isdigit() else None
