"""Install what some tests like to have, Debian packages and Chromium 86: `python -m tests.setup_parts`, by `make test`.

It installs what it may, tells in one line what it did or why not, and never fails: the tests that need a missing part
skip and say so. Not more than four minutes, whatever the network does.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import chromium86

SECONDS = 240.0
SECONDS_TO_UNPACK = 90.0  # kept back for dpkg: a download can be cut off at any moment, an installation should not


@dataclass(frozen=True)
class Part:
    """Debian packages, the files by which we know that they are there, and the services they would start."""

    name: str
    packages: tuple[str, ...]
    files: tuple[Path, ...]
    services: tuple[str, ...] = ()

    def is_present(self) -> bool:
        return all(file.exists() for file in self.files)


PARTS = (
    Part(
        "Kannel (SMS gateway)",
        ("kannel", "kannel-extras"),  # fakesmsc, the pretended operator, is among the extras
        (Path("/usr/sbin/bearerbox"), Path("/usr/sbin/smsbox"), Path("/usr/lib/kannel/test/fakesmsc")),
        ("kannel",),
    ),
    Part(
        "Chromium (browser), with a Chinese font",
        ("chromium", "fonts-noto-cjk"),
        (Path("/usr/bin/chromium"), Path("/usr/share/fonts/opentype/noto/NotoSerifCJK-Regular.ttc")),
    ),
    Part(
        "nginx, and wrk that measures (for the bench of the portal)",
        ("nginx-light", "wrk"),
        (Path("/usr/sbin/nginx"), Path("/usr/bin/wrk")),
        ("nginx",),
    ),
)


def main() -> None:
    deadline = time.monotonic() + SECONDS
    for part in PARTS:
        print(f"{part.name}: {_provide(part, deadline)}", flush=True)
    print(f"Chromium 86, the oldest browser: {chromium86.provide(deadline - time.monotonic())}", flush=True)


def _provide(part: Part, deadline: float) -> str:
    """Install the part if that is possible; says what came of it."""
    if part.is_present():
        return "already installed"
    if shutil.which("apt-get") is None:
        return "not installed, this is no Debian (no apt-get); its tests will be skipped"
    become_root = _become_root()
    if become_root is None:
        return f"not installed, needs root or sudo without password: apt-get install {' '.join(part.packages)}"
    soon = deadline - SECONDS_TO_UNPACK
    download = ("install", "--download-only", *part.packages)
    downloaded = _apt(become_root, download, soon) or (  # the lists of packages are absent or old
        _apt(become_root, ("update",), soon) and _apt(become_root, download, soon)
    )
    if not downloaded:
        return f"not installed, Debian's archive does not give {', '.join(part.packages)}; its tests will be skipped"
    installed = _apt(become_root, ("install", "--no-download", *part.packages), deadline)
    for service in part.services:  # the tests run their own; none of the package's shall run, now or after a reboot
        _run([*become_root, "service", service, "stop"], deadline)
        _run([*become_root, "update-rc.d", service, "disable"], deadline)
    if not installed or not part.is_present():
        return "not installed, apt-get failed; its tests will be skipped"
    stopped = "; its service is stopped and disabled" if part.services else ""
    return f"installed {', '.join(part.packages)}{stopped}"


def _become_root() -> tuple[str, ...] | None:
    """What to put before a command that needs root; None: we cannot."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo") and _run(["sudo", "-n", "true"], time.monotonic() + 5):
        return ("sudo", "-n")
    return None


def _apt(become_root: Sequence[str], arguments: Sequence[str], deadline: float) -> bool:
    patience = [
        "Acquire::http::Timeout=20",
        "Acquire::https::Timeout=20",
        "Acquire::Retries=1",
        "DPkg::Lock::Timeout=30",
    ]
    options = [word for option in patience for word in ("-o", option)]
    quiet = ["-y", "-q", "--no-install-recommends", *options]
    return _run([*become_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *quiet, *arguments], deadline)


def _run(command: Sequence[str], deadline: float) -> bool:
    """Did it succeed before the deadline? Its words are dropped, its whole process group ends with the deadline."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        return process.wait(max(deadline - time.monotonic(), 0.1)) == 0
    except subprocess.TimeoutExpired:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(5)
        except (PermissionError, subprocess.TimeoutExpired):  # sudo's: it ends by apt's own timeouts
            pass
        return False


if __name__ == "__main__":
    main()
