"""Servers that go wrong on purpose, on real sockets, each counting the requests it read."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread

Behaviour = Callable[[socket.socket, Event], None]


@dataclass
class FaultServer:
    """`requests`: the bytes of every request that arrived whole."""

    port: int
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answers(status: int, body: bytes = b"", *headers: str) -> Behaviour:
    """Answers at once, and closes."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close", *headers]
    whole = "\r\n".join([*lines, "", ""]).encode() + body
    return lambda line, _: line.sendall(whole)


def closes(line: socket.socket, _: Event) -> None:
    """Reads the request and closes without an answer."""


def falls_silent(_: socket.socket, end: Event) -> None:
    """Reads the request and never answers."""
    end.wait(60)


def trickles(line: socket.socket, end: Event) -> None:
    """Answers a byte at a time, and never comes to an end."""
    line.sendall(b"HTTP/1.1 202 Accepted\r\n")
    while not end.wait(0.1):
        line.sendall(b"x")


def breaks_off(line: socket.socket, _: Event) -> None:
    """Says yes, and closes in the middle of it."""
    line.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 500\r\n\r\n0: Acc")


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[FaultServer]:
    """A server on loopback that treats each request so."""
    end = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = FaultServer(listener.getsockname()[1])

        def serve(line: socket.socket) -> None:
            with line, suppress(OSError):
                line.settimeout(10)
                request = _read_request(line)
                if request:
                    server.requests.append(request)
                    behaviour(line, end)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    Thread(target=serve, args=(line,), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            end.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def refused_url() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def _read_request(line: socket.socket) -> bytes:
    """A whole request, or nothing when the line closes first."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = line.recv(65536)
        if not piece:
            return b""
        request += piece
    head, _, body = request.partition(b"\r\n\r\n")
    length = 0
    for header in head.split(b"\r\n")[1:]:
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        piece = line.recv(65536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body


def wait_for(what: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until it is so; fails when it never is."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
