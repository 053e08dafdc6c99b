"""The State Council's yearly holiday notice (国务院办公厅关于部分节假日安排的通知) as a file: read, checked, kept.

CSV, a line for each day: the date, and 休 (off) or 班 (worked in lieu); a heading and further columns are passed over.
TOML, as it is kept: `[holidays.2027]` with `off` and `work`.
"""

import csv
import io
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from config.settings import HOLIDAYS, ConfigError, HolidayYear

_OFF = frozenset({"休", "休息", "放假", "off"})
_WORK = frozenset({"班", "上班", "补班", "调休上班", "work"})
_ALWAYS_OFF = ((1, 1), (5, 1), (10, 1))  # 全国年节及纪念日放假办法
_FIRST_DAYS = timedelta(days=31)  # how far a notice may reach into the year before or after


def read_notice(file: Path) -> dict[int, HolidayYear]:
    """The years of a notice. Raises ConfigError, with the line, for what is none: half a year would move deadlines."""
    try:
        stored = file.read_bytes()
    except OSError as error:
        raise ConfigError("holidays.cannot_read", file=str(file), detail=error.strerror or "") from error
    text = _decoded(stored)
    years = _from_toml(text) if file.suffix.lower() == ".toml" else _from_csv(text)
    if not years:
        raise ConfigError("holidays.empty")
    for number, year in years.items():
        _check(number, year)
    return years


def keep(data: Path, years: Mapping[int, HolidayYear]) -> Path:
    """Keep these years in the data directory, beside those that were imported before; returns the file. Raises
    ConfigError, and nothing was changed then."""
    file = data / HOLIDAYS
    new = file.with_suffix(".new")
    try:
        before = _from_toml(file.read_text("utf-8")) if file.exists() else {}
        new.write_text(as_toml({**before, **years}), "utf-8")
        new.chmod(0o640)
        new.replace(file)
    except OSError as error:
        raise ConfigError("holidays.cannot_write", file=str(file), detail=error.strerror or "") from error
    return file


def as_toml(years: Mapping[int, HolidayYear]) -> str:
    """As it is kept, and as it may stand in fabu.toml."""
    return "\n".join(
        f"[holidays.{number}]\noff = [{_listed(year.off)}]\nwork = [{_listed(year.work)}]\n"
        for number, year in sorted(years.items())
    )


def _listed(days: frozenset[date]) -> str:
    return ", ".join(day.isoformat() for day in sorted(days))


def _decoded(stored: bytes) -> str:
    try:
        return stored.decode("utf-8-sig")
    except UnicodeDecodeError:
        return stored.decode("gb18030", "replace")  # as Excel saves CSV on a Chinese Windows


def _from_toml(text: str) -> dict[int, HolidayYear]:
    try:
        return TypeAdapter(dict[int, HolidayYear]).validate_python(tomllib.loads(text).get("holidays", {}))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError("holidays.not_toml", detail=str(error).partition("\n")[0]) from error


def _from_csv(text: str) -> dict[int, HolidayYear]:
    off, work = set[date](), set[date]()
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and not re.search(r"\d", cells[0])):
            continue
        day, kind = _day(cells[0], number), cells[1].lower() if len(cells) > 1 else ""
        if kind not in _OFF | _WORK:
            raise ConfigError("holidays.not_a_kind", line=str(number), given=kind)
        (off if kind in _OFF else work).add(day)
    if not off | work:
        return {}
    year = Counter(day.year for day in off | work).most_common(1)[0][0]
    return {year: HolidayYear(off=frozenset(off), work=frozenset(work))}


def _day(given: str, line: int) -> date:
    parts = re.fullmatch(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?", given)
    try:
        if parts is None:
            raise ValueError
        return date(*map(int, parts.groups()))
    except ValueError as error:
        raise ConfigError("holidays.not_a_date", line=str(line), given=given) from error


def _check(number: int, year: HolidayYear) -> None:
    if both := year.off & year.work:
        raise ConfigError("holidays.both", day=min(both).isoformat())
    if weekdays := sorted(day for day in year.work if day.weekday() < 5):
        raise ConfigError("holidays.not_a_weekend", day=weekdays[0].isoformat())
    if not 1 < number < 9999:
        raise ConfigError("holidays.other_year", day=str(number), year=str(number))
    first, last = date(number, 1, 1) - _FIRST_DAYS, date(number, 12, 31) + _FIRST_DAYS
    if outside := sorted(day for day in year.off | year.work if not first <= day <= last):
        raise ConfigError("holidays.other_year", day=outside[0].isoformat(), year=str(number))
    always = (date(number, month, day) for month, day in _ALWAYS_OFF)
    if missing := [day.isoformat() for day in always if day.weekday() < 5 and day not in year.off]:
        raise ConfigError("holidays.not_whole", year=str(number), days=", ".join(missing))
