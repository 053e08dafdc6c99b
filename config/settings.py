"""What the office decides: one frozen `Settings`, read from `fabu.toml`, the data directory and the environment.

The environment overrides where parts live (production); `fabu.toml` says everything an office decides. Text values in
it may name parts of the embedded stack: {data} {portal_url} {portal_key} {inbound_url} {sandbox_url}
{sandbox_password} {sandbox_mail_host} {sandbox_mail_port}.
"""

import errno
import json
import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from config.sockets import short_socket

HERE = Path(__file__).parent

# Every environment name, once.
DATA = "FABU_DATA"
DATABASE_URL = "FABU_DATABASE_URL"
BROKER_URL = "FABU_BROKER_URL"
PUBLIC_URL = "FABU_PUBLIC_URL"
INBOUND_URL = "FABU_INBOUND_URL"
PORTAL_URL = "FABU_PORTAL_URL"
CONSOLE_URL = "FABU_CONSOLE_URL"
SANDBOX_URL = "FABU_SANDBOX_URL"
SECRET = "FABU_SECRET"
PORTAL_KEY = "FABU_PORTAL_KEY"
SANDBOX_PASSWORD = "FABU_SANDBOX_PASSWORD"
MAIL_PASSWORD = "FABU_MAIL_PASSWORD"
BOUNCES_PASSWORD = "FABU_BOUNCES_PASSWORD"
SANDBOX_MAIL = "FABU_SANDBOX_MAIL"  # host:port on which the sandbox takes mails
LOCALE = "FABU_LOCALE"  # read in config/locale, which needs it before there are settings

BROKER_SOCKET = "valkey.sock"  # in the data directory
HOLIDAYS = "holidays.toml"  # the same
PARTS = ("portal", "inbound", "console", "sandbox", "sandbox_mail")  # what of the embedded stack listens on a port
Role = Literal["author", "editor", "officer", "leader", "auditor", "admin"]
Regime = Literal["2007", "2019"]
# What the checks before review look for, in texts and in attachments.
CheckKind = Literal[
    "id_number", "old_id_number", "mobile", "bank_card", "secret_mark", "internal_mark", "name_list", "phrase",
    "comments", "tracked_changes", "hidden_text", "hidden_sheets", "annotations", "embedded_files", "script",
    "location", "author_data", "closed", "partly", "damaged",
]  # fmt: skip


class ConfigError(Exception):
    """The configuration cannot be used. `code` and `facts` are put in words at the edge."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts


def _wrong(code: str, **facts: object) -> PydanticCustomError:
    """What a validator raises: `load` makes a ConfigError of it, with the file's name."""
    return PydanticCustomError(code, code, facts)


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
    agency_mark_url: str = ""  # 党政机关网站标识
    report_error_url: str = ""  # 我为政府网站找错
    index_template: str = "{code}/{year}-{serial:05d}"
    time_zone: str = "Asia/Shanghai"

    @field_validator("index_template")
    @classmethod
    def _numbers(cls, value: str) -> str:
        try:
            first, second = (value.format(code="370303", year=2026, month=11, serial=serial) for serial in (1, 2))
        except (LookupError, ValueError, AttributeError) as error:
            raise _wrong("config.bad_template", template=value) from error
        if first == second:  # an index number is issued once
            raise _wrong("config.bad_template", template=value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise _wrong("config.bad_zone", zone=value) from error
        return value


class Department(Frozen):
    id: str
    name: str


class Person(Frozen):
    id: str
    name: str
    department: str
    roles: frozenset[Role]
    in_charge: frozenset[str] = frozenset()  # departments a leader is in charge of; empty: all
    email: str = ""  # where notifications go


class ReviewSection(Frozen):
    # in order; each by another person (domain: 保密审查)
    levels: tuple[Role, ...] = Field(default=("officer", "leader"), min_length=1)


class LawSection(Frozen):
    """Which text of the 政府信息公开条例 the office's clocks go by: `pipeline.workdays.LAWS`."""

    regime: Regime = "2019"


class HolidayYear(Frozen):
    """One year of the State Council's holiday notice: weekdays off, and weekend days worked in lieu (调休)."""

    off: frozenset[date]
    work: frozenset[date] = frozenset()


class MailSection(Frozen):
    """The office's mail server (SMTP), for mails to the staff. The password stands here, in a file, or in the
    environment."""

    host: str
    port: int | None = Field(default=None, ge=1, le=65535)  # left out: the usual one of `security` (channels/smtp.py)
    security: Literal["none", "starttls", "tls"] = "tls"
    ca_file: str = ""  # certificates to trust beside the machine's own: an office's own authority
    username: str = ""
    password: str = Field(default="", repr=False)
    password_file: str = ""
    sender: str  # the address that mails come from
    every_minutes: int = Field(default=60, ge=60)  # at most one mail a person in this time

    @field_validator("sender")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", value) or not value.isascii():
            raise _wrong("config.bad_sender", sender=value)
        return value

    @model_validator(mode="after")
    def _one_password(self) -> "MailSection":
        if self.username and not self.password:
            raise _wrong("config.no_mail_password", username=self.username)
        return self


class BouncesSection(Frozen):
    """Where mails that came back are read: a mailbox (IMAP), or a folder that the mail server puts them into (a
    Maildir, or files ending in .eml). The password stands here, in a file, or in the environment."""

    channel: str = "mail"
    folder: str = ""
    host: str = ""
    port: int | None = Field(default=None, ge=1, le=65535)  # left out: the usual one of `security`
    security: Literal["none", "starttls", "tls"] = "tls"
    ca_file: str = ""
    username: str = ""
    password: str = Field(default="", repr=False)
    password_file: str = ""
    mailbox: str = "INBOX"
    soft_limit: int = Field(default=5, ge=1)  # so many mails that came back within soft_days: nothing more is sent
    soft_days: int = Field(default=90, ge=1)

    @model_validator(mode="after")
    def _one_place(self) -> "BouncesSection":
        if bool(self.folder) == bool(self.host):
            raise _wrong("config.bounces_place")
        if self.host and not (self.username and self.password):
            raise _wrong("config.no_bounces_password", username=self.username)
        return self


class FeedSection(Frozen):
    """A feed (RSS, Atom) whose new entries become drafts of `author`, by themselves."""

    url: str = Field(max_length=500)
    author: str  # the person who owns the drafts
    label: str = ""  # the source that the drafts name; left out: what the feed calls itself
    department: str = ""  # left out: the author's
    item_type: str = ""  # left out: the one that the title ends with, else the first of item_types
    every_minutes: int = Field(default=60, ge=1)
    allow_private: bool = False  # it stands in the own network

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not re.match(r"https?://[^/\s]+", value, re.I):
            raise _wrong("config.bad_feed", url=value)
        return value


class GroupSection(Frozen):
    """One kind of news that a subscriber chooses. `item_types`: what goes to it unless a submission says otherwise."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")  # kept with every subscriber: never changed
    name: str = Field(min_length=1)
    about: str = ""  # a line for citizens
    item_types: tuple[str, ...] = ()
    # offered on these only, as far as the office has them; left out: on every channel of the form
    channels: tuple[str, ...] = ()


class SubscriptionSection(Frozen):
    """The citizens' form on the inbound process, where they subscribe and confirm."""

    channels: tuple[str, ...] = ()  # offered; left out: every channel with recipients
    groups: tuple[GroupSection, ...] = ()
    # 个人信息保护法, art. 17: who asks is the office; why, how long and how to end it is said before anybody agrees
    purpose: str = "按您选择的类别，向您发送本单位主动公开的政府信息"
    hourly: int = Field(default=200, ge=1)  # so many invitations an hour in all
    hourly_network: int = Field(default=20, ge=1)  # and from one network address

    @model_validator(mode="after")
    def _different_groups(self) -> "SubscriptionSection":
        for ids in ([one.id for one in self.groups], [one.name for one in self.groups]):
            if twice := sorted({id for id in ids if ids.count(id) > 1}):
                raise _wrong("config.same_id", id=twice[0])
        return self


class NewsletterColumn(Frozen):
    """A column of the newsletter (栏目) and what falls in it, one of each that is named; nothing named: all the rest.
    Within it items stand in the order of what is named, then by the day on which they became public."""

    name: str = Field(min_length=1, max_length=40)
    item_types: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()


class NewsletterSection(Frozen):
    """The newsletter (通讯): on which days it comes out, what it is made of, where it goes. Times are the office's."""

    name: str = Field(default="广电通讯", min_length=1, max_length=40)
    days: tuple[Annotated[int, Field(ge=1, le=28)], ...] = Field(default=(1, 15), min_length=1)  # of every month
    time: str = "09:00"  # at which it is sent
    cut_off_hours: float = Field(default=24.0, ge=0, le=24 * 14)  # before that; what becomes public later waits
    policy: Literal["back", "forward", "keep"] = "back"  # on a day off: the working day before, after, or that day
    first: date | None = None  # nominal day of the first issue; left out: the next one when Fabu first runs
    first_number: int = Field(default=0, ge=0)  # its number within the year; 0: its place among the year's days
    first_running: int = Field(default=1, ge=1)  # its running total (总第…期)
    editor: str  # whose drafts the issues are
    item_type: str = "通讯"
    channels: tuple[str, ...] = Field(min_length=1)  # where issues go
    internal: bool = False  # 内部资料性出版物 instead of a public one (公开简报)
    imprint: Mapping[str, str] = {}  # 准印证号, 编印单位 …: label and value, in order
    columns: tuple[NewsletterColumn, ...] = Field(min_length=1)

    @field_validator("days")
    @classmethod
    def _in_order(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @field_validator("time")
    @classmethod
    def _a_time(cls, value: str) -> str:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
            raise _wrong("config.bad_newsletter_time", time=value)
        return value

    @model_validator(mode="after")
    def _fits(self) -> "NewsletterSection":
        if self.first is not None and self.first.day not in self.days:
            raise _wrong("config.newsletter_first", first=self.first.isoformat())
        names = [column.name for column in self.columns]
        if twice := [name for name in names if names.count(name) > 1]:
            raise _wrong("config.newsletter_column", column=twice[0])
        return self


class BackupSection(Frozen):
    """The nightly backup."""

    at: str = "02:30"  # local time; missed, it is made up for as soon as Fabu runs
    keep: int = Field(default=14, ge=0)  # so many are kept; 0: none is made
    folder: str = "backups"  # from the data directory, or an absolute path: another disk is better

    @field_validator("at")
    @classmethod
    def _a_time(cls, value: str) -> str:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
            raise _wrong("config.bad_backup_time", at=value)
        return value


class LimitsSection(Frozen):
    lease_seconds: float = 90.0  # a claimed row is another worker's again after this
    sweep_seconds: float = 2.0
    seen_seconds: float = Field(default=15.0, gt=0)  # how often worker and beat prove that they work
    # seconds between looks from outside; the last repeats
    looks: tuple[float, ...] = Field(default=(0, 2, 10, 60, 600), min_length=1)
    text_characters: int = 200_000
    title_characters: int = 120
    file_bytes: int = 20_000_000


class ChecksSection(Frozen):
    """What the checks before review let pass, and which findings stop a submission."""

    allowed_phones: tuple[str, ...] = ()  # mobile numbers that the office itself makes public
    severity: Mapping[CheckKind, Literal["block", "warn"]] = {}  # where it differs from `pipeline.checks.KINDS`


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
    # calls at once at most; left out: 32 where a call can be taken back (reached step by step), else 8
    senders: int | None = Field(default=None, ge=1, le=64)
    tries: int = Field(default=5, ge=1)  # sendings of one generation that may turn out not to have arrived
    fresh_days: int | None = Field(default=None, ge=1)  # something new within so many days, or the staff is warned
    rehearsal: bool = False  # it reaches the sandbox, not the world: marked 演练
    internal: bool = False  # it reaches units and persons of our own choice only, never the public

    @field_validator("quiet")
    @classmethod
    def _a_span(cls, value: str) -> str:
        if value and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", value):
            raise _wrong("config.bad_quiet", quiet=value)
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
    console_url: str = ""  # where the staff works; its path is the console's base path
    secret: str = Field(repr=False)  # signs the addresses on which the outside reports
    locale: Literal["auto", "zh", "en"] = "auto"  # auto: that of the machine
    office: OfficeSection
    departments: tuple[Department, ...]
    people: tuple[Person, ...]
    review: ReviewSection = ReviewSection()
    law: LawSection = LawSection()
    holidays: Mapping[int, HolidayYear] = {}  # of years that `chinesecalendar` does not know yet, or has wrong
    mail: MailSection | None = None  # left out: no mails to the staff
    bounces: BouncesSection | None = None  # left out: nobody reads what comes back
    checks: ChecksSection = ChecksSection()
    subscription: SubscriptionSection | None = None  # left out: citizens cannot subscribe by themselves
    newsletter: NewsletterSection | None = None  # left out: there is none
    backup: BackupSection = BackupSection()
    limits: LimitsSection = LimitsSection()
    item_types: tuple[str, ...] = ("通知", "公告", "公示", "意见", "报告")
    # proposed at submission, by item type; for a type left out: all that are not sent to recipients
    default_channels: Mapping[str, tuple[str, ...]] = {}
    feeds: tuple[FeedSection, ...] = ()
    channels: Mapping[str, ChannelSection]

    @model_validator(mode="after")
    def _names_fit(self) -> "Settings":
        if not re.match(r"https?://[^/]", self.public_url):
            raise _wrong("config.bad_public_url", url=self.public_url)
        for level in self.review.levels:
            if not any(level in person.roles for person in self.people):
                raise _wrong("config.level_without_person", role=level)
        departments = {department.id for department in self.departments}
        for ids in ([one.id for one in self.departments], [one.id for one in self.people]):
            if twice := sorted({id for id in ids if ids.count(id) > 1}):
                raise _wrong("config.same_id", id=twice[0])
        urls = [feed.url for feed in self.feeds]
        for feed in self.feeds:
            if urls.count(feed.url) > 1:
                raise _wrong("config.same_feed", url=feed.url)
            if feed.item_type and feed.item_type not in self.item_types:
                raise _wrong("config.feed_type", url=feed.url, item_type=feed.item_type)
        for person in self.people:
            if unknown := ({person.department} | person.in_charge) - departments:
                raise _wrong("config.unknown_department", person=person.id, department=", ".join(sorted(unknown)))
        for item_type, names in self.default_channels.items():
            if item_type not in self.item_types:
                raise _wrong("config.unknown_type", type=item_type)
            if unknown := set(names) - self.channels.keys():
                raise _wrong("config.unknown_default", type=item_type, channel=", ".join(sorted(unknown)))
        for name in self.subscription.channels if self.subscription else ():
            if name not in self.channels:
                raise _wrong("config.unknown_subscription", channel=name)
        if self.newsletter is not None:
            if self.newsletter.item_type not in self.item_types:
                raise _wrong("config.newsletter_type", type=self.newsletter.item_type)
            if unknown := set(self.newsletter.channels) - self.channels.keys():
                raise _wrong("config.newsletter_channel", channel=", ".join(sorted(unknown)))
        for name, channel in self.channels.items():
            if channel.after and channel.after not in self.channels:
                raise _wrong("config.unknown_after", channel=name, after=channel.after)
            if channel.call_seconds >= self.limits.lease_seconds:
                raise _wrong("config.call_too_long", channel=name, limit=f"{self.limits.lease_seconds:g}")
        if self.bounces is not None and self.bounces.channel not in self.channels:
            raise _wrong("config.bounces_channel", channel=self.bounces.channel)
        for name in self.channels:
            chain = [name]
            while after := self.channels[chain[-1]].after:
                if after in chain:
                    raise _wrong("config.after_circle", channels=" → ".join([*chain, after]))
                chain.append(after)
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.office.time_zone)


def prepare(data: Path, template: str = "fabu.toml", ports: Mapping[str, int] | None = None) -> None:
    """Make `data` a data directory: configuration from the shipped template, secrets, ports. What is there, stays."""
    data.mkdir(parents=True, exist_ok=True, mode=0o750)
    _keep(data / "fabu.toml", (HERE / template).read_text("utf-8"))
    keys = {name: secrets.token_urlsafe(32) for name in ("secret", "portal_key", "sandbox_password")}
    _keep(data / "secrets.json", json.dumps(keys, indent=1), 0o600)
    if ports is not None:
        _keep(data / "ports.json", json.dumps(dict(ports), indent=1))
        _add_ports(data / "ports.json", ports)


def load(data: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of a data directory. Raises ConfigError when it was never set up or does not make sense.

    Whatever the environment may say, it may also name a file that says it: `FABU_SECRET_FILE` for `FABU_SECRET`.
    """
    data, environ = data.resolve(), _with_files(environ)
    file = data / "fabu.toml"
    text = _text(file)
    if text is None:
        raise ConfigError("config.not_set_up", data=str(data))
    keys, local = secrets_of(data), local_addresses(data)
    secret = environ.get(SECRET) or keys.get("secret", "")
    if not secret:
        raise ConfigError("config.no_secret", file=str(data / "secrets.json"))
    sandbox_mail = environ.get(SANDBOX_MAIL) or local["sandbox_mail"].rpartition("/")[2] or "localhost:2525"
    facts = {
        "data": str(data),
        "portal_url": environ.get(PORTAL_URL) or local["portal"],
        "portal_key": environ.get(PORTAL_KEY) or keys.get("portal_key", ""),
        "inbound_url": environ.get(INBOUND_URL) or local["inbound"],
        "sandbox_url": environ.get(SANDBOX_URL) or local["sandbox"],
        "sandbox_mail_host": sandbox_mail.rpartition(":")[0],
        "sandbox_mail_port": sandbox_mail.rpartition(":")[2],
        "sandbox_password": environ.get(SANDBOX_PASSWORD) or keys.get("sandbox_password", ""),
    }
    try:
        document = _filled(tomllib.loads(text), facts)
        public = environ.get(PUBLIC_URL) or document.pop("public_url", "") or facts["portal_url"]
        broker = f"redis+socket://{quote(str(short_socket(data, BROKER_SOCKET)))}?virtual_host=0"
        given = {
            "data": data,
            "database_url": database_url(data, environ),
            "broker_url": environ.get(BROKER_URL) or broker,
            "inbound_url": facts["inbound_url"],
            "console_url": (environ.get(CONSOLE_URL) or document.pop("console_url", "") or local["console"]).rstrip(
                "/"
            ),
            "secret": secret,
        }
        document["holidays"] = {**document.get("holidays", {}), **_imported_holidays(data)}
        if isinstance(mail := document.get("mail"), dict):
            mail["password"] = environ.get(MAIL_PASSWORD) or _mail_password(data, mail)
        if isinstance(bounces := document.get("bounces"), dict):
            bounces["password"] = environ.get(BOUNCES_PASSWORD) or _mail_password(data, bounces)
        return Settings(**{**document, **given, "public_url": str(public).rstrip("/")})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("config.not_toml", file=str(file), detail=str(error)) from error
    except _UnknownName as error:
        raise ConfigError("config.unknown_name", file=str(file), name=error.args[0]) from error
    except ValidationError as error:
        raise _worded(error, str(file)) from error
    except PermissionError as error:  # of short_socket
        raise ConfigError("config.foreign_folder", folder=str(error.filename or error)) from error


def _mail_password(data: Path, mail: Mapping[str, Any]) -> Any:
    """A mail server's password from where its section says it stands; a file's path counts from the data directory."""
    if not (named := mail.get("password_file")):
        return mail.get("password", "")
    if (kept := _text(data / str(named))) is None:
        raise ConfigError("config.cannot_read", file=str(data / str(named)), detail=os.strerror(errno.ENOENT))
    return kept.strip()


def _imported_holidays(data: Path) -> dict[str, Any]:
    """The years that `fabu holidays import` kept, by number."""
    file = data / HOLIDAYS
    try:
        years = tomllib.loads(_text(file) or "").get("holidays", {})
        TypeAdapter(dict[int, HolidayYear]).validate_python(years)
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError("config.bad_holidays", file=str(file)) from error
    return dict(years)


def database_url(data: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Where the ledger of a data directory lies. Raises ConfigError for a database that we do not know."""
    url = environ.get(DATABASE_URL) or f"sqlite:///{quote(str(data / 'fabu.db'))}"
    if not re.match(r"(sqlite|postgresql(\+psycopg)?)://", url):
        raise ConfigError("config.bad_database", detail=url.partition(":")[0])  # the rest holds a password
    return url


def secrets_of(data: Path) -> dict[str, str]:
    """The secrets that were made for a data directory."""
    return _json(data / "secrets.json")


def local_addresses(data: Path) -> dict[str, str]:
    """Where the parts of the embedded stack listen: on ports chosen once, because permanent addresses carry them."""
    ports = _json(data / "ports.json")
    return {part: f"http://127.0.0.1:{ports[part]}" if part in ports else "" for part in PARTS}


def _with_files(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, with what stands in the files that its `…_FILE` names point to, as container secrets do. A value
    that is empty is none: an override of docker-compose.yml can make one empty, but cannot take it out."""
    files = {name: Path(path) for name, path in environ.items() if name.startswith("FABU_") and name.endswith("_FILE")}
    given = {name.removesuffix("_FILE"): (file, _text(file)) for name, file in files.items() if str(file) != "."}
    for name, (file, text) in given.items():
        if text is None:
            raise ConfigError("config.no_file", name=f"{name}_FILE", file=str(file))
    read = {name: text.strip() for name, (_, text) in given.items() if text is not None}
    return {**read, **{name: value for name, value in environ.items() if value or name not in read}}


def _add_ports(path: Path, ports: Mapping[str, int]) -> None:
    """Give a part that is new in this release its port; the others keep theirs."""
    kept = _json(path)
    if new := {part: port for part, port in ports.items() if part not in kept and port not in kept.values()}:
        path.write_text(json.dumps({**kept, **new}, indent=1), "utf-8")


def _keep(path: Path, text: str, mode: int = 0o640) -> None:
    """Write a file that is not there yet, whole or not at all: a half-written secret would be kept for ever."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.touch(mode)
    new.write_text(text, "utf-8")
    with suppress(FileExistsError):  # another process was faster, and its file stays
        os.link(new, path)
    new.unlink()


def _text(path: Path) -> str | None:
    """What stands in a file; None when there is none. An editor's byte order mark is no part of it."""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigError("config.not_utf8", file=str(path)) from error
    except OSError as error:
        raise ConfigError("config.cannot_read", file=str(path), detail=error.strerror or "") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(text)) if (text := _text(path)) is not None else {}
    except (ValueError, TypeError) as error:
        raise ConfigError("config.damaged", file=str(path)) from error


def _worded(error: ValidationError, file: str) -> ConfigError:
    """The first thing that pydantic found wrong, as ours."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case code if code.startswith("config."):
            return ConfigError(code, file=file, **{name: str(fact) for name, fact in first["ctx"].items()})
        case "extra_forbidden":
            return ConfigError("config.unknown_key", file=file, place=place)
        case "missing":
            return ConfigError("config.missing_key", file=file, place=place)
    return ConfigError("config.invalid", file=file, place=place, detail=first["msg"])


class _UnknownName(Exception):
    """A text value names something in braces that is no part of the stack."""


def _filled(value: Any, facts: Mapping[str, str]) -> Any:
    """Fill {names} in text values; the index number's template keeps its own."""
    if isinstance(value, dict):
        return {key: inner if key == "index_template" else _filled(inner, facts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, facts) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        return value.format_map(facts)
    except KeyError as error:
        raise _UnknownName(f"{{{error.args[0]}}}") from error
    except (ValueError, IndexError, AttributeError) as error:  # a brace that is not closed, or more than a name
        raise _UnknownName(value) from error
