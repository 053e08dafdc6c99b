"""`fabu doctor`: each thing is broken for real, and is named in words that say how to mend it."""

import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text, update

from channels import typst
from config.locale import Language, catalogue, say
from config.settings import BouncesSection, HolidayYear, Settings
from pipeline import bounces, health, issues, notify, operate, publish
from pipeline.database import open_engine
from pipeline.models import ChannelStatus, Delivery, Mailed
from pipeline.rescue import backup
from pipeline.runtime import Runtime, open_channels
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau, open_bureau, settings_for
from tests.parts import create_database, silent_server
from tests.pipeline.newsletter import TYPES, newsletter
from workers import doctor
from workers.doctor import Found, Level, examine

LANGUAGES: tuple[Language, ...] = ("zh", "en")
SECRET = "kT3nW8vQz5LrXc2Yb7PfMd4JhGs9AaEu"


@contextmanager
def answering(status: int, body: bytes = b"", date_: str = "") -> Iterator[str]:
    """A server that answers everything alike; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            if date_:
                self.send_header("Date", date_)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def settings(tmp_path: Path, broker: str, **changes: Any) -> Settings:
    """A bureau with nothing wrong: its page foot is full, its secret is good, a leader for every department."""
    office = {
        "name": "张店区广播电视局", "short_name": "张店区广电局", "code": "370303", "phone": "0533-2860001",
        "site_id_code": "3703030001", "icp": "鲁ICP备00000000号", "police_record": "鲁公网安备37030302000000号",
        "agency_mark_url": "https://bszs.conac.cn/x", "report_error_url": "https://zfwzgl.www.gov.cn/x",
    }  # fmt: skip
    office |= changes.pop("office", {})
    return settings_for(
        tmp_path, f"sqlite:///{tmp_path / 'fabu.db'}", broker, **{"office": office, "secret": SECRET, **changes}
    )


@dataclass
class Patient:
    """A bureau to be examined, on the real clock."""

    bureau: Bureau

    def codes(self, level: Level | None = None) -> set[str]:
        return {one.code for one in self.found() if level in (None, one.level)}

    def found(self) -> list[Found]:
        found = examine(self.bureau.rt)
        for one in found:
            for language in LANGUAGES:
                detail = {"detail": say(language, one.cause[0], **one.cause[1])} if one.cause else {}
                assert one.code in catalogue(language) and "?" not in say(language, one.code, **one.facts, **detail)
        return found

    def named(self, code: str) -> Found:
        return next(one for one in self.found() if one.code == code)


Admit = Callable[..., Patient]


@pytest.fixture
def admit(tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admit]:
    """Opens a bureau with changed settings whose worker and beat were just seen."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    tmp_path.chmod(0o750)
    opened: list[Bureau] = []

    def admit_it(now: Callable[[], datetime] = lambda: datetime.now(UTC), **changes: Any) -> Patient:
        bureau = open_bureau(settings(tmp_path, changes.pop("broker", broker), **changes), now)
        opened.append(bureau)
        for kind in health.Kind:
            health.note(bureau.rt, health.own_name(kind), bureau.rt.now())
        return Patient(bureau)

    with answering(404, b"not found") as inbound, answering(200) as public:
        defaults = {"inbound_url": inbound, "public_url": public}
        yield lambda *args, **changes: admit_it(*args, **{**defaults, **changes})
    for bureau in opened:
        bureau.rt.engine.dispose()


def summer() -> datetime:
    """A day on which next year's holidays are nobody's worry."""
    return datetime(2026, 7, 6, 2, tzinfo=UTC)


IN_SUMMER = {"formed_on": date(2026, 7, 3)}


def test_a_bureau_in_order_has_nothing_broken_and_says_what_is_well(admit: Admit) -> None:
    patient = admit(summer)
    found = patient.found()
    assert {one.code for one in found if one.level is not Level.WELL} == {
        "doctor.public_loopback", "doctor.inbound_loopback",  # the test's own servers
        "doctor.backup_none", "doctor.backup_beside",  # the first night has not come
    }  # fmt: skip
    assert {one.code for one in found if one.level is Level.WELL} >= {
        "doctor.broker_well", "doctor.database_well", "doctor.processes_well", "doctor.disk_well",
        "doctor.holidays_well", "doctor.channel_well",
    }  # fmt: skip
    assert list(Level).index(found[0].level) == 1  # the worst stands first


GATEWAY = {"kind": "sms", "label": "短信", "username": "fabu", "password": "x" * 12, "signature": "张店区广电局"}
LEADERLESS = [
    {"id": "zhao", "name": "赵记者", "department": "news", "roles": ["author"]},
    {"id": "li", "name": "李信息员", "department": "office", "roles": ["officer"]},
    {"id": "zhou", "name": "周副局长", "department": "office", "roles": ["leader"], "in_charge": ["tech"]},
]
MAIL = {"host": "127.0.0.1", "sender": "fabu@example.cn", "username": "fabu", "password": "fabu"}


@pytest.mark.parametrize(
    ("code", "level", "changes"),
    [
        ("broker_down", Level.BROKEN, {"broker": "redis://127.0.0.1:1/0"}),
        ("foot_empty", Level.UNSAFE, {"office": {"icp": ""}}),
        ("foot_empty", Level.UNSAFE, {"office": {"phone": "0533-0000000"}}),
        ("time_zone", Level.UNSAFE, {"office": {"time_zone": "Europe/Berlin"}}),
        ("secret_weak", Level.BROKEN, {"secret": "fabu"}),
        ("secret_weak", Level.BROKEN, {"secret": "a" * 64}),
        ("no_email", Level.UNSAFE, {"mail": MAIL}),
        ("password_weak", Level.UNSAFE, {"mail": MAIL}),
        ("public_http", Level.UNSAFE, {"public_url": "http://gk.invalid"}),
        ("public_silent", Level.BROKEN, {"public_url": "https://127.0.0.1:1"}),
        ("inbound_silent", Level.BROKEN, {"inbound_url": "http://127.0.0.1:1"}),
        ("nobody_reviews", Level.BROKEN, {"people": LEADERLESS}),
        ("rehearsal_nowhere", Level.BROKEN, {"channels": {"phone": {**GATEWAY, "rehearsal": True, "url": "/send"}}}),
        ("rehearsal", Level.UNSAFE, {"channels": {"phone": {**GATEWAY, "rehearsal": True, "url": "http://127.0.0.1:1"}}}),
        ("channel_down", Level.BROKEN, {"channels": {"phone": {**GATEWAY, "url": "http://127.0.0.1:1"}}}),
        ("fonts_dir", Level.BROKEN, {"channels": {"board": {"kind": "bulletin", "fonts_dir": "/nowhere/fonts"}}}),
        ("fonts_substitute", Level.WELL, {"channels": {"board": {"kind": "bulletin"}}}),
    ],
)  # fmt: skip
def test_what_the_office_set_wrong_is_named(admit: Admit, code: str, level: Level, changes: dict[str, Any]) -> None:
    assert f"doctor.{code}" in admit(summer, **changes).codes(level)


def test_a_secret_that_is_used_twice_is_named_with_its_places(admit: Admit) -> None:
    web = {"kind": "portal", "label": "门户", "url": "http://127.0.0.1:1", "key": SECRET}
    found = admit(summer, channels={"portal": web}).named("doctor.secret_twice")
    assert found.facts["names"] == "secret、channels.portal.key"


def test_mails_that_do_not_go_out_are_named_with_the_reason_and_whom_they_miss(admit: Admit) -> None:
    rt = admit(summer, mail=MAIL).bureau.rt
    refused = {"code": "smtp.address_refused", "facts": {"status": "550"}}
    down = {"code": "smtp.unreachable", "facts": {"detail": "refused"}}
    with rt.writing() as db:
        db.add(ChannelStatus(channel=notify.SERVER, failures=3, last_error=json.dumps(down)))
        db.add(Mailed(person="li", error=json.dumps(refused)))
    found = {one.code: one for one in doctor.mails(rt)}
    assert found["doctor.mail_fails"].level is Level.BROKEN and found["doctor.mail_fails"].facts["count"] == "3"
    assert found["doctor.mail_fails"].cause == ("smtp.unreachable", {"detail": "refused"})
    assert found["doctor.mail_refused"].facts["person"] == "李信息员"
    with rt.writing() as db:
        db.get_one(ChannelStatus, notify.SERVER).failures = 0
        db.get_one(ChannelStatus, notify.SERVER).last_success_at = rt.now()
    assert {one.code for one in doctor.mails(rt)} == {"doctor.no_email", "doctor.mail_well", "doctor.mail_refused"}


def test_mails_that_come_back_and_are_not_read_are_named(admit: Admit) -> None:
    mail = {"kind": "mail", "label": "邮件", "host": "127.0.0.1", "sender": "tongxun@gd.example"}
    rt = admit(summer, channels={"mail": mail}).bureau.rt
    assert [one.code for one in doctor.returned(rt)] == ["doctor.bounces_off"]
    rehearsal = replace(rt, channels={"mail": replace(
        rt.channels["mail"], section=rt.channels["mail"].section.model_copy(update={"rehearsal": True})
    )})  # fmt: skip
    assert list(doctor.returned(rehearsal)) == []
    place = {"folder": "/var/mail/returned"}
    read = replace(rt, settings=rt.settings.model_copy(update={"bounces": BouncesSection.model_validate(place)}))
    assert list(doctor.returned(read)) == []
    gone = {"code": "bounces.no_folder", "facts": {"folder": "/var/mail/returned"}}
    with rt.writing() as db:
        db.add(ChannelStatus(channel=bounces.PLACE, failures=2, last_error=json.dumps(gone)))
    (found,) = doctor.returned(read)
    assert (found.level, found.cause) == (Level.BROKEN, ("bounces.no_folder", {"folder": "/var/mail/returned"}))


def test_an_issue_of_the_newsletter_that_missed_its_time_is_named(admit: Admit) -> None:
    moment = summer()
    section = newsletter(first="2026-08-01", channels=["web"])
    rt = admit(lambda: moment, newsletter=section, item_types=TYPES).bureau.rt
    issues.ensure(rt)
    assert list(doctor.newsletter(rt)) == []
    moment = datetime(2026, 8, 20, tzinfo=UTC)
    issues.ensure(rt)
    late = list(doctor.newsletter(rt))
    assert [one.facts["day"] for one in late] == ["2026-08-01", "2026-08-15"]
    assert {(one.code, one.level) for one in late} == {("doctor.issue_late", Level.UNSAFE)}


@pytest.mark.parametrize("kind", list(health.Kind))
def test_a_process_that_does_no_work_is_named_with_when_it_last_did(admit: Admit, kind: health.Kind) -> None:
    moment = summer()
    patient = admit(lambda: moment)
    moment += timedelta(minutes=5)
    other = next(one for one in health.Kind if one is not kind)
    health.note(patient.bureau.rt, health.own_name(other), moment)
    found = patient.found()
    gone = [one for one in found if one.level is Level.BROKEN]
    assert [one.code for one in gone] == [f"doctor.{kind}_gone"] and gone[0].facts["seen"] != "–"
    assert "doctor.processes_well" not in {one.code for one in found}


def test_a_ledger_that_another_program_holds_is_named(admit: Admit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ANSWER_SECONDS", 0.2)
    patient = admit(summer)
    with closing(sqlite3.connect(patient.bureau.rt.engine.url.database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "doctor.database_read_only" in patient.codes(Level.BROKEN)


def test_a_ledger_that_is_gone_is_named_and_nothing_else_is_guessed(admit: Admit, tmp_path: Path) -> None:
    patient = admit(summer)
    patient.bureau.rt.engine.dispose()
    for file in tmp_path.glob("fabu.db*"):
        file.unlink()
    (tmp_path / "fabu.db").mkdir()
    assert patient.codes(Level.BROKEN) == {"doctor.database_down"}


def test_a_ledger_without_a_write_ahead_log_is_named(admit: Admit) -> None:
    rt = admit(summer).bureau.rt
    memory = open_engine("sqlite://")
    with memory.connect() as connection:
        found = {one.code for one in doctor.database(replace(rt, engine=memory), connection)}
    assert "doctor.database_not_wal" in found


@pytest.mark.parametrize(("revision", "code"), [("0001", "migrations_pending"), ("9999", "migrations_ahead")])
def test_a_ledger_of_another_version_is_named(admit: Admit, revision: str, code: str) -> None:
    patient = admit(summer)
    with patient.bureau.rt.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :one"), {"one": revision})
    assert f"doctor.{code}" in patient.codes(Level.BROKEN)


def test_what_should_have_gone_long_ago_is_named_with_its_channel(admit: Admit) -> None:
    moment = summer()
    patient = admit(lambda: moment)
    patient.bureau.publish("web", "sms", draft=IN_SUMMER)
    assert "doctor.overdue" not in patient.codes()
    moment += timedelta(minutes=30)
    late = patient.named("doctor.overdue")
    assert (late.facts["channel"], late.facts["count"]) == ("网站", "1")  # the SMS waits for the page: it is not late


@pytest.mark.parametrize(("raises", "state"), [("rejected", "failed"), ("in_doubt", "in_doubt")])
def test_what_waits_for_a_person_is_named(admit: Admit, raises: Any, state: str) -> None:
    patient = admit(summer)
    set_faults(patient.bureau.rt.settings.data / "web", Fault(raises=raises))
    patient.bureau.publish("web", draft=IN_SUMMER)
    publish.deliver(patient.bureau.rt, "web")  # without the looks that might settle it
    assert f"doctor.{state}" in patient.codes(Level.UNSAFE)


def test_a_pause_and_an_open_breaker_are_named(admit: Admit) -> None:
    patient = admit(summer)
    rt = patient.bureau.rt
    operate.pause(rt, patient.bureau.actor("wang"), "web", "检修")
    with rt.writing() as db:
        db.add(ChannelStatus(channel="sms", open_until=rt.now() + timedelta(hours=1)))
    assert patient.named("doctor.channel_paused").facts["person"] == "王编辑"
    assert patient.named("doctor.channel_breaker").facts["channel"] == "短信"


def test_what_is_on_hold_is_named(admit: Admit) -> None:
    patient = admit(summer)
    patient.bureau.publish("web", draft=IN_SUMMER)
    with patient.bureau.rt.writing() as db:
        db.execute(update(Delivery).values(state="on_hold", reason="late"))
    assert "doctor.on_hold" in patient.codes(Level.UNSAFE)


def test_holidays_are_named_from_november_on_until_the_notice_is_imported(admit: Admit) -> None:
    moment = datetime(2026, 11, 1, 2, tzinfo=UTC)
    assert "doctor.holidays" in admit(lambda: moment).codes(Level.UNSAFE)
    notice = {2027: HolidayYear(off=frozenset({date(2027, 1, 1)}))}
    assert "doctor.holidays_well" in admit(lambda: moment, holidays=notice).codes(Level.WELL)
    assert "doctor.holidays" in admit(lambda: datetime(2028, 3, 1, tzinfo=UTC)).codes()


def test_a_deadline_past_the_published_holidays_is_named(admit: Admit) -> None:
    patient = admit(lambda: datetime(2026, 12, 21, 2, tzinfo=UTC))
    assert "doctor.clocks_provisional" not in patient.codes()
    patient.bureau.write(formed_on=date(2026, 12, 21))
    assert "doctor.clocks_provisional" in patient.codes()


def test_files_that_others_may_read_are_named_with_the_command_that_mends_it(admit: Admit, tmp_path: Path) -> None:
    patient = admit(summer)
    secrets = tmp_path / "secrets.json"
    secrets.write_text("{}")
    secrets.chmod(0o640)
    found = patient.named("doctor.readable")
    assert (found.facts["file"], found.facts["command"]) == (str(secrets), "600")
    secrets.chmod(int(found.facts["command"], 8))
    assert "doctor.readable" not in patient.codes()
    tmp_path.chmod(0o755)
    assert patient.named("doctor.readable").facts["command"] == "750"


@pytest.mark.parametrize(("free", "code"), [(100_000_000, "disk_full"), (1_000_000_000, "disk_low")])
def test_a_disk_that_fills_up_is_named(admit: Admit, monkeypatch: pytest.MonkeyPatch, free: int, code: str) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - free, free))
    assert f"doctor.{code}" in admit(summer).codes()


def test_missing_fonts_are_named_by_their_roles(admit: Admit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    patient = admit(summer, channels={"board": {"kind": "bulletin"}})
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(typst, "SUBSTITUTES", empty)
    typst.fonts.cache_clear()
    try:
        assert "小标宋" in patient.named("doctor.fonts_missing").facts["fonts"]
    finally:
        typst.fonts.cache_clear()


def test_backups_that_are_off_old_or_failing_are_named(admit: Admit, tmp_path: Path) -> None:
    assert "doctor.backup_off" in admit(summer, backup={"keep": 0}).codes(Level.UNSAFE)
    patient = admit(lambda: datetime(2026, 7, 6, 2, tzinfo=UTC), backup={"folder": str(tmp_path.parent / "other")})
    made = backup.nightly(patient.bureau.rt)
    assert made is not None and {"doctor.backup_well"} == {one for one in patient.codes() if "backup" in one}
    made.rename(made.with_name("fabu-2026-07-04.zip"))
    assert "doctor.backup_old" in patient.codes(Level.BROKEN)
    (made.parent / "last-error.json").write_text(
        '{"code": "backup.cannot_write", "facts": {"file": "x", "detail": "y"}}'
    )
    assert patient.named("doctor.backup_failed").cause is not None


def test_running_as_root_is_named(admit: Admit, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = admit(summer)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "doctor.root" in patient.codes(Level.UNSAFE)


def test_a_broker_that_drops_tasks_is_named(admit: Admit, broker: str) -> None:
    client = redis.Redis(unix_socket_path=broker.removeprefix("redis+socket://").partition("?")[0])
    patient = admit(summer)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert patient.named("doctor.broker_evicts").facts["policy"] == "allkeys-lru"
    finally:
        client.config_set("maxmemory-policy", "noeviction")


def test_a_portal_whose_clock_is_wrong_is_named(admit: Admit) -> None:
    with answering(200, date_="Mon, 06 Jul 2020 02:00:00 GMT") as public:
        assert "doctor.clock_portal" in admit(summer, public_url=public).codes(Level.UNSAFE)


def test_clocks_may_differ_by_a_little() -> None:
    now = datetime.now(UTC)
    assert not list(doctor.clock("doctor.clock_database", now + timedelta(seconds=4), now))
    (found,) = doctor.clock("doctor.clock_database", now - timedelta(seconds=90), now)
    assert found.facts["seconds"] == "-90"


def test_postgresql_without_safe_writes_is_named(cluster: str, tmp_path: Path) -> None:
    """The tests' own cluster runs with fsync off."""
    bureau = open_bureau(settings_for(tmp_path, create_database(cluster, "examined")))
    try:
        found = {one.code: one for one in doctor.ledger(bureau.rt)}
        assert found["doctor.database_lossy"].facts["settings"] == "fsync"
        assert "doctor.database_read_only" not in found and "doctor.clock_database" in found  # the clock stands still
        with bureau.rt.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ALTER DATABASE examined SET default_transaction_read_only = on"))
        bureau.rt.engine.dispose()
        assert "doctor.database_read_only" in {one.code for one in doctor.ledger(bureau.rt)}
    finally:
        bureau.rt.engine.dispose()


def test_with_everything_silent_it_ends_in_time_and_names_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.SECONDS <= 10  # the command promises 15 s
    monkeypatch.setattr(doctor, "SECONDS", 4.0)
    with silent_server() as (host, port):
        silent = f"{host}:{port}"
        changes = {
            "public_url": f"http://{silent}", "inbound_url": f"http://{silent}",
            "channels": {"phone": {**GATEWAY, "url": f"http://{silent}/sendsms", "call_seconds": 30}},
        }  # fmt: skip
        office = settings(tmp_path, f"redis://{silent}/0", **changes)
        down = office.model_copy(update={"database_url": f"postgresql+psycopg://fabu@{silent}/fabu"})
        rt = Runtime(down, open_engine(down.database_url), open_channels(down), lambda *_: None)
        began = time.monotonic()
        found = {one.code: one for one in examine(rt)}
        assert time.monotonic() - began < 8
    assert set(found) >= {
        "doctor.broker_silent", "doctor.database_down", "doctor.public_silent", "doctor.inbound_silent",
        "doctor.no_answer",
    }  # fmt: skip
    assert found["doctor.no_answer"].facts["check"] == "phone"
