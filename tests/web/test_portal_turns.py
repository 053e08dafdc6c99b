"""Many read, and a write does not wait for them: nor does whoever asks for the portal's health."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from anyio import to_thread
from starlette.types import Message

from channels.signing import signed
from tests.channels.rig_portal import KEY
from tests.web.test_portal_process import item
from web.portal import app, turns
from web.portal.cache import Front

PATIENCE = 20.0  # seconds


async def _ask(front: Front, method: str, path: str, body: bytes = b"") -> int:
    """The status that the portal answers with."""
    headers = signed(KEY, method, path, "1" if body else "", body)
    status = list[int]()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        status.extend([message["status"]] if "status" in message else [])

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await asyncio.wait_for(front(scope, receive, send), PATIENCE)
    return status[0]


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Front:
    monkeypatch.setattr("web.portal.logs.configure", lambda: None)
    for name, value in (("PORTAL_DATA", str(tmp_path)), ("PORTAL_KEY", KEY), ("PORTAL_SITE_DOMAIN", "zd.gov.cn")):
        monkeypatch.setenv(name, value)
    return app.create()


def test_a_write_and_a_question_for_health_do_not_wait_for_readers(front: Front) -> None:
    ending = threading.Event()

    async def story() -> None:
        turns.limit_readers()
        busy = [asyncio.create_task(to_thread.run_sync(ending.wait)) for _ in range(turns.READERS)]
        await _until(lambda: to_thread.current_default_thread_limiter().borrowed_tokens == turns.READERS)
        try:
            assert await _ask(front, "PUT", "/api/items/1", item(1)) == 200
            assert await _ask(front, "GET", "/api/health") == 200
            waiting = asyncio.create_task(_ask(front, "GET", "/i/1"))
            await _until(lambda: to_thread.current_default_thread_limiter().statistics().tasks_waiting == 1)
        finally:
            ending.set()
        assert await waiting == 200
        await asyncio.gather(*busy)

    asyncio.run(story())
    front.cache.watch.close()


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)
