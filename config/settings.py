"""What the office decides: one frozen `Settings`, read from `fabu.toml`, the data directory and the environment.

The environment overrides where parts live (production); `fabu.toml` says everything an office decides. Text values in
it may name parts of the embedded stack: {data} {portal_url} {portal_key} {inbound_url} {sandbox_url}
{sandbox_password}.
"""

import json
import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from config.sockets import short_socket

HERE = Path(__file__).parent

# Every environment name, once.
DATA = "FABU_DATA"
DATABASE_URL = "FABU_DATABASE_URL"
BROKER_URL = "FABU_BROKER_URL"
PUBLIC_URL = "FABU_PUBLIC_URL"
INBOUND_URL = "FABU_INBOUND_URL"
PORTAL_URL = "FABU_PORTAL_URL"
SANDBOX_URL = "FABU_SANDBOX_URL"
SECRET = "FABU_SECRET"
PORTAL_KEY = "FABU_PORTAL_KEY"
SANDBOX_PASSWORD = "FABU_SANDBOX_PASSWORD"
LOCALE = "FABU_LOCALE"  # read in config/locale, which needs it before there are settings

BROKER_SOCKET = "valkey.sock"  # in the data directory
PARTS = ("portal", "inbound", "sandbox")  # the embedded stack's processes that listen on a port
Role = Literal["author", "editor", "officer", "leader", "auditor", "admin"]


class ConfigError(Exception):
    """The configuration cannot be used. `code` and `facts` are put in words at the edge."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OfficeSection(Frozen):
    name: str
    short_name: str
    code: str
    phone: str = ""
    address: str = ""
    site_name: str = ""
    site_id_code: str = ""  # 网站标识码, 10 digits
    icp: str = ""
    police_record: str = ""
    index_template: str = "{code}/{year}-{serial:05d}"
    time_zone: str = "Asia/Shanghai"


class Department(Frozen):
    id: str
    name: str


class Person(Frozen):
    id: str
    name: str
    department: str
    roles: frozenset[Role]
    in_charge: frozenset[str] = frozenset()  # departments a leader is in charge of; empty: all


class ReviewSection(Frozen):
    levels: tuple[Role, ...] = ("officer", "leader")  # in order; each by another person (domain: 保密审查)


class LimitsSection(Frozen):
    lease_seconds: float = 90.0  # a claimed row is another worker's again after this
    sweep_seconds: float = 2.0
    looks: tuple[float, ...] = (0, 2, 10, 60, 600)  # seconds between looks from outside; the last repeats
    text_characters: int = 200_000
    title_characters: int = 120
    file_bytes: int = 20_000_000


class ChannelSection(BaseModel):
    """One channel. Keys that are not named here are the adapter's own fields."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str
    label: str
    after: str = ""  # a text that links to the page comes after the page is seen
    wait_seconds: float = 0.0  # in which it can still be stopped
    quiet: str = ""  # "20:00-08:00", local time: deferred, never dropped
    late: Literal["go", "hold"] = "go"
    late_hours: float = 6.0
    call_seconds: float = Field(default=10.0, gt=0)  # total limit of one call
    batch: int = Field(default=50, ge=1, le=500)
    senders: int = Field(default=8, ge=1, le=64)
    tries: int = Field(default=5, ge=1)  # sendings of one generation that may turn out not to have arrived
    rehearsal: bool = False  # it reaches the sandbox, not the world: marked 演练

    @field_validator("quiet")
    @classmethod
    def _a_span(cls, value: str) -> str:
        if value and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", value):
            raise ValueError('write quiet hours as "20:00-08:00"')
        return value

    @property
    def options(self) -> Mapping[str, Any]:
        return dict(self.model_extra or {})

    def quiet_until(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """The end of the quiet hours that `moment` lies in, or `moment` itself. Takes and gives aware times."""
        if not self.quiet:
            return moment
        begin, end = (time.fromisoformat(part) for part in self.quiet.split("-"))
        local = moment.astimezone(zone)
        clock = local.time()
        inside = begin <= clock < end if begin <= end else clock >= begin or clock < end
        if not inside:
            return moment
        day = local.date() + timedelta(days=1 if clock >= end else 0)
        return datetime.combine(day, end, zone).astimezone(moment.tzinfo)


class Settings(Frozen):
    """Everything that is decided outside the code."""

    data: Path
    database_url: str
    broker_url: str
    public_url: str  # where citizens read; permanent addresses derive from it
    inbound_url: str
    secret: str = Field(repr=False)  # signs the addresses on which the outside reports
    locale: Literal["auto", "zh", "en"] = "auto"  # auto: that of the machine
    office: OfficeSection
    departments: tuple[Department, ...]
    people: tuple[Person, ...]
    review: ReviewSection = ReviewSection()
    limits: LimitsSection = LimitsSection()
    item_types: tuple[str, ...] = ("通知", "公告", "公示", "意见", "报告")
    channels: Mapping[str, ChannelSection]

    @model_validator(mode="after")
    def _names_fit(self) -> "Settings":
        departments = {department.id for department in self.departments}
        for person in self.people:
            if unknown := ({person.department} | person.in_charge) - departments:
                raise ValueError(f"people.{person.id}: unknown department {', '.join(sorted(unknown))}")
        for name, channel in self.channels.items():
            if channel.after and channel.after not in self.channels:
                raise ValueError(f"channels.{name}: after names the unknown channel {channel.after}")
            if channel.call_seconds >= self.limits.lease_seconds:
                raise ValueError(f"channels.{name}: call_seconds must be below limits.lease_seconds")
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.office.time_zone)

    def person(self, id: str) -> Person:
        for person in self.people:
            if person.id == id:
                return person
        known = ", ".join(f"{person.id}（{person.name}）" for person in self.people)
        raise ConfigError("config.unknown_person", person=id, known=known)

    def department_name(self, id: str) -> str:
        return next((department.name for department in self.departments if department.id == id), id)


def prepare(data: Path, template: str = "fabu.toml", ports: Mapping[str, int] | None = None) -> None:
    """Make `data` a data directory: configuration from the shipped template, secrets, ports. What is there, stays."""
    data.mkdir(parents=True, exist_ok=True, mode=0o750)
    _keep(data / "fabu.toml", (HERE / template).read_text("utf-8"))
    keys = {name: secrets.token_urlsafe(32) for name in ("secret", "portal_key", "sandbox_password")}
    _keep(data / "secrets.json", json.dumps(keys, indent=1), 0o600)
    if ports is not None:
        _keep(data / "ports.json", json.dumps(dict(ports), indent=1))


def load(data: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of a data directory. Raises ConfigError when it was never set up or does not make sense."""
    data = data.resolve()
    if not (data / "fabu.toml").exists():
        raise ConfigError("config.not_set_up", data=str(data))
    keys, local = secrets_of(data), local_addresses(data)
    facts = {
        "data": str(data),
        "portal_url": environ.get(PORTAL_URL) or local["portal"],
        "portal_key": environ.get(PORTAL_KEY) or keys.get("portal_key", ""),
        "inbound_url": environ.get(INBOUND_URL) or local["inbound"],
        "sandbox_url": environ.get(SANDBOX_URL) or local["sandbox"],
        "sandbox_password": environ.get(SANDBOX_PASSWORD) or keys.get("sandbox_password", ""),
    }
    try:
        document = _filled(tomllib.loads((data / "fabu.toml").read_text("utf-8")), facts)
        public = environ.get(PUBLIC_URL) or document.pop("public_url", "") or facts["portal_url"]
        given = {
            "data": data,
            "database_url": environ.get(DATABASE_URL) or f"sqlite:///{data / 'fabu.db'}",
            "broker_url": environ.get(BROKER_URL)
            or f"redis+socket://{quote(str(short_socket(data, BROKER_SOCKET)))}?virtual_host=0",
            "inbound_url": facts["inbound_url"],
            "secret": environ.get(SECRET) or keys.get("secret", ""),
        }
        return Settings(**{**document, **given, "public_url": public.rstrip("/")})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("config.not_toml", file=str(data / "fabu.toml"), detail=str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError("config.invalid", file=str(data / "fabu.toml"), place=place, detail=first["msg"]) from error
    except KeyError as error:
        detail = f"{{{error.args[0]}}}"
        raise ConfigError(
            "config.invalid", file=str(data / "fabu.toml"), place=detail, detail="unknown name"
        ) from error


def secrets_of(data: Path) -> dict[str, str]:
    """The secrets that were made for a data directory."""
    return _json(data / "secrets.json")


def local_addresses(data: Path) -> dict[str, str]:
    """Where the parts of the embedded stack listen: on ports chosen once, because permanent addresses carry them."""
    ports = _json(data / "ports.json")
    return {part: f"http://127.0.0.1:{ports[part]}" if part in ports else "" for part in PARTS}


def _keep(path: Path, text: str, mode: int = 0o640) -> None:
    if not path.exists():
        path.touch(mode)
        path.write_text(text, "utf-8")


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def _filled(value: Any, facts: Mapping[str, str]) -> Any:
    """Fill {names} in text values; the index number's template keeps its own."""
    if isinstance(value, dict):
        return {key: inner if key == "index_template" else _filled(inner, facts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, facts) for inner in value]
    return value.format_map(facts) if isinstance(value, str) else value
