"""The State Council's notice as an administrator has it: a table saved from Excel, or TOML."""

from datetime import date
from pathlib import Path

import pytest

from config import settings as config
from config.holidays import as_toml, keep, read_notice
from config.locale import Language, say
from config.settings import ConfigError

LANGUAGES: tuple[Language, ...] = ("zh", "en")
HEADING = "日期,安排,节日\n"
NOTICE = "2027/1/1,休,元旦\n2027年2月6日,休,春节\n2027-02-07,班,春节\n2027-05-03,休,劳动节\n2027-10-1,休,国庆节\n"
PORTS = {"portal": 8001, "inbound": 8002, "console": 8003, "sandbox": 8004}


def saved(tmp_path: Path, text: str, name: str = "放假通知.csv", encoding: str = "utf-8") -> Path:
    file = tmp_path / name
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_table_saved_by_any_spreadsheet_is_read(tmp_path: Path, encoding: str) -> None:
    years = read_notice(saved(tmp_path, HEADING + NOTICE, encoding=encoding))
    assert set(years) == {2027}
    assert years[2027].work == {date(2027, 2, 7)} and date(2027, 1, 1) in years[2027].off


def test_what_was_imported_is_read_with_the_settings_and_goes_in_and_out_unchanged(tmp_path: Path) -> None:
    data = tmp_path / "office"
    config.prepare(data, ports=PORTS)
    years = read_notice(saved(tmp_path, NOTICE))
    keep(data, years)
    assert config.load(data, {}).holidays == years
    assert read_notice(saved(tmp_path, as_toml(years), "holidays.toml")) == years


def test_the_notice_may_also_stand_in_the_offices_own_file(tmp_path: Path) -> None:
    data = tmp_path / "office"
    config.prepare(data, ports=PORTS)
    years = read_notice(saved(tmp_path, NOTICE))
    with (data / "fabu.toml").open("a", encoding="utf-8") as file:
        file.write(as_toml(years))
    assert config.load(data, {}).holidays == years


@pytest.mark.parametrize(
    ("text", "code", "fact"),
    [
        ("", "holidays.empty", ""),
        (HEADING, "holidays.empty", ""),
        (NOTICE + "2027年13月1日,休\n", "holidays.not_a_date", "6"),
        (NOTICE + "十月二日,休\n", "holidays.not_a_date", "十月二日"),
        (NOTICE + "2027-10-02,也许\n", "holidays.not_a_kind", "也许"),
        (NOTICE + "2027-10-02\n", "holidays.not_a_kind", "6"),
        (NOTICE + "2027-02-07,休\n", "holidays.both", "2027-02-07"),
        (NOTICE + "2027-02-08,班\n", "holidays.not_a_weekend", "2027-02-08"),
        (NOTICE + "2025-02-09,休\n", "holidays.other_year", "2025-02-09"),
        ("2027-01-01,休\n", "holidays.not_whole", "2027-10-01"),
    ],
)
def test_a_file_that_is_no_whole_notice_is_refused_with_its_place(
    tmp_path: Path, text: str, code: str, fact: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_notice(saved(tmp_path, text))
    assert caught.value.code == code
    for language in LANGUAGES:
        sentence = say(language, code, **caught.value.facts)
        assert fact in sentence and "?" not in sentence


def test_damaged_holidays_stop_the_start_and_say_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "office"
    config.prepare(data, ports=PORTS)
    (data / config.HOLIDAYS).write_text('[holidays.2027]\noff = ["soon"]\n')
    with pytest.raises(ConfigError, match="config.bad_holidays"):
        config.load(data, {})
