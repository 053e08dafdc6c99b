"""The audit log (操作日志) as an auditor reads it: filtered, newest first, and as a CSV for a spreadsheet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import Select, select

from config.locale import Language, catalogue
from pipeline import staff
from pipeline.decisions import Actor, Decision, permit
from pipeline.models import AuditLine
from pipeline.runtime import Runtime

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection").
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
AT_ONCE = 2_000  # lines of a file that are read and written together
COLUMNS = ("at", "person", "os_user", "decision", "item", "facts")


@dataclass(frozen=True)
class Line:
    """One decision: who, from which account of the machine, when, and its facts."""

    id: int
    at: datetime
    person: str
    os_user: str
    decision: str
    item: int | None
    facts: Mapping[str, Any]


class Chosen(TypedDict, total=False):
    """Which lines: each that is given must fit. `until` is not included; `words` stand somewhere in the facts."""

    item: int | None
    person: str | None
    since: datetime | None
    until: datetime | None
    decision: Decision | None
    words: str


def lines(
    rt: Runtime,
    actor: Actor,
    *,
    skip: int = 0,
    most: int | None = None,
    before: int | None = None,
    **chosen: Unpack[Chosen],
) -> list[Line]:
    """The newest `most` lines that fit after the first `skip`, newest first; None: all. `before`: only those older than
    the line with this id. Raises Refused: for auditors and administrators."""
    permit(actor, Decision.READ_LOG)
    wanted = _wanted(**chosen)
    if before is not None:
        wanted = wanted.where(AuditLine.id < before)
    with rt.reading() as db:
        return [
            Line(row.id, row.at, row.person, row.os_user, row.decision, row.item_id, json.loads(row.facts))
            for row in db.scalars(wanted.order_by(AuditLine.id.desc()).limit(most).offset(skip))
        ]


def every(rt: Runtime, actor: Actor, **chosen: Unpack[Chosen]) -> Iterator[Line]:
    """All lines that fit, newest first, for a file: read some at a time: nothing is held for as long as somebody
    takes to save them. Raises Refused, before the first is asked for."""
    permit(actor, Decision.READ_LOG)

    def walk() -> Iterator[Line]:
        found = lines(rt, actor, most=AT_ONCE, **chosen)
        while found:
            yield from found
            found = lines(rt, actor, most=AT_ONCE, before=found[-1].id, **chosen)

    return walk()


def _wanted(
    item: int | None = None,
    person: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    decision: Decision | None = None,
    words: str = "",
) -> Select[AuditLine]:
    wanted = select(AuditLine)
    if item is not None:
        wanted = wanted.where(AuditLine.item_id == item)
    if person is not None:
        wanted = wanted.where(AuditLine.person == person)
    if since is not None:
        wanted = wanted.where(AuditLine.at >= since)
    if until is not None:
        wanted = wanted.where(AuditLine.at < until)
    if decision is not None:
        wanted = wanted.where(AuditLine.decision == decision.value)
    if words:  # as JSON writes them: a quotation mark has a backslash before it
        written = json.dumps(words, ensure_ascii=False)[1:-1]
        wanted = wanted.where(AuditLine.facts.contains(written, autoescape=True))
    return wanted


def details(rt: Runtime, language: Language, names: staff.Names, line: Line) -> list[tuple[str, str]]:
    """The facts of a line in words: what each is called, and what it says."""
    spoken = catalogue(language)
    told = {name: fact for name, fact in line.facts.items() if fact not in ("", None, [], False)}
    called = {"at": "when"}
    return [
        (spoken.get(f"word.{called.get(name, name)}", name), _worded(rt, spoken, names, name, fact))
        for name, fact in told.items()
    ]


def _worded(rt: Runtime, spoken: Mapping[str, str], names: staff.Names, name: str, fact: object) -> str:
    if isinstance(fact, list):
        return "、".join(_worded(rt, spoken, names, name, one) for one in fact)
    text = "✓" if fact is True else str(fact)
    match name:
        case "hash" | "voided":
            return text[:12]
        case "person" | "for_person" | "deputy" | "on_behalf_of" | "added" | "changed":
            return names.person(text)
        case "department" | "in_charge":
            return names.department(text)
        case "channel" | "channels":
            return rt.channels[text].section.label if text in rt.channels else text
        case "roles" | "level":
            return "、".join(spoken.get(f"role.{one}", one) for one in text.split())
        case "what":
            return spoken.get(f"arranged.{text}", text)
        case "signed":
            return spoken.get(f"did.{text}", text)
        case "class":
            return spoken.get(f"disclosure.{text}", text)
        case "reason":  # of a refusal: the ground before it
            ground, colon, rest = text.partition(": ")
            return f"{spoken[f'ground.{ground}']}：{rest}" if colon and f"ground.{ground}" in spoken else text
        case "at" | "publish_at":
            try:
                return datetime.fromisoformat(text).astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M")
            except ValueError:
                return text
    return text


def as_csv(rt: Runtime, found: Iterable[Line]) -> Iterator[str]:
    """The lines as CSV (RFC 4180), piece by piece, with times in the office's zone; no cell is a formula."""
    return _csv(
        COLUMNS,
        (
            (_second(rt, line), line.person, line.os_user, line.decision, str(line.item or ""),
             json.dumps(line.facts, ensure_ascii=False))
            for line in found
        ),
    )  # fmt: skip


def as_table(rt: Runtime, found: Iterable[Line], language: Language) -> Iterator[str]:
    """The lines as CSV in words, piece by piece, for whoever reads them in a spreadsheet; no cell is a formula."""
    spoken, names = catalogue(language), staff.names(rt)
    return _csv(
        [spoken[f"word.{name}"] for name in ("when", "person", "account", "decision", "item_id", "details")],
        (
            (_second(rt, line), names.person(line.person), line.os_user,
             spoken.get(f"did.{line.decision}", line.decision), str(line.item or ""),
             "；".join(f"{name} {fact}" for name, fact in details(rt, language, names, line)))
            for line in found
        ),
    )  # fmt: skip


def _csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(head)
    for number, row in enumerate(rows, 1):
        writer.writerow(map(plain_cell, row))
        if number % AT_ONCE == 0:
            yield written.getvalue()
            written.seek(0)
            written.truncate()
    yield written.getvalue()


def _second(rt: Runtime, line: Line) -> str:
    return line.at.astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M:%S")


def plain_cell(cell: str) -> str:
    """The cell so that no spreadsheet takes it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULAS) else cell
