"""What persons decide about an item, and what they may not: on both databases."""

import hashlib
import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from channels.contract import File
from pipeline import desk, reach, review
from pipeline.catalogue import find_item
from pipeline.database import Base
from pipeline.decisions import Refused
from pipeline.drafts import read_draft
from pipeline.models import Approval, Blob, Item, Revision, StoredRendition, Submission
from pipeline.states import Disclosure, Ground, Stage
from tests.office import Bureau

FILE = File("附件.txt", "text/plain", b"1")


def refused(code: str, step: Callable[..., object], *given: Any, **how: Any) -> Refused:
    """The step is refused with this code."""
    with pytest.raises(Refused) as caught:
        step(*given, **how)
    assert caught.value.code == code, caught.value
    return caught.value


def approve(bureau: Bureau, person: str, item: int, hash: str) -> bool:
    return review.approve(bureau.rt, bureau.actor(person), item, hash)


def submission(bureau: Bureau, item: int) -> Submission:
    """The item's latest."""
    with bureau.rt.reading() as db:
        return db.scalars(select(Submission).where(Submission.item_id == item).order_by(Submission.id.desc())).all()[0]


def size(bureau: Bureau) -> dict[str, int]:
    """How many lines each table holds."""
    with bureau.rt.reading() as db:
        tables = Base.metadata.sorted_tables
        return {table.name: db.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


# ── the hash ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_approval_names_the_hash_of_what_was_seen(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    refused("review.wrong_hash", approve, bureau, "li", item, "0" * 64)
    refused("review.wrong_hash", approve, bureau, "li", item, seen + "0")
    refused("review.wrong_hash", approve, bureau, "li", item, "x" * 12)
    refused("review.hash_short", approve, bureau, "li", item, seen[:11])
    refused("review.hash_short", approve, bureau, "li", item, "")
    assert approve(bureau, "li", item, f"  {seen[:12].upper()} ") is False
    refused("review.wrong_hash", approve, bureau, "chen", item, "0" * 64)
    assert approve(bureau, "chen", item, seen) is True


def test_the_hash_of_an_edited_submission_approves_nothing(bureau: Bureau) -> None:
    item = bureau.write()
    old = bureau.submit(item, "web")
    review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="改过的题目"))
    refused("review.nothing_waiting", approve, bureau, "li", item, old)
    new = bureau.submit(item, "web")
    assert new != old
    refused("review.edited_since", approve, bureau, "li", item, old)
    bureau.approve(item, new)


def test_the_hash_of_another_item_approves_nothing(bureau: Bureau) -> None:
    item, other = bureau.write(), bureau.write()
    bureau.submit(item, "web")
    refused("review.wrong_hash", approve, bureau, "li", item, bureau.submit(other, "web"))


def test_the_same_submission_sent_back_and_submitted_again_is_approved_from_the_first_level(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "li", item, seen)
    review.return_(bureau.rt, bureau.actor("chen"), item, "请核实时间")
    assert bureau.submit(item, "web") == seen  # nothing was changed
    refused("decision.not_permitted", approve, bureau, "chen", item, seen)
    bureau.approve(item, seen)


CHANGES: dict[str, Callable[[Bureau], tuple[dict[str, Any], dict[str, Any]]]] = {
    "title": lambda bureau: ({"title": "关于停播的通知"}, {}),
    "text": lambda bureau: ({"text": "现通知如下。\n"}, {}),
    "document number": lambda bureau: ({"document_number": "张广发〔2026〕12号"}, {}),
    "attachment": lambda bureau: ({"files": (FILE,)}, {}),
    "attachment's bytes": lambda bureau: ({"files": (File("表.txt", "text/plain", b"2"),)}, {}),
    "attachment's name": lambda bureau: ({"files": (File("另.txt", "text/plain", b"1"),)}, {}),
    "class": lambda bureau: ({}, {"channels": (), "disclosure": Disclosure.ON_REQUEST}),
    "ground": lambda bureau: (
        {}, {"channels": (), "disclosure": Disclosure.NOT_PUBLIC, "ground": Ground.THIRD_PARTY},
    ),
    "another ground": lambda bureau: (
        {}, {"channels": (), "disclosure": Disclosure.NOT_PUBLIC, "ground": Ground.INTERNAL_AFFAIRS},
    ),
    "channels": lambda bureau: ({}, {"channels": ("web", "sms")}),
    "time": lambda bureau: ({}, {"publish_at": bureau.clock() + timedelta(hours=1)}),
    "another time": lambda bureau: ({}, {"publish_at": bureau.clock() + timedelta(hours=2)}),
}  # fmt: skip


def test_the_hash_covers_text_attachments_class_ground_channels_and_time(bureau: Bureau) -> None:
    item = bureau.write()
    hashes = {"as it was": bureau.submit(item, "web")}
    for name, change in CHANGES.items():
        fields, how = change(bureau)
        review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft())
        if fields:
            review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(**fields))
        channels = how.pop("channels", ("web",))
        hashes[name] = bureau.submit(item, *channels, **how)
    assert len(set(hashes.values())) == len(CHANGES) + 1


def test_the_hash_covers_what_each_channel_will_show(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.channels.recording import Report

    item = bureau.write()
    before = bureau.submit(item, "web", "sms")
    review.return_(bureau.rt, bureau.actor("li"), item, "请改短信")
    whole = Report.render
    monkeypatch.setattr(Report, "render", lambda self, message: whole(self, message).__class__("text/plain", b"other"))
    assert bureau.submit(item, "web", "sms") != before


def test_what_is_hashed_is_what_is_stored(bureau: Bureau) -> None:
    item = bureau.write(files=(FILE, File("二.bin", "application/octet-stream", bytes(range(256)))))
    seen = bureau.submit(item, "web", "sms", why={"check.file_closed": "已人工核对"})
    with bureau.rt.reading() as db:
        one = db.scalars(select(Submission)).one()
        assert one.hash == seen == hashlib.sha256(one.manifest).hexdigest()
        revision = db.scalars(select(Revision)).one()
        assert revision.content_hash == hashlib.sha256(revision.content).hexdigest()
        manifest = json.loads(one.manifest)
        assert manifest["content"] == revision.content_hash
        stored = {one.channel: one.digest for one in db.scalars(select(StoredRendition))}
        assert manifest["renditions"] == stored and set(stored) == {"web", "sms"}
        for blob in db.scalars(select(Blob)):
            assert blob.sha256 == hashlib.sha256(blob.content).hexdigest()
        listed = [sha256 for _, _, sha256 in json.loads(revision.content)["files"]]
        assert listed == [file.sha256 for file in read_draft(db, revision).files]
        approve(bureau, "li", item, seen)
    with bureau.rt.reading() as db:
        assert db.scalars(select(Approval.hash)).one() == seen


# ── who ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("person", ["sun", "zhou", "both"])
def test_author_officer_and_leader_are_three_persons(bureau: Bureau, person: str) -> None:
    """One person in two roles; a leader of other departments; the supervision group."""
    item = bureau.write()
    seen = bureau.submit(item, "web")
    if person == "both":
        approve(bureau, "both", item, seen)  # as the officer
        refused("review.same_person", approve, bureau, "both", item, seen)
    else:
        approve(bureau, "li", item, seen)
        code = "review.not_in_charge" if person == "zhou" else "decision.not_permitted"
        refused(code, approve, bureau, person, item, seen)
    approve(bureau, "chen", item, seen)


def test_nobody_approves_what_they_wrote_or_submitted(bureau: Bureau) -> None:
    written = bureau.write("both", department="office")
    seen = bureau.submit(written, "web", person="wang")
    refused("review.own_item", approve, bureau, "both", written, seen)
    submitted = bureau.write("wang", department="office")
    refused("review.own_item", approve, bureau, "both", submitted, bureau.submit(submitted, "web", person="both"))


def test_nobody_approves_an_item_that_they_once_wrote_a_revision_of(bureau: Bureau) -> None:
    item = bureau.write("both", department="office")
    review.edit(bureau.rt, bureau.actor("wang"), item, bureau.draft(department="office", title="编辑改过的题目"))
    seen = bureau.submit(item, "web", person="wang")
    refused("review.own_item", approve, bureau, "both", item, seen)
    approve(bureau, "li", item, seen)
    refused("review.own_item", approve, bureau, "both", item, seen)
    approve(bureau, "chen", item, seen)


def test_each_level_is_the_turn_of_its_role(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    for person in ("chen", "zhao", "wang", "sun"):
        refused("decision.not_permitted", approve, bureau, person, item, seen)
    approve(bureau, "li", item, seen)
    refused("decision.not_permitted", approve, bureau, "li", item, seen)
    approve(bureau, "chen", item, seen)
    refused("review.nothing_waiting", approve, bureau, "chen", item, seen)


def test_a_leader_approves_the_departments_they_are_in_charge_of(bureau: Bureau) -> None:
    item = bureau.write("wang", department="tech")
    seen = bureau.submit(item, "web", person="wang")
    approve(bureau, "li", item, seen)
    assert approve(bureau, "zhou", item, seen)


def test_an_author_works_for_their_own_department_only(bureau: Bureau) -> None:
    refused("decision.other_department", bureau.write, "zhao", department="tech")
    item = bureau.write("wang", department="tech")
    for step in (review.edit, review.correct):
        refused("decision.other_department", step, bureau.rt, bureau.actor("zhao"), item, bureau.draft())
    refused("decision.other_department", bureau.submit, item, "web")
    own = bureau.write()
    moved = bureau.draft(department="tech")  # to a leader who has an easier hand
    refused("decision.other_department", review.edit, bureau.rt, bureau.actor("zhao"), own, moved)
    review.edit(bureau.rt, bureau.actor("wang"), own, moved)


def test_the_supervision_group_reads_everything_and_changes_nothing(bureau: Bureau) -> None:
    from pipeline import operate

    item, published = bureau.write(), bureau.publish("web", "board")
    seen = bureau.submit(item, "web")
    before, rt, sun = size(bureau), bureau.rt, bureau.actor("sun")
    steps: list[Callable[[], object]] = [
        lambda: bureau.write("sun"),
        lambda: review.edit(rt, sun, item, bureau.draft()),
        lambda: review.correct(rt, sun, published, bureau.draft()),
        lambda: bureau.submit(item, "web", person="sun"),
        lambda: approve(bureau, "sun", item, seen),
        lambda: review.return_(rt, sun, item, "不行"),
        lambda: review.refuse(rt, sun, item, Ground.THIRD_PARTY, "不行"),
        lambda: review.withdraw(rt, sun, published, "不行"),
        lambda: operate.retry(rt, sun, published),
        lambda: operate.settle(rt, sun, published, "web", True, "不行"),
        lambda: operate.post(rt, sun, published, "一楼"),
        lambda: operate.unpost(rt, sun, published),
        lambda: operate.pause(rt, sun, "web", "不行"),
        lambda: operate.resume(rt, sun, "web"),
    ]
    for step in steps:
        refused("decision.not_permitted", step)
    assert size(bureau) == before
    assert len(desk.reviews_waiting(rt)) == 1


# ── edit, return, refuse, correct ────────────────────────────────────────────────────────────────────────────────────


def test_an_edit_voids_the_approvals_given(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "li", item, seen)
    assert review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="改过")) == 2
    assert (submission(bureau, item).stage, submission(bureau, item).reason) == (Stage.VOIDED, "edited")
    refused("review.nothing_waiting", approve, bureau, "chen", item, seen)
    again = bureau.submit(item, "web")
    refused("decision.not_permitted", approve, bureau, "chen", item, again)  # the officer first, again


def test_after_the_last_approval_only_a_correction_changes_an_item(bureau: Bureau) -> None:
    draft = bureau.write()
    refused("review.edit_instead", review.correct, bureau.rt, bureau.actor("zhao"), draft, bureau.draft())
    item = bureau.publish("web")
    refused("review.correct_instead", review.edit, bureau.rt, bureau.actor("zhao"), item, bureau.draft())
    assert review.correct(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="更正")) == 2
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    assert review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="重写")) == 3


def test_what_is_under_review_is_not_submitted_again(bureau: Bureau) -> None:
    item = bureau.write()
    bureau.submit(item, "web")
    refused("review.already_submitted", bureau.submit, item, "web")
    assert len(desk.reviews_waiting(bureau.rt)) == 1


def test_two_who_submit_the_same_item_at_once_make_one_submission(bureau: Bureau) -> None:
    item = bureau.write()
    start, answers = threading.Barrier(4), list[str]()

    def submit() -> None:
        start.wait()
        try:
            answers.append(bureau.submit(item, "web"))
        except Refused as error:
            answers.append(error.code)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers.count("review.already_submitted") == 3
    assert size(bureau)["submission"] == 1


def test_two_who_approve_the_same_level_at_once_give_one_approval(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    start, answers = threading.Barrier(2), list[object]()

    def decide(person: str) -> None:
        start.wait()
        try:
            answers.append(approve(bureau, person, item, seen))
        except Refused as error:
            answers.append(error.code)

    threads = [threading.Thread(target=decide, args=(person,)) for person in ("li", "li")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, answers)) == ["False", "decision.not_permitted"]


def test_a_return_needs_a_reason_and_opens_the_item_for_editing(bureau: Bureau) -> None:
    item = bureau.write()
    bureau.submit(item, "web")
    refused("decision.reason_missing", review.return_, bureau.rt, bureau.actor("li"), item, " \u200b\n")
    review.return_(bureau.rt, bureau.actor("li"), item, "请核实时间")
    assert (submission(bureau, item).stage, submission(bureau, item).reason) == (Stage.RETURNED, "请核实时间")
    review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="核实过的题目"))
    bureau.approve(item, bureau.submit(item, "web"))


def test_a_refusal_names_its_ground_and_publishes_nothing(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    approve(bureau, "li", item, seen)
    refused("decision.reason_missing", review.refuse, bureau.rt, bureau.actor("chen"), item, Ground.THIRD_PARTY, "")
    review.refuse(bureau.rt, bureau.actor("chen"), item, Ground.THIRD_PARTY, "涉及第三方")
    assert (submission(bureau, item).stage, submission(bureau, item).reason) == (
        Stage.REFUSED, "15_third_party: 涉及第三方",
    )  # fmt: skip
    bureau.work()
    assert (reach.matrix(bureau.rt, [item]), bureau.calls("web")) == ([], [])


def test_what_is_not_public_needs_a_ground_and_goes_to_no_channel(bureau: Bureau) -> None:
    item = bureau.write()
    secret = {"disclosure": Disclosure.NOT_PUBLIC}
    refused("review.ground_missing", bureau.submit, item, **secret)
    refused("review.not_for_channels", bureau.submit, item, "web", **secret, ground=Ground.STATE_SECRET)
    refused("review.not_for_channels", bureau.submit, item, "web", disclosure=Disclosure.ON_REQUEST)
    refused("review.ground_not_wanted", bureau.submit, item, "web", ground=Ground.STATE_SECRET)
    refused("review.no_channel", bureau.submit, item)
    bureau.approve(item, bureau.submit(item, **secret, ground=Ground.STATE_SECRET))
    bureau.work()
    assert reach.matrix(bureau.rt, [item]) == []


def test_a_published_item_is_withdrawn_before_it_becomes_not_public(bureau: Bureau) -> None:
    item = bureau.publish("web")
    refused(
        "review.withdraw_first",
        review.submit, bureau.rt, bureau.actor("zhao"), item, (), None, Disclosure.NOT_PUBLIC, Ground.THIRD_PARTY,
    )  # fmt: skip


# ── channels and time ────────────────────────────────────────────────────────────────────────────────────────────────


def test_channels_are_known_and_come_with_what_they_wait_for(bureau: Bureau) -> None:
    item = bureau.write()
    error = refused("review.unknown_channel", bureau.submit, item, "web", "fax")
    assert error.facts["given"] == "fax" and "网站" in error.facts["known"]
    assert refused("review.needs_channel", bureau.submit, item, "sms").facts == {"channel": "sms", "after": "web"}
    bureau.submit(item, "web", "sms")


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (datetime(2026, 11, 24, 9, 0, tzinfo=UTC).replace(tzinfo=None), "review.naive_time"),
        (datetime(1, 1, 1, tzinfo=UTC), "review.time_unlikely"),
        (datetime.max.replace(tzinfo=UTC), "review.time_unlikely"),
        (datetime(2062, 11, 24, tzinfo=UTC), "review.time_unlikely"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(bureau: Bureau, time: datetime, code: str) -> None:
    item = bureau.write()
    before = size(bureau)
    refused(code, bureau.submit, item, "web", publish_at=time)
    assert size(bureau) == before


def test_a_correction_keeps_the_time_that_was_approved(bureau: Bureau) -> None:
    time = bureau.clock() + timedelta(days=2)
    item = bureau.publish("web", publish_at=time)
    review.correct(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="更正"))
    seen = bureau.submit(item)
    assert submission(bureau, item).publish_at == time
    bureau.approve(item, seen)
    assert bureau.cell(item, "web").publish_at == time


def test_a_later_time_alone_is_reviewed_again(bureau: Bureau) -> None:
    item = bureau.publish("web", publish_at=bureau.clock() + timedelta(days=1))
    refused("review.nothing_new", bureau.submit, item)
    later = bureau.clock() + timedelta(days=3)
    seen = bureau.submit(item, publish_at=later)
    assert bureau.cell(item, "web").publish_at != later
    bureau.approve(item, seen)
    assert bureau.cell(item, "web").publish_at == later


# ── index numbers ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_eight_who_submit_at_once_get_eight_numbers_without_a_gap(bureau: Bureau) -> None:
    items = [bureau.write() for _ in range(24)]
    failed, start = list[BaseException](), threading.Barrier(8)

    def submit(mine: list[int]) -> None:
        start.wait()
        try:
            for item in mine:
                bureau.submit(item, "web")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=submit, args=(items[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failed == []
    with bureau.rt.reading() as db:
        numbers = sorted(number or "" for number in db.scalars(select(Item.index_number)))
    assert numbers == [f"370303/2026-{serial:05d}" for serial in range(1, 25)]


def test_an_index_number_is_the_items_for_ever_and_nobody_elses(bureau: Bureau) -> None:
    item = bureau.publish("web")
    assert bureau.cell(item, "web").index_number == "370303/2026-00001"
    bureau.correct(item, title="更正")
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    other = bureau.publish("web")
    assert bureau.cell(other, "web").index_number == "370303/2026-00002"
    review.edit(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="重写"))
    bureau.approve(item, bureau.submit(item, "web"))
    assert bureau.cell(item, "web").index_number == "370303/2026-00001"


def test_a_submission_that_is_blocked_wastes_no_number(bureau: Bureau) -> None:
    item = bureau.write(item_type="公示")
    refused("review.blocked", bureau.submit, item, "web")
    other = bureau.publish("web")
    complete = bureau.draft(
        item_type="公示", period=(date(2026, 11, 24), date(2026, 11, 30)), objection_contact="办公室"
    )
    review.edit(bureau.rt, bureau.actor("zhao"), item, complete)
    bureau.submit(item, "web")
    with bureau.rt.reading() as db:
        assert {db.get_one(Item, one).index_number for one in (item, other)} == {
            "370303/2026-00001", "370303/2026-00002",
        }  # fmt: skip


def test_a_number_begins_anew_with_the_year_of_the_office(bureau: Bureau) -> None:
    bureau.publish("web")
    bureau.clock.moment = datetime(2026, 12, 31, 15, 59, tzinfo=UTC)
    last = bureau.publish("web")
    bureau.clock.forward(minutes=1)  # midnight in Zhangdian
    first = bureau.publish("web")
    assert bureau.cell(last, "web").index_number == "370303/2026-00002"
    assert bureau.cell(first, "web").index_number == "370303/2027-00001"


@pytest.mark.parametrize(
    ("template", "number"),
    [
        ("{code}/{year}-{serial:07d}", "370303/2026-0000001"),
        ("{code}/{year}{month:02d}-{serial:05d}", "370303/202611-00001"),
    ],
)
def test_the_office_decides_how_its_numbers_look(
    open_office: Callable[..., Bureau], template: str, number: str
) -> None:
    bureau = open_office(
        office={"name": "张店区广播电视局", "short_name": "张店区广电局", "code": "370303", "index_template": template}
    )
    item = bureau.publish("web")
    assert bureau.cell(item, "web").index_number == number
    with bureau.rt.reading() as db:
        assert find_item(db, number) == find_item(db, str(item)) == item


@pytest.mark.parametrize("name", ["7", "9" * 40, "370303/2026-99999", "", "\0", "\ud800", "²", "a" * 10_000])
def test_an_item_that_nobody_knows_is_said_to_be_unknown(bureau: Bureau, name: str) -> None:
    bureau.publish("web")
    with bureau.rt.reading() as db:
        refused("item.unknown", find_item, db, name)


# ── withdrawal ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("person", ["li", "chen"])
def test_the_officer_or_a_leader_alone_withdraws_everywhere_at_once(bureau: Bureau, person: str) -> None:
    item = bureau.publish("web", "board")
    refused("decision.reason_missing", review.withdraw, bureau.rt, bureau.actor(person), item, "")
    for other in ("zhao", "wang", "sun"):
        refused("decision.not_permitted", review.withdraw, bureau.rt, bureau.actor(other), item, "数据有误")
    assert review.withdraw(bureau.rt, bureau.actor(person), item, "数据有误") == ["board", "web"]
    assert {cell.wanted for cell in reach.matrix(bureau.rt, [item])} == {None}
    refused("review.not_in_force", review.withdraw, bureau.rt, bureau.actor(person), item, "再来")


def test_a_correction_under_review_falls_with_the_item(bureau: Bureau) -> None:
    item = bureau.publish("web")
    review.correct(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="更正"))
    seen = bureau.submit(item)
    approve(bureau, "li", item, seen)
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    assert (submission(bureau, item).stage, submission(bureau, item).reason) == (Stage.VOIDED, "withdrawn")
    refused("review.nothing_waiting", approve, bureau, "chen", item, seen)
    bureau.work()
    assert bureau.calls("web") == []


def test_what_was_never_in_force_cannot_be_withdrawn(bureau: Bureau) -> None:
    item = bureau.write()
    bureau.submit(item, "web")
    refused("review.not_in_force", review.withdraw, bureau.rt, bureau.actor("li"), item, "数据有误")


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────

BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "empty body": ("document.empty", {"text": ""}),
    "a body of blanks": ("document.empty", {"text": " \n\u3000\n\u200b"}),
    "empty title": ("draft.title_missing", {"title": " "}),
    "an invisible title": ("draft.title_missing", {"title": "\u200b"}),
    "a title of 10,000 characters": ("draft.title_too_long", {"title": "长" * 10_000}),
    "a body that never ends": ("draft.text_too_long", {"text": "长" * 200_001}),
    "NUL in the body": ("document.nul", {"text": "正\0文"}),
    "NUL in the title": ("document.nul", {"title": "题\0目"}),
    "NUL in a keyword": ("document.nul", {"keywords": ("试播", "\0")}),
    "a lone surrogate in the body": ("document.surrogate", {"text": "正\ud800文"}),
    "a lone surrogate in the summary": ("document.surrogate", {"summary": "\udfff"}),
    "a lone surrogate in a keyword": ("document.surrogate", {"keywords": ("\ud800",)}),
    "a right-to-left override in the title": ("document.direction", {"title": "关于\u202e知通的播试"}),
    "a right-to-left override in a file's name": (
        "document.direction",
        {"files": (File("表\u202efdp.exe", "x/y", b"1"),)},
    ),
    "unknown type": ("draft.unknown_type", {"item_type": "命令"}),
    "unknown department": ("draft.unknown_department", {"department": "nobody"}),
    "formed tomorrow": ("draft.formed_in_future", {"formed_on": date(2026, 11, 24)}),
    "formed in the year 1": ("draft.formed_long_ago", {"formed_on": date(1, 1, 1)}),
    "a period that ends first": ("draft.period_backwards", {"period": (date(2026, 12, 2), date(2026, 12, 1))}),
    "a path as a file's name": ("draft.file_name", {"files": (File("../etc/passwd", "text/plain", b"1"),)}),
    "a path of another system": ("draft.file_name", {"files": (File("a\\b.txt", "text/plain", b"1"),)}),
    "a dot as a file's name": ("draft.file_name", {"files": (File("..", "text/plain", b"1"),)}),
    "no name of a file": ("draft.file_name", {"files": (File("", "text/plain", b"1"),)}),
    "a line end in a file's name": ("draft.file_name", {"files": (File("a\nb", "text/plain", b"1"),)}),
    "NUL in a file's name": ("document.nul", {"files": (File("a\0.txt", "text/plain", b"1"),)}),
    "a lone surrogate in a file's name": ("document.surrogate", {"files": (File("\ud800.txt", "text/plain", b"1"),)}),
    "a file's name of 1,000 characters": ("draft.file_name_long", {"files": (File("长" * 1000, "text/plain", b"1"),)}),
    "two files of one name": ("draft.file_name", {"files": (FILE, FILE)}),
    "an empty file": ("draft.file_empty", {"files": (File("空.txt", "text/plain", b""),)}),
    "a file too large": ("draft.file_too_large", {"files": (File("大.bin", "x/y", b"1" * 20_000_001),)}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_leaves_nothing_behind(bureau: Bureau, name: str) -> None:
    code, fields = BAD[name]
    item = bureau.write()
    before = size(bureau)
    refused(code, bureau.write, "wang", **fields)
    refused(code, review.edit, bureau.rt, bureau.actor("wang"), item, bureau.draft(**fields))
    assert size(bureau) == before


@pytest.mark.parametrize(("reason", "code"), [("a\0b", "document.nul"), ("\ud800", "document.surrogate")])
def test_a_reason_that_cannot_be_kept_is_refused(bureau: Bureau, reason: str, code: str) -> None:
    item = bureau.publish("web")
    before = size(bureau)
    refused(code, review.withdraw, bureau.rt, bureau.actor("li"), item, reason)
    assert size(bureau) == before


def test_what_cannot_be_seen_is_taken_out_and_what_can_stays(bureau: Bureau) -> None:
    item = bureau.write(
        title="  关于\u200b试播\n的通知 ", text="\u3000\u3000甲\u00ad乙。\r\n\r\n第二段𠮷。\n", keywords=(" 试播 ", " ")
    )
    with bureau.rt.reading() as db:
        draft = read_draft(db, db.scalars(select(Revision).where(Revision.item_id == item)).one())
    assert (draft.title, draft.text, draft.keywords) == (
        "关于试播 的通知", "\u3000\u3000甲乙。\n\n第二段𠮷。\n", ("试播",),
    )  # fmt: skip


def test_decisions_on_an_item_that_does_not_exist_are_refused(bureau: Bureau) -> None:
    rt, li = bureau.rt, bureau.actor("li")
    for step in (
        lambda: bureau.submit(404, "web"),
        lambda: review.edit(rt, bureau.actor("zhao"), 404, bureau.draft()),
        lambda: review.correct(rt, bureau.actor("zhao"), 404, bureau.draft()),
        lambda: approve(bureau, "li", 404, "0" * 64),
        lambda: review.return_(rt, li, 404, "不行"),
        lambda: review.refuse(rt, li, 404, Ground.THIRD_PARTY, "不行"),
        lambda: review.withdraw(rt, li, 404, "不行"),
    ):
        refused("item.unknown", step)
