"""Build the bundle, `make bundle`: Fabu and all that it needs in one archive, for a server without the internet.

    dist/fabu-VERSION-linux.tar.gz
        install.sh          installs and upgrades, and goes back; needs only python3 and what every Linux has
        wheels/             of every requirement for every target, of Fabu itself, and of pip
        requirements.txt    requirements.lock, and Fabu itself, each with its hashes
        VERSION, TARGETS    what this is, and the machines and versions of Python it is for
        SHA256SUMS          of every file; install.sh compares them
        docs/, README*, LICENSE

Downloads come from pip's index and must have a hash that stands in requirements.lock. They are wheels, or sources in
pure Python that wheels are made of here: nothing is compiled here or on the server. The archive is the same byte for
byte when it is built again from the same sources.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DIST = ROOT / "dist"
EPOCH = 315_532_800  # 1980-01-01 UTC, the first moment that a zip file, and so a wheel, can tell
OURS = ("config", "channels", "pipeline", "workers", "web", "pyproject.toml", "README.md", "LICENSE")
READ = ("docs", "README.md", "README.zh-CN.md", "LICENSE")
BUILDS_ONLY = ("setuptools",)  # in the lock because it builds our own wheel, which is done here
PURE_SOURCES = ("dkimpy",)  # published without a wheel
# glibc 2.28 or later (PEP 600), under every name that a wheel may bear
GLIBC = (*(f"manylinux_2_{minor}" for minor in range(28, 4, -1)), "manylinux2014", "manylinux2010", "manylinux1")


@dataclass(frozen=True)
class Target:
    """A kind of server: its machine, as `uname -m` says, and its CPython, such as "3.11"."""

    machine: str
    python: str

    @property
    def pip_options(self) -> tuple[str, ...]:
        """What has pip choose for this target, not for the machine that it runs on."""
        platforms = [word for name in GLIBC for word in ("--platform", f"{name}_{self.machine}")]
        return ("--only-binary", ":all:", "--implementation", "cp", "--python-version", self.python, *platforms)

    def needs(self, requirement: Requirement) -> bool:
        """Does any patch release of this Python need it? pip itself asks the Python that it runs on."""
        return requirement.marker is None or any(
            requirement.marker.evaluate(self._environment(f"{self.python}.{patch}")) for patch in (0, 99)
        )

    def _environment(self, full_version: str) -> dict[str, str | AbstractSet[str]]:
        return {
            "implementation_name": "cpython", "implementation_version": full_version, "os_name": "posix",
            "platform_machine": self.machine, "platform_python_implementation": "CPython", "platform_release": "",
            "platform_system": "Linux", "platform_version": "", "python_full_version": full_version,
            "python_version": self.python, "sys_platform": "linux",
        }  # fmt: skip


TARGETS = tuple(Target(machine, python) for machine in ("x86_64", "aarch64") for python in ("3.11", "3.12", "3.13"))


@dataclass(frozen=True)
class Pin:
    """One entry of the lock: what, and the hashes it may have (pip's options, as they stand there)."""

    requirement: Requirement
    hashes: str

    def __str__(self) -> str:
        return f"{self.requirement} {self.hashes}"

    @property
    def version(self) -> str:
        [exactly] = self.requirement.specifier
        return exactly.version

    @property
    def unconditional(self) -> str:
        """Without the marker."""
        return f"{self.requirement.name}{self.requirement.specifier} {self.hashes}"


class OldLock(Exception):
    """requirements.lock lacks something that pyproject.toml requires: run `make lock`."""


def main() -> None:
    archive = build(DIST, TARGETS)
    print(f"{archive.relative_to(ROOT)}: {archive.stat().st_size / 1e6:.0f} MB, SHA-256 {_digest(archive)}")


def build(folder: Path, targets: Sequence[Target]) -> Path:
    """Make the archive for `targets` in `folder`; gives its path. Raises OldLock, and CalledProcessError where pip
    fails, whose own words stand on stderr then."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = str(project["version"])
    locked = read_lock(ROOT / "requirements.lock")
    if lacking := [wanted for wanted in map(Requirement, project["dependencies"]) if not _holds(locked, wanted)]:
        raise OldLock(", ".join(map(str, lacking)))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".bundle-") as temporary:
        bundle = Path(temporary) / f"fabu-{version}"
        wheels = bundle / "wheels"
        wheels.mkdir(parents=True)
        pins = [pin for pin in locked if pin.requirement.name not in BUILDS_ONLY]
        sources = {name: _made(pin, Path(temporary), wheels) for pin in pins
                   if (name := pin.requirement.name) in PURE_SOURCES}  # fmt: skip
        for target in targets:
            wanted = Path(temporary) / "wanted.txt"
            wanted.write_text(
                "".join(
                    f"{pin.unconditional}\n"
                    for pin in pins
                    if pin.requirement.name not in sources and target.needs(pin.requirement)
                )
            )
            _pip("download", "--require-hashes", "--no-deps", *target.pip_options, "-r", str(wanted), "-d", str(wheels))
        _pip("download", "--require-hashes", "--no-deps", "-r", str(HERE / "pip.txt"), "-d", str(wheels))
        own = _own_wheel(Path(temporary) / "src", wheels)
        fabu = Pin(Requirement(f"fabu=={version}"), f"--hash=sha256:{_digest(own)}")
        needed = [
            sources.get(pin.requirement.name, pin)
            for pin in pins
            if any(target.needs(pin.requirement) for target in targets)
        ]
        (bundle / "requirements.txt").write_text("".join(f"{pin}\n" for pin in (*needed, fabu)))
        (bundle / "VERSION").write_text(f"{version}\n")
        (bundle / "TARGETS").write_text("".join(f"{target.machine} {target.python}\n" for target in targets))
        shutil.copy(HERE / "install.sh", bundle)
        _copy(READ, bundle)
        sums = "".join(f"{_digest(path)}  {path.relative_to(bundle)}\n" for path in _files(bundle))
        (bundle / "SHA256SUMS").write_text(sums)
        archive = folder / f"fabu-{version}-linux.tar.gz"
        _pack(bundle, archive)
        return archive


def read_lock(path: Path) -> list[Pin]:
    """The entries of a requirements file with hashes, as uv and pip-tools write it."""
    lines = re.sub(r"\\\n\s*", "", path.read_text("utf-8")).splitlines()
    entries = [line.partition("--hash=") for line in lines if line and not line.startswith("#")]
    return [Pin(Requirement(what), mark + hashes) for what, mark, hashes in entries]


def _holds(locked: Iterable[Pin], wanted: Requirement) -> bool:
    name = canonicalize_name(wanted.name)
    versions = [pin.version for pin in locked if canonicalize_name(pin.requirement.name) == name]
    return any(wanted.specifier.contains(version, prereleases=True) for version in versions)


def _made(pin: Pin, temporary: Path, wheels: Path) -> Pin:
    """Make the wheel of a locked source in pure Python; gives the entry for it."""
    wanted = temporary / "source.txt"
    wanted.write_text(f"{pin.unconditional}\n")
    _pip(
        "wheel", "--require-hashes", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), "-r", str(wanted)
    )
    (wheel,) = wheels.glob(f"{pin.requirement.name.replace('-', '_')}-*-none-any.whl")
    return Pin(pin.requirement, f"--hash=sha256:{_digest(wheel)}")


def _own_wheel(source: Path, wheels: Path) -> Path:
    """Build our wheel from a copy: in the checkout, files of an earlier build would find their way into it."""
    _copy(OURS, source)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source))
    return next(wheels.glob("fabu-*.whl"))


def _copy(names: Iterable[str], to: Path) -> None:
    to.mkdir(exist_ok=True)
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(ROOT / name, to)
    for path in (to, *to.rglob("*")):  # a wheel carries times and modes of its sources
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (EPOCH, EPOCH))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)})


def _pack(folder: Path, archive: Path) -> None:
    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = "root"
        entry.mode = 0o755 if entry.isdir() or entry.name.endswith("/install.sh") else 0o644
        return entry

    new = archive.with_suffix(".part")
    # Wheels are compressed already: a higher level costs time and gains nothing.
    with (
        new.open("wb") as file,
        gzip.GzipFile("", "wb", 1, file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in (folder, *sorted(folder.rglob("*"))):
            tar.add(path, path.relative_to(folder.parent), recursive=False, filter=plain)
    new.rename(archive)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
