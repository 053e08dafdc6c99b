"""Fixtures shared by all rooms: real databases, a real broker."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.database import open_engine
from pipeline.migrate import upgrade
from tests.office import Bureau, open_bureau, settings_for
from tests.parts import create_database, database, postgres, valkey

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
_serial = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One PostgreSQL for this test process, started when first asked for."""
    with postgres(tmp_path_factory.mktemp("postgres"), fsync=False) as url:
        yield url


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Valkey for this test process."""
    with valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def ledgers(cluster: str) -> str:
    """The name of a PostgreSQL database with the present schema and nothing else: copied in a tenth of the time that
    the migrations take."""
    engine = open_engine(create_database(cluster, "ledgers"))
    upgrade(engine)
    engine.dispose()
    return "ledgers"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables: every test that asks runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with database(request.getfixturevalue("cluster"), f"empty_{next(_serial)}") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A ledger's database, to be opened: every test that asks runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fabu.db'}"  # `open_bureau` makes the file
        return
    cluster, template = request.getfixturevalue("cluster"), request.getfixturevalue("ledgers")
    with database(cluster, f"test_{next(_serial)}", template) as url:
        yield url


@pytest.fixture
def open_office(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Bureau]]:
    """Opens the bureau with changed settings, on either database."""
    opened: list[Bureau] = []

    def open_it(**changes: object) -> Bureau:
        opened.append(open_bureau(settings_for(tmp_path, database_url, **changes)))
        return opened[-1]

    yield open_it
    for bureau in opened:
        bureau.rt.engine.dispose()


@pytest.fixture
def bureau(open_office: Callable[..., Bureau]) -> Bureau:
    """The bureau as it comes, on either database."""
    return open_office()


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """Debian's Chromium, driven by Playwright; without it the test is skipped and says so. Closed with the module:
    while it is open, no other event loop can run in this thread."""
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed (apt-get install chromium fonts-noto-cjk)")
    from playwright.sync_api import sync_playwright

    os.environ.setdefault("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
    quiet = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=quiet)
        yield browser
        browser.close()
