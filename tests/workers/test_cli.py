"""The command line against a real data directory with nothing running: what it decides, records, shows and refuses."""

import getpass
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import select

from config import settings as config
from config.locale import Language, say
from pipeline import confirm, items, publish, replies, scans
from pipeline.decisions import PERMITS, Decision
from pipeline.drafts import Draft, latest_revision, read_draft
from pipeline.migrate import set_up
from pipeline.models import AuditLine, Subscriber
from pipeline.runtime import Runtime, open_runtime
from tests.channels.recording import Fault, effects, set_faults
from tests.pipeline.papers import deleted, document, p, style, styled
from workers import cli

LANGUAGES: tuple[Language, ...] = ("zh", "en")
FABU = Path(sys.executable).with_name("fabu")
PORTS = {"portal": 18001, "inbound": 18002, "sandbox": 18003}
FIRST = "根据工作安排，现将有关事项通知如下。"
TEXT = f"{FIRST}\n\n一、时间安排\n\n自2026年11月23日起试播。\n"
TITLE = "关于试播的通知"
DOCUMENTED = {
    "item", "revision", "channel", "state", "wanted", "held", "generation", "attempts", "counts", "reference",
    "confirmed_at", "error",
}  # fmt: skip
CHANNELS = """
[channels.web]
kind = "tests.channels.recording:Recall"
label = "网站"
directory = "{data}/web"
[channels.board]
kind = "tests.channels.recording:Person"
label = "公开栏"
after = "web"
directory = "{data}/board"
[channels.sms]
kind = "tests.channels.recording:Report"
label = "短信"
after = "web"
directory = "{data}/sms"
"""
NOT_WORDS = re.compile(
    r"\b(word|state|reason|result|seen|evidence|role|disclosure|health|notice|field|help)\.[a-z_]+\b"
)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as it is shipped, database and all."""
    data = tmp_path_factory.mktemp("shipped") / "office"
    config.prepare(data, ports=PORTS)
    set_up(config.load(data, {}))
    return data


def subscribing(*numbers: str) -> str:
    """A list of people who agreed to be told."""
    return "phone,consent_source,consent_on\n" + "".join(f"{one},登记表,2026-03-12\n" for one in numbers)


@dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """A desk with a command line, and the means to play the workers."""

    data: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    papers: Path = field(init=False)

    def __post_init__(self) -> None:
        self.papers = self.data.parent

    def fabu(self, *words: str | Path) -> Said:
        """Run a command in this process, as the entry point does."""
        self.patch.setattr(sys, "argv", ["fabu", *map(str, words), "--data", str(self.data)])
        self.capture.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code or 0
        out, err = self.capture.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)

    def done(self, *words: str | Path) -> Any:
        """Run a command that must succeed, and read its JSON."""
        said = self.fabu(*words, "--json")
        assert (said.code, said.err) == (0, "")
        return said.json

    def refused(self, *words: str | Path) -> str:
        """Run a command that must fail: in JSON, and in the words of both languages. Returns the code."""
        answers = []
        for language in LANGUAGES:
            self.patch.setenv("FABU_LOCALE", language)
            in_words, in_json = self.fabu(*words), self.fabu(*words, "--json")
            assert (in_words.code, in_words.out) == (1, "") and (in_json.code, in_json.err) == (1, "")
            assert in_words.err.startswith(in_json.json["message"])
            assert "?" not in in_words.err and not in_words.err.startswith(in_json.json["error"])
            answers.append((in_json.json["error"], in_words.err))
        self.patch.delenv("FABU_LOCALE")
        (first, zh), (second, en) = answers
        assert first == second and zh != en
        return str(first)

    def paper(self, text: str | bytes, name: str = "text.txt") -> Path:
        path = self.papers / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def write(self, *options: str, text: str = TEXT, title: str = TITLE) -> str:
        made = self.done("new", self.paper(text), "--as", "zhao", "--title", title, *options)
        return str(made["item"])

    def submit(self, item: str, channels: str = "web") -> str:
        return str(self.done("submit", item, "--as", "zhao", "--channels", channels)["hash"])

    def approve(self, item: str, hash: str) -> None:
        assert self.done("approve", item, "--as", "li", "--hash", hash[:12])["published"] is False
        assert self.done("approve", item, "--as", "chen", "--hash", hash)["published"] is True

    def publish(self, channels: str = "web") -> str:
        item = self.write()
        self.approve(item, self.submit(item, channels))
        self.work()
        return item

    def open(self) -> Runtime:
        return open_runtime(config.load(self.data, {}))

    def work(self) -> None:
        """What the workers would do now."""
        rt = self.open()
        for name in rt.channels:
            publish.deliver(rt, name)
            confirm.confirm(rt, name)
        rt.engine.dispose()

    def cell(self, item: str, channel: str) -> dict[str, Any]:
        cells = self.done("reach", item)["deliveries"]
        return next(cell for cell in cells if cell["channel"] == channel)

    def state(self, item: str, channel: str) -> str:
        return str(self.cell(item, channel)["state"])

    def draft(self, item: str) -> Draft:
        rt = self.open()
        with rt.reading() as db:
            draft = read_draft(db, latest_revision(db, int(item)))
        rt.engine.dispose()
        return draft

    def log(self) -> list[tuple[str, str, int | None]]:
        """Person, decision and item of each line of the audit log, and that the account stands on all of them."""
        rt = self.open()
        with rt.reading() as db:
            lines = db.scalars(select(AuditLine).order_by(AuditLine.id)).all()
        rt.engine.dispose()
        assert {line.os_user for line in lines} <= {getpass.getuser()}
        return [(line.person, line.decision, line.item_id) for line in lines]


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FABU_") or name in ("LC_ALL", "LC_MESSAGES", "LANG"):
            monkeypatch.delenv(name)


@pytest.fixture
def real(
    shipped: Path, tmp_path: Path, clean_environment: None,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> Desk:  # fmt: skip
    """The office as shipped; nothing runs."""
    return Desk(Path(shutil.copytree(shipped, tmp_path / "office")), capsys, monkeypatch)


@pytest.fixture
def desk(real: Desk) -> Desk:
    """The office with channels that remember."""
    file = real.data / "fabu.toml"
    decided, _, _ = file.read_text("utf-8").partition("[channels.portal]")
    file.write_text(decided + CHANNELS, "utf-8")
    return real


# ── the way of an item ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_item_goes_from_a_file_to_confirmed(desk: Desk) -> None:
    item = desk.write()
    assert desk.fabu("reach").out.startswith(say("zh", "reach.empty"))
    hash = desk.submit(item, "web,board")
    waiting = desk.done("review")
    assert [(one["item"], one["hash"], one["role"]) for one in waiting["reviews"]] == [(1, hash, "officer")]
    assert FIRST in desk.done("review", item)["draft"]["text"]
    desk.approve(item, hash)
    assert desk.state(item, "web") == "due"
    desk.work()
    desk.work()
    assert (desk.state(item, "web"), desk.state(item, "board")) == ("confirmed", "accepted")
    assert desk.done("review")["notices"][0]["what"] == "post"
    photo = desk.data / "照片.jpg"
    photo.write_bytes(b"\xff\xd8\xff photo")
    placed = ("--place", "一楼公开栏", "--at", "2026-01-05 09:00", "--photo", str(photo))
    desk.done("post", item, "--as", "wang", *placed)
    (posting,) = desk.done("reach", item)["postings"]
    assert posting["photo"] == hashlib.sha256(photo.read_bytes()).hexdigest()
    assert desk.state(item, "board") == "confirmed"
    desk.done("unpost", item, "--as", "wang")
    assert desk.done("reach", item)["postings"][0]["removed_by"] == "wang"


def test_reach_says_in_json_exactly_what_is_documented(desk: Desk) -> None:
    item = desk.publish("web,sms")
    for cells in (desk.done("reach"), desk.done("reach", item)["deliveries"], desk.done("verify", item)):
        assert [cell["channel"] for cell in cells] == ["web", "sms"]
        assert all(cell.keys() >= DOCUMENTED for cell in cells)
    web = desk.cell(item, "web")
    assert (web["item"], web["revision"], web["wanted"], web["held"]) == (1, 1, 1, 1)
    assert (web["state"], web["generation"], web["attempts"], web["error"]) == ("confirmed", 1, 1, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", web["confirmed_at"])
    assert desk.state(item, "sms") == "skipped"  # there are no subscribers


def test_an_item_is_named_by_its_short_number_or_its_index_number(desk: Desk) -> None:
    desk.write()
    item = desk.publish()
    index_number = desk.cell(item, "web")["index_number"]
    assert re.fullmatch(r"370303/\d{4}-00001", index_number)
    assert desk.done("reach", index_number) == desk.done("reach", item)
    assert desk.refused("reach", "370303/1999-00001") == "item.unknown"


@pytest.mark.parametrize("name", ["0", "99", "1.0", "一", "9" * 30, "9" * 5000, "'; drop table item; --"])
def test_a_name_that_is_none_is_refused_in_words(desk: Desk, name: str) -> None:
    desk.write()
    assert desk.refused("reach", name) == "item.unknown"


def test_what_is_not_given_when_editing_stays(desk: Desk) -> None:
    item = desk.write("--summary", "试播安排", "--keyword", "试播", "--keyword", "通知", "--formed", "2026-01-05")
    first = desk.submit(item)
    assert desk.done("edit", item, "--as", "zhao", "--title", "关于正式播出的通知")["revision"] == 2
    draft = desk.draft(item)
    assert (draft.title, draft.summary, draft.keywords) == ("关于正式播出的通知", "试播安排", ("试播", "通知"))
    assert (draft.formed_on.isoformat(), draft.text, draft.department) == ("2026-01-05", TEXT, "news")
    assert desk.refused("approve", item, "--as", "li", "--hash", first) == "review.nothing_waiting"
    desk.submit(item)
    assert desk.refused("approve", item, "--as", "li", "--hash", first) == "review.edited_since"
    assert desk.done("edit", item, desk.paper("新的正文。\n"), "--as", "wang")["revision"] == 3
    assert desk.draft(item).text == "新的正文。\n"


def test_what_was_signed_on_paper_is_entered_with_its_scan_by_somebody_else(desk: Desk) -> None:
    scan, text = desk.paper(b"%PDF-1.7 scan", "审查单.pdf"), desk.paper("没有扫描")
    item, back, refused = desk.write(), desk.write(title="第二条"), desk.write(title="第三条")
    hashes = {one: desk.submit(one) for one in (item, back, refused)}

    def paper(one: str, *words: str, file: Path = scan, by: str = "wang") -> tuple[str | Path, ...]:
        return "record", one, file, "--hash", hashes[one][:12], "--as", by, *words

    assert desk.refused(*paper(item, "--signed-by", "li", file=text)) == "paper.no_scan"
    assert desk.refused(*paper(item, "--signed-by", "li", by="li")) == "paper.own_decision"
    assert desk.refused(*paper(item, "--signed-by", "chen")) == "decision.not_permitted"
    given = desk.done(*paper(item, "--signed-by", "li"))
    assert given == {"item": int(item), "recorded": "approve", "published": False}
    assert desk.done(*paper(item, "--signed-by", "chen"))["published"] is True
    assert desk.refused(*paper(back, "--signed-by", "li", "--decision", "return")) == "decision.reason_missing"
    desk.done(*paper(back, "--signed-by", "li", "--decision", "return", "--reason", "缺少附件"))
    refuse = paper(refused, "--signed-by", "li", "--decision", "refuse", "--reason", "内部台账")
    assert desk.refused(*refuse) == "paper.ground_missing"
    desk.done(*refuse, "--ground", "16_internal_affairs")
    rt = desk.open()
    phases = [items.line(rt, int(one)).phase for one in (item, back, refused)]
    assert phases == ["approved", "returned", "refused"]
    (round_,) = items.history(rt, int(back)).rounds
    assert (round_.closed_by, round_.recorded_by, round_.reason) == ("li", "wang", "缺少附件")
    assert scans.read(rt, int(back), round_.scan) is not None
    rt.engine.dispose()


def test_everything_of_the_catalogue_entry_is_kept(desk: Desk) -> None:
    attachment = desk.paper("姓名,分数\n", "成绩.csv")
    other = desk.publish()
    item = desk.write(
        "--type", "公示", "--department", "news", "--formed", "2026-01-05", "--summary", "概述", "--number",
        "张广发〔2026〕12号", "--theme", "广播电视", "--source", "新闻部", "--short-title", "短", "--sms", "短信文本",
        "--from", "2026-01-06", "--to", "2026-01-10", "--contact", "0533-0000000", "--attach", str(attachment),
        "--corrects", other, "--validity", "失效",
    )  # fmt: skip
    draft = desk.draft(item)
    assert draft.validity == "失效"
    assert (draft.item_type, draft.document_number, draft.theme, draft.source) == (
        "公示", "张广发〔2026〕12号", "广播电视", "新闻部",
    )  # fmt: skip
    assert (draft.short_title, draft.sms_text, draft.objection_contact) == ("短", "短信文本", "0533-0000000")
    assert [day.isoformat() for day in draft.period or ()] == ["2026-01-06", "2026-01-10"]
    assert [(file.name, file.media_type, file.content) for file in draft.files] == [
        ("成绩.csv", "text/csv", "姓名,分数\n".encode())
    ]
    assert draft.corrects == desk.cell(other, "web")["index_number"]


def test_a_returned_item_is_edited_and_submitted_again(desk: Desk) -> None:
    item = desk.write()
    desk.submit(item)
    desk.done("return", item, "--as", "li", "--reason", "日期不对")
    assert desk.done("review")["reviews"] == []
    desk.done("edit", item, "--as", "zhao", "--title", "更好的标题")
    desk.approve(item, desk.submit(item))
    desk.work()
    assert desk.state(item, "web") == "confirmed"


def test_a_refused_item_reaches_nobody(desk: Desk) -> None:
    item = desk.write()
    desk.submit(item)
    desk.done("refuse", item, "--as", "li", "--ground", "16_internal_affairs", "--reason", "内部事务")
    desk.work()
    assert desk.done("reach") == [] and effects(desk.data / "web") == []


def test_a_correction_is_reviewed_while_the_old_revision_stays(desk: Desk) -> None:
    item = desk.publish()
    assert desk.refused("edit", item, "--as", "zhao", "--title", "改") == "review.correct_instead"
    desk.done("correct", item, "--as", "zhao", "--title", "更正后的标题")
    hash = str(desk.done("submit", item, "--as", "zhao")["hash"])
    desk.work()
    assert (desk.cell(item, "web")["revision"], desk.cell(item, "web")["held"]) == (2, 1)
    desk.approve(item, hash)
    desk.work()
    assert (desk.state(item, "web"), desk.cell(item, "web")["held"]) == ("confirmed", 2)


def test_a_withdrawal_says_what_happens_on_each_channel(desk: Desk) -> None:
    desk.done("subscribers", "import", desk.paper(subscribing("13800000010")), "--as", "wang")
    item = desk.publish("web,board,sms")
    desk.work()
    said = desk.fabu("withdraw", item, "--as", "li", "--reason", "内容有误")
    assert said.code == 0
    for code, label in (("recall", "网站"), ("person", "公开栏"), ("no_recall", "短信")):
        assert say("zh", f"withdraw.{code}", channel=label, item=item) in said.out
    desk.work()
    assert "已撤下" in desk.fabu("reach", item).out


def test_a_withdrawal_from_a_channel_that_was_given_up_does_not_fail(desk: Desk) -> None:
    item = desk.publish("web,board")
    file = desk.data / "fabu.toml"
    decided = file.read_text("utf-8").partition("[channels.board]")[0]
    file.write_text(decided, "utf-8")
    assert desk.fabu("withdraw", item, "--as", "li", "--reason", "内容有误").code == 0


def test_what_failed_is_retried(desk: Desk) -> None:
    set_faults(desk.data / "web", Fault("rejected"))
    item = desk.publish()
    assert desk.state(item, "web") == "failed"
    assert desk.done("retry", item, "--as", "wang") == {"item": 1, "due": 1}
    desk.work()
    assert desk.state(item, "web") == "confirmed"
    assert desk.refused("retry", item, "--as", "wang") == "retry.nothing"


def test_what_is_in_doubt_is_settled_by_a_person(desk: Desk) -> None:
    numbers = subscribing("13800000010", "13800000021")
    desk.done("subscribers", "import", desk.paper(numbers), "--as", "wang")
    set_faults(desk.data / "sms", Fault("in_doubt", times=None))
    item = desk.publish("web,sms")
    desk.work()
    assert desk.cell(item, "sms")["counts"] == {"in_doubt": 2}
    assert desk.refused("retry", item, "--as", "wang", "--channel", "sms") == "retry.nothing"
    settle = ("settle", item, "--as", "wang", "--channel", "sms", "--reason", "已向运营商查询")
    assert desk.done(*settle, "--sent", "--recipient", "13800000010")["settled"] == 1
    assert desk.done(*settle, "--not-sent")["settled"] == 1
    assert desk.cell(item, "sms")["counts"] == {"accepted": 1, "due": 1}
    assert desk.refused(*settle, "--sent") == "settle.nothing"


# ── channels and subscribers ─────────────────────────────────────────────────────────────────────────────────────────


def test_channels_are_listed_tested_paused_and_resumed(desk: Desk) -> None:
    assert [line["channel"] for line in desk.done("channels")] == ["web", "board", "sms"]
    assert desk.done("channels", "test", "web") == {"channel": "web", "ok": True, "answer": "ok"}
    desk.done("channels", "pause", "web", "--as", "wang", "--reason", "网站维护")
    assert "已暂停（王编辑）" in desk.fabu("channels").out
    item = desk.publish()
    assert desk.state(item, "web") == "due"
    desk.done("channels", "resume", "web", "--as", "wang")
    desk.work()
    assert desk.state(item, "web") == "confirmed"
    assert desk.refused("channels", "test", "fax") == "review.unknown_channel"
    assert desk.refused("channels", "pause", "fax", "--as", "wang", "--reason", "x") == "review.unknown_channel"


@pytest.mark.parametrize("channel", ["portal", "app_feed", "sms"])
def test_a_channel_whose_other_side_is_off_is_said_in_words(real: Desk, channel: str) -> None:
    assert real.refused("channels", "test", channel) == "http.unreachable"


def test_subscribers_are_taken_once_and_bad_lines_are_named(real: Desk) -> None:
    listed = "\ufeff姓名,手机号,同意来源,同意日期\n甲,138 0000 0010,登记,2026-03-12\n"
    listed += "乙,+8613800000010,登记,2026-03-12\n"
    listed += f"丙,12345,登记,\n丁,13800000021,登记,去年\n{'长' * 81},13800000032,登记,\n"
    said = real.fabu("subscribers", "import", real.paper(listed, "名单.csv"), "--as", "wang")
    assert said.code == 0
    for line, code in ((4, "sms.bad_number"), (5, "subscribers.bad_date"), (6, "subscribers.too_long")):
        assert say("zh", "subscribers.bad_line", line=line, why=say("zh", code)) in said.out
    assert "12345" not in said.out
    again = real.done("subscribers", "import", real.paper(listed, "名单.csv"), "--as", "wang")
    assert (again["new"], again["known"], len(again["bad"])) == (0, 2, 3)
    rt = real.open()
    with rt.reading() as db:
        assert [(one.name, one.address) for one in db.scalars(select(Subscriber))] == [("甲", "13800000010")]
    rt.engine.dispose()


def test_replies_by_sms_are_listed_without_numbers(real: Desk) -> None:
    assert "还没有收到回复" in real.fabu("subscribers", "received", "--as", "wang").out
    rt = real.open()
    replies.keep(rt, "sms", "13800000010", "几点恢复？".encode())
    rt.engine.dispose()
    [one] = real.done("subscribers", "received", "--as", "wang")
    assert (one["address"], one["text"], one["item_id"]) == ("138****0010", "几点恢复？", None)
    said = real.fabu("subscribers", "received", "--as", "wang").out
    assert "几点恢复？" in said and "138****0010" in said
    assert real.refused("subscribers", "received", "--as", "li") == "decision.not_permitted"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("姓名,单位\n甲,局\n", "subscribers.no_address_column"),
        ("手机号\n13800000010\n".encode("utf-16")[:-1], "document.not_text"),
        ("", "document.empty"),
        ("phone\n138\x0000000010\n", "document.nul"),
        ('phone\n"' + "1" * 200_000, "subscribers.not_csv"),
        ("phone" * 50_000, "subscribers.not_csv"),
    ],
)
def test_a_list_that_cannot_be_read_imports_nobody(real: Desk, content: str | bytes, code: str) -> None:
    assert real.refused("subscribers", "import", real.paper(content, "list.csv"), "--as", "wang") == code


# ── who decided ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_decision_is_in_the_audit_log_with_person_and_account(desk: Desk) -> None:
    desk.done("subscribers", "import", desk.paper(subscribing("13800000010")), "--as", "wang")
    set_faults(desk.data / "web", Fault("rejected"))
    set_faults(desk.data / "sms", Fault("in_doubt"))
    item = desk.write()
    desk.submit(item, "web,board,sms")
    desk.done("return", item, "--as", "li", "--reason", "改标题")
    desk.done("edit", item, "--as", "wang", "--title", "新标题")
    desk.approve(item, desk.submit(item, "web,board,sms"))
    desk.work()
    desk.done("retry", item, "--as", "li")
    desk.work()
    desk.done("settle", item, "--as", "chen", "--channel", "sms", "--sent", "--reason", "已查询")
    desk.done("post", item, "--as", "wang", "--place", "一楼")
    desk.done("unpost", item, "--as", "zhao")
    desk.done("correct", item, "--as", "zhao", "--title", "再改")
    desk.done("withdraw", item, "--as", "chen", "--reason", "有误")
    desk.done("channels", "pause", "web", "--as", "admin", "--reason", "维护")
    desk.done("channels", "resume", "web", "--as", "admin")
    desk.done("words", "end", "1", "--as", "li")
    other = desk.write()
    desk.submit(other)
    desk.done("refuse", other, "--as", "li", "--ground", "14_state_secret", "--reason", "涉密")
    log = desk.log()
    assert log == [
        ("wang", "subscribe", None), ("zhao", "create", 1), ("zhao", "submit", 1), ("li", "return", 1),
        ("wang", "edit", 1), ("zhao", "submit", 1), ("li", "approve", 1), ("chen", "approve", 1), ("li", "retry", 1),
        ("chen", "settle", 1), ("wang", "post", 1), ("zhao", "unpost", 1), ("zhao", "correct", 1),
        ("chen", "withdraw", 1), ("admin", "pause", None), ("admin", "resume", None), ("li", "words", None),
        ("zhao", "create", 2),
        ("zhao", "submit", 2), ("li", "refuse", 2),
    ]  # fmt: skip


def test_nobody_decides_what_is_not_theirs_and_nothing_is_recorded(desk: Desk) -> None:
    item = desk.write()
    hash = desk.submit(item)
    before = desk.log()
    assert desk.refused("approve", item, "--as", "zhao", "--hash", hash) == "decision.not_permitted"
    assert desk.refused("approve", item, "--as", "chen", "--hash", hash) == "decision.not_permitted"
    assert desk.refused("approve", item, "--as", "nobody", "--hash", hash) == "staff.unknown_person"
    assert desk.refused("edit", item, "--as", "qian", "--title", "改") == "decision.other_department"
    assert desk.refused("return", item, "--as", "li", "--reason", " ") == "decision.reason_missing"
    assert desk.log() == before


def test_a_refusal_names_the_roles_in_words_and_the_persons_who_have_them(desk: Desk) -> None:
    said = desk.fabu("new", desk.paper(TEXT), "--as", "li", "--title", TITLE).err
    assert "撰稿 钱工、孙编导、赵记者；编辑 王编辑" in said
    assert set(PERMITS[Decision.CREATE]) == {"author", "editor"}


# ── what cannot be taken ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_title_is_asked_for_and_never_taken_from_the_text(desk: Desk) -> None:
    assert desk.refused("new", desk.paper(TEXT), "--as", "zhao") == "draft.title_missing"
    assert desk.refused("new", desk.paper(TEXT), "--as", "zhao", "--title", " \u200b ") == "draft.title_missing"
    assert desk.log() == []
    desk.patch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    asked: list[str] = []

    def prompt(question: str) -> str:
        asked.append(question)
        return "问来的标题"

    desk.patch.setattr(typer, "prompt", prompt)
    assert desk.fabu("new", desk.paper(TEXT), "--as", "zhao").code == 0
    assert asked == [say("zh", "draft.ask_title")]
    assert (desk.draft("1").title, desk.draft("1").text) == ("问来的标题", TEXT)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("通知如下。".encode().replace(b"\x9f", b"A", 1), "document.not_utf8"),
        (b"\xff\xfe\x1a\x90\0", "document.not_text"),
        ("", "document.empty"),
        ("\ufeff \n\u200b\n", "document.empty"),
        ("好\0", "document.nul"),
        ("转账给\u202e甲", "document.direction"),
    ],
)
def test_a_file_that_is_no_text_is_refused(desk: Desk, content: str | bytes, code: str) -> None:
    assert desk.refused("new", desk.paper(content), "--as", "zhao", "--title", TITLE) == code
    assert desk.log() == []


def test_a_file_that_is_not_there_is_named(desk: Desk) -> None:
    gone = desk.papers / "没有.txt"
    assert desk.refused("new", gone, "--as", "zhao", "--title", TITLE) == "intake.cannot_read"
    assert str(gone) in desk.fabu("new", gone, "--as", "zhao", "--title", TITLE).err
    assert desk.refused("new", desk.papers, "--as", "zhao", "--title", TITLE) == "intake.cannot_read"
    new = ("new", desk.paper(TEXT), "--as", "zhao", "--title", TITLE)
    assert desk.refused(*new, "--attach", gone) == "intake.cannot_read"
    assert desk.refused(*new, "--attach", desk.paper(b"", "empty.csv")) == "draft.file_empty"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--type", "诗歌"), "draft.unknown_type"),
        (("--department", "fish"), "decision.other_department"),
        (("--formed", "2999-01-01"), "draft.formed_in_future"),
        (("--formed", "1900-01-01"), "draft.formed_long_ago"),
        (("--from", "2026-01-06"), "draft.period_half"),
        (("--from", "2026-01-06", "--to", "2026-01-05"), "draft.period_backwards"),
        (("--corrects", "77"), "item.unknown"),
        (("--title", "长" * 121), "draft.title_too_long"),
    ],
)
def test_a_draft_that_makes_no_sense_is_not_kept(desk: Desk, options: tuple[str, ...], code: str) -> None:
    assert desk.refused("new", desk.paper(TEXT), "--as", "zhao", "--title", TITLE, *options) == code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), "review.no_channel"),
        (("--channels", ""), "review.no_channel"),
        (("--channels", "web,fax"), "review.unknown_channel"),
        (("--channels", "sms"), "review.needs_channel"),
        (("--channels", "web", "--class", "on_request"), "review.not_for_channels"),
        (("--class", "not_public"), "review.ground_missing"),
        (("--channels", "web", "--ground", "15_third_party"), "review.ground_not_wanted"),
    ],
)
def test_a_submission_that_makes_no_sense_is_refused(desk: Desk, options: tuple[str, ...], code: str) -> None:
    item = desk.write()
    assert desk.refused("submit", item, "--as", "zhao", *options) == code


def test_findings_of_the_checks_are_said_one_by_one(desk: Desk) -> None:
    item = desk.write("--type", "公示")
    said = desk.fabu("submit", item, "--as", "zhao", "--channels", "web")
    lines = said.err.splitlines()
    assert said.code == 1 and lines[0] == say("zh", "review.blocked")
    assert [line.partition("〔")[2].partition("〕")[0] for line in lines[1:]] == ["公示期限", "异议联系方式"]
    listed = desk.fabu("submit", item, "--as", "zhao", "--channels", "web", "--json").json["findings"]
    assert [finding["code"] for finding in listed] == ["check.period_missing", "check.contact_missing"]


def test_a_warning_is_submitted_with_a_reason_that_the_reviewer_reads(desk: Desk) -> None:
    item = desk.write(text="联系人张三，电话13800001234。\n")
    submit = ("submit", item, "--as", "zhao", "--channels", "web")
    said = desk.fabu(*submit)
    assert said.code == 1 and "--reason-for" in said.err and "check.mobile" in said.err
    assert "138****1234" in said.err and "13800001234" not in said.err
    desk.done(*submit, "--reason-for", "check.mobile=值班电话，本人同意")
    seen = desk.fabu("review", item).out
    assert "138****1234" in seen and "值班电话，本人同意（赵记者）" in seen


def test_the_word_table_is_listed_added_to_and_ended(desk: Desk) -> None:
    [line] = desk.done("words", "add", "张店融媒", "张店融煤", "--as", "wang", "--to", "2099-12-31")
    assert (line["wrong"], line["to_on"], line["set_by"]) == ("张店融煤", "2099-12-31", "wang")
    assert "张店融煤" in desk.fabu("words").out and "王编辑" in desk.fabu("words", "list").out
    assert desk.done("words", "end", str(line["id"]), "--as", "wang")["standing"] == "over"
    assert desk.done("words")[-1]["wrong"] == "张店融煤"
    assert desk.refused("words", "end", str(line["id"]), "--as", "wang") == "words.ended_already"
    assert desk.refused("words", "end", "999", "--as", "wang") == "words.unknown"
    assert desk.refused("words", "add", "甲乙", "丙丁", "--as", "zhao") == "decision.not_permitted"
    assert desk.refused("words", "add", "甲乙", "丙丁", "--as", "li", "--to", "2020-01-01") == "words.backwards"


def test_a_data_directory_that_was_never_set_up_is_said_and_not_made(desk: Desk) -> None:
    desk.data = desk.papers / "nothing"
    for words in (("reach",), ("review",), ("channels",), ("submit", "1", "--as", "zhao")):
        assert desk.refused(*words) == "config.not_set_up"
    assert not desk.data.exists()


def test_a_database_that_was_never_made_is_said_in_words(desk: Desk) -> None:
    for file in desk.data.glob("fabu.db*"):
        file.unlink()
    assert desk.refused("reach") == "database.error"


# ── both languages ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_table_is_in_words(desk: Desk, language: Language) -> None:
    desk.patch.setenv("FABU_LOCALE", language)
    desk.done("subscribers", "import", desk.paper(subscribing("13800000010", "13800000021")), "--as", "wang")
    set_faults(desk.data / "sms", Fault("in_doubt"), Fault("rejected"))
    waiting = desk.write()
    desk.submit(waiting, "web,sms")
    shown = [desk.fabu("review").out, desk.fabu("review", waiting).out]
    item = desk.publish("web,board,sms")
    desk.work()
    shown += [desk.fabu("review").out, desk.fabu("reach").out]
    desk.done("post", item, "--as", "wang", "--place", "一楼")
    desk.done("channels", "pause", "web", "--as", "admin", "--reason", "维护")
    shown += [desk.fabu(*words).out for words in (("reach",), ("reach", item), ("channels",), ("verify",))]
    for text in shown:
        assert NOT_WORDS.findall(text) == [] and text.strip()
    assert "13800000010" not in "".join(shown)
    if language == "en":
        assert "Reach" in say("en", "help.reach") and "in doubt" in "".join(shown)


@pytest.mark.parametrize(("language", "word"), [("zh", "发布情况"), ("en", "Reach: items by channels")])
def test_the_help_is_in_the_language_of_the_machine(clean_environment: None, language: str, word: str) -> None:
    shown = _run("--help", LANG=f"{language}_XX.UTF-8")
    assert shown.returncode == 0 and word in shown.stdout


def test_the_command_itself_works_as_it_was_tested_here(desk: Desk) -> None:
    file = desk.paper(TEXT)
    made = _run("new", file, "--as", "zhao", "--title", TITLE, "--json", FABU_DATA=desk.data)
    assert (made.returncode, json.loads(made.stdout)) == (0, {"item": 1, "revision": 1, "findings": []})
    for language in LANGUAGES:
        said = _run("reach", "77", FABU_DATA=desk.data, FABU_LOCALE=language)
        assert (said.returncode, said.stdout) == (1, "")
        assert said.stderr.strip() == say(language, "item.unknown", item="77")
    assert _run("--version").stdout.strip() == f"fabu {metadata.version('fabu')}"
    said = _run("edit", "1", "--as", "zhao", "--title", "改", LANG="C", PYTHONIOENCODING="utf-8", FABU_DATA=desk.data)
    assert said.returncode == 0 and "第 2 版" in said.stdout


def _run(*words: str | Path, **environ: str | Path) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    root = Path(__file__).parents[2]
    return subprocess.run(
        [FABU, *words], cwd=root, capture_output=True, text=True, encoding="utf-8", timeout=60,
        env={**inherited, "PYTHONPATH": str(root), "COLUMNS": "160", **{k: str(v) for k, v in environ.items()}},
    )  # fmt: skip


def test_a_folder_is_imported_with_a_line_for_each_and_again_without_a_second_draft(desk: Desk) -> None:
    folder = desk.papers / "in"
    folder.mkdir()
    (folder / "01-关于值班的通知.txt").write_bytes(TEXT.encode("gb18030"))
    (folder / "01-关于值班的通知-附件1.xlsx").write_bytes(b"x")
    (folder / "02-旧.doc").write_bytes(b"x")
    said = desk.fabu("import", folder, "--as", "zhao")
    made = {"file": "01-关于值班的通知.txt", "item": 1, "title": "关于值班的通知", "item_type": "通知"}
    whence = say("zh", "import.title_of_file")
    assert said.code == 1 and said.out.splitlines() == [
        say("zh", "import.created", **made, title_from=whence),
        say("zh", "import.attached", names="01-关于值班的通知-附件1.xlsx"),
        say("zh", "import.refused", file="02-旧.doc", why=say("zh", "intake.save_as_docx")),
        say("zh", "import.sum", total=2, created=1, known=0, refused=1),
    ]
    (folder / "02-旧.doc").unlink()
    again = desk.fabu("import", folder, "--as", "zhao")
    assert again.code == 0 and say("zh", "import.known", file=made["file"], item=1) in again.out
    (line,) = desk.done("import", folder / "01-关于值班的通知.txt", "--as", "zhao")
    assert (line["became"], line["item"]) == ("known", 1)
    assert desk.log() == [("zhao", "create", 1)]


def test_a_new_or_corrected_item_is_read_from_a_word_document_alike(desk: Desk) -> None:
    word = document(
        p("关于检修的公告", styled("t")) + p("今晚检修。", inside=deleted("不检修。")), styles=style("t", "Title")
    )
    said = desk.fabu("new", desk.paper(word, "检修.docx"), "--as", "zhao")
    told = say("zh", "docx.tracked", insertions=0, deletions=1)
    assert said.code == 0 and told in said.out and say("zh", "severity.warn") in said.out
    assert (desk.draft("1").title, desk.draft("1").text) == ("关于检修的公告", "今晚检修。")
    answer = desk.done("edit", "1", "--as", "zhao", desk.paper(word, "检修.docx"), "--title", "另一个")
    assert [one["code"] for one in answer["findings"]] == ["docx.tracked", "intake.title_replaced"]
    assert desk.draft("1").title == "另一个"
