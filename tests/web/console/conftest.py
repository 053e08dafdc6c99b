"""The console as a real server on loopback, people who sign in to it, and a real browser where Debian's is there."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import uvicorn

from pipeline import accounts
from pipeline.models import Account
from tests.office import Bureau
from web.console.app import create

if TYPE_CHECKING:
    pass

PASSWORD = "dianbo-guangdian"
_HASH = accounts._hasher.hash(PASSWORD)  # hashing is slow on purpose: once for all tests


@dataclass
class Person:
    """Somebody with a browser, as far as HTTP goes: cookies, forms with their token, redirects followed."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, path: str, status: int = 200, **how: Any) -> str:
        answer = self.session.get(self.url + path, timeout=20, **how)
        assert answer.status_code == status, (answer.status_code, path, answer.text[-800:])
        return answer.text

    def post(self, path: str, data: Any = None, status: int = 200, **how: Any) -> str:
        """Send a form with the token of this person's pages; follows the redirect to the page after it."""
        answer = self.session.post(self.url + path, {**(data or {}), "csrf": self.csrf()}, timeout=20, **how)
        assert answer.status_code == status, (answer.status_code, path, answer.text[-800:])
        return answer.text

    def csrf(self) -> str:
        found = re.search(r'<meta name="csrf" content="(\w+)">', self.session.get(self.url + "/", timeout=20).text)
        return found[1] if found else ""


@dataclass
class Office:
    """The bureau, and its console at `url`."""

    bureau: Bureau
    url: str

    def sign_in(self, name: str, password: str = PASSWORD) -> Person:
        person = Person(self.url)
        person.session.post(f"{self.url}/sign-in", {"name": name, "password": password}, timeout=20)
        return person


def let_in(bureau: Bureau, *people: str) -> None:
    """Give people a password of their own, as if they had already changed their first one."""
    with bureau.rt.writing() as db:
        for person in people or ("zhao", "wang", "li", "chen", "zhou", "sun", "both"):
            db.merge(
                Account(person=person, password_hash=_HASH, must_change=False, changed_at=bureau.clock(), failures=0)
            )


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Pages are tried on SQLite; what they ask of the ledger is tried on both databases in tests/pipeline."""
    return f"sqlite:///{tmp_path / 'fabu.db'}"


@pytest.fixture
def open_console(open_office: Callable[..., Bureau]) -> Iterator[Callable[..., Office]]:
    """Opens a console on the bureau with changed settings, everybody let in."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def open_it(**changes: Any) -> Office:
        listener = socket.create_server(("127.0.0.1", 0))
        base = changes.pop("base", "")
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{base}"
        bureau = open_office(console_url=url, **changes)
        let_in(bureau)
        server = uvicorn.Server(
            uvicorn.Config(create(bureau.rt), log_level="warning", timeout_keep_alive=75, lifespan="off")
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        servers.append((server, thread))
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        return Office(bureau, url)

    yield open_it
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def office(open_console: Callable[..., Office]) -> Office:
    return open_console()
