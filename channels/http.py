"""One place where transport failures become our errors.

The question is always the same: did a byte of the request leave? If surely not, nothing was sent (`Unavailable`); if it
may have, the outcome is unknown (`InDoubt`). `requests.ConnectionError` covers both, so we look inside.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
)

from channels.contract import InDoubt, Rejected, Unavailable

CONNECT_SECONDS = 5.0
LARGEST_ANSWER = 8 * 1024 * 1024  # a public page or feed page; more is not ours

_NOTHING_LEFT = (NameResolutionError, NewConnectionError, ConnectTimeoutError)
_threads = local()


def session() -> requests.Session:
    """This thread's session: no hidden retries, and no look at the environment for each call."""
    kept: requests.Session | None = getattr(_threads, "session", None)
    if kept is None:
        kept = _threads.session = requests.Session()
        kept.trust_env = False
        kept.headers["User-Agent"] = "fabu"
        for scheme in ("http://", "https://"):
            kept.mount(scheme, HTTPAdapter(max_retries=0))
    return kept


@contextmanager
def transport() -> Iterator[None]:
    """Turn what `requests` raises into `Unavailable` (no byte left) or `InDoubt` (anything else)."""
    try:
        yield
    except requests.exceptions.InvalidURL as error:
        raise Rejected("http.bad_address") from error
    except requests.exceptions.RequestException as error:
        if _nothing_left(error):
            raise Unavailable("http.unreachable", detail=_name(error)) from error
        raise InDoubt("http.line_broke", detail=_name(error)) from error


def judge(answer: requests.Response) -> None:
    """Raise what a status means: 2xx passes; 429 and 503 nothing was done, try later; other 4xx and any redirect
    refused; 5xx unknown."""
    status = answer.status_code
    if 200 <= status < 300:
        return
    facts = {"status": str(status), "detail": _problem(answer)}
    if status in (429, 503):
        raise Unavailable("http.try_later", retry_after=_seconds(answer.headers.get("Retry-After")), **facts)
    if status >= 500:
        raise InDoubt("http.server_error", **facts)
    raise Rejected("http.refused", **facts)


def _nothing_left(error: requests.exceptions.RequestException) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = _cause(error)
    if isinstance(
        error, requests.exceptions.SSLError
    ):  # also raised when an open connection breaks: only a handshake counts
        return any(word in str(cause) for word in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "HANDSHAKE"))
    return isinstance(cause, _NOTHING_LEFT)


def _cause(error: BaseException) -> BaseException:
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    return inner.reason if isinstance(inner, MaxRetryError) and inner.reason is not None else inner


def _name(error: BaseException) -> str:
    return type(_cause(error)).__name__


def _problem(answer: requests.Response) -> str:
    """The `code` of a problem+json body (RFC 9457), or nothing: never the body itself, which may hold personal data."""
    if "json" not in answer.headers.get("Content-Type", ""):
        return ""
    try:
        body = answer.json()
    except requests.exceptions.JSONDecodeError:
        return ""
    return str(body.get("code") or body.get("title") or "")[:80] if isinstance(body, dict) else ""


def _seconds(header: str | None) -> float | None:
    """Retry-After in its delta form (RFC 9110 §10.2.3); its date form is rare and means our own back-off."""
    return min(float(header), 86_400.0) if header is not None and header.isdigit() else None
