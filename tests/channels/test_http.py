"""Nothing left, or unknown: what the one place makes of every way a line can break."""

import logging
import shutil
import socket
import ssl
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
import requests

from channels import http
from channels.contract import InDoubt, Rejected, Unavailable
from tests.channels.fault_server import (
    Behaviour,
    answers,
    breaks_off,
    closes,
    falls_silent,
    refused_url,
    serving,
    trickles,
)


def ask(url: str, seconds: float = 0.5, *, stream: bool = False) -> requests.Response:
    with http.transport():
        return http.session().get(url, timeout=(seconds, seconds), allow_redirects=False, stream=stream)


def test_a_refused_connection_sent_nothing() -> None:
    with pytest.raises(Unavailable) as error:
        ask(refused_url())
    assert error.value.code == "http.unreachable"


def test_a_name_that_nobody_knows_sent_nothing() -> None:
    with pytest.raises(Unavailable):
        ask("http://gateway.invalid/")


@pytest.mark.parametrize("address", ["nonsense", "http://", "ftp://127.0.0.1/", "http://a..b/", "http://[::1/"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(Rejected) as error:
        ask(address)
    assert error.value.code == "http.bad_address"


@pytest.mark.parametrize("behaviour", [closes, falls_silent, trickles, breaks_off])
def test_a_line_that_breaks_after_the_request_leaves_doubt_and_is_not_repeated(behaviour: Behaviour) -> None:
    with serving(behaviour) as server:
        begun = time.monotonic()
        with pytest.raises(InDoubt) as error:
            ask(server.url)
        assert error.value.code == "http.line_broke"
        assert time.monotonic() - begun < 1.5, "the limit is for the whole answer, not for each byte"
        assert len(server.requests) == 1


def test_a_server_that_stops_half_way_does_not_win_a_second_limit() -> None:
    def hesitates(line: socket.socket, end: Event) -> None:
        end.wait(0.6)
        line.sendall(b"HTTP/1.1 202 Accepted\r\n")
        end.wait(60)

    with serving(hesitates) as server:
        begun = time.monotonic()
        with pytest.raises(InDoubt):
            ask(server.url, 0.8)
        assert time.monotonic() - begun < 1.2


def test_a_second_request_that_cannot_connect_sent_nothing_whatever_the_first_did() -> None:
    def both(first: str, second: str) -> None:
        with http.transport():
            for url in (first, second):
                http.session().get(url, timeout=1, allow_redirects=False)

    with serving(answers(200)) as server, pytest.raises(Unavailable):
        both(server.url, refused_url())


def test_a_kept_connection_is_used_again_and_its_limit_starts_anew() -> None:
    def twice(line: socket.socket, _: object) -> None:
        for _ in range(2):
            time.sleep(0.3)
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            line.recv(65536)

    with serving(twice) as server:
        assert [ask(server.url).text, ask(server.url).text] == ["ok", "ok"]
        assert len(server.requests) == 1, "both came over one connection"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to test TLS with")
    file = tmp_path / "own.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*make.split(), "-keyout", file, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return file


def secure(certificate: Path, treat: Callable[[ssl.SSLSocket], None]) -> str:
    """A TLS server for one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            line, _ = listener.accept()
            try:
                with context.wrap_socket(line, server_side=True) as wrapped:
                    treat(wrapped)
            except OSError:
                pass

    Thread(target=serve, daemon=True).start()
    return f"https://localhost:{listener.getsockname()[1]}/"


def test_a_certificate_that_we_do_not_trust_sent_nothing(certificate: Path) -> None:
    with pytest.raises(Unavailable):
        ask(secure(certificate, lambda line: None))


def test_a_server_without_tls_sent_nothing() -> None:
    with serving(closes) as server, pytest.raises(Unavailable):
        ask(server.url.replace("http:", "https:"))


def test_a_line_closed_during_the_handshake_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        Thread(target=hang_up, daemon=True).start()
        with pytest.raises(Unavailable):
            ask(f"https://127.0.0.1:{listener.getsockname()[1]}/")


def test_a_secure_line_that_breaks_after_the_request_leaves_doubt(certificate: Path) -> None:
    def treat(line: ssl.SSLSocket) -> None:
        line.recv(65536)

    url = secure(certificate, treat)
    with pytest.raises(InDoubt), http.transport():
        http.session().get(url, timeout=2, allow_redirects=False, verify=str(certificate))


def test_a_secure_answer_is_read(certificate: Path) -> None:
    def treat(line: ssl.SSLSocket) -> None:
        line.recv(65536)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    url = secure(certificate, treat)
    with http.transport():
        answer = http.session().get(url, timeout=2, allow_redirects=False, verify=str(certificate))
    assert answer.text == "ok"


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        *[(status, Rejected) for status in (301, 302, 307, 400, 401, 403, 404, 409, 410, 422)],
        *[(status, Unavailable) for status in (429, 503)],
        *[(status, InDoubt) for status in (500, 501, 502, 504, 599)],
    ],
)
def test_a_status_decides_the_retry(status: int, raised: type[Exception]) -> None:
    with serving(answers(status, b"", "Location: http://127.0.0.1:1/")) as server:
        answer = ask(server.url)
        with pytest.raises(raised) as error:
            http.judge(answer)
        assert type(error.value) is raised
        assert len(server.requests) == 1, "a redirect is never followed"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_yes_passes(status: int) -> None:
    with serving(answers(status)) as server:
        http.judge(ask(server.url))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30.0), ("999999999", 86_400.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-5", None), ("", None)],
)
def test_the_wait_that_was_asked_for_is_kept(header: str, seconds: float | None) -> None:
    with serving(answers(503, b"", f"Retry-After: {header}")) as server:
        answer = ask(server.url)
    with pytest.raises(Unavailable) as error:
        http.judge(answer)
    assert error.value.retry_after == seconds


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"code": "portal.gone", "detail": "13800000000"}', "portal.gone"),
        (b'{"detail": "13800000000"}', ""),
        (b"[1]", ""),
        (b"not json", ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_of_a_problem_only_its_code_is_kept(body: bytes, detail: str, stream: bool) -> None:
    with serving(answers(409, body, "Content-Type: application/problem+json")) as server:
        answer = ask(server.url, stream=stream)
        with pytest.raises(Rejected) as error:
            http.judge(answer)
    assert error.value.facts == {"status": "409", "detail": detail}


def test_a_body_is_read_up_to_its_limit_and_no_further() -> None:
    with serving(answers(200, b"x" * 200_000)) as server:
        assert len(http.read(ask(server.url, stream=True), 200_000)) == 200_000
        with pytest.raises(InDoubt) as error:
            http.read(ask(server.url, stream=True), 199_999)
    assert error.value.code == "http.answer_too_large"


def test_neither_errors_nor_logs_hold_what_the_address_held(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    number = "1380000" + "0000"  # a traceback shows the lines of this file, too
    broken_head = answers(202, b"", "no colon here")
    with serving(closes) as closing, serving(broken_head) as odd:
        for url in (closing.url, refused_url(), "http://a..b"):
            with pytest.raises((InDoubt, Unavailable, Rejected)) as error:
                ask(f"{url}/?to={number}")
            assert number not in "".join(traceback.format_exception(error.value))
        ask(f"{odd.url}/?to={number}")
    assert number not in caplog.text
