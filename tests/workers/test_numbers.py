"""The numbers on the command line, and their count by the workers."""

import csv
import io
from pathlib import Path

import pytest
from openpyxl import load_workbook

import workers.app
from config import settings as config
from config.locale import say
from pipeline.numbers import numbers
from tests.workers.test_cli import NOT_WORDS, Desk, clean_environment, desk, real, shipped  # noqa: F401  (fixtures)
from workers import tasks


def test_the_numbers_are_read_on_screen_by_programs_and_in_spreadsheets(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    desk.publish("web,board")
    found = desk.done("numbers")
    assert (found["total"]["items"], found["total"]["returned"]) == (1, 0)
    assert len(found["months"]) == 12 and list(found["months"].values())[-1]["items"] == 1
    assert found["channels"] == {"web": {"confirmed": 1}, "board": {"accepted": 1}}
    said = desk.fabu("numbers").out
    assert say("zh", "numbers.by_department") in said and "新闻部" in said and not NOT_WORDS.search(said)
    desk.done("numbers", "--csv", tmp_path / "n.csv", "--xlsx", tmp_path / "n.xlsx")
    assert (tmp_path / "n.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    lines = list(csv.reader(io.StringIO((tmp_path / "n.csv").read_text("utf-8-sig"))))
    assert ["公开栏", "1", "0", "1", "0"] in lines
    assert load_workbook(tmp_path / "n.xlsx")[say("zh", "numbers.by_month")].max_row == 14


def test_a_period_and_a_department_are_chosen(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    desk.publish()
    assert desk.done("numbers", "--department", "tech")["total"]["items"] == 0
    past = desk.done("numbers", "--from", "2020-01-15", "--to", "2020-03-01")
    assert past["months"].keys() == {"2020-01", "2020-02", "2020-03"} and not past["channels"]
    assert desk.refused("numbers", "--from", "2026-02-01", "--to", "2026-01-01") == "numbers.period_reversed"
    assert desk.refused("numbers", "--department", "x") == "staff.unknown_department"
    assert desk.refused("numbers", "--csv", tmp_path / "no" / "n.csv") == "numbers.cannot_write"


def test_the_workers_count_every_minute(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(workers.app, "settings", lambda: config.load(desk.data, {}))
    planned = workers.app.Fabu("fabu", set_as_current=False).conf.beat_schedule["count"]
    assert (planned["task"], planned["schedule"].total_seconds()) == ("fabu.count", 60)
    desk.publish()
    rt = desk.open()
    monkeypatch.setattr(tasks, "runtime", lambda: rt)
    tasks.count()
    today = rt.now().astimezone(rt.settings.zone).date()
    assert numbers(rt, None, today, today).total.items == 1
    rt.engine.dispose()
