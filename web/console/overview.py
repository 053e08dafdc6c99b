"""Administration at a glance: each part, how it is, and one line that says why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from fastapi import APIRouter, Response

from pipeline import (
    collect,
    deputies,
    desk,
    health,
    logbook,
    notify,
    phrases,
    staff,
    subscribers,
    workdays,
)
from pipeline.decisions import Decision
from pipeline.rescue import backup
from web.console.page import Console, Signed

routes = APIRouter()


@dataclass(frozen=True)
class Part:
    """`path` "": it has no page; `code`, `facts`: its line; `why`: code and facts of what went wrong."""

    name: str
    path: str
    state: Literal["good", "warn", "bad"]
    code: str
    facts: Mapping[str, object] = field(default_factory=dict)
    why: tuple[str, Mapping[str, Any]] | None = None


@routes.get("/admin")
def overview(console: Signed) -> Response:
    return console.page("admin-overview.html", parts=list(_parts(console)))


def _parts(console: Console) -> Iterator[Part]:
    rt, comma = console.rt, "、" if console.language == "zh" else ", "
    yield _channels(console)
    yield _processes(console)
    uncovered, people = staff.uncovered(rt), staff.people(rt)
    if uncovered:
        roles = comma.join(console.word("role", one) for one in uncovered)
        yield Part("admin.people", "/admin/people", "bad", "overview.uncovered", {"roles": roles})
    else:
        yield Part("admin.people", "/admin/people", "good", "overview.people", {"count": len(people)})
    departments = len(staff.departments(rt))
    yield Part("admin.departments", "/admin/departments", "good", "overview.departments", {"count": departments})
    standing = [one for one in deputies.deputations(rt) if one.in_force]
    yield Part("admin.deputies", "/admin/deputies", "good", "overview.deputies", {"count": len(standing)})
    words = sum(one.standing == "in_force" for one in phrases.lines(rt))
    yield Part("admin.words", "/admin/words", "good", "overview.words", {"count": words})
    if console.may(Decision.SEE_SUBSCRIBERS):
        counts = [
            f"{opened.section.label} {subscribers.count(rt, opened.name)}"
            for opened in rt.channels.values()
            if opened.adapter.addressed
        ]
        told = comma.join(counts) or "0"
        yield Part("admin.subscribers", "/admin/subscribers", "good", "overview.subscribers", {"counts": told})
    if console.may(Decision.READ_LOG):
        last = next((console.minute(one.at) for one in logbook.lines(rt, console.actor, most=1)), "—")
        yield Part("admin.log", "/admin/log", "good", "overview.log", {"at": last})
    yield from _feeds(console)
    yield from _mails(console)
    yield _backups(console)
    yield _holidays(console)


def _channels(console: Console) -> Part:
    lines = desk.channels(console.rt)
    stopped = [one for one in lines if one.paused_by or one.open_until]
    facts = {
        "count": len(lines), "stopped": len(stopped), "due": sum(one.due for one in lines),
        "trouble": sum(one.trouble for one in lines),
    }  # fmt: skip
    state: Literal["good", "warn", "bad"] = "bad" if stopped else "warn" if facts["trouble"] else "good"
    return Part("admin.channels", "/admin/channels", state, "overview.channels", facts)


def _processes(console: Console) -> Part:
    rt = console.rt
    gone = [kind for kind in health.Kind if not health.is_alive(rt, health.last_seen(rt, kind))]
    if gone:
        return Part("admin.processes", "/admin/processes", "bad", f"processes.{gone[0]}_gone")
    last = max((one.seen_at for one in health.processes(rt)), default=None)
    return Part("admin.processes", "/admin/processes", "good", "overview.processes", {"at": console.minute(last)})


def _feeds(console: Console) -> Iterator[Part]:
    feeds = collect.configured(console.rt)
    if not feeds:
        return
    broken = [one for one in feeds if one.error]
    facts = {"count": len(feeds), "broken": len(broken)}
    why = (str(broken[0].error["code"]), broken[0].error["facts"]) if broken and broken[0].error else None
    yield Part("overview.feeds_title", "", "warn" if broken else "good", "overview.feeds", facts, why)


def _mails(console: Console) -> Iterator[Part]:
    if console.rt.settings.mail is None:
        return
    status = notify.status(console.rt)
    last = console.minute(status.last_success_at) or console.t("admin.never")
    why = (str(status.error["code"]), status.error["facts"]) if status.error else None
    state: Literal["good", "warn", "bad"] = "bad" if why else "warn" if status.refused else "good"
    facts = {"at": last, "refused": len(status.refused)}
    yield Part("overview.mails_title", "", state, "overview.mails", facts, why)


def _backups(console: Console) -> Part:
    status = backup.status(console.rt)
    title, day = "overview.backup_title", status.day
    if status.keep == 0:
        return Part(title, "", "warn", "overview.backup_off")
    why = (status.code, dict(status.facts)) if status.code else None
    old = day is None or console.today - day > timedelta(days=1)
    facts = {"day": day or console.t("admin.never"), "folder": status.folder}
    return Part(title, "", "bad" if why or old else "good", "overview.backup", facts, why)


def _holidays(console: Console) -> Part:
    known, today = workdays.known_through(console.rt.settings, console.today), console.today
    short = known.year < today.year or (today.month >= 11 and known.year == today.year)
    return Part("overview.holidays_title", "", "warn" if short else "good", "overview.holidays", {"day": known})
