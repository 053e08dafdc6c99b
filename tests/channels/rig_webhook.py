"""A receiver as docs/adding-a-channel.md shows it, on loopback, and the webhook channel that speaks to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn

from channels.contract import Channel
from channels.webhook import Webhook
from tests.channels import receiver
from tests.channels.fault_server import wait_for

SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMsIGxvbmcgZW5vdWdo"


@contextmanager
def served(app: object) -> Iterator[str]:
    """An ASGI application on loopback; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning", lifespan="off"))  # type: ignore[arg-type]
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def webhook_rig(tmp_path: Path) -> Iterator[tuple[Channel, Callable[[], int]]]:
    """The channel, and how many events its receiver was sent."""
    asked: list[str] = []
    app = receiver.create(SECRET)

    @app.middleware("http")
    async def count(request, call_next):  # type: ignore[no-untyped-def]
        if request.method == "POST":
            asked.append(request.url.path)
        return await call_next(request)

    with served(app) as url:
        yield Webhook(f"{url}/fabu", SECRET), lambda: len(asked)
