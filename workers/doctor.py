"""`fabu doctor`: what is broken or unsafe in an installation, each with how to mend it.

A check looks at one thing and gives findings. All checks run at once, each in a thread of its own, and what does not
answer in time is a finding, too: the whole takes seconds even when everything is down.
"""

import os
import shutil
import socket
import sqlite3
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import redis
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from channels.contract import ChannelError
from channels.typst import Role, fonts
from config.settings import Settings, secrets_of
from pipeline import bounces, desk, health, issues, notify, staff, workdays
from pipeline.database import open_engine
from pipeline.decisions import entitled
from pipeline.metrics import overdue
from pipeline.migrate import config_for
from pipeline.models import Delivery, Item, Revision
from pipeline.rescue import backup, hold, stage
from pipeline.runtime import Opened, Runtime
from pipeline.states import State

SECONDS = 9.0  # for all checks together
ANSWER_SECONDS = 3.0  # for one answer over the network
CLOCK_SECONDS = 5.0  # clocks may differ so much
LITTLE_ROOM, NO_ROOM = 2_000_000_000, 200_000_000  # bytes free for data
BACKUP_AGE = timedelta(days=1)
LATE = timedelta(minutes=10)  # what was due so long ago should have gone
SHORTEST_SECRET = 32
OLDEST_POSTGRESQL = 15
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Level(StrEnum):
    """How bad it is, the worst first."""

    BROKEN = "broken"
    UNSAFE = "unsafe"
    WELL = "well"


@dataclass(frozen=True)
class Found:
    """One finding: its sentence is `code` with `facts`. `cause`: code and facts of the sentence that is its detail."""

    level: Level
    code: str
    facts: Mapping[str, str] = field(default_factory=dict)
    cause: tuple[str, Mapping[str, str]] | None = None


def broken(code: str, **facts: object) -> Found:
    return Found(Level.BROKEN, code, {name: str(fact) for name, fact in facts.items()})


def unsafe(code: str, **facts: object) -> Found:
    return Found(Level.UNSAFE, code, {name: str(fact) for name, fact in facts.items()})


def well(code: str, **facts: object) -> Found:
    return Found(Level.WELL, code, {name: str(fact) for name, fact in facts.items()})


Check = Callable[[], Iterable[Found]]


def examine(rt: Runtime) -> list[Found]:
    """Everything there is to say about an installation, the worst first."""
    rt = replace(rt, engine=open_engine(_impatient(rt.settings.database_url)))
    checks: dict[str, Check] = {
        "ledger": lambda: ledger(rt),
        "broker": lambda: broker(rt.settings.broker_url),
        "public": lambda: public_address(rt.settings),
        "inbound": lambda: inbound(rt),
        "office": lambda: office(rt.settings),
        "holidays": lambda: holidays(rt.settings, _today(rt)),
        "secrets": lambda: secrets(rt),
        "files": lambda: files(rt.settings.data),
        "disk": lambda: disk(rt.settings.data),
        "fonts": lambda: printing(rt),
        "backups": lambda: backups(rt),
        "account": lambda: account(),
    }
    for opened in rt.channels.values():
        checks[opened.name] = lambda opened=opened: channel(opened)  # type: ignore[misc]
    found = _all_at_once(checks, SECONDS)
    rt.engine.dispose()
    return sorted(found, key=lambda one: list(Level).index(one.level))


def _all_at_once(checks: Mapping[str, Check], seconds: float) -> list[Found]:
    """What the checks find, in their order; one that is not done in time, or fails itself, is named."""
    given: dict[str, list[Found]] = {}

    def run(name: str, check: Check) -> None:
        try:
            given[name] = list(check())
        except Exception as error:
            given[name] = [broken("doctor.check_failed", check=name, detail=type(error).__name__)]

    threads = [threading.Thread(target=run, args=one, daemon=True) for one in checks.items()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))
    late = {name: [broken("doctor.no_answer", check=name, seconds=f"{seconds:g}")] for name in checks}
    done = late | dict(given)
    return [one for name in checks for one in done[name]]


# ── broker ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def broker(url: str) -> Iterable[Found]:
    """Does the broker answer, and does it keep what it is given?"""
    parts = urlsplit(url)
    if parts.scheme not in ("redis+socket", "redis", "rediss"):
        return  # another transport of Celery's, which the office chose itself
    address = url if parts.hostname else f"unix://{parts.path}"
    client = redis.Redis.from_url(address, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
    where = unquote(parts.path) if not parts.hostname else f"{parts.hostname}:{parts.port or 6379}"
    try:
        with client:
            client.ping()
            memory: Mapping[str, object] = client.info("memory")
    except redis.TimeoutError:
        yield broken("doctor.broker_silent", address=where)
    except redis.RedisError as error:
        yield broken("doctor.broker_down", address=where, detail=type(error).__name__)
    else:
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        yield well("doctor.broker_well") if policy == "noeviction" else unsafe("doctor.broker_evicts", policy=policy)


# ── database and what the ledger says ────────────────────────────────────────────────────────────────────────────────


def _impatient(url: str) -> str:
    """The database's address with limits: a doctor must not wait."""
    if url.startswith("sqlite"):
        return url
    limits = {"connect_timeout": f"{ANSWER_SECONDS:.0f}", "options": "-c statement_timeout=5000"}
    return make_url(url).update_query_dict(limits).render_as_string(hide_password=False)


def ledger(rt: Runtime) -> Iterable[Found]:
    """The database, and, where it can be read, everything that only the ledger knows."""
    try:
        with rt.engine.connect().execution_options(reading=True) as connection:
            about = [*database(rt, connection), *migrations(rt, connection)]
    except (DBAPIError, ArgumentError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        yield broken("doctor.database_down", detail=type(cause).__name__)
        return
    yield from about
    if any(one.code in ("doctor.migrations_pending", "doctor.migrations_ahead") for one in about):
        return
    yield from restoring(rt)
    for check in (processes, waiting, running_clocks, reviewers, mails, returned, newsletter, states_of_channels):
        yield from check(rt)


def database(rt: Runtime, connection: Connection) -> Iterable[Found]:
    """Can it be written to, does it keep what it says, and is its clock ours?"""
    if rt.engine.dialect.name == "sqlite":
        journal = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())
        if journal != "wal":
            yield unsafe("doctor.database_not_wal", journal=journal)
        file = rt.engine.url.database  # nothing: it lies in memory
        if file and (obstacle := _cannot_write(Path(file))):
            yield broken("doctor.database_read_only", detail=obstacle)
        yield well("doctor.database_well", product=f"SQLite {sqlite3.sqlite_version}")
        return
    version = int(str(connection.exec_driver_sql("SHOW server_version_num").scalar())) // 10000
    if version < OLDEST_POSTGRESQL:
        yield unsafe("doctor.database_old", version=version, oldest=OLDEST_POSTGRESQL)
    if connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
        yield broken("doctor.database_read_only", detail="read only")
    lossy = [name for name in ("fsync", "synchronous_commit", "full_page_writes")
             if connection.exec_driver_sql(f"SHOW {name}").scalar() == "off"]  # fmt: skip
    if lossy:
        yield unsafe("doctor.database_lossy", settings=", ".join(lossy))
    theirs = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    yield from clock("doctor.clock_database", theirs, rt.now())
    yield well("doctor.database_well", product=f"PostgreSQL {version}")


def _cannot_write(file: Path) -> str:
    """Why nobody could write to an SQLite file now; "" when somebody could. Changes nothing."""
    try:
        address = f"file:{quote(str(file))}?mode=rw"
        with closing(sqlite3.connect(address, ANSWER_SECONDS, isolation_level=None, uri=True)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return str(error)
    return ""


def migrations(rt: Runtime, connection: Connection) -> Iterable[Found]:
    """Is the ledger of this program's schema?"""
    here = MigrationContext.configure(connection).get_current_revision() or "–"
    known = ScriptDirectory.from_config(config_for(rt.engine))
    head = str(known.get_current_head())
    if here == head:
        return
    if here in {one.revision for one in known.walk_revisions()} | {"–"}:
        yield broken("doctor.migrations_pending", here=here, head=head)
    else:
        yield broken("doctor.migrations_ahead", here=here, head=head)


def restoring(rt: Runtime) -> Iterable[Found]:
    """Was a restore broken off, or is the ledger that came back not compared yet? Nothing is published then."""
    with rt.reading() as db:
        begun, not_compared = db.scalar(select(stage.begun(rt.settings.data, db))), hold.not_compared(db)
    if begun:
        yield broken("doctor.restore_begun")
    if not_compared:
        yield broken("doctor.restore_not_compared")


def processes(rt: Runtime) -> Iterable[Found]:
    """Were worker and beat seen at work?"""
    for kind in health.Kind:
        seen_at = health.last_seen(rt, kind)
        if health.is_alive(rt, seen_at):
            continue
        yield broken(f"doctor.{kind}_gone", seen=_local(rt, seen_at))
    if all(health.is_alive(rt, health.last_seen(rt, kind)) for kind in health.Kind):
        yield well("doctor.processes_well")


def waiting(rt: Runtime) -> Iterable[Found]:
    """What should have gone long ago, and what waits for a person."""
    for late in overdue(rt, LATE):
        yield unsafe("doctor.overdue", channel=_label(rt, late.channel), count=late.count, since=_local(rt, late.since))
    with rt.reading() as db:
        counted = select(Delivery.channel, Delivery.state, func.count()).where(
            Delivery.state.in_((State.FAILED, State.IN_DOUBT, State.ON_HOLD)), Delivery.expanded_at.is_(None)
        )
        rows = db.execute(counted.group_by(Delivery.channel, Delivery.state)).all()
    for name, state, count in rows:
        yield unsafe(f"doctor.{state.value}", channel=_label(rt, name), count=count)


def running_clocks(rt: Runtime) -> Iterable[Found]:
    """Does the deadline of an item that is not public yet lie in a year whose holidays are not known?"""
    known = workdays.known_through(rt.settings, _today(rt))
    latest = select(func.max(Revision.formed_on)).where(
        Revision.item_id.in_(select(Item.id)), ~select(Delivery.id).where(Delivery.item_id == Revision.item_id).exists()
    )
    with rt.reading() as db:
        formed_on = db.scalar(latest)
    if formed_on is not None and workdays.disclosure_deadline(rt.settings, formed_on).day > known:
        yield unsafe("doctor.clocks_provisional", known=known)


def reviewers(rt: Runtime) -> Iterable[Found]:
    """Can every department's items pass every level, each by another person?"""
    everybody = staff.people(rt)
    for department in staff.departments(rt):
        for role in rt.settings.review.levels:
            if not any(entitled(one, role, department.id) for one in everybody):
                yield broken("doctor.nobody_reviews", department=department.name, roles=role)


def mails(rt: Runtime) -> Iterable[Found]:
    """Where the office sends mails to its staff: do they go, and whom can none reach?"""
    if rt.settings.mail is None:
        return
    without = [one.name for one in staff.people(rt) if not one.email]
    if without:
        yield unsafe("doctor.no_email", people="、".join(without))
    status, names = notify.status(rt), staff.names(rt)
    if status.error is not None:
        last = _local(rt, status.last_success_at)
        found = broken("doctor.mail_fails", count=status.failures, last=last)
        yield replace(found, cause=(str(status.error["code"]), status.error["facts"]))
    elif status.last_success_at is not None:
        yield well("doctor.mail_well", last=_local(rt, status.last_success_at))
    for person, error in status.refused.items():
        found = unsafe("doctor.mail_refused", person=names.person(person))
        yield replace(found, cause=(str(error["code"]), error["facts"]))


def returned(rt: Runtime) -> Iterable[Found]:
    """Mails that came back: does anybody read them?"""
    real = [one for one in rt.channels.values() if one.section.kind == "mail" and not one.section.rehearsal]
    if rt.settings.bounces is None:
        for opened in real:
            yield unsafe("doctor.bounces_off", channel=_label(rt, opened.name))
        return
    status = bounces.status(rt)
    if status.error is not None:
        found = broken("doctor.bounces_fail", count=status.failures, last=_local(rt, status.last_success_at))
        yield replace(found, cause=(str(status.error["code"]), status.error["facts"]))
    elif status.last_success_at is not None:
        yield well("doctor.bounces_well", last=_local(rt, status.last_success_at))


def newsletter(rt: Runtime) -> Iterable[Found]:
    """Issues whose time has passed and that are not sent."""
    if rt.settings.newsletter is None:
        return
    for line in issues.plan(rt, 0):
        if line.late:
            yield unsafe("doctor.issue_late", issue=line.numbers, time=_local(rt, line.send_at), day=line.nominal)


def states_of_channels(rt: Runtime) -> Iterable[Found]:
    """Channels that a person paused, or that were given up for now."""
    for line in desk.channels(rt):
        if line.paused_by:
            who = staff.names(rt).person(line.paused_by)
            yield unsafe("doctor.channel_paused", channel=_label(rt, line.channel), name=line.channel, person=who)
        elif line.open_until:
            yield unsafe("doctor.channel_breaker", channel=_label(rt, line.channel), until=_local(rt, line.open_until))


# ── the outside ──────────────────────────────────────────────────────────────────────────────────────────────────────


def channel(opened: Opened) -> Iterable[Found]:
    """Is the other side there, and are we let in? Is it the world at all?"""
    label = f"{opened.section.label} ({opened.name})"
    if opened.section.rehearsal:
        options = opened.section.options
        if not (options.get("host") or urlsplit(str(options.get("url", ""))).hostname):
            yield broken("doctor.rehearsal_nowhere", channel=label, name=opened.name)
            return
        yield unsafe("doctor.rehearsal", channel=label, name=opened.name)
    try:
        opened.adapter.check()
    except ChannelError as error:
        yield replace(broken("doctor.channel_down", channel=label, name=opened.name), cause=(error.code, error.facts))
    except OSError as error:  # a folder that cannot be written to
        yield broken("doctor.channel_down", channel=label, name=opened.name, detail=f"{error.strerror}: ")
    else:
        yield well("doctor.channel_well", channel=label)


def public_address(settings: Settings) -> Iterable[Found]:
    """Where citizens read: is it an address for them, does it answer, and is its clock ours?"""
    url = settings.public_url
    parts = urlsplit(url)
    if _is_loopback(url):
        yield unsafe("doctor.public_loopback", url=url)
    elif parts.scheme != "https":
        yield unsafe("doctor.public_http", url=url)
    status, headers, _ = _ask(url)
    if not 200 <= status < 400:
        yield broken("doctor.public_silent", url=url, status=status or "–")
    elif told := next((value for name, value in headers.items() if name.lower() == "date"), None):
        yield from clock("doctor.clock_portal", parsedate_to_datetime(told), datetime.now(UTC))


def inbound(rt: Runtime) -> Iterable[Found]:
    """Would a gateway's report reach us at the address that it is told?"""
    reporting = [one for one in rt.channels.values() if one.traits.evidence.reported]
    if not reporting:
        return
    url = rt.settings.inbound_url
    if _is_loopback(url) and not all(one.section.rehearsal for one in reporting):
        yield unsafe("doctor.inbound_loopback", url=url)
    status, _, body = _ask(f"{url}/reports/-/-")  # an address of nobody's: only our own process answers so
    if (status, body) != (404, b"not found"):
        yield broken("doctor.inbound_silent", url=url, status=status or "–")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ask(url: str) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers, and the beginning of the body; status 0 when nothing answers."""
    try:
        with _DIRECTLY.open(url, timeout=ANSWER_SECONDS) as answer:
            return answer.status, dict(answer.headers), answer.read(200)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read(200)
    except (OSError, ValueError):
        return 0, {}, b""


def clock(code: str, theirs: datetime, ours: datetime) -> Iterable[Found]:
    """Do two clocks agree?"""
    apart = (theirs - ours).total_seconds()
    if abs(apart) > CLOCK_SECONDS:
        yield unsafe(code, seconds=f"{apart:+.0f}")


# ── the office and its files ─────────────────────────────────────────────────────────────────────────────────────────


def office(settings: Settings) -> Iterable[Found]:
    """What must stand in every page's foot (政府网站发展指引), and the zone of every time."""
    own = settings.office
    phone = "" if own.phone.endswith("0000000") else own.phone  # as it is shipped
    foot = {
        "主办单位 name": own.name, "联系方式 phone / address": phone or own.address,
        "网站标识码 site_id_code": own.site_id_code, "ICP备案号 icp": own.icp,
        "公安备案号 police_record": own.police_record, "党政机关标识 agency_mark_url": own.agency_mark_url,
        "我为政府网站找错 report_error_url": own.report_error_url,
    }  # fmt: skip
    if empty := [name for name, value in foot.items() if not value]:
        yield unsafe("doctor.foot_empty", fields="、".join(empty))
    if own.time_zone != "Asia/Shanghai":
        yield unsafe("doctor.time_zone", zone=own.time_zone)


def holidays(settings: Settings, today: date) -> Iterable[Found]:
    """Are the holidays known far enough? Next year's notice is published in October or November."""
    known = workdays.known_through(settings, today)
    if known.year < today.year or (today.month >= 11 and known.year == today.year):
        yield unsafe("doctor.holidays", known=known, year=known.year + 1)
    else:
        yield well("doctor.holidays_well", known=known)


def secrets(rt: Runtime) -> Iterable[Found]:
    """Secrets that can be guessed, or are one and the same."""
    kept = secrets_of(rt.settings.data)
    ours = {"secret": rt.settings.secret}
    for opened in rt.channels.values():
        if not opened.section.rehearsal and (key := opened.section.options.get("key")):
            ours.setdefault("portal_key" if key == kept.get("portal_key") else f"channels.{opened.name}.key", str(key))
    by_value: dict[str, list[str]] = {}
    for name, value in ours.items():
        by_value.setdefault(value, []).append(name)
        if len(value) < SHORTEST_SECRET or len(set(value)) < 10:
            yield broken("doctor.secret_weak", name=name, least=SHORTEST_SECRET)
    for names in by_value.values():
        if "secret" in names and len(names) > 1:
            yield unsafe("doctor.secret_twice", names="、".join(names))
    if rt.settings.mail is not None and 0 < len(rt.settings.mail.password) < 8:
        yield unsafe("doctor.password_weak", name="[mail] password")


def files(data: Path) -> Iterable[Found]:
    """Who else on this machine may read what only Fabu should?"""
    others_pass = data.stat().st_mode & stat.S_IXOTH
    for file, forbidden in ((".", 0o007), ("secrets.json", 0o077), ("fabu.toml", 0o007), ("fabu.db", 0o007)):
        path = data / file
        if not path.exists() or (file != "." and forbidden == 0o007 and not others_pass):
            continue
        if (mode := stat.S_IMODE(path.stat().st_mode)) & forbidden:
            yield unsafe("doctor.readable", file=path.resolve(), mode=f"{mode:o}", command=f"{mode & ~forbidden:o}")


def disk(data: Path) -> Iterable[Found]:
    """Is there room?"""
    free = shutil.disk_usage(data).free
    facts = {"free": f"{free / 1e9:.1f}", "folder": str(data)}
    if free < NO_ROOM:
        yield broken("doctor.disk_full", **facts)
    elif free < LITTLE_ROOM:
        yield unsafe("doctor.disk_low", **facts)
    else:
        yield well("doctor.disk_well", **facts)


def backups(rt: Runtime) -> Iterable[Found]:
    """Is there a backup of last night? One that is missed by day is made up for within minutes."""
    status = backup.status(rt)
    if status.keep == 0:
        yield unsafe("doctor.backup_off")
    elif status.code:
        yield replace(broken("doctor.backup_failed", day=status.day or "–"), cause=(status.code, dict(status.facts)))
    elif status.day is None:
        yield unsafe("doctor.backup_none", at=rt.settings.backup.at)
    elif _today(rt) - status.day > BACKUP_AGE:
        yield broken("doctor.backup_old", day=status.day)
    else:
        yield well("doctor.backup_well", day=status.day)
    if status.keep and status.folder.resolve().is_relative_to(rt.settings.data.resolve()):
        yield unsafe("doctor.backup_beside", folder=status.folder)


def printing(rt: Runtime) -> Iterable[Found]:
    """A font for every role, and whether it is the standard's own."""
    for folder in {getattr(one.adapter, "fonts_dir", None) for one in rt.channels.values() if _prints(one)}:
        if folder is not None and not Path(folder).is_dir():
            yield broken("doctor.fonts_dir", folder=folder)
            continue
        chosen = fonts(folder)
        if missing := [role.value for role in Role if not chosen.families[role]]:
            yield broken("doctor.fonts_missing", fonts="、".join(missing))
            continue
        own = {file.stem for file in Path(folder).iterdir()} if folder is not None else set()
        if substitutes := [role.value for role in Role if role.value not in own]:
            yield well("doctor.fonts_substitute", fonts="、".join(substitutes))


def _prints(opened: Opened) -> bool:
    return hasattr(opened.adapter, "fonts_dir")


def account() -> Iterable[Found]:
    """Nothing of ours needs root."""
    if os.geteuid() == 0:
        yield unsafe("doctor.root", host=socket.gethostname())


def _label(rt: Runtime, name: str) -> str:
    return rt.channels[name].section.label if name in rt.channels else name


def _today(rt: Runtime) -> date:
    return rt.now().astimezone(rt.settings.zone).date()


def _local(rt: Runtime, moment: datetime | None) -> str:
    return moment.astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M") if moment else "–"
