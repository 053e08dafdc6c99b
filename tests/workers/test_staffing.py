"""The command line on the staff: people, deputies, mails, drafts, the audit log, and mistyped commands."""

import csv
import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from config.locale import say
from tests.mail_server import mail_server
from tests.workers.test_cli import (  # noqa: F401  (fixtures)
    NOT_WORDS,
    TITLE,
    Desk,
    clean_environment,
    desk,
    real,
    shipped,
    subscribing,
)
from workers.usage import told

LAST_DAY = (date.today() + timedelta(days=30)).isoformat()  # noqa: DTZ011  (the commands have no other clock)


def test_an_administrator_adds_changes_and_deactivates_a_person(desk: Desk) -> None:  # noqa: F811
    made = ("--as", "admin", "--name", "周副局长", "--department", "office", "--role", "leader", "--in-charge", "tech")
    assert desk.done("people", "add", "zhou", *made)["in_charge"] == ["tech"]
    desk.done("people", "change", "zhou", "--as", "admin", "--email", "zhou@gd.example", "--in-charge", "none")
    zhou = next(one for one in desk.done("people") if one["id"] == "zhou")
    assert (zhou["email"], zhou["in_charge"], zhou["active"]) == ("zhou@gd.example", [], True)
    desk.done("people", "deactivate", "zhou", "--as", "admin")
    listed = desk.fabu("people").out
    assert "周副局长" in listed and say("zh", "staff.inactive") in listed and not NOT_WORDS.search(listed)
    assert desk.refused("people", "deactivate", "admin", "--as", "admin") == "staff.last_admin"
    assert desk.refused("people", "add", "x", "--as", "wang", "--name", "x") == "decision.not_permitted"
    assert desk.refused("people", "change", "li", "--as", "admin", "--role", "king") == "staff.unknown_role"


def test_who_is_deactivated_with_reviews_waiting_leaves_a_warning(desk: Desk) -> None:  # noqa: F811
    item = desk.write()
    desk.submit(item)
    said = desk.fabu("people", "deactivate", "li", "--as", "admin")
    assert said.code == 0
    assert say("zh", "staff.open_turns", person="李信息员", items=item) in said.out
    assert say("zh", "staff.nobody_left", role=say("zh", "role.officer")) in said.out


def test_a_department_is_added_and_renamed(desk: Desk) -> None:  # noqa: F811
    desk.done("departments", "add", "archive", "档案室", "--as", "admin")
    desk.done("departments", "rename", "archive", "档案馆", "--as", "admin")
    assert {"id": "archive", "name": "档案馆"} in desk.done("departments")
    assert "档案馆" in desk.fabu("departments").out


def test_a_deputy_is_named_reviews_and_is_ended(desk: Desk) -> None:  # noqa: F811
    item = desk.write()
    hash = desk.submit(item)
    assert desk.fabu("deputies").out.startswith(say("zh", "deputy.none"))
    assert desk.refused("approve", item, "--as", "qian", "--hash", hash) == "decision.not_permitted"
    id = desk.done("deputies", "set", "qian", "--for", "li", "--to", LAST_DAY, "--as", "admin")["id"]
    listed = desk.fabu("deputies").out
    assert "钱工" in listed and say("zh", "deputy.in_force") in listed and not NOT_WORDS.search(listed)
    (mine,) = desk.done("review", "--as", "qian")["reviews"]
    assert (mine["item"], mine["on_behalf_of"]) == (1, "li")
    assert "李信息员" in desk.fabu("review", "--as", "qian").out
    desk.done("approve", item, "--as", "qian", "--hash", hash)
    desk.done("deputies", "end", str(id), "--as", "li")
    assert desk.refused("deputies", "end", str(id), "--as", "li") == "deputy.unknown"
    assert say("zh", "deputy.past") in desk.fabu("deputies").out


def test_a_returned_item_is_among_the_drafts_with_its_reason(desk: Desk) -> None:  # noqa: F811
    assert desk.fabu("drafts").out.strip() == say("zh", "drafts.empty")
    item = desk.write()
    desk.submit(item)
    desk.done("return", item, "--as", "li", "--reason", "日期有误")
    assert [(one["item"], one["state"], one["reason"]) for one in desk.done("drafts")] == [(1, "returned", "日期有误")]
    assert desk.done("drafts", "--as", "sun") == [] and len(desk.done("drafts", "--as", "zhao")) == 1
    listed = desk.fabu("drafts").out
    assert "日期有误" in listed and "李信息员" in listed and not NOT_WORDS.search(listed)


def test_channels_may_be_named_as_the_office_calls_them(desk: Desk) -> None:  # noqa: F811
    item = desk.write()
    desk.done("submit", item, "--as", "zhao", "--channels", "网站，公开栏、sms")
    assert desk.done("review")["reviews"][0]["channels"] == ["board", "sms", "web"]
    other = desk.write()
    assert desk.refused("submit", other, "--as", "zhao", "--channels", "网站,电台") == "review.unknown_channel"


def test_a_paused_channel_is_told_beside_what_waits_for_it(desk: Desk) -> None:  # noqa: F811
    told = say("zh", "reach.paused", channel="网站", name="web", person="管理员")
    assert told not in desk.fabu("reach").out
    desk.done("channels", "pause", "web", "--as", "admin", "--reason", "维护")
    assert told in desk.fabu("reach").out
    assert isinstance(desk.done("reach"), list)


def test_the_audit_log_is_shown_and_exported(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    item = desk.publish()
    assert desk.refused("log", "--as", "li") == "decision.not_permitted"
    shown = desk.fabu("log", "--as", "admin").out
    assert say("zh", "did.approve") in shown and "李信息员" in shown and not NOT_WORDS.search(shown)
    assert [one["decision"] for one in desk.done("log", "--as", "admin", "--item", item, "--most", "2")] == [
        "approve"
    ] * 2
    assert desk.done("log", "--as", "admin", "--person", "wang") == []
    assert say("zh", "logbook.empty") in desk.fabu("log", "--as", "admin", "--decision", "withdraw").out
    assert desk.done("log", "--as", "admin", "--since", LAST_DAY) == []
    file = tmp_path / "log.csv"
    assert desk.done("log", "--as", "admin", "--csv", file)["lines"] == 4
    with file.open(encoding="utf-8-sig", newline="") as text:
        assert [row["decision"] for row in csv.DictReader(text)] == ["approve", "approve", "submit", "create"]
    assert desk.refused("log", "--as", "admin", "--csv", tmp_path) == "logbook.cannot_write"


def test_subscribers_are_listed_masked_removed_and_suppressed(real: Desk) -> None:  # noqa: F811
    real.done("subscribers", "import", real.paper(subscribing("13800000010", "13800000021")), "--as", "wang")
    shown = real.fabu("subscribers", "list", "--as", "li", "--channel", "短信").out
    assert "138****0010" in shown and "13800000010" not in shown
    assert [one["address"] for one in real.done("subscribers", "list", "--as", "li")] == ["138****0010", "138****0021"]
    assert real.done("subscribers", "list", "--as", "wang")[0]["address"] == "13800000010"
    real.done("subscribers", "suppress", "138 0000 0010", "--as", "wang", "--reason", "来电要求")
    said = real.fabu("subscribers", "remove", "+8613800000021", "--as", "wang")
    assert say("zh", "subscribers.removed", channel="短信", address="138****0021") in said.out
    assert real.refused("subscribers", "remove", "13800000021", "--as", "wang") == "subscribers.not_listed"
    assert real.refused("subscribers", "suppress", "1", "--as", "wang", "--reason", "来电") == "subscribers.bad_address"
    (left,) = real.done("subscribers", "list", "--as", "wang")
    assert left["suppressed"] is True
    assert [decision for _, decision, _ in real.log()] == [
        "subscribe", "read_subscribers", "suppress", "unsubscribe", "read_subscribers",
    ]  # fmt: skip


# ── mails ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mails_are_off_until_a_server_is_named_and_can_be_tried_and_previewed(desk: Desk) -> None:  # noqa: F811
    item = desk.write()
    desk.submit(item)
    assert desk.refused("notify", "test", "--to", "li") == "notify.off"
    assert desk.fabu("notify", "preview", "--for", "wang").out.strip() == say("zh", "notify.nothing", person="王编辑")
    assert TITLE in desk.fabu("notify", "preview", "--for", "li").out
    with mail_server() as server:
        with (desk.data / "fabu.toml").open("a", encoding="utf-8") as file:
            section = server.section(username="fabu", password_file="mail-password")
            file.write("\n[mail]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in section.items()))
        assert desk.refused("people") == "config.cannot_read"
        (desk.data / "mail-password").write_text("s3cret\n")
        assert desk.refused("notify", "test", "--to", "li") == "notify.no_address"
        desk.done("people", "change", "li", "--as", "admin", "--email", "li@gd.example")
        assert desk.refused("notify", "test", "--to", "li") == "smtp.login_refused"
        text = (desk.data / "fabu.toml").read_text("utf-8").replace('username = "fabu"\n', "")
        (desk.data / "fabu.toml").write_text(text, "utf-8")
        assert desk.fabu("notify", "test", "--to", "li").code == 0
        assert [mail["Subject"] for mail in server.mails] == ["〔发布〕测试邮件"]
        preview = desk.done("notify", "preview", "--for", "li")
        assert preview["email"] == "li@gd.example" and preview["digest"]["subject"] == "〔发布〕1 件待初审"


# ── mistyped commands ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "code", "facts"),
    [
        (["submit"], "usage.missing", {"what": "ITEM"}),
        (["submit", "1"], "usage.missing", {"what": "--as"}),
        (["submit", "1", "--bad"], "usage.unknown_option", {"what": "--bad"}),
        (["submitt", "1"], "usage.unknown_command", {"what": "submitt"}),
        (["submit", "1", "2", "--as", "zhao"], "usage.too_much", {"what": "2"}),
        (
            ["submit", "1", "--as", "zhao", "--class", "secret"], "usage.not_one_of",
            {"what": "--class", "given": "secret", "known": "proactive, on_request, not_public"},
        ),
        (["submit", "1", "--as", "zhao", "--at", "soon"], "usage.bad_time", {"what": "--at", "given": "soon"}),
        (["deputies", "end", "first", "--as", "li"], "usage.not_a_number", {"what": "NUMBER"}),
    ],
)  # fmt: skip
def test_a_mistyped_command_is_told_in_the_readers_language_and_does_nothing(
    desk: Desk,  # noqa: F811
    words: list[str],
    code: str,
    facts: dict[str, str],
) -> None:
    for language in ("zh", "en"):
        desk.patch.setenv("FABU_LOCALE", language)
        said = desk.fabu(*words)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(say("zh" if language == "zh" else "en", code, **facts))
        in_json = desk.fabu(*words, "--json")
        assert in_json.code == 2 and in_json.json["error"] == code and in_json.json["facts"] == facts
    assert desk.log() == []


def test_what_typer_says_is_put_in_words_and_what_it_says_in_a_new_way_is_quoted() -> None:
    assert told("Option '--as' requires an argument.") == ("usage.without_value", {"what": "--as"})
    assert told("Frobnication failed.") == ("usage.other", {"detail": "Frobnication failed."})


def test_beat_has_the_staff_mailed_every_five_minutes(desk: Desk) -> None:  # noqa: F811
    from celery import Celery

    from workers import tasks
    from workers.app import configure, settings

    desk.patch.setenv("FABU_DATA", str(desk.data))
    settings.cache_clear()
    try:
        celery = Celery("beat")
        configure(celery)
    finally:
        settings.cache_clear()
    entry = celery.conf.beat_schedule["notify"]
    assert (entry["task"], entry["schedule"]) == (tasks.mail_the_staff.name, timedelta(minutes=5))
