"""What an administrator changes about the staff, who is told by SMS, and who reads the audit log: on both databases."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from config.settings import Person
from pipeline import accounts, logbook, review, staff, subscribers
from pipeline.decisions import Decision
from pipeline.models import AuditLine, StoredPerson, Subscriber, Suppression
from tests.office import Bureau
from tests.pipeline.test_review import approve, refused

ADMINS = [
    {"id": "ma", "name": "马管理", "department": "office", "roles": ["admin"]},
    {"id": "gao", "name": "高管理", "department": "office", "roles": ["admin", "editor"]},
    {"id": "li", "name": "李信息员", "department": "office", "roles": ["officer"]},
    {"id": "chen", "name": "陈局长", "department": "office", "roles": ["leader"]},
    {"id": "zhao", "name": "赵记者", "department": "news", "roles": ["author"]},
    {"id": "sun", "name": "孙监督", "department": "office", "roles": ["auditor"]},
]


@pytest.fixture
def office(open_office: Callable[..., Bureau]) -> Bureau:
    return open_office(people=ADMINS)


def change(office: Bureau, person: str, by: str = "ma", **what: Any) -> Person:
    return staff.change_person(office.rt, office.actor(by), person, staff.Change(**what))


def add(office: Bureau, id: str = "qian", by: str = "ma", **what: Any) -> Person:
    given = {"name": "钱工", "department": "tech", "roles": ["author"], **what}
    return staff.add_person(office.rt, office.actor(by), id, staff.Change(**given))


def facts(office: Bureau, decision: Decision) -> list[dict[str, Any]]:
    with office.rt.reading() as db:
        lines = db.scalars(select(AuditLine).where(AuditLine.decision == decision.value).order_by(AuditLine.id))
        return [json.loads(line.facts) for line in lines]


# ── people and departments ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_person_may_act_at_once(office: Bureau) -> None:
    refused("staff.unknown_person", office.actor, "qian")
    assert add(office, email=" qian@gd.example ").email == "qian@gd.example"
    review.create(office.rt, office.actor("qian"), office.draft(department="tech"))
    assert facts(office, Decision.STAFF) == [{"added": "qian", "department": "tech", "roles": "author"}]


def test_whoever_is_deactivated_neither_decides_nor_signs_in_and_what_they_did_keeps_their_name(office: Bureau) -> None:
    item = office.write()
    seen = office.submit(item, "web")
    actor, password = office.actor("li"), accounts.first_password(office.rt, "li")
    cookie = accounts.sign_in(office.rt, "li", password)
    approve(office, "li", item, seen)
    change(office, "li", active=False)
    refused("staff.unknown_person", office.actor, "li")
    assert accounts.visitor(office.rt, cookie) is None
    refused("account.wrong", accounts.sign_in, office.rt, "li", password)
    assert staff.names(office.rt).person(actor.person.id) == "李信息员"
    assert staff.uncovered(office.rt) == ["officer"]
    change(office, "li", active=True)
    assert office.actor("li").person.roles == {"officer"} and staff.uncovered(office.rt) == []


def test_the_office_never_loses_its_last_administrator(office: Bureau) -> None:
    change(office, "gao", roles=["editor"])
    refused("staff.last_admin", change, office, "ma", active=False)
    refused("staff.last_admin", change, office, "ma", roles=["editor"])
    assert office.actor("ma").person.roles == {"admin"}
    change(office, "gao", roles=["editor", "admin"])
    change(office, "ma", by="gao", active=False)
    assert [one.id for one in staff.people(office.rt) if "admin" in one.roles] == ["gao"]


def test_only_an_administrator_changes_the_staff(office: Bureau) -> None:
    for person in ("li", "chen", "zhao", "sun"):
        refused("decision.not_permitted", add, office, by=person)
        refused("decision.not_permitted", change, office, "zhao", by=person, name="别名")
        actor = office.actor(person)
        refused("decision.not_permitted", staff.add_department, office.rt, actor, "new", "新部门")
        refused("decision.not_permitted", staff.rename_department, office.rt, actor, "news", "新部门")
    assert facts(office, Decision.STAFF) == []


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ({"id": "Qian"}, "staff.bad_id"),
        ({"id": "a b"}, "staff.bad_id"),
        ({"id": "q" * 41}, "staff.bad_id"),
        ({"id": "li"}, "staff.person_exists"),
        ({"name": " \u200b "}, "staff.bad_name"),
        ({"name": "很" * 81}, "staff.bad_name"),
        ({"department": "nowhere"}, "staff.unknown_department"),
        ({"department": None}, "staff.incomplete"),
        ({"roles": []}, "staff.incomplete"),
        ({"roles": ["king"]}, "staff.unknown_role"),
        ({"in_charge": ["nowhere"]}, "staff.unknown_department"),
        ({"email": "qian"}, "staff.bad_email"),
        ({"email": "a@b"}, "staff.bad_email"),
        ({"email": "a@gd.example\nBcc: x@y.example"}, "staff.bad_email"),
        ({"email": "a@gd.example, x@y.example"}, "staff.bad_email"),
    ],
)
def test_a_person_who_cannot_be_is_refused_and_nothing_is_kept(office: Bureau, what: dict[str, Any], code: str) -> None:
    refused(code, add, office, **what)
    assert len(staff.everybody(office.rt)) == len(ADMINS) and facts(office, Decision.STAFF) == []


def test_what_is_not_given_stays_and_a_limit_can_be_lifted(office: Bureau) -> None:
    change(office, "chen", in_charge=["tech", "news"])
    assert change(office, "chen", name="陈副局长").in_charge == {"tech", "news"}
    assert change(office, "chen", in_charge=[]).in_charge == frozenset()
    refused("staff.unknown_person", change, office, "nobody", name="谁")


def test_a_department_is_added_and_renamed_and_its_items_stay(office: Bureau) -> None:
    item = office.write()
    admin = office.actor("ma")
    staff.add_department(office.rt, admin, "media", "新媒体部")
    refused("staff.department_exists", staff.add_department, office.rt, admin, "media", "另一个")
    refused("staff.department_name_taken", staff.add_department, office.rt, admin, "other", "新媒体部")
    staff.rename_department(office.rt, admin, "news", "新闻中心")
    refused("staff.department_name_taken", staff.rename_department, office.rt, admin, "tech", "新闻中心")
    refused("staff.unknown_department", staff.rename_department, office.rt, admin, "nowhere", "名")
    assert {one.id: one.name for one in staff.departments(office.rt)}["news"] == "新闻中心"
    office.submit(item, "web")


# ── subscribers ──────────────────────────────────────────────────────────────────────────────────────────────────────

LIST = """phone,name,consent_source,consent_on
13800000001,甲,登记表,2026-11-20
13800000002,乙,,2026-11-20
13800000003,丙,登记表,
13800000004,丁,登记表,2026-11-24
13800000005,戊,登记表,2026-11-23
"""


def test_nobody_is_taken_without_source_and_date_of_their_consent(office: Bureau) -> None:
    done = subscribers.import_csv(office.rt, office.actor("gao"), "sms", LIST)
    assert (done.new, done.known) == (2, 0)
    assert done.bad == (
        (3, "subscribers.no_consent"), (4, "subscribers.no_consent"), (5, "subscribers.consent_in_future"),
    )  # fmt: skip


def test_who_refused_further_texts_gets_none_and_is_not_imported_again(office: Bureau) -> None:
    rt, gao = office.rt, office.actor("gao")
    subscribers.import_csv(rt, gao, "sms", LIST)
    refused("decision.not_permitted", subscribers.suppress, rt, office.actor("li"), "sms", "13800000001", "来电")
    refused("decision.reason_missing", subscribers.suppress, rt, gao, "sms", "13800000001", " ")
    subscribers.suppress(rt, gao, "sms", "13800000001", "来电要求")
    refused("subscribers.already_suppressed", subscribers.suppress, rt, gao, "sms", "13800000001", "来电")
    office.publish("web", "sms")
    office.work()
    office.work()
    assert [call.recipient for call in office.effects("sms")] == ["13800000005"]
    subscribers.remove(rt, gao, "sms", "13800000001")
    again = subscribers.import_csv(rt, gao, "sms", LIST)
    assert (2, "subscribers.on_suppression_list") in again.bad and again.new == 0


def test_a_subscriber_is_removed_once_and_the_log_does_not_hold_the_number(office: Bureau) -> None:
    rt, gao = office.rt, office.actor("gao")
    subscribers.import_csv(rt, gao, "sms", LIST)
    refused("decision.not_permitted", subscribers.remove, rt, office.actor("zhao"), "sms", "13800000001")
    subscribers.remove(rt, gao, "sms", "13800000001")
    refused("subscribers.not_listed", subscribers.remove, rt, gao, "sms", "13800000001")
    refused("review.unknown_channel", subscribers.remove, rt, gao, "web", "13800000001")
    subscribers.suppress(rt, gao, "sms", "13800000005", "来电要求")
    with rt.reading() as db:
        assert db.scalars(select(Subscriber.address)).all() == ["13800000005"]
        assert db.scalars(select(Suppression.address)).all() == ["13800000005"]
        assert "1380000000" not in " ".join(db.scalars(select(AuditLine.facts)))
    assert facts(office, Decision.UNSUBSCRIBE) == [{"channel": "sms", "address": "138****0001"}]


def test_whole_numbers_are_for_editors_and_administrators_and_seeing_them_is_logged(office: Bureau) -> None:
    subscribers.import_csv(office.rt, office.actor("gao"), "sms", LIST)
    for person, whole, number in (
        ("gao", False, "138****0001"), ("gao", True, "13800000001"), ("ma", True, "13800000001"),
        ("sun", True, "138****0001"), ("zhao", True, "138****0001"),
    ):  # fmt: skip
        assert subscribers.listed(office.rt, office.actor(person), "sms", whole)[0].address == number
    assert facts(office, Decision.READ_SUBSCRIBERS) == [{"channel": "sms", "count": 2}] * 2


# ── the audit log ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_audit_log_is_for_auditors_and_administrators(office: Bureau) -> None:
    item = office.publish("web")
    for person in ("li", "chen", "zhao"):
        refused("decision.not_permitted", logbook.lines, office.rt, office.actor(person))
    sun = office.actor("sun")
    assert [one.decision for one in logbook.lines(office.rt, sun)] == ["approve", "approve", "submit", "create"]
    assert {one.item for one in logbook.lines(office.rt, office.actor("ma"), item=item)} == {item}
    assert [one.person for one in logbook.lines(office.rt, sun, decision=Decision.APPROVE)] == ["chen", "li"]
    assert [one.decision for one in logbook.lines(office.rt, sun, person="zhao")] == ["submit", "create"]
    assert len(logbook.lines(office.rt, sun, most=2)) == 2
    office.clock.forward(days=1)
    other = office.write(title="第二天")
    assert [one.item for one in logbook.lines(office.rt, sun, since=office.clock())] == [other]


def test_a_file_of_the_log_holds_each_line_once_however_many_are_read_at_a_time(
    office: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "AT_ONCE", 3)
    sun = office.actor("sun")
    for person in ("li", "chen"):
        refused("decision.not_permitted", logbook.every, office.rt, office.actor(person))
    for title in ("一", "二", "三", "四"):
        office.write(title=title)
        found = logbook.every(office.rt, sun)
        first = next(found)
        office.write(title="读的时候又写了一条")  # is newer than what is being read
        assert [first, *found] == logbook.lines(office.rt, sun)[1:]
    mine = list(logbook.every(office.rt, sun, person="zhao"))
    assert [one.person for one in mine] == ["zhao"] * 8
    assert len(list(csv.reader(io.StringIO("".join(logbook.as_csv(office.rt, mine)))))) == 9


def test_no_cell_of_the_exported_log_is_a_formula(office: Bureau) -> None:
    with office.rt.writing() as db:
        db.get_one(StoredPerson, "zhao").name = "=1+1"
        for cell in ("=HYPERLINK()", "+1", "-1", "@x", "\t=1"):
            line = AuditLine(at=office.clock(), person=cell, os_user=cell, decision="create", facts=json.dumps(cell))
            db.add(line)
    text = "".join(logbook.as_csv(office.rt, logbook.every(office.rt, office.actor("sun"))))
    header, *rows = csv.reader(io.StringIO(text))
    assert header == list(logbook.COLUMNS) and len(rows) == 5
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)
    assert rows[-1][0] == "2026-11-23 10:00:00" and rows[-1][1] == "'=HYPERLINK()"
