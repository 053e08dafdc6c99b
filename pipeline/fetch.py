"""The guarded fetch: a GET to an address that somebody else wrote down, within limits of time, size and place.

A name is looked up once, every address it has is checked, and the connection goes to a checked address, while Host,
SNI and certificate stay the name's: an answer that changes between check and connection (DNS rebinding) changes
nothing. Redirects are followed by hand, each hop checked like the first. No proxy is asked, no cookie kept.
"""

import http.client
import socket
import ssl
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from re import fullmatch
from threading import Thread
from urllib.parse import urljoin

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError
from urllib3.util import Url, parse_url

SECONDS = 30.0  # everything: name lookup, all hops, the whole answer
LARGEST = 10_000_000  # bytes, on the wire and unpacked
MOST_REDIRECTS = 5
_KEPT = ("Content-Type", "ETag", "Last-Modified")
_EACH_SECONDS = 10.0  # connecting, and each silence of the other side

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]  # a host and a port → its addresses


class FetchError(Exception):
    """It was not fetched. `code` and `facts` are put in words at the edge."""

    def __init__(self, code: str, /, **facts: str) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts


@dataclass(frozen=True)
class Fetched:
    """What came, unpacked, and what to ask with next time (RFC 9110, 13.1). `url`: where it was after redirects."""

    url: str
    content: bytes
    content_type: str = ""
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True)
class Unchanged:
    """304: still what was fetched with this ETag or Last-Modified."""


def look_up(host: str, port: int) -> list[str]:
    """Every address of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def fetch(
    url: str,
    *,
    etag: str = "",
    last_modified: str = "",
    accept: str = "*/*",
    private: bool = False,
    seconds: float = SECONDS,
    largest: int = LARGEST,
    resolve: Resolve = look_up,
) -> Fetched | Unchanged:
    """GET an http or https address. Raises FetchError (`fetch.…`).

    `private`: the host and port named in `url` may be in the own network; others that it redirects to may not.
    """
    asked = {"User-Agent": "fabu", "Accept": accept, "Accept-Encoding": "gzip", "Connection": "close"}
    asked |= {"If-None-Match": etag} if etag else {}
    asked |= {"If-Modified-Since": last_modified} if last_modified else {}
    return _within(seconds, _Visit(asked, largest, resolve, private), url)


def probe(url: str, *, private: bool = False, seconds: float = SECONDS, resolve: Resolve = look_up) -> str:
    """Is there something at an http or https address? Asked with HEAD, and once more with GET where that is not
    answered well: not every server knows HEAD. No body is read. Returns its content type. Raises FetchError; `private`
    as for `fetch`."""
    asked = {"User-Agent": "fabu", "Accept": "*/*", "Connection": "close"}
    for method in ("HEAD", "GET"):
        try:
            found = _within(seconds, _Visit(asked, 0, resolve, private, method, head_only=True), url)
            return found.content_type if isinstance(found, Fetched) else ""
        except FetchError as error:
            if method == "GET" or error.code not in ("fetch.status", "fetch.broke_off", "fetch.silent"):
                raise
    raise AssertionError


def _within(seconds: float, visit: "_Visit", url: str) -> Fetched | Unchanged:
    end = Future[Fetched | Unchanged]()

    def run() -> None:
        try:
            end.set_result(visit.run(url))
        except Exception as error:  # a bug, too, belongs to whoever waits
            end.set_exception(error)

    # On a thread of its own: neither a name lookup nor a server that sends a byte a second can be bounded from within.
    Thread(target=run, name="fetch", daemon=True).start()
    try:
        return end.result(seconds)
    except TimeoutError:
        visit.give_up()
        raise FetchError("fetch.too_slow", seconds=f"{seconds:g}") from None


# Where

_GLOBAL_UNICAST = ip_network("2000::/3")
# Global by the registries, but leading elsewhere: to an IPv4 address inside (6to4: RFC 7526), or to documentation.
_NOT_AFTER_ALL = [ip_network(one) for one in ("192.88.99.0/24", "192.0.0.0/24", "2002::/16", "3fff::/20")]


def is_public(address: Address) -> bool:
    """Is it somebody's on the internet? Not this machine's, a private, shared (CGNAT, RFC 6598), link-local or
    multicast one (IANA special-purpose registries), nor an IPv6 address that stands for an IPv4 one."""
    if not address.is_global or address.is_multicast or any(address in net for net in _NOT_AFTER_ALL):
        return False
    return address.version == 4 or address in _GLOBAL_UNICAST


def _parse(url: str) -> Url:
    try:
        parts = parse_url(url.strip())
    except (HTTPError, UnicodeError) as error:
        raise FetchError("fetch.bad_address", url=url[:200]) from error
    if parts.scheme not in ("http", "https"):
        raise FetchError("fetch.not_http", url=url[:200])
    host = (parts.host or "").strip("[]").rstrip(".")
    if not host or parts.auth or "%" in host:
        raise FetchError("fetch.bad_address", url=url[:200])
    # 2130706433, 0177.0.0.1, 0x7f.1: other ways to write 127.0.0.1 that name lookup understands (inet_aton).
    if fullmatch(r"(?:.*\.)?(?:\d+|0[xX][0-9a-fA-F]*)", host) and not _is_dotted(host):
        raise FetchError("fetch.odd_host", host=host)
    return parts._replace(host=host)


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise FetchError("fetch.bad_address", url=location[:200]) from error


def _place(url: Url) -> tuple[str, int]:
    return url.host or "", url.port or {"http": 80, "https": 443}[url.scheme or ""]


def _is_dotted(host: str) -> bool:
    try:
        return str(IPv4Address(host)) == host
    except ValueError:
        return False


# The visit


@dataclass
class _Visit:
    """One fetch with all its hops."""

    asked: Mapping[str, str]
    largest: int
    resolve: Resolve
    private: bool
    method: str = "GET"
    head_only: bool = False  # whatever the method: no body is read, and every 2xx will do
    line: socket.socket | None = None
    given_up: bool = False
    _own: tuple[str, int] | None = None  # host and port that may be in the own network

    def run(self, url: str) -> Fetched | Unchanged:
        """Raises FetchError."""
        try:
            return self._follow(url)
        except ssl.SSLCertVerificationError as error:
            raise FetchError("fetch.certificate", detail=error.verify_message) from error
        except TimeoutError as error:
            raise FetchError("fetch.silent", seconds=f"{_EACH_SECONDS:g}") from error
        except (OSError, zlib.error, http.client.HTTPException) as error:
            raise FetchError("fetch.broke_off", detail=type(error).__name__) from error

    def give_up(self) -> None:
        """Nobody waits any more: wake the thread from whatever it reads."""
        self.given_up = True
        if self.line is not None:
            with suppress(OSError):
                self.line.shutdown(socket.SHUT_RDWR)

    def _follow(self, url: str) -> Fetched | Unchanged:
        self._own = _place(_parse(url)) if self.private else None
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._get(_parse(url))
            if not isinstance(answer, str):
                return Fetched(url, *answer) if answer else Unchanged()
            url = _join(url, answer)
        raise FetchError("fetch.redirects", limit=str(MOST_REDIRECTS))

    def _get(self, url: Url) -> str | tuple[bytes, str, str, str] | None:
        """One hop: where it redirects to; or content, type, ETag and Last-Modified; or None when unchanged."""
        host, port = _place(url)
        connection = (_Secure if url.scheme == "https" else _Plain)(host, port, timeout=_EACH_SECONDS)
        connection.open = self._open
        try:
            connection.request(self.method, url.request_uri, headers=dict(self.asked))
            self.line = connection.sock
            if self.given_up:
                raise TimeoutError
            answer = connection.getresponse()
            said = answer.headers
            match answer.status:
                case status if self.head_only and 200 <= status < 300:
                    return b"", said.get("Content-Type", ""), "", ""
                case 200:
                    content_type, etag, modified = (said.get(name, "") for name in _KEPT)
                    return self._read(answer), content_type, etag, modified
                case 304:
                    return None
                case 301 | 302 | 303 | 307 | 308 if location := said.get("Location"):
                    return _as_utf8(location)
            raise FetchError("fetch.status", status=str(answer.status))
        finally:
            connection.close()

    def _open(self, host: str, port: int) -> socket.socket:
        """A connection to one of the host's addresses, all of them checked."""
        try:
            addresses = [ip_address(one.partition("%")[0]) for one in self.resolve(host, port)]
        except (socket.gaierror, UnicodeError) as error:
            raise FetchError("fetch.unknown_host", host=host) from error
        for address in addresses:
            if address.is_multicast or address.is_unspecified or not ((host, port) == self._own or is_public(address)):
                raise FetchError("fetch.private_address", host=host, address=str(address))
        for address in addresses[:4]:
            with suppress(OSError):
                return socket.create_connection((str(address), port), _EACH_SECONDS)
        raise FetchError("fetch.unreachable", host=host)

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        """The body, unpacked as it comes, never more of it in hand than is allowed."""
        packed = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if packed not in ("identity", "", "gzip", "x-gzip"):
            raise FetchError("fetch.encoding", encoding=packed[:40])
        unpacker = zlib.decompressobj(31) if "gzip" in packed else None
        body, received = bytearray(), 0
        while piece := answer.read(64 * 1024):
            received += len(piece)
            body += unpacker.decompress(piece, self.largest + 1 - len(body)) if unpacker else piece
            if max(received, len(body)) > self.largest:
                raise FetchError("fetch.too_large", limit=str(self.largest // 1_000_000))
        if answer.length or (unpacker and not unpacker.eof):
            raise FetchError("fetch.broke_off", detail="IncompleteRead")
        return bytes(body)


def _as_utf8(header: str) -> str:
    """A header as servers mean it: http.client reads bytes as Latin-1."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


class _Plain(http.client.HTTPConnection):
    """Connects to where it is told; everything else is the name's."""

    open: Callable[[str, int], socket.socket]

    def connect(self) -> None:
        self.sock = self.open(self.host, self.port)


class _Secure(_Plain, http.client.HTTPSConnection):
    def connect(self) -> None:
        context = ssl.create_default_context()  # trusts what the machine trusts
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        self.sock = context.wrap_socket(self.open(self.host, self.port), server_hostname=self.host)
