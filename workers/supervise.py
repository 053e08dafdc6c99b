"""Keep a handful of programs running: supervisord as a child, with a configuration written for the occasion.

It knows nothing of Fabu. What holds whatever is killed, and whoever kills it:

- a program that ends comes back within about a second, without limit;
- supervisord dies: the kernel kills its programs (workers/tied.py);
- the process that called `start` dies: the kernel sends supervisord SIGTERM, which stops all in order;
- Ctrl-C reaches only the caller: supervisord has a session of its own;
- the next start on the same directory waits for the last program of an earlier run to go, then resumes.

In the directory: `supervisor.lock`, `supervisor/` (0700: configuration, orders, control socket), `logs/NAME.log`.
"""

import errno
import fcntl
import http.client
import json
import math
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from config.sockets import remove_socket, short_socket
from workers import tied

LOG_SIZE = "5MB"
LOGS_KEPT = 3
TAIL_LINES = 12
CONTROL = "control.sock"


@dataclass(frozen=True)
class Program:
    """One program to keep running, in the caller's working directory.

    `ready`: does it serve? `port`: the loopback port it listens on; while a stranger holds it, who might answer `ready`
    in its place, nothing starts. `priority`: the lower, the earlier started and the later stopped; starting does not
    wait for the earlier ones to be ready. `environment` is added to the caller's. After `stop_signal` it has
    `stop_seconds`, then it is killed; both go to its whole process group.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True
    port: int | None = None
    priority: int = 999
    stop_signal: str = "TERM"
    stop_seconds: float = 10


class SuperviseError(Exception):
    """Supervision did not begin. `code` and `facts` are put in words at the edge."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts

    def __str__(self) -> str:
        return " ".join([self.code, *(f"{name}={value}" for name, value in self.facts.items())])


class NotReady(SuperviseError):
    """A program was not ready in time; `log` is the path of its log, `tail` the log's end."""


class PortTaken(SuperviseError):
    """Somebody else listens on a program's port; `holder` is the name and process id, as far as we may see it."""


class AlreadyRunning(SuperviseError):
    """Another supervisor, or programs that one left behind, hold the directory; `pid` is the holder, if known."""


class Supervisor:
    """Programs under supervision in `directory`, stopped when the `with` block is left."""

    def __init__(self, directory: Path, programs: Sequence[Program]) -> None:
        self._directory = directory.absolute()
        self._private = self._directory / "supervisor"
        self._logs = self._directory / "logs"
        self._programs = tuple(programs)
        self._password = secrets.token_hex(16)
        self._lock: int | None = None
        self._supervisord: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, seconds: float) -> None:
        """Start all programs; return when every one is ready. Only from the main thread, see `tied.die_with_parent`.

        Raises NotReady after `seconds`, with all stopped again, PortTaken, or AlreadyRunning.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("supervisord dies with the thread that starts it: start from the main thread")
        deadline = time.monotonic() + seconds
        self._take_lock()
        try:
            self._await_earlier_run(deadline)
            self._check_ports()
            self._write_configuration()
            self._launch()
            self._await_ready(deadline)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> signal.Signals | None:
        """Block until SIGINT, SIGTERM or SIGHUP comes, and say which; None: supervisord ended by itself.

        A signal ignored so far, as SIGHUP is under nohup, stays ignored. Before and after, signals do what they always
        do: Ctrl-C raises KeyboardInterrupt, and leaving the `with` block stops all.
        """
        received: list[int] = []
        signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        previous = {
            each: signal.signal(each, lambda number, _: received.append(number))
            for each in signals
            if signal.getsignal(each) is not signal.SIG_IGN
        }
        try:
            while not received and not self._ended(0.2):
                pass
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)
        return signal.Signals(received[0]) if received else None

    def stop(self) -> None:
        """Stop all programs, the last started first, and leave no process behind. Safe to repeat."""
        if self._supervisord is not None:
            pid = self._supervisord.pid  # ours until it is reaped below, and so is the session of this number
            os.kill(pid, signal.SIGTERM)
            if not self._ended(sum(program.stop_seconds for program in self._programs) + 5):
                os.kill(pid, signal.SIGKILL)
                self._ended(5)
            _clear_session(pid)
            self._supervisord.wait()
            self._supervisord = None
            remove_socket(self._private, CONTROL)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def pids(self) -> dict[str, int]:
        """The process id of each program that runs at this moment."""
        if self._supervisord is None:
            return {}
        control = short_socket(self._private, CONTROL)
        transport = SupervisorTransport("supervisor", self._password, f"unix://{control}")
        try:
            with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
                answer: Any = server.supervisor.getAllProcessInfo()
        except (OSError, http.client.HTTPException):
            return {}
        return {each["name"]: each["pid"] for each in answer if each["pid"]}

    def _take_lock(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._directory / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode()
            os.close(lock)
            raise self._already_running(holder) from None
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def _await_earlier_run(self, deadline: float) -> None:
        """If an earlier caller was killed, its supervisord may still be stopping its programs: let it finish."""
        self._private.mkdir(mode=0o700, exist_ok=True)
        alive = os.open(self._private / "alive.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while True:
                try:
                    return fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise self._already_running("") from None
                time.sleep(0.05)
        finally:
            os.close(alive)

    def _check_ports(self) -> None:
        for program in self._programs:
            if program.port is not None and not _is_free(program.port):
                facts = {"program": program.name, "port": str(program.port), "holder": _listener(program.port)}
                raise PortTaken("supervise.port_taken", **facts)

    def _write_configuration(self) -> None:
        """Every path is relative to the directory, or in an order: supervisord's configuration expands % and cuts ;."""
        self._logs.mkdir(exist_ok=True)
        for old in self._private.glob("*.json"):
            old.unlink()
        python = [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", "supervisor/supervisord.conf"]
        self._write_order("supervisord", signal.SIGTERM, python, self._directory, {})
        for program in self._programs:
            self._write_order(program.name, signal.SIGKILL, program.command, Path.cwd(), program.environment)
        sections = [self._daemon_section(), *map(_program_section, self._programs)]
        with _private_file(self._private / "supervisord.conf") as file:
            file.write("\n".join(sections))

    def _write_order(
        self, name: str, tie: signal.Signals, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        path = self._private / f"{name}.json"
        order = {"signal": tie, "command": command, "directory": str(directory), "environment": dict(environment)}
        with _private_file(path) as file:
            json.dump(order, file)
        os.utime(path, (0, 0))  # never started yet: tied.py keeps the last start here

    def _daemon_section(self) -> str:
        control = short_socket(self._private, CONTROL)
        file = control.relative_to(self._directory) if control.is_relative_to(self._directory) else control
        user = "user=root" if os.geteuid() == 0 else ""
        return f"""[supervisord]
{user}
silent=true
nocleanup=true
minfds=256
minprocs=1
childlogdir=logs
logfile=logs/supervisord.log
logfile_maxbytes={LOG_SIZE}
logfile_backups={LOGS_KEPT}
pidfile=supervisor/supervisord.pid

[unix_http_server]
file={str(file).replace("%", "%%")}
username=supervisor
password={self._password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

    def _launch(self) -> None:
        with open(self._log("supervisord"), "ab") as log:
            self._supervisord = subprocess.Popen(
                [*_tied("supervisord"), str(os.getpid())],
                cwd=self._directory,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _await_ready(self, deadline: float) -> None:
        waiting = self._programs
        while True:
            if self._ended(0):
                raise self._not_ready("supervisord")
            running = self.pids()
            waiting = tuple(program for program in waiting if program.name not in running or not program.ready())
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise self._not_ready(waiting[0].name)
            time.sleep(0.05)

    def _ended(self, seconds: float) -> bool:
        """Has supervisord ended, or does it within `seconds`? It is not reaped, so that its number stays ours."""
        if self._supervisord is None:
            return True
        deadline = time.monotonic() + seconds
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, self._supervisord.pid, options) is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _not_ready(self, name: str) -> NotReady:
        log = self._log(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return NotReady("supervise.not_ready", program=name, log=str(log), tail="\n".join(lines[-TAIL_LINES:]))

    def _already_running(self, pid: str) -> AlreadyRunning:
        return AlreadyRunning("supervise.already_running", directory=str(self._directory), pid=pid)


def is_running(directory: Path) -> bool:
    """Does a supervisor hold this directory, or a program that a killed one left, which is still stopping?"""
    left = directory / "supervisor" / "alive.lock"  # which the programs share among themselves
    return _is_locked(directory / "supervisor.lock", fcntl.LOCK_SH) or _is_locked(left, fcntl.LOCK_EX)


def _is_locked(path: Path, how: int) -> bool:
    try:
        lock = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def free_ports(names: Sequence[str]) -> dict[str, int]:
    """A different free loopback port for each name. Nothing reserves them: bind them soon."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return dict(zip(names, ports, strict=True))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _listener(port: int) -> str:
    """Who listens on a port: name and process id, or "?" where this user may not see it (proc(5))."""
    listening, sockets = "0A", set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for row in map(str.split, Path(table).read_text().splitlines()[1:]):
                if row[3] == listening and int(row[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{row[9]}]")
    for open_file in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(open_file) in sockets:
                process = open_file.parents[1]
                return f"{(process / 'comm').read_text().strip()} ({process.name})"
    return "?"


def _program_section(program: Program) -> str:
    # startsecs=0: supervisord's own back-off grows by a second a time without end; tied.py keeps starts apart instead.
    return f"""[program:{program.name}]
command={" ".join(map(_quoted, _tied(program.name)))}
priority={program.priority}
autorestart=true
startsecs=0
startretries=999999999
stopsignal={program.stop_signal}
stopwaitsecs={math.ceil(program.stop_seconds)}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=logs/{program.name}.log
stdout_logfile_maxbytes={LOG_SIZE}
stdout_logfile_backups={LOGS_KEPT}
"""


def _tied(name: str) -> list[str]:
    return [sys.executable, "-I", "-S", os.path.abspath(tied.__file__), f"supervisor/{name}.json"]


def _quoted(argument: str) -> str:
    """For a shell-like line in supervisord's configuration, where % expands and ; or # after a blank cuts."""
    return re.sub(r"(\s)([;#])", r"\1''\2", shlex.quote(argument)).replace("%", "%%")


def _private_file(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w")


def _clear_session(leader: int) -> None:
    """Kill what programs left behind, for five seconds at most. `leader` is not reaped yet: its session is ours."""
    deadline = time.monotonic() + 5
    while (left := list(_session(leader))) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _session(leader: int) -> Iterator[int]:
    """The living processes of a session (proc(5): state, parent, group, session follow the name in brackets)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_bytes().rpartition(b")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state not in (b"Z", b"X"):
            yield int(path.parent.name)
