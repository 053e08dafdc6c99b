"""A real portal process on loopback, and the two adapters open against it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import requests

from channels.app_feed import AppFeed
from channels.contract import Channel, Message, Office
from channels.document import Paragraph
from channels.portal import Portal
from channels.signing import signed

KEY = "the key of the tests, long enough"


@dataclass(frozen=True)
class Process:
    """A portal that runs: where, and what it was asked for."""

    url: str
    popen: "subprocess.Popen[bytes]"

    def requests(self) -> dict[str, int]:
        headers = signed(KEY, "GET", "/api/requests", "", b"")
        answer = requests.get(f"{self.url}/api/requests", headers=headers, timeout=5)
        answer.raise_for_status()
        return {str(name): int(count) for name, count in answer.json().items()}

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.popen.send_signal(how)
        return self.popen.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(data: Path, port: int, **environment: str) -> Process:
    """Start a portal; returns when it answers."""
    url = f"http://127.0.0.1:{port}"
    told = {"PORTAL_DATA": str(data), "PORTAL_KEY": KEY, "PORTAL_PUBLIC_URL": url, "PORTAL_SITE_DOMAIN": "zd.gov.cn"}
    popen = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", "web.portal.app:create", "--port", str(port), "--no-access-log"],
        env=os.environ | told | environment,
        stderr=(data.parent / f"portal-{port}.log").open("ab"),
    )
    for _ in range(400):
        if popen.poll() is not None:
            raise RuntimeError(f"the portal did not start: {popen.returncode}")
        try:
            requests.get(f"{url}/api/health", timeout=1)
            return Process(url, popen)
        except requests.ConnectionError:
            time.sleep(0.05)
    popen.kill()
    raise RuntimeError("the portal does not answer")


@contextmanager
def portal_process(data: Path, **environment: str) -> Iterator[Process]:
    process = start(data, free_port(), **environment)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()


@contextmanager
def portal_rig(tmp_path: Path) -> Iterator[tuple[Channel, Callable[[], int]]]:
    """The portal channel against a real portal, and how many items it was asked to put or delete (files aside)."""
    with portal_process(tmp_path / "portal") as process:
        yield Portal(process.url, KEY), lambda: _count(process, "items")


@contextmanager
def app_feed_rig(tmp_path: Path) -> Iterator[tuple[Channel, Callable[[], int]]]:
    """The app feed channel against a real portal, and how many entries it was asked to put or delete."""
    with portal_process(tmp_path / "portal") as process:
        yield AppFeed(process.url, KEY), lambda: _count(process, "feed")


def _count(process: Process, collection: str) -> int:
    return sum(count for name, count in process.requests().items() if name.endswith(f"/api/{collection}"))


def message(
    number: int = 1, title: str = "关于开展安全播出检查的通知", text: str = "各部室：现将有关事项通知如下。"
) -> Message:
    return Message(
        number=number,
        index_number=f"370303/2015-{number:05d}",
        title=title,
        blocks=(Paragraph(text), Paragraph("请认真贯彻执行。")),
        item_type="通知",
        department="办公室",
        office=Office("张店区广播电视局", "370303", phone="0533-2860000"),
        address=f"http://127.0.0.1/i/{number}",
        formed_on=date(2015, 3, 2),
    )
