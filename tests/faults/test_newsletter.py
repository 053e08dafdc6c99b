"""An issue follows what becomes of the items in it, whenever that happens: before, during and after its sending."""

import io
import json
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from channels.contract import Channel, Finding, Message, Rendition, Severity, Unrenderable
from pipeline import assembly, desk, issue_pages, issues, items, operate, proof, reach, review, slots
from pipeline.decisions import Refused
from pipeline.drafts import latest_revision, read_draft
from pipeline.issues import Phase
from pipeline.models import Approval, AuditLine, Delivery, IssueEntry, Revision, Ruling, StoredRendition, Submission
from pipeline.rescue.hold import hold_unsent
from pipeline.states import Stage
from tests.channels.recording import Fault, Recorded, set_faults
from tests.office import Bureau, open_bureau, settings_for
from tests.pipeline.newsletter import (
    DEADLINE,
    TYPES,
    approved,
    assembled,
    built,
    go_to_sending,
    newsletter,
    published,
    stored,
    submitted,
    with_newsletter,
)

BAD, GOOD = "有误的通知", "无误的通知"
GONE = "（本期有1则信息已撤下。）"


@pytest.fixture
def office(open_office: Callable[..., Bureau]) -> Bureau:
    office = with_newsletter(open_office)
    office.subscribe(*(str(n) for n in range(6)))
    return office


def text_of(office: Bureau, call: Recorded) -> str:
    """What a call carried."""
    with office.rt.reading() as db:
        body = db.scalars(select(StoredRendition.body).where(StoredRendition.digest == call.digest)).first()
    assert body is not None
    return json.dumps(json.loads(body)["issue"], ensure_ascii=False)


def issue_calls(office: Bureau, channel: str, item: int) -> list[Recorded]:
    return [one for one in office.effects(channel) if one.slot == f"{channel}/{item}" and one.op == "deliver"]


def withdraw(office: Bureau, item: int) -> None:
    review.withdraw(office.rt, office.actor("li"), item, "内容有误")


def in_force(office: Bureau, item: int) -> Submission:
    with office.rt.reading() as db:
        return db.scalars(
            select(Submission).where(Submission.item_id == item, Submission.stage == Stage.APPROVED)
        ).one()


def test_an_item_withdrawn_while_its_issue_is_under_review_sends_that_back(office: Bureau) -> None:
    bad, _, issue, item = assembled(office, BAD, GOOD)
    hash = submitted(office, issue)
    review.approve(office.rt, office.actor("li"), item, hash)  # half of the way
    withdraw(office, bad)
    with pytest.raises(Refused) as caught:
        review.approve(office.rt, office.actor("chen"), item, hash)
    assert caught.value.code == "review.nothing_waiting"
    page = issue_pages.page(office.rt, issue)
    assert page.line.phase is Phase.DRAFT and [one.item for one in page.changed] == [bad]
    waiting = desk.desk(office.rt, office.actor("wang").person).drafts
    assert [one.state for one in waiting if one.item == item] == [desk.Unsubmitted.SOURCE_CHANGED]
    assembly.build(office.rt, office.actor("wang"), issue)
    office.approve(item, submitted(office, issue))
    go_to_sending(office, issue)
    office.work()
    assert all(BAD not in text_of(office, one) for one in issue_calls(office, "sms", item))
    assert len(issue_calls(office, "sms", item)) == 6


def test_a_correction_under_way_sends_back_an_issue_only_once_it_is_approved(office: Bureau) -> None:
    bad, _, issue, item = assembled(office, BAD, GOOD)
    submitted(office, issue)
    review.correct(office.rt, office.actor("zhao"), bad, office.draft(title="改过的通知"))
    hash = office.submit(bad)
    review.approve(office.rt, office.actor("li"), bad, hash)
    assert issues.line(office.rt, issue).phase is Phase.REVIEWING
    review.approve(office.rt, office.actor("chen"), bad, hash)
    assert issues.line(office.rt, issue).phase is Phase.DRAFT and item


def test_an_item_withdrawn_before_the_sending_goes_to_nobody(office: Bureau) -> None:
    bad, good, issue, item = approved(office, BAD, GOOD)
    before = in_force(office, item)
    office.woken.clear()
    withdraw(office, bad)
    assert {"web", "sms"} <= set(office.woken)
    now = in_force(office, item)
    with office.rt.reading() as db:
        ruling = db.scalars(select(Ruling)).one()
        assert (ruling.submission_id, ruling.from_submission) == (now.id, before.id)
        assert (ruling.item_id, ruling.change) == (bad, "dropped")
        assert db.scalars(select(Approval).where(Approval.submission_id == now.id)).all() == []  # nobody's approval
        facts = json.loads(db.scalars(select(AuditLine.facts).where(AuditLine.decision == "follow")).one())
        assert (facts["about"], facts["from"], facts["hash"]) == (bad, before.hash, now.hash)
        text = json.loads(db.get_one(Revision, now.revision_id).content)["text"]
    assert BAD not in text and GOOD in text and text.endswith(GONE)
    assert (now.publish_at, now.submitted_by) == (before.publish_at, before.submitted_by)
    go_to_sending(office, issue)
    office.work()
    sent = issue_calls(office, "sms", item) + issue_calls(office, "web", item)
    assert len(sent) == 7 and all(BAD not in text_of(office, one) and GOOD in text_of(office, one) for one in sent)
    carrier = reach.item_reach(office.rt, bad).issue
    assert carrier is not None and carrier.dropped and good
    assert [one.ruling for one in items.history(office.rt, item).rounds] == ["dropped", ""]
    with zipfile.ZipFile(io.BytesIO(proof.of(office.rt, item, "zh"))) as archive:
        record, told = json.loads(archive.read("record.json")), archive.read("发布证明.txt").decode()
    last = record["submissions"][-1]
    assert (last["by_rule"], last["about_item"], last["follows"]) == ("dropped", bad, before.hash)
    assert f"按规则随信息 {bad} 的撤下或更正而改" in told


def test_an_item_withdrawn_in_the_middle_of_the_sending_reaches_nobody_more(office: Bureau) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    go_to_sending(office, issue)
    set_faults(office.rt.settings.data / "sms",
               *(Fault("unavailable", recipient=str(n), times=1) for n in (3, 4, 5)))  # fmt: skip
    office.work()
    assert sorted(one.recipient for one in issue_calls(office, "sms", item)) == ["0", "1", "2"]
    withdraw(office, bad)
    office.clock.forward(minutes=20)
    office.work()
    got = {one.recipient: text_of(office, one) for one in issue_calls(office, "sms", item)}
    assert len(got) == 6 == len(issue_calls(office, "sms", item))  # each exactly one
    assert [BAD in got[str(n)] for n in range(6)] == [True, True, True, False, False, False]
    assert BAD not in text_of(office, issue_calls(office, "web", item)[-1])  # the page is replaced
    assert office.state(item, "web") == "confirmed"


def test_an_item_withdrawn_after_the_sending_changes_the_page_only(office: Bureau) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    go_to_sending(office, issue)
    office.work()
    withdraw(office, bad)
    office.clock.forward(minutes=20)
    office.work()
    assert len(issue_calls(office, "sms", item)) == 6
    assert GONE not in text_of(office, issue_calls(office, "web", item)[0])
    text = text_of(office, issue_calls(office, "web", item)[-1])
    assert BAD not in text and GONE in text


def test_a_corrected_item_is_replaced_by_its_own_approved_text(office: Bureau) -> None:
    bad, good, issue, item = assembled(office, BAD, GOOD)
    assembly.shorten(office.rt, office.actor("wang"), issue, 1, bad, "节选里也有错。")
    office.approve(item, submitted(office, issue))
    office.correct(bad, title="改正的通知", text="改正的正文。")
    go_to_sending(office, issue)
    office.work()
    for call in issue_calls(office, "sms", item) + issue_calls(office, "web", item):
        text = text_of(office, call)
        assert "改正的正文" in text and "节选" not in text and BAD not in text and GOOD in text
    with office.rt.reading() as db:
        assert db.scalars(select(Ruling.change)).all() == ["replaced"]
    assert good


def test_an_item_that_is_approved_again_unchanged_changes_no_issue(office: Bureau) -> None:
    bad, _, _, item = approved(office, BAD, GOOD)
    before = in_force(office, item).id
    office.approve(bad, office.submit(bad, "web", "board", person="wang"))
    assert in_force(office, item).id == before


def test_a_second_withdrawal_follows_from_the_first(office: Bureau) -> None:
    bad, good, issue, item = approved(office, BAD, GOOD)
    withdraw(office, bad)
    withdraw(office, good)
    go_to_sending(office, issue)
    office.work()
    text = text_of(office, issue_calls(office, "web", item)[-1])
    assert BAD not in text and GOOD not in text
    with office.rt.reading() as db:
        revision = db.get_one(Revision, in_force(office, item).revision_id)
        assert json.loads(revision.content)["text"] == "（本期有2则信息已撤下。）"
        assert len(db.scalars(select(Ruling)).all()) == 2


def test_what_somebody_works_at_stays_the_latest_text(office: Bureau) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    page = issue_pages.page(office.rt, issue)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, "新的卷首语。")
    withdraw(office, bad)
    with office.rt.reading() as db:
        latest = read_draft(db, latest_revision(db, item))
        applied = read_draft(db, db.get_one(Revision, in_force(office, item).revision_id))
    assert latest.issue is not None and applied.issue is not None
    assert latest.issue.editorial == "新的卷首语。" and bad not in latest.issue.pieces
    assert applied.issue.editorial == "" and bad not in applied.issue.pieces  # nobody approved that


def test_an_issue_that_waits_for_a_person_goes_on_waiting(office: Bureau) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    office.clock.forward(days=40)
    office.work()
    assert office.state(item, "sms") == "on_hold"
    withdraw(office, bad)
    office.work()
    assert office.state(item, "sms") == "on_hold" and issue_calls(office, "sms", item) == []
    issues.release(office.rt, office.actor("wang"), issue)
    office.work()
    assert len(issue_calls(office, "sms", item)) == 6
    assert all(BAD not in text_of(office, one) for one in issue_calls(office, "sms", item))


def test_a_withdrawal_makes_nothing_less_late(office: Bureau) -> None:
    """Stopped for forty days, and an item is withdrawn before the first worker looks."""
    bad, _, _, item = approved(office, BAD, GOOD)
    office.clock.forward(days=40)
    withdraw(office, bad)
    office.work()
    assert issue_calls(office, "sms", item) == [] and office.state(item, "sms") == "on_hold"


class Torn:
    """A channel that cannot render what says that something was withdrawn."""

    def __init__(self, inner: object, error: Exception) -> None:
        self._inner, self._error = inner, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def render(self, message: Message) -> Rendition:
        if message.issue is not None and BAD not in str(message.issue):
            raise self._error
        rendition: Rendition = self._inner.render(message)  # type: ignore[attr-defined]
        return rendition


UNRENDERABLE = Unrenderable(Finding("sms.too_long", Severity.BLOCK))


def torn(office: Bureau, *names: str, error: Exception = UNRENDERABLE) -> Bureau:
    channels = {
        name: replace(one, adapter=cast(Channel, Torn(one.adapter, error))) if name in names else one
        for name, one in office.rt.channels.items()
    }
    return Bureau(replace(office.rt, channels=channels), office.clock, office.woken)


@pytest.mark.parametrize("error", [UNRENDERABLE, RuntimeError("out of memory")])
def test_a_withdrawal_never_fails_and_what_cannot_be_made_anew_is_held(office: Bureau, error: Exception) -> None:
    bad, good, issue, item = approved(office, BAD, GOOD)
    withdraw(torn(office, "sms", error=error), bad)
    assert office.state_of(bad) == "withdrawn"
    go_to_sending(office, issue)
    office.work()
    assert BAD not in text_of(office, issue_calls(office, "web", item)[-1])  # there it could be made
    assert issue_calls(office, "sms", item) == [] and office.state(item, "sms") == "on_hold"
    assert office.cell(item, "sms").reason == "outdated"
    with pytest.raises(Refused) as caught:
        operate.retry(office.rt, office.actor("wang"), item, "sms")
    assert caught.value.code == "retry.outdated"
    page = issue_pages.page(office.rt, issue)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, "编者按。")
    office.approve(item, office.submit(item, "web", "sms", person="wang"))
    office.work()  # it is not late
    assert len(issue_calls(office, "sms", item)) == 6
    assert all(BAD not in text_of(office, one) for one in issue_calls(office, "sms", item)) and good


def test_an_issue_that_was_held_for_its_text_can_be_withdrawn(office: Bureau) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    withdraw(torn(office, "sms"), bad)
    withdraw(office, item)
    assert office.cell(item, "sms").reason == "withdrawn" and office.state(item, "sms") == "skipped"
    go_to_sending(office, issue)
    office.work()
    assert issue_calls(office, "sms", item) == []


def test_a_page_that_cannot_be_made_anew_is_taken_down(office: Bureau) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    go_to_sending(office, issue)
    office.work()
    withdraw(torn(office, "web", "sms"), bad)
    office.work()
    assert [one.op for one in office.effects("web") if one.slot == f"web/{item}"][-1] == "withdraw"
    assert len(issue_calls(office, "sms", item)) == 6


def whole(office: Bureau, call: Recorded) -> str:
    """Everything that a call carried: summary and plain text, too."""
    with office.rt.reading() as db:
        body = db.scalars(select(StoredRendition.body).where(StoredRendition.digest == call.digest)).first()
    assert body is not None
    return body.decode()


def page_shows(office: Bureau, item: int) -> str:
    """What citizens read at the issue's address now; "": it is taken down."""
    last = [one for one in office.effects("web") if one.slot == f"web/{item}"][-1]
    return whole(office, last) if last.op == "deliver" else ""


def test_the_summary_names_nothing_that_was_withdrawn_or_corrected(office: Bureau) -> None:
    bad, good, issue, item = approved(office, BAD, GOOD)
    office.correct(bad, title="改正的标题", text="改正的正文。")
    go_to_sending(office, issue)
    office.work("web")
    assert BAD not in page_shows(office, item) and "改正的标题" in page_shows(office, item)
    withdraw(office, bad)
    office.clock.forward(minutes=20)
    office.work()
    sent = issue_calls(office, "sms", item)
    assert len(sent) == 6 and good
    assert all("改正的" not in whole(office, one) for one in sent) and "改正的" not in page_shows(office, item)


def test_an_sms_text_of_the_editors_own_names_nothing_that_was_withdrawn(office: Bureau) -> None:
    bad, good, issue, item = assembled(office, BAD, GOOD)
    with office.rt.reading() as db:
        draft = read_draft(db, latest_revision(db, item))
    own = replace(draft, issue=None, summary=f"《{BAD}》和《{GOOD}》。", sms_text=f"本期有《{BAD}》。")
    review.edit(office.rt, office.actor("wang"), item, own)
    office.approve(item, submitted(office, issue))
    withdraw(office, bad)
    go_to_sending(office, issue)
    office.work()
    sent = issue_calls(office, "sms", item) + issue_calls(office, "web", item)
    assert len(sent) == 7 and all(BAD not in whole(office, one) for one in sent) and good


def test_a_second_change_brings_nothing_back_that_could_not_be_followed(office: Bureau) -> None:
    bad, good, issue, item = approved(office, BAD, GOOD)
    withdraw(torn(office, "web", "sms"), bad)
    office.correct(good, title="改过的通知", text="改过的正文。")
    office.work()
    assert issue_calls(office, "web", item) == []  # nor does it go out before its time
    withdraw(office, good)
    go_to_sending(office, issue)
    office.work()
    assert issue_calls(office, "web", item) == issue_calls(office, "sms", item) == []


def test_a_page_whose_correction_could_not_be_made_goes_with_the_withdrawal(office: Bureau) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    go_to_sending(office, issue)
    office.work()
    torn(office, "web").correct(bad, title="改正的标题", text="改正的正文。")
    office.work()
    assert BAD in page_shows(office, item)  # the old text stays until another is approved
    withdraw(office, bad)
    office.clock.forward(minutes=20)
    office.work()
    assert BAD not in page_shows(office, item) and "改正的" not in page_shows(office, item)


@pytest.mark.parametrize("sent", [False, True])
def test_a_channel_that_is_away_when_an_item_is_withdrawn_shows_nothing_of_it_later(office: Bureau, sent: bool) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    if sent:
        go_to_sending(office, issue)
        office.work("web")
    withdraw(Bureau(replace(office.rt, channels={}), office.clock, office.woken), bad)
    go_to_sending(office, issue)
    office.clock.forward(minutes=20)
    office.work()
    assert len(issue_calls(office, "web", item)) == sent and issue_calls(office, "sms", item) == []
    assert not sent or page_shows(office, item) == ""


def test_a_correction_of_the_issue_is_for_the_held_channel_too(office: Bureau) -> None:
    bad, _, issue, item = approved(office, BAD, GOOD)
    withdraw(torn(office, "sms"), bad)
    page = issue_pages.page(office.rt, issue)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, "编者按。")
    office.approve(item, submitted(office, issue))
    go_to_sending(office, issue)
    office.work()
    assert len(issue_calls(office, "sms", item)) == 6


def test_an_issue_that_is_left_out_goes_nowhere_and_keeps_nothing(office: Bureau) -> None:
    """Its items belong to the next issue: what is decided about them is followed there only."""
    bad, good, issue, item = assembled(office, BAD, GOOD)
    nominal, chen = issues.line(office.rt, issue).nominal, office.actor("chen")
    issues.skip(office.rt, chen, nominal, "本期不出")
    with pytest.raises(Refused) as caught:
        submitted(office, issue)
    assert caught.value.code == "issue.left_out_already"
    issues.take_back(office.rt, chen, nominal, "还是要出")
    with pytest.raises(Refused) as caught:
        submitted(office, issue)
    assert caught.value.code == "issue.nothing"
    assert assembly.build_due(office.rt) == [item]  # nobody else took them
    office.approve(item, submitted(office, issue))
    withdraw(office, bad)
    go_to_sending(office, issue)
    office.work()
    sent = issue_calls(office, "sms", item) + issue_calls(office, "web", item)
    assert len(sent) == 7 and all(BAD not in whole(office, one) for one in sent) and good


def test_what_the_next_issue_took_is_not_in_one_that_comes_out_after_all(office: Bureau) -> None:
    bad, good, issue, item = assembled(office, BAD, GOOD)
    nominal, chen = issues.line(office.rt, issue).nominal, office.actor("chen")
    issues.skip(office.rt, chen, nominal, "本期不出")
    _, second = built(office, DEADLINE + timedelta(days=14))
    issues.take_back(office.rt, chen, nominal, "还是要出")
    with pytest.raises(Refused) as caught:
        assembly.build(office.rt, office.actor("wang"), issue)
    assert caught.value.code == "issue.nothing"
    with office.rt.reading() as db:
        first, later = (read_draft(db, latest_revision(db, one)).issue for one in (item, second))
    assert first is not None and later is not None
    assert not first.pieces and {*later.pieces} == {bad, good}


def test_an_issue_submitted_in_the_midst_of_a_withdrawal_is_not_approved(
    office: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The withdrawal found the item in no issue, and whoever submits finds the item not withdrawn yet."""
    if office.rt.engine.dialect.name == "sqlite":
        pytest.skip("has one writer: nothing happens in the midst of a decision")
    bad = published(office, BAD)
    office.clock.moment = DEADLINE
    issues.ensure(office.rt)
    want_nothing, hashes = slots.want_nothing, list[str]()

    def slowly(*given: Any) -> list[str]:
        _, item = built(office)
        hashes.append(submitted(office, stored(office)[0].id))
        assert item
        return want_nothing(*given)

    monkeypatch.setattr(review, "want_nothing", slowly)
    withdraw(office, bad)
    item = stored(office)[0].item_id
    assert item is not None
    with pytest.raises(Refused) as caught:
        office.approve(item, hashes[0])
    assert caught.value.code == "issue.changed_meanwhile"


def test_an_issue_that_is_left_out_while_it_is_assembled_takes_nothing_along(
    office: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(office, GOOD)
    office.clock.moment = DEADLINE
    issues.ensure(office.rt)
    (issue, *_) = stored(office)
    free, deciding, builder = issues._free, threading.Event(), threading.Thread(
        target=lambda: assembly.build_due(office.rt)
    )  # fmt: skip

    def slowly(*given: Any) -> None:
        builder.start()
        deciding.wait(0.7)  # time enough for it to be assembled, if nothing stops that
        free(*given)

    monkeypatch.setattr(issues, "_free", slowly)
    issues.skip(office.rt, office.actor("chen"), issue.nominal, "本期不出")
    builder.join(20)
    with office.rt.reading() as db:
        assert db.scalars(select(IssueEntry)).all() == []


def test_an_issue_for_which_nobody_was_subscribed_is_not_sent_weeks_later(open_office: Callable[..., Bureau]) -> None:
    office = with_newsletter(open_office)
    bad, _, issue, item = approved(office, BAD, GOOD)
    go_to_sending(office, issue)
    office.work()
    assert office.cell(item, "sms").reason == "no_recipients"
    office.clock.forward(days=21)
    office.subscribe("7")
    withdraw(office, bad)
    office.work()
    assert issues.line(office.rt, issue).phase is Phase.SENT and office.cell(item, "sms").reason == "no_recipients"
    with pytest.raises(Refused) as caught:
        issues.release(office.rt, office.actor("wang"), issue)
    assert caught.value.code == "issue.nothing_held" and issue_calls(office, "sms", item) == []
    page = issue_pages.page(office.rt, issue)  # nor by a correction that is reviewed
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, "编者按。")
    office.approve(item, submitted(office, issue))
    office.work()
    assert issue_calls(office, "sms", item) == []


def after_a_loss(office: Bureau, fallen_due: bool) -> tuple[int, int, int]:
    """An issue that may have gone out after the backup, and an item in it that is withdrawn where no new text can be
    made: the withdrawn item, the issue, its item."""
    bad, _, issue, item = approved(office, BAD, GOOD)
    if fallen_due:
        go_to_sending(office, issue)
    with office.rt.writing() as db:
        hold_unsent(office.rt, db)
    withdraw(torn(office, "sms"), bad)
    return bad, issue, item


def reasons(office: Bureau, item: int) -> set[tuple[str, str]]:
    """State and reason of what SMS calls are made for."""
    with office.rt.reading() as db:
        rows = select(Delivery.state, Delivery.reason).where(Delivery.item_id == item, Delivery.channel == "sms")
        return {(state.value, reason) for state, reason in db.execute(rows.where(Delivery.expanded_at.is_(None)))}


@pytest.mark.parametrize("fallen_due", [False, True])
def test_what_may_have_gone_out_before_a_loss_still_waits_for_a_persons_word(office: Bureau, fallen_due: bool) -> None:
    _, issue, item = after_a_loss(office, fallen_due)
    assert reasons(office, item) == {("on_hold", "restored")}
    with pytest.raises(Refused) as caught:
        operate.retry(office.rt, office.actor("wang"), item, "sms")
    assert caught.value.code == "retry.outdated"  # the old text goes to nobody
    operate.settle(office.rt, office.actor("wang"), item, "sms", sent=False, reason="查过短信平台")
    assert reasons(office, item) == {("on_hold", "outdated")}
    page = issue_pages.page(office.rt, issue)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, "编者按。")
    office.approve(item, submitted(office, issue))
    go_to_sending(office, issue)
    office.work()
    sent = issue_calls(office, "sms", item)
    assert len(sent) == 6 and all(BAD not in text_of(office, one) for one in sent)


@pytest.mark.parametrize("fallen_due", [False, True])
def test_what_went_out_before_a_loss_is_not_sent_again_with_a_later_text(office: Bureau, fallen_due: bool) -> None:
    _, issue, item = after_a_loss(office, fallen_due)
    page = issue_pages.page(office.rt, issue)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, "编者按。")
    office.approve(item, submitted(office, issue))
    go_to_sending(office, issue)
    office.work()
    assert reasons(office, item) == {("on_hold", "restored")} and issue_calls(office, "sms", item) == []
    operate.settle(office.rt, office.actor("wang"), item, "sms", sent=True, reason="查过短信平台")
    office.work()
    assert issue_calls(office, "sms", item) == []


def test_an_issue_held_after_a_loss_can_be_withdrawn(office: Bureau) -> None:
    _, _, item = after_a_loss(office, True)
    withdraw(office, item)
    assert reasons(office, item) == {("skipped", "withdrawn")}


def test_an_sms_waits_visibly_when_its_page_cannot_be_made(office: Bureau) -> None:
    """Its text names a page that is not there."""
    bad, _, issue, item = approved(office, BAD, GOOD)
    withdraw(torn(office, "web"), bad)
    go_to_sending(office, issue)
    office.work()
    assert (office.state(item, "sms"), office.cell(item, "sms").reason) == ("on_hold", "outdated")
    assert issues.line(office.rt, issue).phase is Phase.OUTDATED
    page = issue_pages.page(office.rt, issue)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, "编者按。")
    office.approve(item, submitted(office, issue))
    office.work()
    assert len(issue_calls(office, "sms", item)) == 6 and office.state(item, "web") == "confirmed"


# ── the editor's own words ───────────────────────────────────────────────────────────────────────────────────────────


def with_editorial(office: Bureau, text: str) -> tuple[int, int, int, int]:
    """An issue of two, approved with this editorial: bad, good, issue, the issue's item."""
    bad, good, issue, item = assembled(office, BAD, GOOD)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, 1, text)
    office.approve(item, submitted(office, issue))
    return bad, good, issue, item


def found(office: Bureau, issue: int) -> list[tuple[str, str]]:
    """What stands in the way of an issue, as its page shows it: code, and the title that it names."""
    return [(one.code, str(one.facts.get("title", ""))) for one in issue_pages.page(office.rt, issue).findings]


def test_an_issue_whose_editorial_names_what_was_withdrawn_waits_for_its_editor(office: Bureau) -> None:
    bad, good, issue, item = with_editorial(office, f"本期请看《{BAD}》和《{GOOD}》。")
    withdraw(office, bad)
    go_to_sending(office, issue)
    office.work()
    assert issue_calls(office, "sms", item) == issue_calls(office, "web", item) == []
    assert issues.line(office.rt, issue).phase is Phase.OUTDATED
    assert found(office, issue) == [("check.named_withdrawn", BAD)]  # the entry itself is out already
    with pytest.raises(Refused) as caught:
        issues.release(office.rt, office.actor("wang"), issue)
    assert caught.value.code == "retry.outdated"
    with pytest.raises(Refused) as caught:
        submitted(office, issue)
    assert [one.code for one in caught.value.findings] == ["check.named_withdrawn"]
    assert [one.item for one in desk.desk(office.rt, office.actor("wang").person).drafts] == [item]
    page = issue_pages.page(office.rt, issue)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, f"本期请看《{GOOD}》。")
    assert found(office, issue) == []
    office.approve(item, submitted(office, issue))
    office.work()
    sent = issue_calls(office, "sms", item) + issue_calls(office, "web", item)
    assert len(sent) == 7 and all(BAD not in whole(office, one) and GONE in whole(office, one) for one in sent) and good


def test_a_page_whose_editorial_names_what_was_withdrawn_is_taken_down(office: Bureau) -> None:
    bad, _, issue, item = with_editorial(office, f"本期请看《{BAD}》。")
    go_to_sending(office, issue)
    office.work()
    withdraw(office, bad)
    office.clock.forward(minutes=20)
    office.work()
    assert page_shows(office, item) == "" and len(issue_calls(office, "sms", item)) == 6
    assert found(office, issue) == [("check.named_withdrawn", BAD)]


def test_an_editorial_that_names_what_its_editor_left_out_is_seen_too(office: Bureau) -> None:
    bad, _, issue, item = assembled(office, BAD, GOOD)
    assembly.drop(office.rt, office.actor("wang"), issue, 1, bad)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, 2, f"另见《{BAD}》。")
    office.approve(item, submitted(office, issue))
    withdraw(office, bad)
    go_to_sending(office, issue)
    office.work()
    assert issue_calls(office, "sms", item) == [] and found(office, issue) == [("check.named_withdrawn", BAD)]


def test_a_review_of_an_issue_whose_editorial_names_what_was_withdrawn_is_void(office: Bureau) -> None:
    bad, _, issue, item = assembled(office, BAD, GOOD)
    assembly.drop(office.rt, office.actor("wang"), issue, 1, bad)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, 2, f"另见《{BAD}》。")
    submitted(office, issue)
    withdraw(office, bad)
    assert issues.line(office.rt, issue).phase is Phase.DRAFT and office.state_of(item) == "draft"


def test_a_title_that_was_corrected_goes_to_nobody_more_and_its_page_is_corrected(office: Bureau) -> None:
    bad, _, issue, item = with_editorial(office, f"本期请看《{BAD}》。")
    go_to_sending(office, issue)
    office.work("web")
    office.correct(bad, title="改正的标题", text="改正的正文。")
    office.clock.forward(minutes=20)
    office.work()
    assert "改正的正文" in page_shows(office, item)
    assert issue_calls(office, "sms", item) == [] and found(office, issue) == [("check.named_corrected", BAD)]


def test_an_editorial_may_name_what_is_public_although_it_sounds_alike(office: Bureau) -> None:
    bad, good = published(office, "关于检修的通知"), published(office, "关于检修的通知（续）")
    issue, item = built(office)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, 1, "本期请看《关于检修的通知（续）》。")
    office.approve(item, submitted(office, issue))
    withdraw(office, bad)
    go_to_sending(office, issue)
    office.work()
    assert len(issue_calls(office, "sms", item)) == 6 and found(office, issue) == [] and good


# ── nothing is left in it ────────────────────────────────────────────────────────────────────────────────────────────


def emptied(office: Bureau, correcting: bool) -> tuple[int, int]:
    """An approved issue whose only item is withdrawn; `correcting`: its editor works at a correction of it."""
    bad, issue, item = approved(office, BAD)
    if correcting:
        assembly.shorten(office.rt, office.actor("wang"), issue, 1, bad, "只说要点。")
    withdraw(office, bad)
    go_to_sending(office, issue)
    office.work()
    return issue, item


@pytest.mark.parametrize("correcting", [False, True])
def test_an_issue_with_nothing_left_has_its_page_and_goes_to_nobody(office: Bureau, correcting: bool) -> None:
    issue, item = emptied(office, correcting)
    assert GONE in page_shows(office, item) and office.state(item, "web") == "confirmed"
    assert issue_calls(office, "sms", item) == [] and issues.line(office.rt, issue).phase is Phase.OUTDATED
    assert found(office, issue) == [("check.issue_emptied", "")]
    with pytest.raises(Refused) as caught:
        submitted(office, issue)
    assert caught.value.code in ("review.blocked", "review.nothing_new")


def test_an_issue_with_nothing_left_goes_out_with_what_its_editor_puts_in(office: Bureau) -> None:
    issue, item = emptied(office, True)
    page = issue_pages.page(office.rt, issue)
    assembly.write_editorial(office.rt, office.actor("wang"), issue, page.revision, "本期内容有误，敬请谅解。")
    office.approve(item, submitted(office, issue))
    office.work()
    sent = issue_calls(office, "sms", item)
    assert len(sent) == 6 and all(GONE in whole(office, one) for one in sent)  # the line is not forgotten


# ── at the same moment ───────────────────────────────────────────────────────────────────────────────────────────────


def together(*steps: Callable[[], object]) -> None:
    start = threading.Barrier(len(steps))

    def run(step: Callable[[], object]) -> None:
        start.wait()
        with suppress(Refused):
            step()

    threads = [threading.Thread(target=run, args=(one,)) for one in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("turn", range(4))
def test_the_last_approval_and_a_withdrawal_at_the_same_moment(office: Bureau, turn: int) -> None:
    bad, good, issue, item = assembled(office, BAD, GOOD)
    hash = submitted(office, issue)
    review.approve(office.rt, office.actor("li"), item, hash)
    together(
        lambda: review.approve(office.rt, office.actor("chen"), item, hash),
        lambda: withdraw(office, bad),
        lambda: withdraw(office, good),
    )
    go_to_sending(office, issue)
    office.work()
    for call in issue_calls(office, "sms", item) + issue_calls(office, "web", item):
        assert BAD not in text_of(office, call) and GOOD not in text_of(office, call)
    assert office.state_of(bad) == office.state_of(good) == "withdrawn" and turn >= 0


def test_a_withdrawal_while_senders_are_at_work(office: Bureau) -> None:
    bad, good, issue, item = assembled(office, BAD, GOOD)
    office.subscribe(*(str(n) for n in range(10, 60)))
    office.approve(item, submitted(office, issue))
    go_to_sending(office, issue)
    office.work("web")
    set_faults(office.rt.settings.data / "sms", Fault(seconds=0.01, times=None))
    together(lambda: office.work("sms"), lambda: office.work("sms"), lambda: withdraw(office, bad))
    set_faults(office.rt.settings.data / "sms")
    office.clock.forward(minutes=20)
    office.work()
    calls = issue_calls(office, "sms", item)
    assert sorted(one.recipient for one in calls) == sorted({one.recipient for one in calls}) and len(calls) == 56
    renewed = [one.generation for one in calls if BAD not in text_of(office, one)]
    assert set(renewed) <= {2} and good


# ── any order ────────────────────────────────────────────────────────────────────────────────────────────────────────

STEPS = st.sampled_from(
    [
        "withdraw",
        "withdraw2",
        "correct",
        "submit",
        "first",
        "last",
        "build",
        "time",
        "fail",
        "work",
        "editorial",
        "put_off",
    ]
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=3, max_size=14))
def test_whatever_the_order_nothing_withdrawn_goes_out_afterwards(steps: list[str], tmp_path: Path) -> None:
    folder = Path(mkdtemp(dir=tmp_path))
    url = f"sqlite:///{folder / 'fabu.db'}"
    office = open_bureau(settings_for(folder, url, newsletter=newsletter(), item_types=TYPES))
    office.subscribe("0", "1", "2", "3")
    try:
        Story(office, folder).run(steps)
    finally:
        office.rt.engine.dispose()


class Story:
    """An issue of two items, and what people and machines do to it in some order."""

    def __init__(self, office: Bureau, folder: Path) -> None:
        self.office, self.folder = office, folder
        self.bad, self.good, self.issue, self.item = assembled(office, BAD, GOOD)
        self.hash = submitted(office, self.issue)
        self.withdrawn: dict[str, tuple[int, int]] = {}  # by title: what had gone out on each channel by then

    def out(self) -> tuple[list[Recorded], list[Recorded]]:
        return issue_calls(self.office, "web", self.item), issue_calls(self.office, "sms", self.item)

    def run(self, steps: list[str]) -> None:
        for step in steps:
            with suppress(Refused):
                self.do(step)
        self.office.clock.forward(minutes=30)
        self.office.work()
        web, sms = self.out()
        for title, (pages, texts) in self.withdrawn.items():
            said = f'"title": "{title}"'
            assert not any(said in text_of(self.office, one) for one in web[pages:] + sms[texts:])
        last = [one for one in self.office.effects("web") if one.slot == f"web/{self.item}"][-1:]
        if last and last[0].op == "deliver":
            assert not any(f'"title": "{title}"' in text_of(self.office, last[0]) for title in self.withdrawn)
        assert len(sms) == len({one.recipient for one in sms})

    def do(self, step: str) -> None:
        office, wang = self.office, self.office.actor("wang")
        match step:
            case "withdraw" | "withdraw2":
                item, title = (self.bad, BAD) if step == "withdraw" else (self.good, GOOD)
                withdraw(office, item)
                web, sms = self.out()
                self.withdrawn[title] = len(web), len(sms)
            case "correct":
                office.correct(self.good, title=f"{GOOD}改", text="改正的正文。")
                web, sms = self.out()
                self.withdrawn[GOOD] = len(web), len(sms)  # nobody reads the old one afterwards either
            case "submit":
                self.hash = submitted(office, self.issue)
            case "first" | "last":
                review.approve(office.rt, office.actor("li" if step == "first" else "chen"), self.item, self.hash)
            case "build":
                assembly.build(office.rt, wang, self.issue)
            case "editorial":
                revision = issue_pages.page(office.rt, self.issue).revision
                assembly.write_editorial(office.rt, wang, self.issue, revision, "卷首语。")
            case "put_off":
                operate.postpone(office.rt, wang, self.item, office.clock() + timedelta(days=3), "推迟")
            case "time":
                go_to_sending(office, self.issue)
            case "fail":
                set_faults(self.folder / "sms", Fault("unavailable", times=2), Fault("in_doubt", times=1))
            case "work":
                office.work()
