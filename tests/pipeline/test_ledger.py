"""The rules of a delivery, on both databases, with channels that record what the outside saw."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from channels.contract import Evidence
from pipeline import confirm, desk, operate, publish, reach, review
from pipeline.decisions import Refused
from pipeline.models import Suppression
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau, claim, recipients


def faults(bureau: Bureau, channel: str, *script: Fault) -> None:
    set_faults(bureau.rt.settings.data / channel, *script)


def test_an_approved_item_reaches_every_channel_and_is_seen_there(bureau: Bureau) -> None:
    bureau.subscribe("13800000001", "13800000002")
    item = bureau.publish("web", "board", "sms")
    assert sorted(bureau.woken) == ["board", "sms", "web"]
    bureau.work()
    web = bureau.cell(item, "web")
    assert (web.state, web.wanted, web.held, web.attempts) == ("confirmed", 1, 1, 1)
    assert bureau.state(item, "board") == "accepted"
    operate.post(bureau.rt, bureau.actor("wang"), item, "局一楼公开栏")
    assert bureau.state(item, "board") == "confirmed"
    bureau.work()
    assert recipients(bureau.effects("sms")) == ["13800000001", "13800000002"]
    assert bureau.state(item, "sms") == "accepted"
    for call in bureau.effects("sms"):
        assert bureau.report(call, "delivered")
    assert bureau.cell(item, "sms").counts == {"confirmed": 2}
    assert bureau.state(item, "sms") == "confirmed"


def test_nothing_goes_out_before_the_last_approval(bureau: Bureau) -> None:
    item = bureau.write()
    seen = bureau.submit(item, "web")
    review.approve(bureau.rt, bureau.actor("li"), item, seen)
    bureau.work()
    assert bureau.calls("web") == []
    assert reach.matrix(bureau.rt, [item]) == []


def test_a_text_that_names_the_page_waits_until_the_page_is_seen(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    faults(bureau, "web", Fault(raises="unavailable", times=1))
    item = bureau.publish("web", "sms")
    bureau.work("web", "sms")
    assert bureau.calls("sms") == []
    bureau.clock.forward(seconds=6)
    bureau.work("web", "sms", "sms")
    assert len(bureau.effects("sms")) == 1
    assert bureau.state(item, "web") == "confirmed"


def test_nothing_sent_is_tried_again_later_and_never_gives_up(bureau: Bureau) -> None:
    faults(bureau, "web", Fault(raises="unavailable", times=12))
    item = bureau.publish("web")
    for _ in range(40):
        bureau.work("web")
        assert bureau.state(item, "web") in ("due", "confirmed")
        bureau.clock.forward(minutes=10)
    assert bureau.state(item, "web") == "confirmed"
    assert bureau.cell(item, "web").attempts == 13


def test_what_the_channel_asks_for_is_waited_for(bureau: Bureau) -> None:
    faults(bureau, "web", Fault(raises="unavailable", retry_after=3600))
    bureau.publish("web")
    bureau.work("web")
    bureau.clock.forward(minutes=50)
    bureau.work("web")
    assert len(bureau.calls("web")) == 1
    bureau.clock.forward(minutes=11)
    bureau.work("web")
    assert len(bureau.calls("web")) == 2


def test_a_refused_delivery_waits_for_a_person_who_sends_it_again(bureau: Bureau) -> None:
    faults(bureau, "web", Fault(raises="rejected"))
    item = bureau.publish("web")
    bureau.work("web")
    cell = bureau.cell(item, "web")
    assert (cell.state, cell.error and cell.error["code"]) == ("failed", "recording.rejected")
    bureau.clock.forward(hours=1)
    bureau.work("web")
    assert len(bureau.calls("web")) == 1
    operate.retry(bureau.rt, bureau.actor("wang"), item)
    bureau.work("web")
    assert bureau.state(item, "web") == "confirmed"


def test_a_line_that_broke_after_the_effect_is_settled_by_looking_not_by_sending(bureau: Bureau) -> None:
    faults(bureau, "web", Fault(raises="in_doubt_after_effect"))
    item = bureau.publish("web")
    bureau.work("web")
    assert bureau.state(item, "web") == "in_doubt"
    bureau.clock.forward(seconds=15)
    bureau.work("web")
    assert bureau.state(item, "web") == "confirmed"
    assert len(bureau.calls("web")) == 1


def test_a_line_that_broke_before_the_effect_is_sent_again_after_a_look(bureau: Bureau) -> None:
    faults(bureau, "web", Fault(raises="in_doubt"))
    item = bureau.publish("web")
    bureau.work("web")
    bureau.clock.forward(seconds=15)
    bureau.work("web", "web")
    assert bureau.state(item, "web") == "confirmed"
    assert len(bureau.calls("web")) == 2 and len(bureau.effects("web")) == 1


def test_a_channel_that_says_yes_and_does_nothing_fails_in_the_end(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    from channels.contract import Call, Receipt, Rendition
    from tests.channels.recording import Recall

    def amnesia(self: Recall, rendition: Rendition, call: Call) -> Receipt:
        return Receipt(call.key, "200")

    monkeypatch.setattr(Recall, "deliver", amnesia)
    item = bureau.publish("web")
    for _ in range(60):
        bureau.work("web")
        bureau.clock.forward(seconds=20)
    cell = bureau.cell(item, "web")
    assert (cell.state, cell.error and cell.error["code"]) == ("failed", "publish.not_seen")
    assert cell.attempts == bureau.rt.channels["web"].section.tries


def test_an_sms_in_doubt_is_never_sent_again_by_itself(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    faults(bureau, "sms", Fault(raises="in_doubt"))
    item = bureau.publish("web", "sms")
    bureau.work()
    for _ in range(20):
        bureau.clock.forward(hours=3)
        bureau.work()
    assert bureau.state(item, "sms") == "in_doubt"
    assert len(bureau.calls("sms")) == 1
    with pytest.raises(Refused, match="retry.nothing"):
        operate.retry(bureau.rt, bureau.actor("wang"), item, "sms")


def test_a_person_settles_what_is_in_doubt_with_a_reason(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    faults(bureau, "sms", Fault(raises="in_doubt"))
    item = bureau.publish("web", "sms")
    bureau.work()
    with pytest.raises(Refused, match="decision.reason_missing"):
        operate.settle(bureau.rt, bureau.actor("wang"), item, "sms", sent=False, reason=" ")
    operate.settle(bureau.rt, bureau.actor("wang"), item, "sms", sent=False, reason="运营商确认未收到")
    bureau.work()
    assert len(bureau.effects("sms")) == 1
    assert bureau.state(item, "sms") == "accepted"


def test_a_report_settles_what_is_in_doubt(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    faults(bureau, "sms", Fault(raises="in_doubt_after_effect"))
    item = bureau.publish("web", "sms")
    bureau.work()
    assert bureau.state(item, "sms") == "in_doubt"
    bureau.report(bureau.effects("sms")[0], "delivered")
    assert bureau.state(item, "sms") == "confirmed"


def test_reports_in_any_order_and_twice_change_nothing_for_the_worse(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    item = bureau.publish("web", "sms")
    bureau.work()
    call = bureau.effects("sms")[0]
    for status in ("delivered", "delivered", "pending", "failed"):
        bureau.report(call, status)
        assert bureau.state(item, "sms") == "confirmed"


def test_a_report_of_failure_makes_the_one_recipient_fail_and_a_retry_touches_only_that_one(bureau: Bureau) -> None:
    bureau.subscribe("13800000001", "13800000002")
    item = bureau.publish("web", "sms")
    bureau.work()
    first, second = sorted(bureau.effects("sms"), key=lambda call: call.recipient)
    bureau.report(first, "delivered")
    bureau.report(second, "failed")
    cell = bureau.cell(item, "sms")
    assert (cell.state, cell.counts) == ("failed", {"confirmed": 1, "failed": 1})
    operate.retry(bureau.rt, bureau.actor("wang"), item, "sms")
    bureau.work()
    assert recipients(bureau.effects("sms")) == ["13800000001", "13800000002", "13800000002"]
    assert len({call.report_to for call in bureau.effects("sms")}) == 3
    assert len({call.key for call in bureau.effects("sms")}) == 2


def test_a_late_report_that_it_arrived_spares_the_second_sms(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    item = bureau.publish("web", "sms")
    bureau.work()
    call = bureau.effects("sms")[0]
    bureau.report(call, "failed")
    operate.retry(bureau.rt, bureau.actor("wang"), item, "sms")
    bureau.report(call, "delivered")
    bureau.work()
    assert len(bureau.effects("sms")) == 1
    assert bureau.state(item, "sms") == "confirmed"


def test_an_address_that_was_guessed_is_not_stored(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    bureau.publish("web", "sms")
    bureau.work()
    call = bureau.effects("sms")[0]
    forged = call.report_to[:-4] + "AAAA"
    channel, token = forged.rsplit("/", 2)[-2:]
    from pipeline import reports
    from pipeline.models import StoredReport

    assert not reports.take(bureau.rt, channel, token, {"status": "delivered"})
    assert not reports.take(bureau.rt, channel, "x", {"status": "delivered"})
    with bureau.rt.reading() as db:
        assert db.query(StoredReport).count() == 0


def test_without_subscribers_the_sms_is_skipped(bureau: Bureau) -> None:
    item = bureau.publish("web", "sms")
    bureau.work()
    cell = bureau.cell(item, "sms")
    assert (cell.state, cell.reason) == ("skipped", "no_recipients")


def test_suppression_is_checked_at_the_moment_of_sending(bureau: Bureau) -> None:
    bureau.subscribe("13800000001", "13800000002")
    item = bureau.publish("web", "sms")
    bureau.work("web")
    opened = bureau.rt.channels["sms"]
    assert claim(bureau.rt, opened)[1] == 1  # the recipients are copied
    with bureau.rt.writing() as db:
        db.add(Suppression(channel="sms", address="13800000002", at=bureau.clock()))
    bureau.work("sms")
    assert recipients(bureau.effects("sms")) == ["13800000001"]
    assert bureau.cell(item, "sms").counts == {"accepted": 1, "skipped": 1}


def test_a_withdrawal_takes_back_what_can_be_and_skips_what_was_not_sent(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    item = bureau.publish("web", "board", "sms")
    bureau.work("web", "board")
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    bureau.work()
    web = bureau.cell(item, "web")
    assert (web.state, web.wanted, web.held, web.held_known) == ("confirmed", None, None, True)
    assert [call.op for call in bureau.effects("web")] == ["deliver", "withdraw"]
    assert (bureau.state(item, "sms"), bureau.calls("sms")) == ("skipped", [])
    assert bureau.state(item, "board") == "accepted"  # a notice to take down is printed
    operate.unpost(bureau.rt, bureau.actor("wang"), item)
    assert bureau.state(item, "board") == "confirmed"


def test_what_was_sent_by_sms_keeps_its_state_when_the_item_is_withdrawn(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    item = bureau.publish("web", "sms")
    bureau.work()
    review.withdraw(bureau.rt, bureau.actor("chen"), item, "数据有误")
    bureau.work()
    assert bureau.cell(item, "sms").counts == {"accepted": 1}
    assert len(bureau.calls("sms")) == 1


def test_a_withdrawal_waits_for_no_pause_no_breaker_and_no_back_off(bureau: Bureau) -> None:
    item = bureau.publish("web")
    bureau.work("web")
    operate.pause(bureau.rt, bureau.actor("wang"), "web", "检修")
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    bureau.work("web")
    assert [call.op for call in bureau.effects("web")] == ["deliver", "withdraw"]


def test_an_item_withdrawn_before_it_went_anywhere_never_goes(bureau: Bureau) -> None:
    item = bureau.publish("web", publish_at=bureau.clock() + timedelta(hours=2))
    bureau.work("web")
    review.withdraw(bureau.rt, bureau.actor("li"), item, "不再需要")
    bureau.clock.forward(hours=3)
    bureau.work("web")
    assert (bureau.state(item, "web"), bureau.calls("web")) == ("skipped", [])


def test_a_correction_replaces_the_page_and_is_not_sent_by_sms_again(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    item = bureau.publish("web", "sms")
    bureau.work()
    bureau.correct(item, title="关于试播的通知（更正）")
    bureau.work()
    web = bureau.cell(item, "web")
    assert (web.state, web.wanted, web.held, web.generation) == ("confirmed", 2, 2, 2)
    assert len(bureau.effects("sms")) == 1


def test_a_correction_gives_the_unsent_the_new_revision(bureau: Bureau) -> None:
    bureau.subscribe("13800000001", "13800000002")
    faults(bureau, "sms", Fault(raises="unavailable", recipient="13800000002", retry_after=600))
    item = bureau.publish("web", "sms")
    bureau.work()
    assert recipients(bureau.effects("sms")) == ["13800000001"]
    first = bureau.effects("sms")[0].digest
    bureau.correct(item, title="关于试播的通知（更正）")
    bureau.work()
    sent = {call.recipient: call for call in bureau.effects("sms")}
    assert sent["13800000001"].digest == first
    assert sent["13800000002"].digest != first and sent["13800000002"].generation == 2
    assert len(bureau.effects("sms")) == 2


def test_the_old_text_stays_wanted_while_the_correction_is_reviewed(bureau: Bureau) -> None:
    item = bureau.publish("web")
    bureau.work("web")
    review.correct(bureau.rt, bureau.actor("zhao"), item, bureau.draft(title="新题目"))
    bureau.submit(item)
    bureau.work("web")
    assert bureau.cell(item, "web").wanted == 1
    assert len(bureau.calls("web")) == 1


def test_neither_a_retry_nor_a_correction_goes_before_its_time(bureau: Bureau) -> None:
    item = bureau.publish("web", publish_at=bureau.clock() + timedelta(days=2))
    bureau.work("web")
    with pytest.raises(Refused, match="retry.nothing"):
        operate.retry(bureau.rt, bureau.actor("wang"), item)
    bureau.correct(item, title="新题目")
    bureau.work("web")
    assert bureau.calls("web") == []
    bureau.clock.forward(days=2, seconds=1)
    bureau.work("web")
    assert bureau.cell(item, "web").held == 2 and len(bureau.calls("web")) == 1


def test_a_later_channel_is_reviewed_again_and_leaves_the_first_alone(bureau: Bureau) -> None:
    item = bureau.publish("web")
    bureau.work("web")
    with pytest.raises(Refused, match="review.nothing_new"):
        bureau.submit(item, "web")
    with pytest.raises(Refused, match="review.channel_dropped"):
        bureau.submit(item, "board")
    bureau.approve(item, bureau.submit(item, "web", "board"))
    bureau.work()
    assert len(bureau.calls("web")) == 1 and len(bureau.calls("board")) == 1


def test_a_withdrawn_item_is_published_again_only_by_a_new_approval_and_keeps_its_number(bureau: Bureau) -> None:
    item = bureau.publish("web")
    bureau.work("web")
    number = bureau.cell(item, "web").index_number
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    bureau.work("web")
    bureau.approve(item, bureau.submit(item, "web"))
    bureau.work("web")
    cell = bureau.cell(item, "web")
    assert (cell.state, cell.held, cell.generation, cell.index_number) == ("confirmed", 1, 3, number)


def test_a_lost_page_is_found_by_the_daily_reading_and_put_back(bureau: Bureau) -> None:
    item = bureau.publish("web")
    bureau.work("web")
    for state in (bureau.rt.settings.data / "web").glob("*.state"):
        state.unlink()
    bureau.clock.forward(hours=25)
    bureau.work("web", "web", "web")
    assert bureau.state(item, "web") == "confirmed"
    assert len(bureau.effects("web")) == 2


def test_quiet_hours_defer_and_never_drop_and_a_person_may_hurry(open_office: Callable[..., Bureau]) -> None:
    bureau = open_office(channels={"sms": {"quiet": "20:00-08:00"}})
    bureau.subscribe("13800000001")
    bureau.clock.forward(hours=11)  # 21:00
    item, urgent = bureau.publish("web", "sms"), bureau.publish("web", "sms")
    bureau.work()
    assert bureau.calls("sms") == []
    operate.retry(bureau.rt, bureau.actor("wang"), urgent, "sms", hurry=True, reason="停播紧急通知")
    bureau.work()
    assert [call.slot for call in bureau.effects("sms")] == [f"sms/{urgent}"]
    bureau.clock.forward(hours=11, minutes=1)  # 08:01: eleven hours later, and not late
    bureau.work()
    assert [call.slot for call in bureau.effects("sms")] == [f"sms/{urgent}", f"sms/{item}"]


def test_an_sms_overdue_by_hours_waits_for_a_person_and_the_web_goes(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    item = bureau.publish("web", "sms")
    bureau.work("web")
    bureau.clock.forward(hours=7)
    bureau.work()
    cell = bureau.cell(item, "sms")
    assert (cell.state, cell.reason, bureau.calls("sms")) == ("on_hold", "late", [])
    operate.retry(bureau.rt, bureau.actor("wang"), item, "sms")
    bureau.work()
    assert len(bureau.effects("sms")) == 1


def test_an_sms_can_be_stopped_in_its_waiting_time(open_office: Callable[..., Bureau]) -> None:
    bureau = open_office(channels={"sms": {"wait_seconds": 300}})
    bureau.subscribe("13800000001")
    item, stopped = bureau.publish("web", "sms"), bureau.publish("web", "sms")
    bureau.work()
    bureau.clock.forward(minutes=4)
    bureau.work()
    assert bureau.calls("sms") == []
    review.withdraw(bureau.rt, bureau.actor("li"), stopped, "发错了")
    bureau.clock.forward(minutes=2)
    bureau.work()
    assert [call.slot for call in bureau.effects("sms")] == [f"sms/{item}"]


def test_one_bad_row_never_stops_its_neighbours(bureau: Bureau) -> None:
    items = [bureau.publish("web") for _ in range(5)]
    faults(bureau, "web", Fault(raises="rejected", slot=f"web/{items[2]}"))
    bureau.work("web")
    assert [bureau.state(item, "web") for item in items] == ["confirmed"] * 2 + ["failed"] + ["confirmed"] * 2


def test_after_five_calls_that_could_not_be_made_the_breaker_opens_and_later_closes(bureau: Bureau) -> None:
    items = [bureau.publish("web") for _ in range(12)]
    faults(bureau, "web", Fault(raises="unavailable", times=None))
    for _ in range(5):
        bureau.work("web")
    during = len(bureau.calls("web"))
    bureau.work("web")
    assert len(bureau.calls("web")) == during
    faults(bureau, "web")
    for _ in range(30):
        bureau.clock.forward(minutes=11)
        bureau.work("web")
    assert {bureau.state(item, "web") for item in items} == {"confirmed"}


def test_a_paused_channel_holds_its_own_and_nobody_elses(bureau: Bureau) -> None:
    operate.pause(bureau.rt, bureau.actor("wang"), "web", "检修")
    item = bureau.publish("web")
    bureau.work("web")
    assert bureau.calls("web") == []
    operate.resume(bureau.rt, bureau.actor("wang"), "web")
    bureau.work("web")
    assert bureau.state(item, "web") == "confirmed"


def test_a_lease_that_ran_out_without_an_attempt_is_due_again(bureau: Bureau) -> None:
    item = bureau.publish("web")
    rows, _ = claim(bureau.rt, bureau.rt.channels["web"])
    assert [row.item_id for row in rows] == [item]
    assert claim(bureau.rt, bureau.rt.channels["web"]) == ([], 0)
    bureau.clock.forward(seconds=61)
    confirm.expire_leases(bureau.rt)
    bureau.work("web")
    assert bureau.state(item, "web") == "confirmed"
    assert publish.send(bureau.rt, bureau.rt.channels["web"], rows) == 0  # the slow worker wakes: too late
    assert len(bureau.calls("web")) == 1


def test_the_notice_board_is_confirmed_by_a_person_and_taking_down_never_reprints(bureau: Bureau) -> None:
    item = bureau.publish("web", "board")
    bureau.work()
    with pytest.raises(Refused, match="retry.nothing"):
        operate.retry(bureau.rt, bureau.actor("wang"), item, "board")
    operate.post(bureau.rt, bureau.actor("wang"), item, "局一楼公开栏")
    operate.unpost(bureau.rt, bureau.actor("wang"), item)
    for _ in range(3):
        bureau.clock.forward(days=2)
        bureau.work("board")
    assert bureau.state(item, "board") == "confirmed"
    assert len(bureau.calls("board")) == 1
    assert bureau.cell(item, "board").evidence is Evidence.PERSON


def test_after_a_correction_the_old_notice_is_to_be_taken_down_and_the_new_one_stays(bureau: Bureau) -> None:
    item = bureau.publish("web", "board")
    bureau.work()
    operate.post(bureau.rt, bureau.actor("wang"), item, "局一楼公开栏")
    assert desk.notices_waiting(bureau.rt) == []
    bureau.correct(item, title="关于试播的通知（更正）")
    bureau.work()
    operate.post(bureau.rt, bureau.actor("wang"), item, "局一楼公开栏")
    assert [notice.what for notice in desk.notices_waiting(bureau.rt)] == ["take_down"]
    assert operate.unpost(bureau.rt, bureau.actor("wang"), item) == 1
    assert desk.notices_waiting(bureau.rt) == []
    hanging = [posting for posting in reach.item_reach(bureau.rt, item).postings if posting.removed_at is None]
    assert len(hanging) == 1
    assert len(bureau.calls("board")) == 2


def test_the_end_of_a_period_reminds_to_take_down(bureau: Bureau) -> None:
    today = bureau.clock().date()
    period = (today - timedelta(days=1), today + timedelta(days=3))
    item = bureau.publish(
        "web", "board", draft={"item_type": "公示", "period": period, "objection_contact": "0533-0000000"}
    )
    bureau.work()
    operate.post(bureau.rt, bureau.actor("wang"), item, "局一楼公开栏")
    bureau.clock.forward(days=3)
    assert desk.notices_waiting(bureau.rt) == []
    bureau.clock.forward(days=1)
    (notice,) = desk.notices_waiting(bureau.rt)
    assert (notice.item, notice.what, notice.place) == (item, "take_down", "局一楼公开栏")
    operate.unpost(bureau.rt, bureau.actor("wang"), item)
    assert desk.notices_waiting(bureau.rt) == []
    assert bureau.state(item, "board") == "confirmed"


def test_a_review_level_dropped_meanwhile_does_not_strand_what_is_under_review(
    open_office: Callable[..., Bureau],
) -> None:
    bureau = open_office()
    item = bureau.write()
    seen = bureau.submit(item, "web")
    review.approve(bureau.rt, bureau.actor("li"), item, seen)
    one_level = open_office(review={"levels": ["leader"]})
    assert [one.role for one in desk.reviews_waiting(one_level.rt)] == ["leader"]
    assert review.approve(one_level.rt, one_level.actor("chen"), item, seen)
