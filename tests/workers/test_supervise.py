"""The office's one supervisor, on real processes that are really killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from config.sockets import remove_socket, short_socket
from workers import tied
from workers.supervise import AlreadyRunning, NotReady, Program, Supervisor, free_ports

SLEEP = ("sh", "-c", "while :; do sleep 0.1; done")


def sleeper(name: str) -> Program:
    return Program(name, SLEEP)


def eventually(true: Callable[[], bool], seconds: float = 5) -> bool:
    """Does it become true in time?"""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def processes_of(directory: Path) -> list[psutil.Process]:
    """Every living process of an installation: a mark in the environment is inherited by all."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("OFFICE") == str(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "data"
    directory.mkdir()
    yield directory
    for process in processes_of(directory):
        process.kill()


@pytest.fixture
def short_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Stand-ins of too long socket paths go here, and with it; `tmp_path`, asked for first, is not moved here."""
    with tempfile.TemporaryDirectory(prefix="100% ") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield folder


@pytest.fixture
def marked(office: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs started by this very process carry the installation's mark."""
    monkeypatch.setenv("OFFICE", str(office))
    return office


def others(directory: Path) -> list[psutil.Process]:
    return [process for process in processes_of(directory) if process.pid != os.getpid()]


@pytest.fixture
def starter(office: Path, short_temporary_folder: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts two programs, says so, and waits."""
    script = """
        import sys
        from pathlib import Path
        from workers.supervise import Program, Supervisor
        sleep = ("sh", "-c", "while :; do sleep 0.1; done")
        with Supervisor(Path(sys.argv[1]), [Program("broker", sleep), Program("worker", sleep)]) as supervisor:
            supervisor.start(20)
            print(sorted(supervisor.pids()), flush=True)
            print("ended by", supervisor.wait(), flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(office)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"OFFICE": str(office), "TMPDIR": short_temporary_folder},
        # As in a terminal: whoever runs the tests in the background has Ctrl-C ignored, and all their children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    yield process
    process.kill()
    process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def handles(pid: int, number: signal.Signals) -> bool:
    """Has the process a handler for the signal? (proc(5), SigCgt)"""
    [caught] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def test_a_killed_worker_is_back_within_two_seconds_every_time(marked: Path) -> None:
    with Supervisor(marked, [sleeper("worker")]) as supervisor:
        supervisor.start(20)
        for _ in range(4):
            killed = supervisor.pids()["worker"]
            os.kill(killed, signal.SIGKILL)
            assert eventually(lambda killed=killed: supervisor.pids().get("worker", killed) != killed, 2.5)  # type: ignore[misc]


def test_a_worker_that_cannot_start_is_tried_about_once_a_second_and_never_given_up(marked: Path) -> None:
    broken = Program("worker", ("sh", "-c", "echo started; exit 1"))
    with Supervisor(marked, [sleeper("broker"), broken]) as supervisor:
        supervisor.start(20)
        time.sleep(4)
        starts = (marked / "logs/worker.log").read_text().count("started")
    assert 2 <= starts <= 6


def test_all_programs_die_with_a_killed_supervisor_and_the_next_start_resumes(marked: Path) -> None:
    programs = [sleeper("broker"), sleeper("worker")]
    with Supervisor(marked, programs) as supervisor:
        supervisor.start(20)
        for pid in supervisor.pids().values():
            assert eventually(lambda pid=pid: psutil.Process(pid).name() == "sh")  # type: ignore[misc]
        [daemon] = [each for each in others(marked) if "supervisord.conf" in " ".join(each.cmdline())]
        daemon.kill()
        assert supervisor.wait() is None
        assert eventually(lambda: not others(marked), 2)
        assert (marked / "supervisor/supervisord.pid").exists()  # stale, and so is the control socket
    with Supervisor(marked, programs) as supervisor:
        supervisor.start(20)
        assert sorted(supervisor.pids()) == ["broker", "worker"]


def test_all_programs_stop_when_the_one_who_started_them_is_killed(
    office: Path, starter: subprocess.Popen[str]
) -> None:
    assert first_line(starter) == "['broker', 'worker']\n"
    assert len(processes_of(office)) >= 4
    starter.kill()
    starter.wait()
    assert eventually(lambda: not processes_of(office))


def test_after_a_killed_start_the_next_one_waits_until_the_slowest_program_is_gone(
    office: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = """
        import signal, sys, time
        from pathlib import Path
        from workers.supervise import Program, Supervisor
        finish = "trap 'sleep 1.5; echo finished >> finished; exit 0' TERM; while :; do sleep 0.1; done"
        supervisor = Supervisor(Path(sys.argv[1]), [Program("broker", ("sh", "-c", finish), stop_signal="TERM")])
        supervisor.start(20)
        print("up", flush=True)
        supervisor.wait()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(slow), str(office)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=office,
        env=os.environ | {"OFFICE": str(office)},
    )
    assert first_line(process) == "up\n"
    time.sleep(0.3)  # let sh set its trap
    process.kill()
    process.communicate()
    assert processes_of(office)
    with Supervisor(office, [sleeper("broker")]) as supervisor:
        supervisor.start(20)
        assert not processes_of(office)  # only the new ones run, and they carry no mark


def test_ctrl_c_in_the_terminal_stops_all_in_order_and_leaves_no_process(
    office: Path, starter: subprocess.Popen[str]
) -> None:
    first_line(starter)
    assert eventually(lambda: handles(starter.pid, signal.SIGTERM))  # it is in wait()
    os.killpg(starter.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    output, _ = starter.communicate(timeout=15)
    assert output == "ended by 2\n"
    assert starter.returncode == 0
    assert not processes_of(office)
    assert (office / "logs/supervisord.log").read_text().count("(terminated by SIGINT)") == 0


def test_programs_stop_in_the_reverse_order_of_their_start(marked: Path) -> None:
    def says(name: str) -> tuple[str, ...]:
        return ("sh", "-c", f"trap 'echo {name} >> {marked}/order; exit 0' TERM; while :; do sleep 0.1; done")

    programs = [Program("worker", says("worker"), priority=2), Program("broker", says("broker"), priority=1)]
    with Supervisor(marked, programs) as supervisor:
        supervisor.start(20)
        time.sleep(0.3)
    assert (marked / "order").read_text().split() == ["worker", "broker"]


def test_a_second_start_on_the_same_directory_is_refused_and_names_the_first(marked: Path) -> None:
    with Supervisor(marked, [sleeper("worker")]) as first:
        first.start(20)
        with Supervisor(marked, [sleeper("worker")]) as second, pytest.raises(AlreadyRunning) as refused:
            second.start(20)
        assert refused.value.code == "supervise.already_running"
        assert refused.value.facts == {"directory": str(marked), "pid": str(os.getpid())}
        assert list(first.pids()) == ["worker"]


def test_a_program_that_is_not_ready_in_time_is_named_with_its_log_and_nothing_is_left_running(marked: Path) -> None:
    never = Program("console", ("sh", "-c", "echo 端口被占用; exec sleep 60"), ready=lambda: False)
    with pytest.raises(NotReady) as failed:
        Supervisor(marked, [sleeper("broker"), never]).start(2)
    assert failed.value.code == "supervise.not_ready"
    assert failed.value.facts["program"] == "console"
    assert failed.value.facts["log"] == str(marked / "logs/console.log")
    assert "端口被占用" in failed.value.facts["tail"]
    assert not others(marked)


def test_a_missing_command_is_told_in_the_log_of_its_program(marked: Path) -> None:
    missing = Program("worker", ("/no/such/program",), ready=lambda: False)
    with pytest.raises(NotReady) as failed:
        Supervisor(marked, [missing]).start(2)
    assert "/no/such/program" in failed.value.facts["tail"] or "No such file" in failed.value.facts["tail"]


def test_stop_leaves_no_process_not_even_a_stubborn_child_of_a_program(marked: Path) -> None:
    stubborn = "(trap '' TERM; while :; do sleep 0.1; done) & trap 'exit 0' TERM; while :; do sleep 0.1; done"
    deaf = Program("deaf", ("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"), stop_seconds=1)
    with Supervisor(marked, [Program("worker", ("sh", "-c", stubborn)), deaf]) as supervisor:
        supervisor.start(20)
        time.sleep(0.3)
    assert not others(marked)
    supervisor.stop()  # safe to repeat


@pytest.mark.usefixtures("short_temporary_folder")
@pytest.mark.parametrize("name", ["发布 100% dir", "it's ;a #trap %(here)s", "长" * 60])
def test_any_directory_name_will_do(marked: Path, name: str) -> None:
    directory = marked / name
    tool = directory / "工具 100% ;x"
    directory.mkdir()
    tool.symlink_to(shutil.which("sh") or "/bin/sh")
    says = 'echo "$TEXT" "$0"; while :; do sleep 0.1; done'
    text = """引号 " ' 100% %(x)s ; # \\ 完"""
    with Supervisor(directory, [Program("worker", (str(tool), "-c", says, "a ;b"), {"TEXT": text})]) as supervisor:
        supervisor.start(20)
        assert list(supervisor.pids()) == ["worker"]
        log = directory / "logs/worker.log"
        assert eventually(lambda: log.exists() and log.read_text() == f"{text} a ;b\n")


def test_any_name_of_the_checkout_will_do(marked: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checkout = tmp_path / "发布's 100% ;new #1"
    (checkout / "bin").mkdir(parents=True)
    (checkout / "bin/python").symlink_to(Path(sys.executable).resolve())
    (checkout / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", checkout)
    monkeypatch.setattr(sys, "executable", str(checkout / "bin/python"))
    with Supervisor(marked, [sleeper("worker")]) as supervisor:
        supervisor.start(20)
        assert list(supervisor.pids()) == ["worker"]


def test_programs_run_where_the_caller_stands(marked: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with Supervisor(marked, [Program("worker", ("sh", "-c", "pwd; exec sleep 60"))]) as supervisor:
        supervisor.start(20)
        log = marked / "logs/worker.log"
        assert eventually(lambda: log.exists() and log.read_text() == f"{tmp_path}\n")


def test_running_as_root_alarms_nobody(marked: Path) -> None:
    with Supervisor(marked, [sleeper("worker")]) as supervisor:
        supervisor.start(20)
    assert "CRIT" not in (marked / "logs/supervisord.log").read_text()


def test_secrets_of_a_program_stay_with_its_user(marked: Path) -> None:
    with Supervisor(marked, [Program("worker", SLEEP, {"KEY": "a key of the office"})]) as supervisor:
        supervisor.start(20)
        holders = [path for path in marked.rglob("*") if path.is_file() and b"a key of the office" in path.read_bytes()]
        assert [path.name for path in holders] == ["worker.json"]
        assert holders[0].stat().st_mode & 0o077 == 0


def test_a_start_outside_the_main_thread_is_refused_because_the_programs_would_die_with_the_thread(
    marked: Path,
) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            Supervisor(marked, [sleeper("worker")]).start(20)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert not others(marked)


def test_a_program_whose_parent_is_already_dead_does_not_start(tmp_path: Path) -> None:
    order = tmp_path / "late.json"
    order.write_text(f'{{"signal": 9, "command": ["touch", "{tmp_path}/ran"], "directory": "/", "environment": {{}}}}')
    os.utime(order, (0, 0))
    wrong_parent = ["1", str(os.getpid())]
    codes = [subprocess.run([sys.executable, "-I", "-S", tied.__file__, order, pid]).returncode for pid in wrong_parent]
    assert codes == [1, 0]
    assert (tmp_path / "ran").exists()


@pytest.mark.usefixtures("short_temporary_folder")
def test_a_socket_path_too_long_for_the_kernel_has_a_short_private_stand_in(tmp_path: Path) -> None:
    deep = tmp_path / ("深" * 40)
    short = short_socket(deep, "valkey.sock")
    assert short == short_socket(deep, "valkey.sock")
    assert short != short_socket(deep / "other", "valkey.sock")
    assert short.parent.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short))
    remove_socket(deep, "valkey.sock")
    assert not short.parent.exists()
    assert short_socket(Path("/srv/fabu"), "valkey.sock") == Path("/srv/fabu/valkey.sock")


@pytest.mark.usefixtures("short_temporary_folder")
def test_a_short_socket_is_never_put_in_a_folder_others_can_enter(tmp_path: Path) -> None:
    deep = tmp_path / ("深" * 40)
    folder = short_socket(deep, "valkey.sock").parent
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        short_socket(deep, "valkey.sock")


def test_free_ports_are_distinct_and_can_be_bound() -> None:
    ports = free_ports(["console", "portal", "inbound"])
    assert len(set(ports.values())) == 3
    for port in ports.values():
        socket.create_server(("127.0.0.1", port)).close()
