"""The guarded fetch: what it refuses to visit, what it refuses to take, and when it gives up."""

import gzip
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from pipeline import fetch as fetching
from pipeline.fetch import Fetched, FetchError, Unchanged, fetch, is_public
from tests.channels.fault_server import answers, breaks_off, closes, falls_silent, serving, trickles, wait_for
from tests.pipeline.sites import Page, Site, website


@pytest.fixture
def site() -> Iterator[Site]:
    with website() as one:
        yield one


def refused(url: str, **how: object) -> str:
    with pytest.raises(FetchError) as error:
        fetch(url, **how)  # type: ignore[arg-type]
    return error.value.code


# ── where ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["8.8.8.8", "202.102.128.68", "2400:3200::1"])
def test_addresses_on_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


NOT_PUBLIC = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.127.255.255", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "255.255.255.255",
    "240.0.0.1", "198.18.0.1", "192.0.0.1", "192.88.99.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "fec0::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1",
    "2001:0:1::1", "2001:db8::1", "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_of_the_own_network_are_not_public_and_not_visited(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = _connections(monkeypatch)
    assert not is_public(ip_address(address))
    assert refused("http://feed.example/", resolve=lambda *_: [address]) == "fetch.private_address"
    assert refused("http://feed.example/", resolve=lambda *_: ["8.8.8.8", address]) == "fetch.private_address"
    assert tried == []


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "127.1", "127.0.0.01", "127.0.0.1", "127.0.0.1.",
     "localhost", "LOCALHOST.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0"],
)  # fmt: skip
def test_however_loopback_is_written_nothing_is_asked_of_it(site: Site, host: str) -> None:
    assert refused(f"http://{host}:{site.port}/") in {"fetch.private_address", "fetch.odd_host", "fetch.unknown_host"}
    assert site.asked == []


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1"])
def test_a_host_in_disguise_is_refused_even_where_the_own_network_is_allowed(site: Site, host: str) -> None:
    assert refused(f"http://{host}:{site.port}/", private=True) == "fetch.odd_host"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "fetch.not_http"), ("feed", "fetch.not_http"), ("file:///etc/passwd", "fetch.not_http"),
        ("ftp://a.example/", "fetch.not_http"), ("gopher://a.example/", "fetch.not_http"),
        ("http://", "fetch.bad_address"), ("http://a:99999/", "fetch.bad_address"),
        ("http://user:word@a.example/", "fetch.bad_address"), ("http://[fe80::1%25lo]/", "fetch.bad_address"),
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_website_is_refused(url: str, code: str) -> None:
    assert refused(url) == code


def _connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where connections would have gone; none of them comes about."""
    tried: list[str] = []

    def connect(address: tuple[str, int], *_: object) -> socket.socket:
        tried.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    return tried


def test_a_name_that_changes_its_address_after_the_check_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, answers = _connections(monkeypatch), iter([["8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]])
    assert refused("http://rebind.example/", resolve=lambda *_: next(answers)) == "fetch.unreachable"
    assert tried == ["8.8.8.8"] and next(answers) == ["127.0.0.1"]  # looked up once


def test_the_connection_goes_to_the_address_that_was_checked_and_the_host_stays_the_name(site: Site) -> None:
    site.pages["/feed"] = Page(b"hello")
    got = fetch(f"http://feed.example:{site.port}/feed", private=True, resolve=lambda *_: ["127.0.0.1"])
    assert isinstance(got, Fetched) and got.content == b"hello"
    assert site.asked[0][1]["Host"] == f"feed.example:{site.port}"


def test_the_certificate_must_be_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to test TLS with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=feed.example"
    named = ["-addext", "subjectAltName=DNS:feed.example"]
    subprocess.run([*make.split(), *named, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)

    def behaviour(line: socket.socket, end: threading.Event) -> None:
        with context.wrap_socket(line, server_side=True) as secure:
            secure.recv(65536)
            answers(200, b"secret")(secure, end)

    with _tls_server(behaviour) as port:

        def get(host: str) -> Fetched | Unchanged:
            return fetch(f"https://{host}:{port}/", private=True, resolve=lambda *_: ["127.0.0.1"])

        with pytest.raises(FetchError, match=r"fetch.certificate"):  # nobody vouches for it
            get("feed.example")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        got = get("feed.example")
        assert isinstance(got, Fetched) and got.content == b"secret"
        with pytest.raises(FetchError, match=r"fetch.certificate"):
            get("other.example")
        assert asked == ["feed.example", "feed.example", "other.example"]


class _tls_server:
    """Hands every connection over before a byte of it is read."""

    def __init__(self, behaviour: object) -> None:
        self.behaviour = behaviour

    def __enter__(self) -> int:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return int(self.listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self.listener.accept()
            except OSError:
                return
            line.settimeout(10)
            try:
                self.behaviour(line, threading.Event())  # type: ignore[operator]
            except OSError:  # the other side did not trust us
                line.close()


# ── redirects ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _to(location: str) -> Page:
    return Page(status=302, headers={"Location": location})


def test_five_redirects_are_followed_and_a_sixth_is_not(site: Site) -> None:
    site.pages |= {f"/{n}": _to(f"{n + 1}") for n in range(10)} | {"/6": Page(b"there")}
    got = fetch(f"{site.url}/1", private=True)
    assert isinstance(got, Fetched) and (got.content, got.url) == (b"there", f"{site.url}/6")
    site.asked.clear()
    assert refused(f"{site.url}/0", private=True) == "fetch.redirects"
    assert site.paths == [f"/{n}" for n in range(6)]


def test_a_redirect_into_the_own_network_is_not_followed(site: Site) -> None:
    with website() as inner:
        inner.pages["/"] = Page(b"secret")
        for location in (inner.url, f"//127.0.0.1:{inner.port}/", f"http://localhost:{site.port}/",
                         f"http://[::1]:{inner.port}/"):  # fmt: skip
            site.pages["/feed"] = _to(location)  # the permission is for this website, not for where it leads
            assert refused(f"{site.url}/feed", private=True) == "fetch.private_address"
        assert inner.asked == [] and set(site.paths) == {"/feed"}


def test_every_hop_is_looked_up_and_checked(site: Site) -> None:
    site.pages["/feed"] = _to(f"http://inner.example:{site.port}/secret")
    names: list[str] = []

    def resolve(host: str, _: int) -> Sequence[str]:
        names.append(host)
        return ["127.0.0.1"]

    url = f"http://feed.example:{site.port}/feed"
    assert refused(url, private=True, resolve=resolve) == "fetch.private_address"
    assert (names, site.paths) == (["feed.example", "inner.example"], ["/feed"])


@pytest.mark.parametrize(
    ("location", "code"), [("file:///etc/passwd", "fetch.not_http"), ("http://[", "fetch.bad_address")]
)
def test_a_redirect_to_what_is_no_website_is_refused(site: Site, location: str, code: str) -> None:
    site.pages["/feed"] = _to(location)
    assert refused(f"{site.url}/feed", private=True) == code


# ── how much ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_packed_answer_is_unpacked(site: Site) -> None:
    site.pages["/feed"] = Page(gzip.compress("正文".encode()), headers={"Content-Encoding": "gzip"})
    got = fetch(f"{site.url}/feed", private=True)
    assert isinstance(got, Fetched) and got.content.decode() == "正文"


def test_what_is_too_large_is_not_taken_packed_or_not(site: Site) -> None:
    million = 1_000_000
    site.pages["/fits"] = Page(b"x" * million)
    site.pages["/large"] = Page(b"x" * (million + 1))
    site.pages["/bomb"] = Page(gzip.compress(bytes(200 * million)), headers={"Content-Encoding": "gzip"})
    assert isinstance(fetch(f"{site.url}/fits", private=True, largest=million), Fetched)
    for path in ("/large", "/bomb"):
        assert refused(f"{site.url}{path}", private=True, largest=million) == "fetch.too_large"


def test_a_gzip_bomb_is_never_held_in_memory(site: Site) -> None:
    import tracemalloc

    site.pages["/bomb"] = Page(gzip.compress(bytes(200_000_000)), headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        assert refused(f"{site.url}/bomb", private=True, largest=1_000_000) == "fetch.too_large"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (Page(gzip.compress(b"text" * 9999)[:-20], headers={"Content-Encoding": "gzip"}), "fetch.broke_off"),
        (Page(b"no gzip", headers={"Content-Encoding": "gzip"}), "fetch.broke_off"),
        (Page(b"short", headers={"Content-Length": "500"}), "fetch.broke_off"),
        (Page(b"zz\r\nno chunk", headers={"Transfer-Encoding": "chunked"}), "fetch.broke_off"),
        (Page(b"x", headers={"Content-Encoding": "br"}), "fetch.encoding"),
        (Page(b"x", headers={"Content-Encoding": "gzip, gzip"}), "fetch.encoding"),
        (Page(status=404), "fetch.status"), (Page(status=500), "fetch.status"), (Page(status=302), "fetch.status"),
    ],
)  # fmt: skip
def test_half_an_answer_and_another_status_are_no_answer(site: Site, page: Page, code: str) -> None:
    site.pages["/feed"] = page
    assert refused(f"{site.url}/feed", private=True) == code


@pytest.mark.parametrize("behaviour", [closes, breaks_off])
def test_a_line_that_breaks_is_said(behaviour: object) -> None:
    with serving(behaviour) as server:  # type: ignore[arg-type]
        assert refused(server.url, private=True) in {"fetch.broke_off", "fetch.status"}


# ── how long ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_trickles_for_ever_is_left_and_so_is_its_thread() -> None:
    with serving(trickles) as server:
        assert refused(server.url, private=True, seconds=0.5) == "fetch.too_slow"
        wait_for(lambda: not any(thread.name == "fetch" for thread in threading.enumerate()))


def test_a_body_that_trickles_for_ever_is_left_and_so_is_its_thread() -> None:
    def body(line: socket.socket, end: threading.Event) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while not end.wait(0.05):
            line.sendall(b"x")

    with serving(body) as server:
        assert refused(server.url, private=True, seconds=0.5) == "fetch.too_slow"
        wait_for(lambda: not any(thread.name == "fetch" for thread in threading.enumerate()))


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_EACH_SECONDS", 0.2)
    with serving(falls_silent) as server:
        assert refused(server.url, private=True) == "fetch.silent"


def test_a_name_server_that_never_answers_is_given_up() -> None:
    over = threading.Event()

    def resolve(*_: object) -> list[str]:
        over.wait(30)
        return []

    assert refused("http://feed.example/", resolve=resolve, seconds=0.2) == "fetch.too_slow"
    over.set()


def test_a_name_that_nobody_has_is_said() -> None:
    def resolve(*_: object) -> list[str]:
        raise socket.gaierror

    assert refused("http://feed.example/", resolve=resolve) == "fetch.unknown_host"


# ── again ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_has_not_changed_is_not_sent_again(site: Site) -> None:
    site.pages["/feed"] = Page(b"text", headers={"ETag": '"1"', "Last-Modified": "Mon, 23 Nov 2026 02:00:00 GMT"})
    got = fetch(f"{site.url}/feed", private=True)
    assert isinstance(got, Fetched) and got.etag == '"1"'
    again = fetch(f"{site.url}/feed", private=True, etag=got.etag, last_modified=got.last_modified)
    assert isinstance(again, Unchanged)
    headers = site.asked[1][1]
    assert (headers["If-None-Match"], headers["If-Modified-Since"]) == ('"1"', "Mon, 23 Nov 2026 02:00:00 GMT")
    site.pages["/feed"] = Page(b"other", headers={"ETag": '"2"'})
    assert isinstance(fetch(f"{site.url}/feed", private=True, etag='"1"'), Fetched)


def test_an_address_in_chinese_is_asked_for_as_browsers_do(site: Site) -> None:
    site.pages["/%E5%85%AC%E5%91%8A?q=%E4%B8%80"] = Page(b"text")
    assert isinstance(fetch(f"{site.url}/公告?q=一#part", private=True), Fetched)
