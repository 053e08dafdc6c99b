"""Missed issues are made up for, whatever became of beat and its schedule file."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from pipeline import issues
from pipeline.issues import Phase
from pipeline.models import AuditLine, IssueEntry, Revision
from pipeline.newsletter_days import DAYS, nominal_days
from tests.faults.stack import end, found, now, start, until, worker
from tests.office import Bureau
from tests.pipeline.newsletter import TYPES, newsletter, numbered_once, published, stored, submitted

ASKED = "Sending due task newsletter"


def published_before(bureau: Bureau, moment: datetime) -> int:
    """An item that citizens saw at this time."""
    then = replace(bureau, rt=replace(bureau.rt, now=lambda: moment))
    return published(then, "停机之前公开的通知", formed_on=moment.date())


def damaged(bureau: Bureau, name: str) -> Path:
    """A schedule file as a full disk or a power failure leaves it."""
    schedule = bureau.rt.settings.data / f"{name}-schedule"
    for suffix in ("", ".db", ".dir", ".dat"):
        Path(f"{schedule}{suffix}").write_bytes(b"\0\xff not a schedule")
    return schedule


def test_two_beats_without_their_schedule_make_a_missed_issue_once_and_it_is_late_and_held(
    database_url: str, broker: str, tmp_path: Path
) -> None:
    past = now() - timedelta(days=40)
    first = next(nominal_days(DAYS, (past + timedelta(days=3)).date()))
    section = newsletter(first=first.isoformat(), policy="keep")
    late = {"sms": {"after": "web", "late": "hold"}}
    bureau = found(tmp_path / "office", database_url, broker, newsletter=section, item_types=TYPES, channels=late)
    bureau.subscribe("13900000001")
    item = published_before(bureau, past)
    data = bureau.rt.settings.data
    schedules = {"corrupted": damaged(bureau, "corrupted"), "lost": data / "lost-schedule"}
    with ExitStack() as until_the_end:
        for name, schedule in schedules.items():
            command = ("celery", "-A", "tests.faults.quick_beat", "beat", "-l", "INFO", "--pidfile=", "-s")
            until_the_end.callback(end, start(bureau, name, *command, str(schedule)))
        until_the_end.enter_context(worker(bureau, "web", "sms"))
        until(lambda: stored(bureau) and stored(bureau)[0].item_id)
        until(lambda: all((data / f"{name}.log").read_text().count(ASKED) > 2 for name in schedules))
        issue = stored(bureau)[0]
        assert issue.item_id is not None and issue.nominal == first
        bureau.approve(issue.item_id, submitted(bureau, issue.id))
        until(lambda: bureau.state(issue.item_id or 0, "web") == "confirmed")
        until(lambda: bureau.state(issue.item_id or 0, "sms") == "on_hold")
    line = issues.line(bureau.rt, issue.id)
    assert line.late and line.phase is Phase.HELD and bureau.effects("sms") == []
    lines = stored(bureau)
    numbered_once(lines)
    assert lines[0].nominal == first and lines[-1].cut_off_at > now() > lines[-2].cut_off_at
    with bureau.rt.reading() as db:
        assert db.scalars(select(IssueEntry.item_id)).all() == [item]
        made = select(func.count()).where(Revision.item_id == issue.item_id)
        assert db.scalar(made) == 1  # assembled once
        assert db.scalar(select(func.count()).where(AuditLine.decision == "build")) == 1
