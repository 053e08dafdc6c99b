"""The newsletter from the command line and by the workers, as its editor meets them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import workers.app
from config import settings as config
from pipeline import confirm, publish, review
from pipeline.decisions import Actor
from pipeline.drafts import Draft
from pipeline.migrate import set_up
from pipeline.runtime import Runtime, open_runtime
from pipeline.staff import person
from tests.workers.test_cli import CHANNELS, NOT_WORDS, PORTS, Desk
from workers import tasks

NEWSLETTER = """
[newsletter]
editor = "wang"
channels = ["web", "sms"]
[[newsletter.columns]]
name = "通知公告"
item_types = ["公告", "通知"]
[[newsletter.columns]]
name = "其他"
"""


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    data = tmp_path / "office"
    config.prepare(data, ports=PORTS)
    file = data / "fabu.toml"
    head = file.read_text("utf-8").partition("[channels.portal]")[0].partition("[subscription]")[0]
    file.write_text(head + CHANNELS + NEWSLETTER, "utf-8")
    set_up(config.load(data, {}))
    return Desk(data, capsys, monkeypatch)


def opened(desk: Desk) -> Runtime:
    return open_runtime(config.load(desk.data, {}))


def publish_item(rt: Runtime, title: str) -> int:
    actors = {name: Actor(person(rt, name), "tester") for name in ("wang", "li", "chen")}
    today = rt.now().astimezone(rt.settings.zone).date()
    item = review.create(rt, actors["wang"], Draft(title, f"{title}的正文。", "通知", "office", today))
    hash = review.submit(rt, actors["wang"], item, ["web"]).hash
    for name in ("li", "chen"):
        review.approve(rt, actors[name], item, hash)
    publish.deliver(rt, "web")
    confirm.confirm(rt, "web")
    return item


@pytest.fixture
def items(desk: Desk) -> tuple[int, int]:
    rt = opened(desk)
    try:
        return publish_item(rt, "关于试播的通知"), publish_item(rt, "关于检修的通知")
    finally:
        rt.engine.dispose()


def test_the_plan_names_the_next_24_issues(desk: Desk) -> None:
    lines = desk.done("newsletter", "plan")
    assert len(lines) == 24 and [one["running"] for one in lines] == list(range(1, 25))
    said = desk.fabu("newsletter", "plan")
    assert said.code == 0 and lines[0]["numbers"] in said.out and "暂定" in said.out
    assert not NOT_WORDS.search(said.out)


def test_an_issue_is_built_arranged_looked_at_and_submitted(desk: Desk, items: tuple[int, int], tmp_path: Path) -> None:
    first, second = (str(one) for one in items)
    said = desk.fabu("newsletter", "build", "--as", "wang")
    assert said.code == 0 and "新收 2 条" in said.out and "2. 关于检修的通知（局办公室，编号 2）" in said.out
    assert desk.done("newsletter", "move", second, "其他", "--place", "1", "--as", "wang")["revision"] == 2
    assert desk.done("newsletter", "drop", first, "--as", "wang")["revision"] == 3
    assert "未收入本期：" in desk.fabu("newsletter", "show").out
    desk.done("newsletter", "move", first, "通知公告", "--as", "wang")
    shown = desk.done("newsletter", "show")
    assert [[one["item"] for one in column["entries"]] for column in shown["columns"]] == [[items[0]], [items[1]]]
    files = [Path(file) for file in desk.done("newsletter", "preview", "--to", tmp_path / "样")["files"]]
    assert {file.suffix for file in files} >= {".pdf", ".html", ".txt"}
    assert all("关于试播的通知" in file.read_text("utf-8") for file in files if file.suffix in (".html", ".txt"))
    done = desk.done("newsletter", "submit", "--as", "wang")
    for name in ("li", "chen"):
        desk.done("approve", str(done["item_id"]), "--hash", done["hash"], "--as", name)
    assert desk.refused("newsletter", "send", "--as", "wang") == "issue.nothing_held"  # it goes by itself
    status = desk.done("newsletter", "status")
    assert status["issue"]["phase"] == "approved" and {one["channel"] for one in status["progress"]} == {"web", "sms"}
    said = desk.fabu("newsletter", "status")
    assert said.code == 0 and "已通过，待发布" in said.out and "还需多久不能确定" in said.out
    assert not NOT_WORDS.search(said.out)
    assert status["issue"]["numbers"] in desk.fabu("reach", first).out
    assert desk.done("reach", first)["issue"]["item"] == done["item_id"]


def test_an_entry_is_shortened_illustrated_and_an_editorial_written(
    desk: Desk, items: tuple[int, int], tmp_path: Path
) -> None:
    first = str(items[0])
    short, words, picture = tmp_path / "节选.txt", tmp_path / "卷首语.txt", tmp_path / "发射台.png"
    short.write_text("只说要点。", "utf-8")
    words.write_text("岁末寄语。\n\n感谢各位。", "utf-8")
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    desk.done("newsletter", "build", "--as", "wang")
    assert desk.done("newsletter", "shorten", first, short, "--as", "wang")["revision"] == 2
    assert "关于试播的通知（节选）" in desk.fabu("newsletter", "show").out
    assert desk.done("newsletter", "whole", first, "--as", "wang")["revision"] == 3
    assert "节选" not in desk.fabu("newsletter", "show").out
    desk.done("newsletter", "editorial", words, "--as", "wang")
    desk.done("newsletter", "picture", picture, "--entry", first, "--as", "wang")
    desk.done("newsletter", "picture", picture, "--as", "wang")
    shown = desk.done("newsletter", "show")
    assert shown["editorial"] == "岁末寄语。\n\n感谢各位。" and shown["editorial_picture"] == "发射台.png"
    assert shown["columns"][0]["entries"][0]["picture"] == "发射台.png"
    desk.done("newsletter", "picture", "--entry", first, "--remove", "--as", "wang")
    desk.done("newsletter", "editorial", "--remove", "--as", "wang")
    shown = desk.done("newsletter", "show")
    assert (shown["editorial"], shown["columns"][0]["entries"][0]["picture"]) == ("", "")
    for wrong in (("editorial",), ("editorial", words, "--remove"), ("picture",)):
        assert desk.refused("newsletter", *wrong, "--as", "wang") == "issue.file_or_remove"
    assert desk.refused("newsletter", "picture", words, "--as", "wang") == "issue.no_picture"
    assert desk.refused("newsletter", "shorten", first, tmp_path / "没有.txt", "--as", "wang") == "intake.cannot_read"
    assert desk.refused("newsletter", "editorial", words, "--as", "zhao") == "decision.not_permitted"
    assert desk.refused("newsletter", "try", "--as", "wang") == "trial.no_address"


def test_the_status_says_why_an_issue_waits_and_which_title_its_editorial_names(
    desk: Desk, items: tuple[int, int], tmp_path: Path
) -> None:
    words = tmp_path / "卷首语.txt"
    words.write_text("本期请看《关于试播的通知》。", "utf-8")
    desk.done("newsletter", "build", "--as", "wang")
    desk.done("newsletter", "editorial", words, "--as", "wang")
    done = desk.done("newsletter", "submit", "--as", "wang")
    for name in ("li", "chen"):
        desk.done("approve", str(done["item_id"]), "--hash", done["hash"], "--as", name)
    desk.done("withdraw", str(items[0]), "--reason", "内容有误", "--as", "li")
    status = desk.done("newsletter", "status")
    assert status["issue"]["phase"] == "outdated"
    assert [(one["code"], one["facts"]["title"]) for one in status["findings"]] == [
        ("check.named_withdrawn", "关于试播的通知")
    ]
    said = desk.fabu("newsletter", "status").out
    assert "暂缓，待更正并重新审查" in said and f"《关于试播的通知》（信息 {items[0]}），这条信息已撤下" in said
    assert not NOT_WORDS.search(said) and "《关于试播的通知》" in desk.fabu("newsletter", "show").out
    assert desk.refused("newsletter", "send", "--as", "wang") == "retry.outdated"


def test_an_issue_is_left_out_merged_and_taken_back(desk: Desk) -> None:
    days = [one["nominal"] for one in desk.done("newsletter", "plan")]
    desk.done("newsletter", "skip", days[0], "--as", "wang", "--reason", "停刊")
    desk.done("newsletter", "merge", days[1], days[2], "--as", "wang", "--reason", "假期")
    said = desk.fabu("newsletter", "plan").out
    assert "不出（停刊）" in said and f"并入 {days[2]} 一期（假期）" in said
    assert desk.refused("newsletter", "skip", days[0], "--as", "wang", "--reason", "停刊") == "issue.left_out_already"
    desk.done("newsletter", "take-back", days[0], "--as", "wang", "--reason", "照常出刊")
    assert "停刊" not in desk.fabu("newsletter", "plan").out


def test_what_the_command_line_refuses_it_says_in_words(desk: Desk, items: tuple[int, int]) -> None:
    assert desk.refused("newsletter", "build", "--as", "zhao") == "decision.not_permitted"
    assert desk.refused("newsletter", "show", "1999-01-01") == "issue.unknown"
    assert desk.refused("newsletter", "submit", "--as", "wang") == "issue.not_built"
    assert desk.refused("newsletter", "preview") == "issue.not_built"
    desk.done("newsletter", "build", "--as", "wang")
    assert desk.refused("newsletter", "move", str(items[0]), "没有的栏目", "--as", "wang") == "issue.unknown_column"
    assert desk.refused("newsletter", "drop", "99", "--as", "wang") == "item.unknown"


def test_the_workers_make_the_issues_and_a_fresh_schedule_makes_none_twice(desk: Desk, items: tuple[int, int]) -> None:
    rt = opened(desk)
    try:
        for _ in range(3):  # beat starts anew with an empty schedule file: everything is due at once
            (desk.data / "run" / "beat-schedule").unlink(missing_ok=True)
            tasks.make_issues(rt)
        assert len(desk.done("newsletter", "plan", "--count", "2")) == 2
        with rt.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM issue").scalar_one() == 1
    finally:
        rt.engine.dispose()


def test_beat_asks_for_the_newsletter_every_minute(desk: Desk) -> None:
    script = (
        "import json; from workers.app import app, NEWSLETTER_EVERY; "
        "print(json.dumps([app.conf.beat_schedule['newsletter']['task'], NEWSLETTER_EVERY.total_seconds()]))"
    )
    environment = {config.DATA: str(desk.data), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["fabu.newsletter", 60.0]
    assert workers.app.NEWSLETTER_EVERY.total_seconds() == 60
