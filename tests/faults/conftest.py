"""Bureaus that other processes can open, on either database; and their broker."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import stack
from tests.office import Bureau
from tests.parts import valkey

Found = Callable[..., Bureau]


@pytest.fixture
def valkey_url(tmp_path: Path) -> Iterator[str]:
    """A broker of this test's own: what others left in a queue is not its."""
    with valkey(tmp_path / "valkey") as url:
        yield url


@pytest.fixture
def found(database_url: str, tmp_path: Path) -> Iterator[Found]:
    """Founds the bureau with changed channels and limits. Nobody is woken unless a broker is given."""
    opened: list[Bureau] = []

    def found_it(broker_url: str = "", **changes: object) -> Bureau:
        opened.append(stack.found(tmp_path / "bureau", database_url, broker_url, **changes))
        return opened[-1]

    yield found_it
    for bureau in opened:
        bureau.rt.engine.dispose()
