"""The service: the unit as systemd reads it and runs it, what is installed and removed, and where it is refused."""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.locale import Language, say
from tests.journeys import MARK, office, page, until
from workers import cli, embedded, service
from workers.service import Service

LANGUAGES: tuple[Language, ...] = ("zh", "en")
AWKWARD = '50%h 公开 "office" $HOME \\n'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs a service for the machine")


@dataclass
class Machine:
    """A machine whose places for units lie in the test's folder; systemd does not run it unless `boot` says so."""

    folder: Path
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def unit(self) -> Path:
        return (self.folder / "system" if os.geteuid() == 0 else self.folder / "config/systemd/user") / "fabu.service"

    def fabu(self, *words: str | Path) -> tuple[int, str, str]:
        """Run `fabu service …` in this process; gives exit code, output and errors."""
        self.patch.setattr(sys, "argv", ["fabu", "service", *map(str, words)])
        self.capture.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code or 0
        return code, *self.capture.readouterr()

    def done(self, *words: str | Path) -> Any:
        code, out, errors = self.fabu(*words, "--json")
        assert (code, errors) == (0, ""), out
        return json.loads(out)

    def refused(self, *words: str | Path) -> str:
        """Run what must fail, in both languages; gives the code of the refusal."""
        answers = []
        for language in LANGUAGES:
            self.patch.setenv("FABU_LOCALE", language)
            code, out, _ = self.fabu(*words, "--json")
            problem = json.loads(out)
            assert code == 1 and "{" not in problem["message"] and "?" not in problem["message"]
            assert self.fabu(*words)[2].strip() == problem["message"].strip()
            answers.append((problem["error"], problem["message"]))
        self.patch.setenv("FABU_LOCALE", "zh")
        (first, zh), (second, en) = answers
        assert first == second and zh != en
        return str(first)

    def boot(self, systemctl: str) -> Path:
        """Have systemd run: `systemctl` is a line of shell; what it was told is written to the returned file."""
        (self.folder / "booted").mkdir()
        told = self.folder / "told"
        command = self.folder / "bin/systemctl"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\necho "$@" >>{shlex.quote(str(told))}\n{systemctl}\n')
        command.chmod(0o755)
        self.patch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
        return told


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    here = Machine(tmp_path, monkeypatch, capsys)
    monkeypatch.setattr(service, "SYSTEM_UNITS", tmp_path / "system")
    monkeypatch.setattr(service, "BOOTED", tmp_path / "booted")
    monkeypatch.setattr(service, "PASSING", (tmp_path / "passing",))
    monkeypatch.setattr(service, "ACCOUNT", "nobody")  # which exists on every machine: a test makes no accounts
    monkeypatch.setattr(service, "_program", lambda: Path(shutil.which("true") or "/bin/true"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FABU_LOCALE", "zh")
    monkeypatch.delenv("FABU_DATA", raising=False)
    if shutil.which("systemctl") is None:
        (tmp_path / "systemctl").symlink_to("/bin/false")
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return here


@pytest.fixture
def person(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine as somebody who is not root sees it."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    return machine


def execution(text: str) -> list[str]:
    """The command of a unit as systemd would start it (systemd.service(5), "Command lines")."""
    [line] = re.findall(r"^ExecStart=(.+)$", text, re.M)
    special = re.compile(r"([%$])(.?)")
    assert all(mark == after for mark, after in special.findall(line)), "a specifier or a variable, to be filled in"
    return [special.sub(r"\1", word) for word in shlex.split(line)]


# ── the unit ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("account", ["fabu", ""])
def test_systemd_finds_nothing_wrong_with_the_unit_wherever_the_data_lie(tmp_path: Path, account: str) -> None:
    unit = tmp_path / "fabu.service"
    unit.write_text(Service("fabu", Path("/srv") / AWKWARD, account, (Path("/mnt/a b"),)).text, "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", *([] if account else ["--user"]), str(unit)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    ours = [line for line in (found.stdout + found.stderr).splitlines() if "fabu" in line]
    assert (found.returncode, ours) == (0, [])


def test_the_data_directory_reaches_the_command_as_it_is_written() -> None:
    data = Path("/srv") / AWKWARD
    assert execution(Service("fabu", data, "fabu").text)[1:] == ["up", "--data", str(data)]


def test_a_service_of_the_machine_is_never_root_and_may_write_its_data_only() -> None:
    text = Service("fabu", Path("/srv/fabu"), "wang", (Path("/backup"),)).text
    assert re.findall(r"^User=(.*)$", text, re.M) == ["wang"]
    assert re.findall(r"^ReadWritePaths=(.*)$", text, re.M) == ['"/srv/fabu" "/backup"']
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "CapabilityBoundingSet="):
        assert f"\n{line}\n" in text
    assert "WantedBy=multi-user.target" in text


def test_data_below_home_stay_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_installation", lambda: (Path("/opt/fabu"),))
    assert "ProtectHome=read-only" in Service("fabu", Path("/home/wang/fabu"), "wang").text
    assert "ProtectHome=yes" in Service("fabu", Path("/srv/fabu"), "wang").text


def test_a_persons_own_unit_asks_for_nothing_that_a_person_cannot_have() -> None:
    text = Service("fabu", Path("/srv/fabu"), "").text
    assert "User=" not in text and "Protect" not in text and "ReadWritePaths" not in text
    assert "WantedBy=default.target" in text


def test_systemd_waits_longer_than_the_stack_needs_to_stop(tmp_path: Path) -> None:
    programs = embedded.programs(embedded.prepare(tmp_path / "data"))
    supervisor = sum(program.stop_seconds for program in programs) + 5 + 5 + 5  # Supervisor.stop
    assert supervisor < service.STOP_SECONDS


def test_the_program_is_named_by_a_path_that_an_upgrade_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = tmp_path / "versions/1"
    version.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(version))
    assert service._program() == version / "bin/fabu"
    (tmp_path / "current").symlink_to("versions/1")
    assert service._program() == tmp_path / "current/bin/fabu"


def test_what_the_unit_starts_answers_and_stops_in_order_when_systemd_says_so(tmp_path: Path) -> None:
    with office(tmp_path / "data of the office") as place:
        text = Service("fabu", place.data, "").text
        with (tmp_path / "journal").open("wb") as journal:
            process = subprocess.Popen(
                execution(text), cwd="/", stdin=subprocess.DEVNULL, stdout=journal, stderr=journal,
                start_new_session=True,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", MARK: str(place.data)},
            )  # fmt: skip
        try:
            until(lambda: process.poll() is not None or say("zh", "up.stop") in (tmp_path / "journal").read_text())
            assert process.poll() is None, (tmp_path / "journal").read_text()
            assert page(place.address("portal"))
            process.send_signal(signal.SIGTERM)  # KillMode=mixed: only to the command itself
            assert process.wait(service.STOP_SECONDS) == 0
            assert place.processes() == []
        finally:
            process.kill()
            process.wait()


# ── installing and removing ──────────────────────────────────────────────────────────────────────────────────────────


def test_printing_the_unit_changes_nothing(machine: Machine) -> None:
    before = sorted(machine.folder.rglob("*"))
    _, shown, _ = machine.fabu("install", "--print", "--data", machine.data)
    assert shown.startswith(service.SIGNATURE) and f'"{machine.data}"' in shown
    assert machine.done("install", "--print", "--data", machine.data) == {"file": str(machine.unit), "text": shown}
    assert sorted(machine.folder.rglob("*")) == before


def test_where_systemd_does_not_run_the_unit_is_written_and_the_next_command_told(person: Machine) -> None:
    code, shown, _ = person.fabu("install", "--data", person.data)
    assert code == 0 and "systemctl --user daemon-reload && systemctl --user enable --now fabu" in shown
    assert person.unit.read_text() == person.fabu("install", "--print", "--data", person.data)[1]
    assert person.done("install", "--data", person.data)["started"] is False  # safe to repeat


def test_systemd_is_told_to_read_to_enable_and_to_start_it(person: Machine) -> None:
    told = person.boot("exit 0")
    assert person.done("install", "--data", person.data)["started"] is True
    orders = ["daemon-reload", "enable fabu.service", "restart fabu.service"]
    assert told.read_text().splitlines() == [f"--user {order}" for order in orders]
    told.unlink()
    person.done("uninstall")
    assert [line for line in told.read_text().splitlines() if "is-active" not in line] == [
        "--user disable --now fabu.service",
        "--user daemon-reload",
    ]
    assert not person.unit.exists()


def test_what_systemd_objects_to_is_told_in_its_own_words(person: Machine) -> None:
    person.boot("echo 'Failed to connect to bus' >&2; exit 1")
    code, _, errors = person.fabu("install", "--data", person.data)
    assert code == 1 and "Failed to connect to bus" in errors and "systemctl --user daemon-reload" in errors
    assert person.refused("install", "--data", person.data) == "service.command_failed"


@pytest.fixture
def public() -> Iterator[Path]:
    """A data directory, still empty, that every account can reach; a test's own folder is its user's alone."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder, "data")
        data.mkdir()
        yield data


@needs_root
def test_root_gives_an_empty_data_directory_to_the_account_of_the_service(machine: Machine, public: Path) -> None:
    machine.done("install", "--data", public)
    assert public.owner() == "nobody" and public.stat().st_mode & 0o777 == 0o750
    assert "\nUser=nobody\n" in machine.unit.read_text()


@needs_root
def test_root_runs_an_office_as_whoever_owns_its_data(machine: Machine, public: Path) -> None:
    (public / "fabu.toml").touch()
    assert machine.refused("install", "--data", public) == "service.data_of_root"
    os.chown(public, 1, -1)  # daemon, on every Linux
    machine.done("install", "--data", public)
    assert "\nUser=daemon\n" in machine.unit.read_text() and public.stat().st_uid == 1


@needs_root
def test_an_account_that_cannot_run_the_program_is_noticed_before_the_service_is_installed(
    machine: Machine, public: Path
) -> None:
    hidden = machine.folder / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copy(shutil.which("true") or "/bin/true", hidden / "fabu")
    machine.patch.setattr(service, "_program", lambda: hidden / "fabu")
    assert machine.refused("install", "--data", public) == "service.program_out_of_reach"
    assert not machine.unit.exists()


@needs_root
def test_an_account_that_cannot_reach_the_data_is_noticed_too(machine: Machine, public: Path) -> None:
    public.parent.chmod(0o700)
    assert machine.refused("install", "--data", public) == "service.data_out_of_reach"
    assert not machine.unit.exists()


def test_removing_the_service_leaves_the_data(person: Machine) -> None:
    person.data.mkdir()
    (person.data / "fabu.db").write_text("ledger")
    person.done("install", "--data", person.data)
    link = person.unit.parent / "default.target.wants/fabu.service"
    link.parent.mkdir()
    link.symlink_to(person.unit)
    person.done("uninstall")
    assert not person.unit.exists() and not link.is_symlink()
    assert (person.data / "fabu.db").read_text() == "ledger"
    assert person.refused("uninstall") == "service.not_installed"


# ── how it is ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_status_tells_whether_it_runs_and_whether_it_will_after_a_boot(person: Machine) -> None:
    assert person.refused("status") == "service.not_installed"
    person.done("install", "--data", person.data)
    code, shown, _ = person.fabu("status")
    assert code == 1 and say("zh", "service.not_at_boot", name="fabu") in shown
    link = person.unit.parent / "default.target.wants/fabu.service"
    link.parent.mkdir()
    link.symlink_to(person.unit)
    with held(person.data):
        found = person.done("status")
        assert (found["running"], found["at_boot"], found["data"]) == (True, True, str(person.data))
        assert say("zh", "service.at_boot") in person.fabu("status")[1]


def test_where_systemd_runs_its_word_counts(person: Machine) -> None:
    person.boot('[ "$2" = is-active ] && echo failed; exit 0')
    person.done("install", "--data", person.data)
    with held(person.data):  # as by somebody who runs it by hand in its place
        code, out, _ = person.fabu("status", "--json")
    assert (code, json.loads(out)["active"]) == (1, "failed")
    assert "failed" in person.fabu("status")[1]


def test_somebody_who_is_not_root_sees_the_service_of_the_machine(person: Machine) -> None:
    service.SYSTEM_UNITS.mkdir()
    (service.SYSTEM_UNITS / "fabu.service").write_text(Service("fabu", Path("/srv/fabu"), "fabu").text)
    code, out, _ = person.fabu("status", "--json")
    assert (code, json.loads(out)["data"]) == (1, "/srv/fabu")


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def held(data: Path) -> "Lock":
    return Lock(data)


class Lock:
    """`fabu up` on a data directory, as far as anybody can tell."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._file = (data / "supervisor.lock").open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.fixture
def installed(person: Machine) -> Iterator[Machine]:
    person.done("install", "--data", person.data)
    before = person.unit.read_text()
    yield person
    assert person.unit.read_text() == before


def test_data_that_would_be_lost_with_the_next_boot_are_refused(person: Machine) -> None:
    assert person.refused("install", "--data", person.folder / "passing/data") == "service.passing_place"
    where = ("--data", person.data, "--writable", person.folder / "passing")
    assert person.refused("install", *where) == "service.passing_place"
    assert not person.unit.exists()


def test_a_second_office_does_not_take_the_place_of_the_first(installed: Machine) -> None:
    other = installed.folder / "other"
    assert installed.refused("install", "--data", other) == "service.other_data"
    installed.done("install", "--data", other, "--name", "fabu-other")


def test_a_unit_that_somebody_else_wrote_is_left_alone(person: Machine) -> None:
    person.unit.parent.mkdir(parents=True)
    person.unit.write_text("[Service]\nExecStart=/bin/true\n")
    for words in (("install", "--data", person.data), ("uninstall",), ("status",)):
        assert person.refused(*words) == "service.foreign_file"
    assert person.unit.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_what_runs_by_hand_must_be_stopped_first(person: Machine) -> None:
    with held(person.data):
        assert person.refused("install", "--data", person.data) == "service.running_by_hand"
    person.done("install", "--data", person.data)
    with held(person.data):  # by the service itself
        person.done("install", "--data", person.data)


def test_a_machine_without_systemd_is_told_what_to_do_instead(person: Machine) -> None:
    person.patch.setenv("PATH", str(person.folder / "nothing"))
    assert person.refused("install", "--data", person.data) == "service.no_systemd"


def test_a_place_that_cannot_be_written_to_is_named(person: Machine) -> None:
    (person.folder / "config").write_text("a file where a folder should be")
    code, _, errors = person.fabu("install", "--data", person.data)
    assert code == 1 and str(person.unit) in errors


@pytest.mark.parametrize("name", ["", "../fabu", "fabu.service", "a b", "-x"])
def test_a_name_that_would_be_another_file_is_refused(person: Machine, name: str) -> None:
    assert person.refused("install", "--data", person.data, f"--name={name}") == "service.bad_name"


def test_a_path_that_would_be_another_line_of_the_unit_is_refused(person: Machine) -> None:
    assert person.refused("install", "--data", f"{person.data}\nUser=root") == "service.bad_path"
