"""What the office writes in fabu.toml: read, checked, and refused with the place where it is wrong."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import make_url

from config import settings as config
from config.locale import say
from config.settings import ChannelSection, ConfigError, Settings
from pipeline.database import open_engine
from pipeline.migrate import upgrade
from pipeline.runtime import open_channels

PORTS = {"portal": 8001, "inbound": 8002, "sandbox": 8003, "console": 8004, "sandbox_mail": 8005}
ZONE = ZoneInfo("Asia/Shanghai")
Edit = Callable[[str, str], Path]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory as it was shipped."""
    config.prepare(tmp_path / "office", ports=PORTS)
    return tmp_path / "office"


@pytest.fixture
def edit(data: Path) -> Edit:
    """Changes one place of fabu.toml."""

    def change(old: str, new: str) -> Path:
        text = (data / "fabu.toml").read_text("utf-8")
        assert old in text
        (data / "fabu.toml").write_text(text.replace(old, new, 1), "utf-8")
        return data

    return change


def load(data: Path, **environ: str) -> Settings:
    return config.load(data, environ)


def refused(data: Path, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(data, **environ)
    for language in ("zh", "en"):
        assert "?" not in say(language, caught.value.code, **caught.value.facts)
    return caught.value


@pytest.mark.parametrize("template", ["fabu.toml", "demo.toml"])
def test_what_is_shipped_loads_and_its_channels_open(template: str, tmp_path: Path) -> None:
    config.prepare(tmp_path / "office", template, PORTS)
    settings = load(tmp_path / "office")
    assert list(open_channels(settings)) == ["portal", "app_feed", "bulletin", "sms", "mail"]
    assert settings.public_url == "http://127.0.0.1:8001"
    assert settings.channels["sms"].options["url"] == "http://127.0.0.1:8003/cgi-bin/sendsms"
    assert settings.channels["sms"].rehearsal  # nothing is sent to a phone before the office names a gateway


def test_the_demo_differs_from_the_office_only_in_its_patience(tmp_path: Path) -> None:
    for template in ("fabu.toml", "demo.toml"):
        config.prepare(tmp_path / template, template, PORTS)
    office, demo = load(tmp_path / "fabu.toml"), load(tmp_path / "demo.toml")
    same = ("office", "departments", "people", "review", "item_types", "locale")
    assert [getattr(office, name) for name in same] == [getattr(demo, name) for name in same]
    assert office.channels.keys() == demo.channels.keys()


def test_a_directory_that_was_never_set_up_is_said_and_not_made(tmp_path: Path) -> None:
    error = refused(tmp_path / "nothing")
    assert (error.code, error.facts) == ("config.not_set_up", {"data": str(tmp_path / "nothing")})
    assert not (tmp_path / "nothing").exists()


def test_bad_toml_is_said_with_its_place(edit: Edit) -> None:
    error = refused(edit('[office]\nname = "', "[office]\nname = "))
    assert error.code == "config.not_toml" and "line" in error.facts["detail"]


def test_a_file_saved_by_notepad_is_read_or_its_encoding_is_named(data: Path) -> None:
    text = (data / "fabu.toml").read_text("utf-8")
    (data / "fabu.toml").write_text(text, "utf-8-sig")
    assert load(data).office.name == "张店区广播电视局"
    (data / "fabu.toml").write_text(text, "gb18030")
    assert refused(data).code == "config.not_utf8"


@pytest.mark.parametrize(
    ("old", "new", "code", "facts"),
    [
        ("[office]\n", '[office]\nfax = "1"\n', "config.unknown_key", {"place": "office.fax"}),
        ("locale =", "language =", "config.unknown_key", {"place": "language"}),
        ('code = "370303"', "", "config.missing_key", {"place": "office.code"}),
        ('locale = "auto"', 'locale = "fr"', "config.invalid", {"place": "locale"}),
        ("call_seconds = 60", "call_seconds = 0", "config.invalid", {"place": "channels.bulletin.call_seconds"}),
        ('roles = ["editor"]', 'roles = ["king"]', "config.invalid", {"place": "people.0.roles.0"}),
        ('levels = ["officer", "leader"]', "levels = []", "config.invalid", {"place": "review.levels"}),
        ('department = "tech"', 'department = "x"', "config.unknown_department", {"person": "qian"}),
        ('id = "chen"', 'id = "chen"\nin_charge = ["x"]', "config.unknown_department", {"department": "x"}),
        ('id = "zhao"', 'id = "li"', "config.same_id", {"id": "li"}),
        ('after = "portal"', 'after = "port"', "config.unknown_after", {"channel": "bulletin", "after": "port"}),
        ('"统计信息" = ["portal"]', '"统计" = ["portal"]', "config.unknown_type", {"type": "统计"}),
        ('"统计信息" = ["portal"]', '"统计信息" = ["port"]', "config.unknown_default", {"channel": "port"}),
        ('after = "portal"', 'after = "bulletin"', "config.after_circle", {"channels": "bulletin → bulletin"}),
        ("call_seconds = 60", "call_seconds = 90", "config.call_too_long", {"channel": "bulletin", "limit": "90"}),
        ('"20:00-08:00"', '"20-8"', "config.bad_quiet", {"quiet": "20-8"}),
        ('"20:00-08:00"', '"24:00-08:00"', "config.bad_quiet", {"quiet": "24:00-08:00"}),
        ("{serial:05d}", "1", "config.bad_template", {"template": "{code}/{year}-1"}),
        ("{serial:05d}", "{number}", "config.bad_template", {"template": "{code}/{year}-{number}"}),
        ("index_template", 'time_zone = "Asia/Zibo"\nindex_template', "config.bad_zone", {"zone": "Asia/Zibo"}),
        ("{data}/notices", "{home}/notices", "config.unknown_name", {"name": "{home}"}),
        ("{data}/notices", "{data", "config.unknown_name", {"name": "{data"}),
    ],
)  # fmt: skip
def test_what_does_not_make_sense_is_refused_with_its_place(
    edit: Edit, old: str, new: str, code: str, facts: dict[str, str]
) -> None:
    data = edit(old, new)
    error = refused(data)
    assert error.code == code
    assert facts.items() <= error.facts.items() and error.facts["file"] == str(data / "fabu.toml")


@pytest.mark.parametrize(
    ("quiet", "at", "until"),
    [
        ("20:00-08:00", "2026-11-23 19:59", None),
        ("20:00-08:00", "2026-11-23 20:00", "2026-11-24 08:00"),
        ("20:00-08:00", "2026-12-31 23:59", "2027-01-01 08:00"),
        ("20:00-08:00", "2026-11-24 00:00", "2026-11-24 08:00"),
        ("20:00-08:00", "2026-11-24 07:59", "2026-11-24 08:00"),
        ("20:00-08:00", "2026-11-24 08:00", None),
        ("12:00-14:00", "2026-11-24 11:59", None),
        ("12:00-14:00", "2026-11-24 12:00", "2026-11-24 14:00"),
        ("12:00-14:00", "2026-11-24 13:59", "2026-11-24 14:00"),
        ("12:00-14:00", "2026-11-24 14:00", None),
        ("12:00-14:00", "2026-11-24 23:00", None),
        ("", "2026-11-24 03:00", None),
    ],
)
def test_quiet_hours_end_when_the_office_says(quiet: str, at: str, until: str | None) -> None:
    section = ChannelSection(kind="sms", label="短信", quiet=quiet)
    moment = datetime.fromisoformat(at).replace(tzinfo=ZONE)
    expected = datetime.fromisoformat(until).replace(tzinfo=ZONE) if until else moment
    utc = moment.astimezone(ZoneInfo("UTC"))
    assert section.quiet_until(moment, ZONE) == expected == section.quiet_until(utc, ZONE)
    assert section.quiet_until(utc, ZONE).utcoffset() == timedelta(0)


def test_secrets_are_made_once_for_nobody_elses_eyes(data: Path) -> None:
    secrets = data / "secrets.json"
    before, settings = secrets.read_bytes(), load(data)
    config.prepare(data, ports=PORTS)
    assert secrets.read_bytes() == before
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert len(settings.secret) >= 40 and settings.secret not in repr(settings)
    assert len(set(config.secrets_of(data).values())) == 3
    assert sorted(path.name for path in data.iterdir()) == ["fabu.toml", "ports.json", "secrets.json"]


def test_a_secret_that_was_lost_stops_everything(data: Path) -> None:
    (data / "secrets.json").unlink()
    assert refused(data).code == "config.no_secret"  # an empty one would sign addresses that anybody can forge
    assert load(data, FABU_SECRET="x" * 40).secret == "x" * 40


@pytest.mark.parametrize("name", ["secrets.json", "ports.json"])
@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_damaged_file_is_named(data: Path, name: str, content: str) -> None:
    (data / name).write_text(content)
    error = refused(data)
    assert (error.code, error.facts) == ("config.damaged", {"file": str(data / name)})


def test_a_file_that_may_not_be_read_is_named(data: Path) -> None:
    (data / "secrets.json").unlink()
    (data / "secrets.json").mkdir()  # root reads everything but a folder
    error = refused(data)
    assert error.code == "config.cannot_read" and error.facts["file"] == str(data / "secrets.json")


def test_ports_are_chosen_once_because_permanent_addresses_carry_them(data: Path) -> None:
    config.prepare(data, ports=dict.fromkeys(config.PARTS, 9000))
    assert json.loads((data / "ports.json").read_text()) == PORTS
    assert load(data).inbound_url == "http://127.0.0.1:8002"


def test_what_the_office_wrote_is_never_written_over(edit: Edit) -> None:
    data = edit("王编辑", "王小明")
    config.prepare(data, ports=PORTS)
    assert any(one.name == "王小明" for one in load(data).people)


def test_the_environment_says_where_parts_live(edit: Edit) -> None:
    data = edit("# public_url =", "public_url =")
    assert load(data).public_url == "https://gk.example.gov.cn"
    settings = load(
        data,
        FABU_DATABASE_URL="postgresql+psycopg://fabu@db/fabu",
        FABU_BROKER_URL="redis://broker/0",
        FABU_PUBLIC_URL="https://www.example.gov.cn/gk/",
        FABU_INBOUND_URL="https://in.example.gov.cn",
        FABU_PORTAL_URL="http://portal:8000",
        FABU_PORTAL_KEY="key",
        FABU_SANDBOX_URL="http://sandbox:8000",
        FABU_SANDBOX_PASSWORD="word",
        FABU_SANDBOX_MAIL="sandbox:2525",
        FABU_SECRET="s" * 40,
    )
    assert settings.database_url == "postgresql+psycopg://fabu@db/fabu"
    assert settings.broker_url == "redis://broker/0"
    assert settings.public_url == "https://www.example.gov.cn/gk"
    assert settings.inbound_url == "https://in.example.gov.cn"
    assert settings.secret == "s" * 40
    assert settings.channels["portal"].options == {"url": "http://portal:8000", "key": "key"}
    assert settings.channels["sms"].options["url"] == "http://sandbox:8000/cgi-bin/sendsms"
    assert settings.channels["sms"].options["password"] == "word"
    assert (settings.channels["mail"].options["host"], settings.channels["mail"].options["port"]) == ("sandbox", "2525")


@pytest.mark.parametrize("url", ["mysql://fabu:hidden@db/fabu", "nonsense", "postgres://fabu:hidden@db/fabu"])
def test_a_database_that_we_do_not_know_is_refused_without_saying_its_password(data: Path, url: str) -> None:
    error = refused(data, FABU_DATABASE_URL=url)
    assert error.code == "config.bad_database" and "hidden" not in str(error.facts)


@pytest.mark.parametrize("name", ["政务 公开", "100% sure %41 %20", "a?b#c&d=e", "{data}", "长" * 60])
def test_any_folder_can_be_the_data_directory(name: str, tmp_path: Path) -> None:
    data = tmp_path / name
    config.prepare(data, ports=PORTS)
    settings = load(data)
    assert settings.channels["bulletin"].options["directory"] == str(data / "notices")
    assert make_url(settings.database_url).database == str(data / "fabu.db")
    engine = open_engine(settings.database_url)
    upgrade(engine)
    engine.dispose()
    assert (data / "fabu.db").stat().st_size > 0


def test_a_secret_may_stand_in_a_file_that_the_environment_names(data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    assert config.load(data, {"FABU_SECRET_FILE": str(tmp_path / "secret")}).secret == "from-a-file"
    emptied = {"FABU_SECRET": "", "FABU_SECRET_FILE": str(tmp_path / "secret")}  # as an override of Compose's file does
    assert config.load(data, emptied).secret == "from-a-file"
    with pytest.raises(ConfigError) as caught:
        config.load(data, {"FABU_SECRET_FILE": str(tmp_path / "nothing")})
    assert caught.value.code == "config.no_file" and caught.value.facts["name"] == "FABU_SECRET_FILE"


def test_where_returned_mails_are_read_is_one_place_with_a_password_where_it_needs_one(edit: Edit) -> None:
    folder = 'folder = "{data}/bounces"'
    given = load(edit(folder, 'host = "imap.gd.example"\nusername = "tuixin"'), FABU_BOUNCES_PASSWORD="given").bounces
    assert given is not None and (given.host, given.password, given.soft_limit) == ("imap.gd.example", "given", 5)
    assert refused(edit('host = "imap.gd.example"', "")).code == "config.bounces_place"
    data = edit('username = "tuixin"', 'host = "imap.gd.example"')
    assert refused(data).code == "config.no_bounces_password"
    assert refused(edit('host = "imap.gd.example"', 'folder = "x"\nchannel = "gone"')).code == "config.bounces_channel"


def test_a_part_that_is_new_in_a_release_gets_a_port_and_the_others_keep_theirs(data: Path) -> None:
    old = {part: port for part, port in PORTS.items() if part != "console"}
    (data / "ports.json").write_text(json.dumps(old))
    config.prepare(data, ports=dict.fromkeys(config.PARTS, 9000))
    assert json.loads((data / "ports.json").read_text()) == {**old, "console": 9000}


def test_the_index_numbers_template_keeps_its_own_names(edit: Edit) -> None:
    settings = load(edit("{code}/{year}-{serial:05d}", "{code}/{year}{serial:04d}"))
    assert settings.office.index_template.format(code="1", year=2026, serial=7) == "1/20260007"


MAIL = '[mail]\nhost = "smtp.gd.example"\nsender = "fabu@gd.example"\n'


def with_mail(data: Path, more: str = "") -> Path:
    with (data / "fabu.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n{MAIL}{more}")
    return data


def test_mails_to_the_staff_are_off_until_a_server_is_named(data: Path) -> None:
    assert load(data).mail is None
    mail = load(with_mail(data)).mail
    assert mail is not None and (mail.security, mail.port, mail.every_minutes) == ("tls", None, 60)


def test_the_mail_servers_password_comes_from_the_environment_a_file_or_the_settings(data: Path) -> None:
    with_mail(data, 'username = "fabu"\npassword_file = "mail-password"\n')
    assert refused(data).code == "config.cannot_read"
    (data / "mail-password").write_text("from-the-file\n")
    kept, given = load(data).mail, load(data, FABU_MAIL_PASSWORD="given").mail
    assert kept is not None and kept.password == "from-the-file"
    assert given is not None and given.password == "given"
    assert "from-the-file" not in repr(load(data))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ('username = "fabu"\n', "config.no_mail_password"),
        ("every_minutes = 59\n", "config.invalid"),
        ("port = 0\n", "config.invalid"),
        ('security = "ssl"\n', "config.invalid"),
        ('server = "x"\n', "config.unknown_key"),
    ],
)
def test_a_mail_server_that_cannot_be_used_is_refused(data: Path, more: str, code: str) -> None:
    assert refused(with_mail(data, more)).code == code


def test_a_sender_that_is_no_address_is_refused(data: Path) -> None:
    with_mail(data)
    text = (data / "fabu.toml").read_text("utf-8").replace("fabu@gd.example", "发布系统 <fabu@gd.example>")
    (data / "fabu.toml").write_text(text, "utf-8")
    assert refused(data).code == "config.bad_sender"
