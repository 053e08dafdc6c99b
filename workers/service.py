"""Fabu as a service of systemd: started with the machine, restarted when it ends.

Root installs a system unit, whose account owns the data directory and is not root; anybody else a unit of their own.
The directives: systemd.exec(5), systemd.service(5), systemd.unit(5).
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.decisions import Refused
from workers.supervise import is_running

NAME = "fabu"
ACCOUNT = "fabu"  # of a data directory that nobody owns yet
SYSTEM_UNITS = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")  # is there while systemd runs the machine, sd_booted(3)
STOP_SECONDS = 180  # more than `Supervisor.stop` takes at worst
PASSING = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run")))  # emptied by the machine
HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))  # what ProtectHome= covers
SIGNATURE = "# Written by `fabu service install` for "  # the data directory follows; other files are not ours to touch

# Everything but the data directory is read-only, and nothing that a web server, a worker or Valkey needs is missing.
HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
CapabilityBoundingSet=
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""


@dataclass(frozen=True)
class Service:
    """`fabu up` on a data directory. `account` runs it; "" makes it a unit of the person who installs it. `writable`:
    folders beside the data directory that it may write to, as for backups."""

    name: str
    data: Path
    account: str
    writable: tuple[Path, ...] = ()

    @property
    def file(self) -> Path:
        return _units(system=bool(self.account)) / f"{self.name}.service"

    @property
    def text(self) -> str:
        """The unit."""
        return f"""{SIGNATURE}{self.data}
[Unit]
Description=Fabu 发布 ({str(self.data).replace("%", "%%")})
Wants=network-online.target
After=network-online.target
RequiresMountsFor={_quoted(self.data)}
# Never give up: a full disk or a wrong fabu.toml is put right one day.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={_quoted(_program())} up --data {_quoted(self.data).replace("$", "$$")}
Restart=on-failure
RestartSec=10
# Fabu stops its own processes in order; what is left after that is killed.
KillMode=mixed
TimeoutStopSec={STOP_SECONDS}
# One process that took too much memory is killed alone, and Fabu starts it again.
OOMPolicy=continue
LimitNOFILE=65536
UMask=0027
{self._confined() if self.account else "NoNewPrivileges=yes" + chr(10)}
[Install]
WantedBy={"multi-user.target" if self.account else "default.target"}
"""

    def _confined(self) -> str:
        """An account of its own, and little that it can reach. The managers of users cannot do this everywhere."""
        at_home = [path for path in (self.data, *self.writable, *_installation()) if _below(path, HOMES)]
        writable = " ".join(map(_quoted, (self.data, *self.writable)))
        home = "read-only" if at_home else "yes"
        return f"User={self.account}\n{HARDENING}ProtectHome={home}\nReadWritePaths={writable}\n"


@dataclass(frozen=True)
class Status:
    """How a service is. `active`: systemd's own word, such as "active" or "failed"; "" where systemd does not run."""

    name: str
    file: Path
    data: Path
    at_boot: bool
    active: str
    running: bool


def plan(name: str, data: Path, writable: Iterable[Path] = ()) -> Service:
    """The service that `install` would make. Changes nothing. Raises Refused for a place where it could not last."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}", name):
        raise Refused("service.bad_name", name=name)
    data, others = data.resolve(), tuple(path.resolve() for path in writable)
    for path in (data, *others):
        if not str(path).isprintable():
            raise Refused("service.bad_path", path=str(path))
        if _below(path, PASSING):
            raise Refused("service.passing_place", path=str(path))
    return Service(name, data, _account(data) if os.geteuid() == 0 else "", others)


def install(service: Service) -> bool:
    """Write the unit, and have systemd start it now and at every boot; False: systemd does not run here, the unit is
    written only. Safe to repeat. Raises Refused; nothing was changed then, except where its sentence says so."""
    if shutil.which("systemctl") is None:
        raise Refused("service.no_systemd", data=str(service.data))
    installed = _data_of(service.file)
    if installed not in (None, service.data):
        raise Refused("service.other_data", name=service.name, data=str(installed))
    if installed is None and is_running(service.data):
        raise Refused("service.running_by_hand", data=str(service.data))
    if service.account:
        _make_room(service)
        _try_out(service)
    try:
        service.file.parent.mkdir(parents=True, exist_ok=True)
        new = service.file.with_suffix(".new")
        new.write_text(service.text, "utf-8")
        new.chmod(0o644)
        new.replace(service.file)
    except OSError as error:
        raise Refused("service.cannot_write", file=str(service.file), detail=error.strerror or "") from error
    if not BOOTED.exists():
        return False
    for words in (("daemon-reload",), ("enable", service.file.name), ("restart", service.file.name)):
        _systemctl(bool(service.account), *words)
    return True


def uninstall(name: str) -> Status:
    """Stop the service and remove its unit; gives how it was. Data and account stay. Raises Refused."""
    before = status(name)
    system = before.file.parent == SYSTEM_UNITS
    if BOOTED.exists():
        _systemctl(system, "disable", "--now", before.file.name)
    try:
        for file in (*_boot_links(before.file), before.file):
            file.unlink()
    except OSError as error:
        raise Refused("service.cannot_write", file=str(before.file), detail=error.strerror or "") from error
    if BOOTED.exists():
        _systemctl(system, "daemon-reload")
    return before


def status(name: str) -> Status:
    """How the service is: one's own unit, or else the system's. Raises Refused when there is none that we wrote."""
    kinds = (True,) if os.geteuid() == 0 else (False, True)
    files = [_units(system) / f"{name}.service" for system in kinds]
    file = next((file for file in files if file.exists()), files[0])
    data = _data_of(file)
    if data is None:
        raise Refused("service.not_installed", name=name)
    active = ""
    if BOOTED.exists():
        how = () if file.parent == SYSTEM_UNITS else ("--user",)
        answer = subprocess.run(["systemctl", *how, "is-active", file.name], capture_output=True, text=True)
        active = answer.stdout.strip()
    running = active == "active" if active else is_running(data)
    return Status(name, file, data, bool(_boot_links(file)), active, running)


def _units(system: bool) -> Path:
    """Where units lie, systemd.unit(5)."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return SYSTEM_UNITS if system else own / "systemd/user"


def _boot_links(file: Path) -> list[Path]:
    """What `systemctl enable` makes: whether it runs or not, and whatever machine it ran for, this is the truth."""
    return [link for link in file.parent.glob(f"*.wants/{file.name}") if link.is_symlink()]


def _data_of(file: Path) -> Path | None:
    """The data directory of a unit that we wrote; None: there is no such file. Raises Refused where it is not ours."""
    try:
        first = file.read_text("utf-8", "replace").partition("\n")[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused("service.cannot_read", file=str(file), detail=error.strerror or "") from error
    if not first.startswith(SIGNATURE):
        raise Refused("service.foreign_file", file=str(file))
    return Path(first.removeprefix(SIGNATURE))


def _account(data: Path) -> str:
    """Who owns the data directory; `ACCOUNT` for one that is still empty. Raises Refused: never root."""
    if not data.exists() or (data.stat().st_uid == 0 and not any(data.iterdir())):
        return ACCOUNT
    owner = data.stat().st_uid
    if owner == 0:
        raise Refused("service.data_of_root", data=str(data), account=ACCOUNT)
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def _make_room(service: Service) -> None:
    """The account, without a password or a shell, and its data directory."""
    shell = shutil.which("nologin") or "/bin/false"
    try:
        if not _exists(service.account):
            how = ["--system", "--user-group", "--no-create-home", "--home-dir", str(service.data), "--shell", shell]
            _run("useradd", *how, service.account)
        if not service.data.exists() or service.data.stat().st_uid == 0:
            service.data.mkdir(parents=True, exist_ok=True)
            shutil.chown(service.data, service.account, pwd.getpwnam(service.account).pw_gid)
            service.data.chmod(0o750)
    except OSError as error:
        raise Refused("service.cannot_write", file=str(service.data), detail=error.strerror or "") from error


def _exists(account: str) -> bool:
    with suppress(KeyError):
        return account.isdigit() or bool(pwd.getpwnam(account))
    return False


def _try_out(service: Service) -> None:
    """Can the account reach program and data at all? Below /root, or where a strict umask made them, it cannot."""
    if not _can(service.account, str(_program()), "--help"):
        raise Refused("service.program_out_of_reach", account=service.account, program=str(_program()))
    if not _can(service.account, "test", "-w", str(service.data)):
        raise Refused("service.data_out_of_reach", account=service.account, data=str(service.data))


def _can(account: str, *command: str) -> bool:
    """Does a command succeed when this account runs it?"""
    user, group = (int(account), None) if account.isdigit() else (account, pwd.getpwnam(account).pw_gid)
    with suppress(PermissionError):
        quiet = subprocess.DEVNULL
        done = subprocess.run(command, user=user, group=group, extra_groups=[], cwd="/", stdout=quiet, stderr=quiet)
        return done.returncode == 0
    return False


def _systemctl(system: bool, *words: str) -> None:
    _run("systemctl", *(() if system else ("--user",)), *words)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise Refused("service.command_failed", command=" ".join(command), detail=said) from error


def _program() -> Path:
    """The command `fabu` of this installation, by a path that outlives an upgrade: install.sh turns `current`."""
    here = Path(sys.prefix)
    current = here.parents[1] / "current"
    return (current if current.resolve() == here.resolve() else here) / "bin/fabu"


def _installation() -> Iterable[Path]:
    return Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()


def _below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("%", "%%") + '"'
