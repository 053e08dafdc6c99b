"""A website on loopback: pages that a test sets, with ETags honoured, and every request kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass(frozen=True)
class Page:
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Site:
    port: int
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, Message]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)  # what was asked with HEAD

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@contextmanager
def website() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers))
            page = site.pages.get(self.path, Page(status=404))
            etag = page.headers.get("ETag")
            same = etag is not None and self.headers.get("If-None-Match") == etag
            self.send_response(304 if same else page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()  # without a length: the end is the end of the connection
            if not same:
                self.wfile.write(page.body)

        def do_HEAD(self) -> None:
            site.heads.append(self.path)
            page = site.pages.get(self.path, Page(status=404))
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(server.server_port)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield site
        finally:
            server.shutdown()
