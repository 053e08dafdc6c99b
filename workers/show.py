"""How the command line shows things: tables for people, JSON for programs. All words come from config/locale."""

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from channels.contract import Finding
from config.locale import Language, catalogue, say
from config.settings import Department, Person
from pipeline import phrases, staff
from pipeline.deputies import Deputation
from pipeline.desk import ChannelLine, Clock, Desk, DraftLine, Notice, SubmissionView, Trouble, Waiting
from pipeline.logbook import Line, details
from pipeline.reach import Cell, ItemReach
from pipeline.replies import Reply
from pipeline.runtime import Runtime
from pipeline.states import State
from pipeline.subscribers import Listed, group_names
from pipeline.words import MARKS, masked, problem, state_code

STYLES: Mapping[State, str] = {
    State.CONFIRMED: "green",
    State.ACCEPTED: "cyan",
    State.SENDING: "cyan",
    State.DUE: "default",
    State.ON_HOLD: "yellow",
    State.IN_DOUBT: "yellow",
    State.FAILED: "red",
    State.SKIPPED: "dim",
}
PIPED_COLUMNS = 140  # what is not a terminal has no width of its own


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_COLUMNS)


@dataclass(frozen=True)
class Screen:
    """Where it is shown, in which language, or as JSON."""

    language: Language
    as_json: bool = False
    who_may: Mapping[str, str] = field(default_factory=dict)  # by role: the names of those who have it
    console: Console = field(default_factory=_console)
    errors: Console = field(default_factory=lambda: Console(stderr=True))

    def say(self, code: str, /, **facts: object) -> str:
        return say(self.language, code, **facts)

    def word(self, section: str, name: str) -> str:
        """The word for one of our own names, where there is one: a field, a role, a state."""
        return catalogue(self.language).get(f"{section}.{name}", name)

    def problem(self, code: str, facts: Mapping[str, object]) -> str:
        """The sentence for what went wrong; names of ours among its facts are put in words too."""
        if "roles" in facts and self.who_may:
            facts = {**facts, "roles": self._who(str(facts["roles"]))}
        return problem(self.language, code, facts)

    def _who(self, roles: str) -> str:
        """Roles in words, each with the persons who have it."""
        told = [f"{self.word('role', one)} {self.who_may.get(one, '')}".strip() for one in roles.split(", ")]
        return ("；" if self.language == "zh" else "; ").join(told)

    def line(self, code: str, /, **facts: object) -> None:
        """A sentence for a person; nothing where a program listens."""
        if not self.as_json:
            self.console.print(self.say(code, **facts), markup=False, highlight=False, soft_wrap=True)

    def json(self, value: object) -> None:
        if self.as_json:
            self.console.print(
                json.dumps(value, ensure_ascii=False, indent=1, default=_plain),
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip

    def error(self, code: str, facts: Mapping[str, object], findings: Sequence[Finding] = ()) -> None:
        """What happened, what it means, what to do; findings one by one."""
        if self.as_json:
            listed = [asdict(finding) for finding in findings]
            problem = {"error": code, "facts": dict(facts), "message": self.problem(code, facts), "findings": listed}
            self.console.print(
                json.dumps(problem, ensure_ascii=False, indent=1, default=_plain),
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
            return
        self.errors.print(self.problem(code, facts), style="red", markup=False, highlight=False, soft_wrap=True)
        self.findings(findings, self.errors)

    def findings(self, findings: Iterable[Finding], console: Console | None = None) -> None:
        for finding in findings:
            place = f"〔{self.word('field', finding.place)}〕" if finding.place else ""
            text = f"  {self.say(f'severity.{finding.severity}')} {place}{self.problem(finding.code, finding.facts)}"
            (console or self.console).print(text, markup=False, highlight=False, soft_wrap=True)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)


def local(rt: Runtime, moment: datetime | None) -> str:
    """A time as the office reads it: its own zone, to the minute."""
    return moment.astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M") if moment else ""


def _seconds(rt: Runtime, moment: datetime) -> str:
    return moment.astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M:%S")


def cell_json(cell: Cell) -> dict[str, Any]:
    """The documented shape of `fabu reach --json`, and what the table shows beside it."""
    return {
        "item": cell.item,
        "revision": cell.revision,
        "channel": cell.channel,
        "state": cell.state.value,
        "wanted": cell.wanted,
        "held": cell.held if cell.held_known else "unknown",
        "generation": cell.generation,
        "attempts": cell.attempts,
        "counts": dict(cell.counts),
        "reference": cell.reference,
        "confirmed_at": cell.confirmed_at,
        "error": cell.error,
        "index_number": cell.index_number,
        "title": cell.title,
        "reason": cell.reason,
        "rehearsal": cell.rehearsal,
        "unseen": cell.unseen,
    }


def state_text(screen: Screen, cell: Cell, wide: bool = True) -> Text:
    """One cell of the matrix: mark, word where there is room, counts, 演练 where nothing real was reached."""
    mark, style = MARKS[cell.state], STYLES[cell.state]
    text = Text(f"{mark} {screen.say(state_code(cell))}" if wide else mark, style=style)
    if cell.counts:
        text.append(f" {cell.arrived}/{sum(cell.counts.values())}")
    if cell.reason and wide:
        text.append(f"（{screen.say(f'reason.{cell.reason}')}）")
    if cell.rehearsal:
        text.append(f" {screen.say('reach.rehearsal')}", style="magenta")
    return text


LEAST_TITLE = 16  # columns that still tell which item it is
LAYOUTS = ((True, True), (True, False), (False, False))  # cells with their words; index numbers


def matrix(screen: Screen, rt: Runtime, cells: Sequence[Cell]) -> None:
    """Items × channels, with all that the screen has room for: where it is narrow, cells show their marks, and a legend
    explains them. Of what stays, the title alone gives way."""
    if not cells:
        screen.line("reach.empty")
        return
    by_item: dict[int, dict[str, Cell]] = {}
    for cell in cells:
        by_item.setdefault(cell.item, {})[cell.channel] = cell
    names = [name for name in rt.channels if any(cell.channel == name for cell in cells)]
    for wide, numbered in LAYOUTS:
        about = ("item_id", "index_number", "title") if numbered else ("item_id", "title")
        heads = [screen.say(f"word.{name}") for name in about] + [rt.channels[name].section.label for name in names]
        rows = []
        for item, row in by_item.items():
            first = next(iter(row.values()))
            known = {"item_id": str(item), "index_number": first.index_number or "", "title": first.title}
            shown = [state_text(screen, row[name], wide) if name in row else Text("") for name in names]
            rows.append([*(Text(known[name]) for name in about), *shown])
        widths = [max(cell_len(head), *(row[at].cell_len for row in rows)) for at, head in enumerate(heads)]
        title = about.index("title")
        room = screen.console.width - sum(widths) + widths[title] - 3 * len(widths) - 2
        if room >= min(LEAST_TITLE, widths[title]):
            break
    widths[title] = min(widths[title], max(room, LEAST_TITLE))
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    for head, width in zip(heads, widths, strict=True):
        table.add_column(head, no_wrap=True, overflow="ellipsis", width=width)
    for line in rows:
        table.add_row(*line)
    screen.console.print(table)
    if not wide:
        states = dict.fromkeys(cell.state for cell in cells)
        legend = "  ".join(f"{MARKS[state]} {screen.say(f'state.{state}')}" for state in states)
        screen.console.print(legend, markup=False, highlight=False)
    for cell in cells:
        if cell.error:
            what = screen.say(str(cell.error["code"]), **cell.error["facts"])
            screen.console.print(
                f"  {cell.item} {_label(rt, cell.channel)}：{what}", markup=False, highlight=False, soft_wrap=True
            )


def item(screen: Screen, rt: Runtime, found: ItemReach) -> None:
    """One item with every attempt, everything seen, every posting, and the issue that carried it."""
    matrix(screen, rt, found.cells)
    if found.issue is not None:
        code = "reach.carried_before" if found.issue.dropped else "reach.carried"
        screen.line(code, numbers=found.issue.numbers, day=found.issue.out_on, item=found.issue.item)
    if found.attempts:
        table = Table(title=screen.say("word.attempts"), title_justify="left", header_style="bold")
        for name in ("when", "channel", "recipient", "revision", "result", "what_came_back"):
            table.add_column(screen.say(f"word.{name}"), overflow="fold")
        for line in found.attempts:
            ends = line.ends or ((None, "open", "", "", None),)
            for at, result, reference, evidence, error in ends:
                back = screen.say(str(error["code"]), **error["facts"]) if error else f"{evidence} {reference}".strip()
                table.add_row(
                    _seconds(rt, line.started_at) + (f" → {_seconds(rt, at)[11:]}" if at else ""),
                    _label(rt, line.channel),
                    masked(line.recipient),
                    screen.say("word.withdrawal") if line.revision is None else str(line.revision),
                    screen.say(f"result.{result}"),
                    Text(back),
                )
        screen.console.print(table)
    if found.sightings:
        table = Table(title=screen.say("word.sightings"), title_justify="left", header_style="bold")
        for name in ("when", "channel", "recipient", "how", "seen", "state"):
            table.add_column(screen.say(f"word.{name}"), overflow="fold")
        for one in found.sightings:
            table.add_row(
                local(rt, one.at),
                _label(rt, one.channel),
                masked(one.recipient),
                screen.say(f"evidence.{one.evidence}"),
                Text(f"{screen.say(f'seen.{one.seen}')} {one.note}".strip()),
                screen.say(f"state.{one.state}"),
            )
        screen.console.print(table)
    for posting in found.postings:
        screen.line(
            "posting.removed" if posting.removed_at else "posting.up",
            place=posting.place,
            posted_by=_name(rt, posting.posted_by),
            posted_at=local(rt, posting.posted_at),
            removed_by=_name(rt, posting.removed_by or ""),
            removed_at=local(rt, posting.removed_at),
            down_due=posting.down_due or "—",
        )


def desk(screen: Screen, rt: Runtime, found: Desk) -> None:
    """What waits for one person, and what of theirs waits for others."""
    if not (found.reviews or found.notices or found.troubles or found.drafts):
        screen.line("review.nothing_to_do")
    if found.drafts:
        drafts(screen, rt, found.drafts)
    reviews(screen, rt, found.reviews, "word.reviews")
    troubles(screen, rt, found.troubles)
    notices(screen, found.notices)
    reviews(screen, rt, found.under_review, "word.under_review")


def waiting(screen: Screen, rt: Runtime, under_review: Sequence[Waiting], printed: Sequence[Notice]) -> None:
    """What waits for people: reviews, notices to post and to take down."""
    if not under_review and not printed:
        screen.line("review.nothing_to_do")
    reviews(screen, rt, under_review, "word.reviews")
    notices(screen, printed)


def _days_left(screen: Screen, clock: Clock | None) -> str:
    """How long the law still gives."""
    if clock is None:
        return ""
    left = str(clock.days_left) if clock.days_left >= 0 else screen.say("word.overdue")
    return f"{left}（{screen.say('word.provisional')}）" if clock.provisional else left


def drafts(screen: Screen, rt: Runtime, listed: Sequence[DraftLine]) -> None:
    """Drafts and returned items, with the reason of a return."""
    if not listed:
        screen.line("drafts.empty")
        return
    names = staff.names(rt)
    table = Table(title=screen.say("word.drafts"), title_justify="left", header_style="bold")
    for name in ("item_id", "title", "department", "author", "state", "days_left", "why_returned"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for one in listed:
        why = f"{one.reason}（{names.person(one.returned_by)}，{local(rt, one.since)}）" if one.reason else ""
        table.add_row(
            str(one.item),
            Text(one.title),
            names.department(one.department),
            names.person(one.author),
            screen.say(f"word.{one.state}"),
            _days_left(screen, one.clock),
            Text(why),
        )
    screen.console.print(table)


def troubles(screen: Screen, rt: Runtime, listed: Sequence[Trouble]) -> None:
    """Deliveries that a person must look at."""
    if listed:
        table = Table(title=screen.say("word.troubles"), title_justify="left", header_style="bold")
        for name in ("item_id", "title", "channel", "state", "recipient", "result"):
            table.add_column(screen.say(f"word.{name}"), overflow="fold")
        for one in listed:
            why = screen.say(f"reason.{one.reason}") if one.reason else ""
            why = screen.problem(str(one.error["code"]), one.error["facts"]) if one.error and not why else why
            state = f"{MARKS[one.state]} {screen.say(f'state.{one.state}')}"
            recipients = str(one.recipients or "")
            table.add_row(str(one.item), Text(one.title), _label(rt, one.channel), state, recipients, Text(why))
        screen.console.print(table)


def reviews(screen: Screen, rt: Runtime, listed: Sequence[Waiting], title: str) -> None:
    """Submissions under review, whose turn it is, and how long the law still gives."""
    names = staff.names(rt)
    if listed:
        table = Table(title=screen.say(title), title_justify="left", header_style="bold")
        for name in (
            "item_id", "index_number", "title", "department", "turn", "days_left", "channels", "publish_at", "hash",
        ):  # fmt: skip
            table.add_column(screen.say(f"word.{name}"), overflow="fold")
        for one in listed:
            named = f"（{screen.say('word.on_behalf_of')} {names.person(one.on_behalf_of)}）"
            table.add_row(
                str(one.item),
                one.index_number,
                Text(one.title),
                names.department(one.department),
                screen.say(f"role.{one.role}") + (named if one.on_behalf_of else ""),
                _days_left(screen, one.clock),
                "、".join(_label(rt, name) for name in one.channels),
                local(rt, one.publish_at) or screen.say("word.at_once"),
                one.hash[:12],
            )
        screen.console.print(table)


def notices(screen: Screen, listed: Sequence[Notice]) -> None:
    """Printed notices to post and to take down."""
    if listed:
        table = Table(title=screen.say("word.notices"), title_justify="left", header_style="bold")
        for name in ("item_id", "title", "todo", "file", "place", "down_due"):
            table.add_column(screen.say(f"word.{name}"), overflow="fold")
        for notice in listed:
            table.add_row(
                str(notice.item),
                Text(notice.title),
                screen.say(f"notice.{notice.what}"),
                notice.reference,
                notice.place,
                str(notice.due or ""),
            )
        screen.console.print(table)


def _label(rt: Runtime, channel: str) -> str:
    return rt.channels[channel].section.label if channel in rt.channels else channel


def _name(rt: Runtime, person: str) -> str:
    return staff.names(rt).person(person)


def command(name: str, data: Any, *words: str) -> str:
    """A command line that a person can copy, as this program was called."""
    program = sys.argv[0] if "/" in sys.argv[0] else "fabu"
    with suppress(ValueError):
        program = str(Path(program).resolve().relative_to(Path.cwd())) if "/" in program else program
    return shlex.join([program, name, *words, "--data", str(data)])


def item_json(found: ItemReach) -> dict[str, Any]:
    """All that the ledger knows of one item, for a program."""
    return {
        "deliveries": [cell_json(cell) for cell in found.cells],
        "attempts": [asdict(one) for one in found.attempts],
        "sightings": [asdict(one) for one in found.sightings],
        "postings": [asdict(one) for one in found.postings],
        "issue": asdict(found.issue) if found.issue is not None else None,
    }


def channels(screen: Screen, rt: Runtime, listed: Sequence[ChannelLine]) -> None:
    """Each channel's health, as the ledger saw it."""
    table = Table(header_style="bold")
    for name in ("channel", "kind", "health", "due", "trouble", "last_success", "last_failure"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for one in listed:
        health = "failing" if one.failures else "well"
        health = "paused" if one.paused_by else "breaker" if one.open_until else health
        failure = screen.say(str(one.last_error["code"]), **one.last_error["facts"]) if one.last_error else ""
        label = rt.channels[one.channel].section.label
        rehearsal = f" {screen.say('reach.rehearsal')}" if one.rehearsal else ""
        table.add_row(
            f"{label} ({one.channel}){rehearsal}",
            one.kind,
            screen.say(f"health.{health}", person=_name(rt, one.paused_by or ""), until=local(rt, one.open_until)),
            str(one.due),
            str(one.trouble),
            local(rt, one.last_success_at),
            f"{local(rt, one.last_failure_at)} {failure}".strip(),
        )
    screen.console.print(table)


def submission(screen: Screen, rt: Runtime, found: SubmissionView) -> None:
    """What a reviewer must see before naming its hash: the text, what was chosen, and what each channel will show."""
    screen.json(asdict(found))
    if screen.as_json:
        return
    draft = found.draft
    rows = {
        "title": draft.title,
        "index_number": found.index_number,
        "revision": found.revision,
        "item_type": draft.item_type,
        "department": staff.names(rt).department(draft.department),
        "author": _name(rt, found.author),
        "formed_on": draft.formed_on,
        "document_number": draft.document_number,
        "summary": draft.summary,
        "theme": draft.theme,
        "keywords": "、".join(draft.keywords),
        "source": draft.source,
        "period": " — ".join(map(str, draft.period or ())),
        "objection_contact": draft.objection_contact,
        "corrects": draft.corrects,
        "class": screen.say(f"disclosure.{found.disclosure}"),
        "ground": screen.say(f"ground.{found.ground}") if found.ground else "",
        "publish_at": (local(rt, found.publish_at) or screen.say("word.at_once")) if found.renditions else "",
        "turn": screen.say(f"role.{found.role}"),
    }

    def told(name: str, value: object) -> None:
        screen.console.print(f"{name}：{value}", markup=False, highlight=False, soft_wrap=True)

    for name, value in rows.items():
        if value:
            told(screen.say(f"word.{name}"), value)
    screen.console.rule(style="dim")
    screen.console.print(draft.text, markup=False, highlight=False)
    screen.console.rule(style="dim")
    for name, digest in found.attachments:
        told(screen.say("word.attachment"), f"{name}  {digest[:12]}")
    for one in found.findings:
        screen.findings([one.found])
        if one.answer is not None:
            told(f"    {screen.say('word.reason')}", f"{one.answer.reason}（{_name(rt, one.answer.person)}）")
    for channel, digest in found.renditions.items():
        told(_label(rt, channel), found.texts.get(channel) or f"{screen.say('word.hash')} {digest[:12]}")
    told(screen.say("word.hash"), found.hash)
    screen.line("review.how_to_approve", item=found.item, hash=found.hash[:12])


def paused(screen: Screen, rt: Runtime, listed: Sequence[ChannelLine]) -> None:
    """The channels that a person has paused: why nothing goes out there."""
    for one in listed:
        if one.paused_by:
            label = rt.channels[one.channel].section.label
            screen.line("reach.paused", channel=label, name=one.channel, person=_name(rt, one.paused_by))


def people(screen: Screen, rt: Runtime, everybody: Sequence[tuple[Person, bool]]) -> None:
    """The staff, those who have left included."""
    names, comma = staff.names(rt), "、" if screen.language == "zh" else ", "
    table = Table(header_style="bold")
    for name in ("id", "name", "department", "roles", "in_charge", "email", "active"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for one, active in everybody:
        in_charge = comma.join(names.department(id) for id in sorted(one.in_charge))
        table.add_row(
            one.id,
            one.name,
            names.department(one.department),
            comma.join(screen.say(f"role.{role}") for role in sorted(one.roles)),
            in_charge or (screen.say("word.everything") if "leader" in one.roles else ""),
            one.email,
            screen.say("staff.active" if active else "staff.inactive"),
            style=None if active else "dim",
        )
    screen.console.print(table)


def departments(screen: Screen, listed: Sequence[Department]) -> None:
    table = Table(header_style="bold")
    for name in ("id", "department"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for one in listed:
        table.add_row(one.id, one.name)
    screen.console.print(table)


def deputies(screen: Screen, rt: Runtime, listed: Sequence[Deputation]) -> None:
    """Who stands in for whom, and until when."""
    if not listed:
        screen.line("deputy.none")
        return
    names, today = staff.names(rt), rt.now().astimezone(rt.settings.zone).date()
    table = Table(header_style="bold")
    for name in ("number", "deputy", "deputy_for", "from_on", "to_on", "state"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for one in listed:
        ahead = one.ended_at is None and one.from_on > today
        state = "deputy.in_force" if one.in_force else "deputy.not_yet" if ahead else "deputy.past"
        row = (str(one.id), names.person(one.person), names.person(one.for_person), str(one.from_on), str(one.to_on))
        table.add_row(*row, screen.say(state))
    screen.console.print(table)


def words(screen: Screen, rt: Runtime, listed: Sequence[phrases.Line]) -> None:
    """The word table, what is in use first."""
    if not listed:
        screen.line("words.empty")
        return
    names = staff.names(rt)
    table = Table(header_style="bold")
    for name in ("number", "phrase_correct", "phrase_wrong", "from_on", "to_on", "set_by", "state"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    said = {"in_force": "words.in_force", "not_yet": "words.not_yet", "over": "words.over"}
    for one in listed:
        by = names.person(one.set_by) if one.set_by else screen.say("words.shipped")
        days = (str(one.from_on) if one.set_by else "", str(one.to_on or ""))
        table.add_row(str(one.id), one.correct, one.wrong, *days, by, screen.say(said[one.standing]))
    screen.console.print(table)


def log(screen: Screen, rt: Runtime, lines: Sequence[Line]) -> None:
    """The audit log, newest first."""
    if not lines:
        screen.line("logbook.empty")
        return
    names = staff.names(rt)
    table = Table(header_style="bold")
    for name in ("when", "person", "account", "decision", "item_id", "details"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for line in lines:
        told = "；".join(f"{name} {fact}" for name, fact in details(rt, screen.language, names, line))
        decision, item = screen.word("did", line.decision), str(line.item or "")
        table.add_row(_seconds(rt, line.at), names.person(line.person), line.os_user, decision, item, Text(told))
    screen.console.print(table)


def replies(screen: Screen, rt: Runtime, channel: str, received: Sequence[Reply], total: int) -> None:
    """What phones sent back on a channel, the newest first."""
    label = _label(rt, channel)
    if not received:
        screen.line("subscribers.no_replies", channel=label)
        return
    table = Table(header_style="bold")
    for name in ("when", "address", "reply", "item_id"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for one in received:
        told_of = Text(f"{one.item_id} {one.title}" if one.item_id else "")
        table.add_row(local(rt, one.received_at), one.address, Text(one.text), told_of)
    screen.console.print(table)
    screen.line("subscribers.received", channel=label, count=total, shown=len(received))


def subscribers(screen: Screen, rt: Runtime, channel: str, listed: Sequence[Listed]) -> None:
    """A channel's subscribers, with masked numbers."""
    label = _label(rt, channel)
    if not listed:
        screen.line("subscribers.empty", channel=label)
        return
    table = Table(header_style="bold")
    for name in ("address", "name", "consent_source", "consent_on", "groups", "suppressed"):
        table.add_column(screen.say(f"word.{name}"), overflow="fold")
    for one in listed:
        mark = "✓" if one.suppressed else ""
        groups = "、".join(group_names(rt, one.groups))
        told = (Text(one.name), Text(one.consent_source), str(one.consent_on or ""), groups, mark)
        table.add_row(masked(one.address), *told)
    screen.console.print(table)
    suppressed = sum(one.suppressed for one in listed)
    screen.line("subscribers.total", channel=label, count=len(listed), suppressed=suppressed)
