"""The sandbox as a real process, and the SMS channel that speaks to it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from channels.contract import Channel
from channels.sms import Sms
from tests.channels.fault_server import wait_for


@dataclass
class Sandbox:
    """`settings`: more of its environment. `start` again after `kill`: same folder, same port."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def channel(self) -> Sms:
        return Sms(f"{self.url}/cgi-bin/sendsms", "fabu", "open sesame", "张店区广电局", seconds=5)

    def start(self) -> None:
        self.port = self.port or free_port()
        own = {"SANDBOX_DATA": str(self.folder), "SANDBOX_USERNAME": "fabu", "SANDBOX_PASSWORD": "open sesame"}
        command = f"-m uvicorn --factory web.sandbox.app:create --port {self.port} --log-level warning"
        self.process = subprocess.Popen(
            [sys.executable, *command.split()],
            env={**os.environ, **own, "SANDBOX_PUBLIC_URL": self.url, **self.settings},
        )
        wait_for(self._is_up)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def faults(self, **faults: object) -> None:
        requests.post(f"{self.url}/api/faults", json=faults, timeout=5).raise_for_status()

    def messages(self, **query: str | int) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/api/messages", params=query, timeout=5)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["messages"]
        return found

    def requests(self) -> dict[str, int]:
        counts: dict[str, int] = requests.get(f"{self.url}/api/requests", timeout=5).json()
        return counts

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the sandbox did not start"
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def sandbox(folder: Path, **settings: str) -> Iterator[Sandbox]:
    running = Sandbox(folder, settings)
    running.start()
    try:
        yield running
    finally:
        running.kill()


@contextmanager
def sms_rig(tmp_path: Path) -> Iterator[tuple[Channel, Callable[[], int]]]:
    """The channel, and how many requests to send its phone network has seen."""
    with sandbox(tmp_path) as running:
        yield running.channel, lambda: running.requests()["total"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
