"""One line for each decision, and nothing that happened is ever changed: the database itself refuses."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError

from channels.contract import File
from pipeline import operate, review
from pipeline.decisions import Refused
from pipeline.models import AuditLine
from pipeline.states import Ground
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau

APPEND_ONLY = ("audit", "revision", "attempt", "attempt_end", "sighting", "approval", "rendition", "blob")


def lines(bureau: Bureau) -> list[AuditLine]:
    with bureau.rt.reading() as db:
        return list(db.scalars(select(AuditLine).order_by(AuditLine.id)))


def test_every_decision_leaves_one_line_with_the_person_and_the_account(bureau: Bureau) -> None:
    rt = bureau.rt
    bureau.subscribe("13800000001")
    set_faults(rt.settings.data / "sms", Fault(raises="in_doubt"))
    set_faults(rt.settings.data / "web", Fault(raises="rejected"))
    wang, li, chen = bureau.actor("wang"), bureau.actor("li"), bureau.actor("chen")

    def after_work(decision: Callable[..., object], *given: object) -> None:
        bureau.work()
        decision(rt, wang, *given)

    story: list[tuple[str, str, Callable[[], object]]] = [
        ("create", "zhao", lambda: bureau.write()),
        ("edit", "wang", lambda: review.edit(rt, wang, 1, bureau.draft(title="编辑改过"))),
        ("submit", "zhao", lambda: bureau.submit(1, "web", "board", "sms")),
        ("return", "li", lambda: review.return_(rt, li, 1, "请核实")),
        ("submit", "zhao", lambda: bureau.submit(1, "web", "board", "sms")),
        ("approve", "li", lambda: review.approve(rt, li, 1, str(json.loads(lines(bureau)[-1].facts)["hash"]))),
        ("approve", "chen", lambda: review.approve(rt, chen, 1, str(json.loads(lines(bureau)[-1].facts)["hash"]))),
        ("retry", "wang", lambda: after_work(operate.retry, 1)),
        ("settle", "wang", lambda: after_work(operate.settle, 1, "sms", True, "电话核实")),
        ("post", "wang", lambda: operate.post(rt, wang, 1, "一楼")),
        ("unpost", "wang", lambda: operate.unpost(rt, wang, 1)),
        ("pause", "wang", lambda: operate.pause(rt, wang, "web", "检修")),
        ("resume", "wang", lambda: operate.resume(rt, wang, "web")),
        ("correct", "zhao", lambda: review.correct(rt, bureau.actor("zhao"), 1, bureau.draft(title="更正"))),
        ("withdraw", "chen", lambda: review.withdraw(rt, chen, 1, "数据有误")),
        ("create", "zhao", lambda: bureau.write()),
        ("submit", "zhao", lambda: bureau.submit(2, "web")),
        ("refuse", "li", lambda: review.refuse(rt, li, 2, Ground.THIRD_PARTY, "涉及第三方")),
    ]
    for number, (decision, person, step) in enumerate(story, 1):
        step()
        written = lines(bureau)
        assert len(written) == number, decision
        line = written[-1]
        assert (line.decision, line.person, line.os_user, line.at) == (decision, person, "tester", bureau.clock())
        assert line.item_id == (None if decision in ("pause", "resume") else 2 if number > 15 else 1)
        assert "13800000001" not in line.facts


def test_a_refused_decision_leaves_no_line_and_no_change(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    before = len(lines(bureau))
    rt, li = bureau.rt, bureau.actor("li")
    for step in (
        lambda: review.approve(rt, li, item, "0" * 64),
        lambda: review.approve(rt, bureau.actor("chen"), item, seen),
        lambda: review.return_(rt, li, item, ""),
        lambda: review.withdraw(rt, li, item, "数据有误"),
        lambda: review.submit(rt, bureau.actor("zhao"), item, ["web"]),
        lambda: operate.retry(rt, bureau.actor("wang"), item),
        lambda: operate.settle(rt, bureau.actor("wang"), item, "web", True, "核实"),
        lambda: operate.post(rt, bureau.actor("wang"), item, "一楼"),
        lambda: operate.pause(rt, bureau.actor("wang"), "fax", "检修"),
    ):
        with pytest.raises(Refused):
            step()
    assert len(lines(bureau)) == before
    with bureau.rt.reading() as db:
        assert db.execute(text("SELECT count(*) FROM approval")).scalar() == 0


def test_a_decision_that_breaks_off_leaves_neither_change_nor_line(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    review.approve(bureau.rt, bureau.actor("li"), item, seen)
    before = len(lines(bureau))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("power failure")

    monkeypatch.setattr(review, "want", broken)
    with pytest.raises(RuntimeError):
        review.approve(bureau.rt, bureau.actor("chen"), item, seen)
    monkeypatch.undo()
    assert len(lines(bureau)) == before
    assert bureau.woken == []
    assert review.approve(bureau.rt, bureau.actor("chen"), item, seen)


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_happened_is_only_ever_added_to(bureau: Bureau, table: str) -> None:
    bureau.publish("web", draft={"files": (File("表.txt", "text/plain", b"1"),)})
    bureau.work("web")
    key = {"blob": "sha256", "attempt": "delivery_id", "approval": "submission_id"}.get(table, "id")
    changes = [f"DELETE FROM {table}", f"UPDATE {table} SET {key} = {key}"]
    if bureau.rt.engine.dialect.name == "postgresql":
        changes.append(f"TRUNCATE {table} CASCADE")
    for change in changes:
        with bureau.rt.writing() as db, pytest.raises(DatabaseError, match="append-only"):
            db.execute(text(change))
    with bureau.rt.reading() as db:
        assert db.execute(text(f"SELECT count(*) FROM {table}")).scalar()
