"""docs/adding-a-channel.md is true: its code is the code that is there, and whoever follows it has a channel."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from channels.contract import Channel
from pipeline import review
from tests.office import Bureau

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-channel.md").read_text("utf-8")
QUOTED = re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?\n)```\n", PAGE, re.DOTALL)  # where it stands, and the words
OWN = {path: text for path, text in QUOTED if not (ROOT / path).exists()}
OURS = [(path, text) for path, text in QUOTED if path not in OWN]


@pytest.mark.parametrize(("path", "text"), OURS, ids=[path for path, _ in OURS])
def test_what_the_page_quotes_stands_there_word_for_word(path: str, text: str) -> None:
    assert text in (ROOT / path).read_text("utf-8")


def test_every_piece_of_code_on_the_page_says_where_it_stands() -> None:
    assert PAGE.count("```") == 2 * (len(QUOTED) + PAGE.count("```sh\n"))
    assert OWN.keys() == {"ourbureau/share.py", "ourbureau/rig.py", "fabu.toml"}
    assert len(OURS) == 6


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    """A folder outside our tree with what the page says to write there."""
    package = tmp_path / "srv" / "ourbureau"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for path in ("ourbureau/share.py", "ourbureau/rig.py"):
        (package.parent / path).write_text(OWN[path], "utf-8")
    return package.parent


def test_an_office_s_own_channel_meets_the_contract(srv: Path) -> None:
    (command,) = re.findall(r"^PYTHONPATH=/srv/ourbureau FABU_RIG=(\S+) \.venv/bin/pytest (.*)$", PAGE, re.MULTILINE)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *command[1].split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(srv), "FABU_RIG": command[0]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert re.search(r"\b1\d passed", run.stdout), run.stdout


def test_an_office_s_own_channel_publishes_corrects_and_withdraws(
    srv: Path, tmp_path: Path, open_office: Callable[..., Bureau], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(srv)
    (tmp_path / "share").mkdir()
    section = tomllib.loads(OWN["fabu.toml"])["channels"]["share"]
    bureau = open_office(channels={"share": {**section, "folder": tmp_path / "share"}})
    adapter: Channel = bureau.rt.channels["share"].adapter
    assert adapter.check() == "ok"
    item = bureau.publish("share")
    bureau.work("share")
    file = tmp_path / "share" / f"{item}.txt"
    assert file.read_text("utf-8").startswith("关于试播的通知\n")
    assert bureau.state(item, "share") == "confirmed"
    bureau.correct(item, title="关于试播的通知（更正）")
    bureau.work("share")
    bureau.clock.forward(minutes=1)
    bureau.work("share")
    assert file.read_text("utf-8").startswith("关于试播的通知（更正）\n")
    assert bureau.state(item, "share") == "confirmed"
    review.withdraw(bureau.rt, bureau.actor("chen"), item, "内容有误")
    bureau.work("share")
    bureau.clock.forward(minutes=1)
    bureau.work("share")
    assert not file.exists()
    assert (bureau.state(item, "share"), bureau.cell(item, "share").wanted) == ("confirmed", None)
