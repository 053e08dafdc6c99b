"""Journeys across all rooms: the real command `fabu`, typed on a data directory as the office types it."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from config.locale import say
from config.settings import HERE

FABU = Path(sys.executable).with_name("fabu")
PATIENCE = 60.0  # on a machine that has much else to do
MARK = "FABU_JOURNEY"  # in the environment, which every process started from ours inherits
PIECE = HERE / "samples" / "14-huimin-shequ.txt"


@dataclass(frozen=True)
class Place:
    """A data directory, and what is typed and seen there."""

    data: Path
    started: "list[Running]" = field(default_factory=list)

    def start(self, command: str, *words: str, **environment: str) -> "Running":
        """Start `fabu COMMAND --data …` in a terminal's foreground: a process group of its own, Ctrl-C not ignored."""
        output = self.data.parent / f"{self.data.name}.{len(self.started)}.{command}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [str(FABU), command, *words, "--data", str(self.data)],
                cwd=self.data.parent,
                env=self._environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self.started.append(Running(process, output))
        return self.started[-1]

    def run(self, command: str, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(FABU), command, *words, "--data", str(self.data)],
            cwd=self.data.parent,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def json(self, command: str, *words: str) -> Any:
        done = self.run(command, *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def up(self) -> "Running":
        """`fabu up`, when it has said that it runs."""
        running = self.start("up")
        until(lambda: running.says("up.stop") or running.process.poll() is not None)
        assert running.says("up.stop"), running.output
        return running

    def publish(self, title: str) -> int:
        """Write, submit and approve an item for portal and feed, by three persons; returns its number."""
        item = str(self.json("new", str(PIECE), "--as", "sun", "--title", title)["item"])
        seen = self.json("submit", item, "--as", "sun", "--channels", "portal,app_feed")["hash"]
        assert not self.json("approve", item, "--as", "li", "--hash", seen)["published"]
        assert self.json("approve", item, "--as", "chen", "--hash", seen)["published"]
        return int(item)

    def states(self, item: int) -> dict[str, str]:
        """The state of an item on each channel, as `fabu reach` tells it."""
        return {cell["channel"]: cell["state"] for cell in self.json("reach", str(item))["deliveries"]}

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """Ask a database of the directory, without a lock on it; nothing while it is being made."""
        try:
            with closing(sqlite3.connect(f"file:{self.data / database}?mode=ro", uri=True)) as db:
                return db.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []

    def address(self, part: str) -> str:
        return f"http://127.0.0.1:{json.loads((self.data / 'ports.json').read_text())[part]}"

    def pids(self) -> dict[str, int]:
        """The newest process of each program, as the supervisor logs it."""
        log = (self.data / "logs" / "supervisord.log").read_text()
        return {name: int(pid) for name, pid in re.findall(r"spawned: '(\w+)' with pid (\d+)", log)}

    def stopped(self) -> list[str]:
        """The programs that were stopped on purpose, in order."""
        return re.findall(r"stopped: (\w+) ", (self.data / "logs" / "supervisord.log").read_text())

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started from here, or works here."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        place = str(self.data)
        try:
            return process.status() != psutil.STATUS_ZOMBIE and (
                process.environ().get(MARK) == place
                or Path(process.cwd()).is_relative_to(place)  # Valkey's title overwrites its environment
                or any(place in word for word in process.cmdline())
            )
        except psutil.Error:
            return False

    def _environment(self) -> dict[str, str]:
        """Ours, without what would turn the command elsewhere."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FABU_", "PORTAL_"))}
        return kept | {MARK: str(self.data), "FABU_LOCALE": "zh"}


@dataclass(frozen=True)
class Running:
    """A command that was started, with all that it says."""

    process: "subprocess.Popen[bytes]"
    file: Path

    @property
    def output(self) -> str:
        return self.file.read_text("utf-8")

    def says(self, code: str, **facts: object) -> bool:
        return told(self.output, code, **facts)

    def wait(self, seconds: float = PATIENCE) -> int:
        return self.process.wait(seconds)

    def interrupt(self) -> None:
        """Ctrl-C: the terminal signals the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)


@contextmanager
def office(data: Path) -> Iterator[Place]:
    """A place where, at the end, nothing runs any more; if something does, that is a failure, and it is ended."""
    place = Place(data)
    try:
        yield place
    finally:
        left = place.processes()
        for process in left:
            process.kill()
        for running in place.started:
            running.wait()
        until(lambda: not place.processes())
    assert not left, left


def told(output: str, code: str, **facts: object) -> bool:
    """Does the output hold this sentence, wherever its lines were broken?"""
    return "".join(say("zh", code, **facts).split()) in "".join(output.split())


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until it is so; fails after a time that is long for any machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


def page(address: str) -> str:
    """What a citizen gets there; nothing if nobody answers."""
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return str(answer.read().decode("utf-8"))
    except urllib.error.HTTPError as error:
        return f"{error.code}"
    except OSError:
        return ""
