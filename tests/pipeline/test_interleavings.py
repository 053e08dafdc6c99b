"""Two workers, a report, a sweep and a person on the same row, in the nasty order: each step is called by hand."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from channels.contract import Call, Receipt, Rendition
from pipeline import confirm, operate, publish, reports, review, slots, submissions
from pipeline.claim import Claimed
from pipeline.decisions import Refused
from pipeline.models import ChannelStatus, Delivery, StoredReport, Subscriber
from pipeline.publish import Begun, Ended
from pipeline.runtime import Opened
from pipeline.states import Result, State
from tests.channels.recording import Fault, Person, Recall, set_faults
from tests.office import Bureau, claim

PHONE = "13800000001"


def faults(bureau: Bureau, channel: str, *script: Fault) -> None:
    set_faults(bureau.rt.settings.data / channel, *script)


def opened(bureau: Bureau, channel: str) -> Opened:
    return bureau.rt.channels[channel]


def lease(bureau: Bureau, channel: str) -> list[Claimed]:
    """Claim, past the expansion of slots with recipients."""
    while True:
        rows, settled = claim(bureau.rt, opened(bureau, channel))
        if rows or not settled:
            return rows


def begin(bureau: Bureau, channel: str, rows: list[Claimed]) -> list[Begun]:
    with bureau.rt.writing() as db:
        return publish.open_attempts(bureau.rt, db, opened(bureau, channel), rows)


def end(bureau: Bureau, channel: str, begun: list[Begun], result: Result = Result.ACCEPTED) -> None:
    with bureau.rt.writing() as db:
        publish.record(bureau.rt, db, opened(bureau, channel), [Ended(one, result, code="test") for one in begun])


def row(bureau: Bureau, item: int, channel: str, recipient: str = "") -> Delivery:
    with bureau.rt.reading() as db:
        chosen = (Delivery.item_id == item, Delivery.channel == channel, Delivery.recipient == recipient)
        return db.scalars(select(Delivery).where(*chosen)).one()


def report_on(bureau: Bureau, begun: Begun, status: str) -> None:
    address = reports.address(bureau.rt, "sms", begun.row.id, begun.number, begun.started_at)
    channel, token = address.rsplit("/", 2)[-2:]
    assert reports.take(bureau.rt, channel, token, {"status": status})


def settled_as_not_sent(bureau: Bureau) -> tuple[int, Begun]:
    """An SMS whose call is still out, given up as lost, and settled by a person as not sent."""
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    bureau.work("web")
    (first,) = begin(bureau, "sms", lease(bureau, "sms"))
    bureau.clock.forward(seconds=61)
    confirm.expire_leases(bureau.rt)
    assert row(bureau, item, "sms", PHONE).state is State.IN_DOUBT
    operate.settle(bureau.rt, bureau.actor("wang"), item, "sms", sent=False, reason="运营商说没有")
    return item, first


# ── no second SMS ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_yes_stops_the_retry_that_a_worker_has_claimed_already(bureau: Bureau) -> None:
    item, first = settled_as_not_sent(bureau)
    rows = lease(bureau, "sms")
    end(bureau, "sms", [first])
    assert row(bureau, item, "sms", PHONE).state is State.ACCEPTED
    assert begin(bureau, "sms", rows) == []


def test_a_late_yes_of_an_earlier_attempt_stops_the_next_one(bureau: Bureau) -> None:
    item, first = settled_as_not_sent(bureau)
    end(bureau, "sms", begin(bureau, "sms", lease(bureau, "sms")), Result.UNAVAILABLE)
    end(bureau, "sms", [first])
    assert row(bureau, item, "sms", PHONE).state is State.ACCEPTED
    bureau.clock.forward(minutes=10)
    assert lease(bureau, "sms") == []


@pytest.mark.parametrize("claimed", [False, True])
def test_a_report_that_it_arrived_stops_the_retry_claimed_or_not(bureau: Bureau, claimed: bool) -> None:
    item, first = settled_as_not_sent(bureau)
    rows = lease(bureau, "sms") if claimed else []
    report_on(bureau, first, "delivered")
    assert row(bureau, item, "sms", PHONE).state is State.CONFIRMED
    assert (begin(bureau, "sms", rows) if rows else lease(bureau, "sms")) == []


def test_a_report_on_an_earlier_attempt_waits_for_the_open_one_and_spares_a_third(bureau: Bureau) -> None:
    item, first = settled_as_not_sent(bureau)
    second = begin(bureau, "sms", lease(bureau, "sms"))
    report_on(bureau, first, "delivered")
    assert row(bureau, item, "sms", PHONE).state is State.SENDING
    end(bureau, "sms", second, Result.UNAVAILABLE)
    assert row(bureau, item, "sms", PHONE).state is State.CONFIRMED


def test_what_was_skipped_and_had_gone_out_after_all_says_so(bureau: Bureau) -> None:
    item, first = settled_as_not_sent(bureau)
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    assert row(bureau, item, "sms", PHONE).state is State.SKIPPED
    end(bureau, "sms", [first])
    assert row(bureau, item, "sms", PHONE).state is State.ACCEPTED
    report_on(bureau, first, "delivered")
    cell = bureau.cell(item, "sms")
    assert (cell.state, cell.held) == ("confirmed", 1)


def test_the_reach_of_sms_tells_what_the_phones_hold_not_what_the_page_says_by_now(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    bureau.work()
    bureau.report(bureau.effects("sms")[0], "delivered")
    bureau.correct(item, title="关于试播的通知（更正）")
    bureau.work()
    cell = bureau.cell(item, "sms")
    assert (cell.state, cell.wanted, cell.held, cell.held_known) == ("confirmed", 1, 1, True)
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    bureau.work()
    cell = bureau.cell(item, "sms")
    assert (cell.state, cell.wanted, cell.held) == ("confirmed", 1, 1)  # not: withdrawn


def test_a_report_confirms_what_arrived_even_where_a_newer_text_is_wanted(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    bureau.work()
    call = bureau.effects("sms")[0]
    bureau.report(call, "failed")
    bureau.correct(item, title="关于试播的通知（更正）")
    bureau.report(call, "delivered")
    cell = bureau.cell(item, "sms")
    assert (cell.state, cell.wanted, cell.held) == ("confirmed", 2, 1)


# ── decisions between the steps ──────────────────────────────────────────────────────────────────────────────────────


def while_deciding(bureau: Bureau, item: int, meanwhile: Callable[[], None]) -> bool:
    """Withdraw the item, and run `meanwhile` in another thread before the decision is committed. Returns whether it
    waited for the commit."""
    with bureau.rt.writing() as db:
        slots.want_nothing(bureau.rt, db, item)
        other = threading.Thread(target=meanwhile)
        other.start()
        other.join(0.7)
        waited = other.is_alive()
    other.join(30)
    assert not other.is_alive()
    return waited


def test_an_sms_that_could_not_be_sent_while_the_withdrawal_is_being_written_never_goes(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    bureau.work("web")
    begun = begin(bureau, "sms", lease(bureau, "sms"))
    assert while_deciding(bureau, item, lambda: end(bureau, "sms", begun, Result.UNAVAILABLE))
    assert row(bureau, item, "sms", PHONE).state is State.SKIPPED
    bureau.clock.forward(hours=1)
    assert lease(bureau, "sms") == []


def test_an_expansion_and_a_withdrawal_never_wait_for_each_other(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    bureau.work("web")
    claimed = list[Claimed]()
    while_deciding(bureau, item, lambda: claimed.extend(lease(bureau, "sms")))
    assert claimed == [] and row(bureau, item, "sms").state is State.SKIPPED


def test_a_decision_does_not_lock_out_what_only_refers_to_the_item(bureau: Bureau) -> None:
    """PostgreSQL: FOR UPDATE on the item would make a worker's insert wait while it holds the slot: a deadlock."""
    if bureau.rt.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    bureau.subscribe(PHONE)
    item, other = bureau.publish("web", "sms"), bureau.publish("web", "sms")
    bureau.work("web")
    with bureau.rt.writing() as db:
        submissions.locked_item(db, item)
        expanding = threading.Thread(target=lambda: bureau.work("sms"))
        expanding.start()
        expanding.join(10)
        assert not expanding.is_alive()
    assert bureau.state(item, "sms") == bureau.state(other, "sms") == "accepted"


def test_withdrawn_between_claim_and_call_nothing_is_taken_back_that_never_was(bureau: Bureau) -> None:
    item = bureau.publish("web", "board")
    rows = lease(bureau, "web")
    review.withdraw(bureau.rt, bureau.actor("li"), item, "不再需要")
    assert begin(bureau, "web", rows) == []
    bureau.work()
    assert (bureau.state(item, "web"), bureau.calls("web"), bureau.calls("board")) == ("skipped", [], [])


@pytest.mark.parametrize("result", [Result.UNAVAILABLE, Result.REJECTED])
def test_withdrawn_in_flight_and_never_arrived_nothing_is_taken_back(bureau: Bureau, result: Result) -> None:
    item = bureau.publish("web")
    begun = begin(bureau, "web", lease(bureau, "web"))
    review.withdraw(bureau.rt, bureau.actor("li"), item, "不再需要")
    end(bureau, "web", begun, result)
    bureau.work("web")
    cell = bureau.cell(item, "web")
    assert (cell.state, cell.reason, bureau.calls("web")) == ("skipped", "withdrawn", [])


@pytest.mark.parametrize("result", [Result.ACCEPTED, Result.IN_DOUBT])
def test_withdrawn_in_flight_the_page_is_taken_back_at_once(bureau: Bureau, result: Result) -> None:
    item = bureau.publish("web")
    begun = begin(bureau, "web", lease(bureau, "web"))
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    end(bureau, "web", begun, result)
    bureau.work("web")
    assert [call.op for call in bureau.effects("web")] == ["withdraw"]
    assert bureau.cell(item, "web").held_known and bureau.state(item, "web") == "confirmed"


def test_a_text_corrected_in_flight_is_followed_by_the_new_one(bureau: Bureau) -> None:
    item = bureau.publish("web")
    begun = begin(bureau, "web", lease(bureau, "web"))
    bureau.correct(item, title="关于试播的通知（更正）")
    assert lease(bureau, "web") == []  # the live lease is not broken
    end(bureau, "web", begun)
    bureau.work("web")
    assert (bureau.cell(item, "web").held, len(bureau.effects("web"))) == (2, 1)


@pytest.mark.parametrize("channel", ["web", "sms"])
def test_what_is_put_off_between_claim_and_call_keeps_to_its_new_time(bureau: Bureau, channel: str) -> None:
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    if channel == "sms":
        bureau.work("web")
    rows = lease(bureau, channel)
    later = bureau.clock() + timedelta(days=1)
    bureau.approve(item, bureau.submit(item, publish_at=later))
    assert begin(bureau, channel, rows) == []
    bureau.work(channel)
    assert bureau.calls(channel) == []
    bureau.clock.forward(days=1, seconds=1)
    bureau.work(channel)
    assert len(bureau.effects(channel)) == 1


def test_a_failed_recipient_that_is_put_off_is_not_sent_before_the_new_time(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    faults(bureau, "sms", Fault(raises="rejected"))
    item = bureau.publish("web", "sms")
    bureau.work()
    bureau.approve(item, bureau.submit(item, publish_at=bureau.clock() + timedelta(days=1)))
    operate.retry(bureau.rt, bureau.actor("wang"), item, "sms")
    bureau.work()
    assert len(bureau.calls("sms")) == 1
    bureau.clock.forward(days=1, seconds=1)
    bureau.work()
    assert len(bureau.effects("sms")) == 1


def test_a_recipient_that_follows_a_correction_starts_afresh(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    bureau.work("web")
    begun = begin(bureau, "sms", lease(bureau, "sms"))
    bureau.correct(item, title="关于试播的通知（更正）")
    bureau.work("web")
    end(bureau, "sms", begun, Result.UNAVAILABLE)
    after = row(bureau, item, "sms", PHONE)
    assert (after.generation, after.try_after, after.first_tried_at, after.failures) == (2, None, None, 0)
    bureau.work("sms")
    assert len(bureau.effects("sms")) == 1


def test_leave_to_go_in_the_quiet_hours_is_given_to_one_text_and_not_to_the_next(
    open_office: Callable[..., Bureau],
) -> None:
    bureau = open_office(channels={"sms": {"quiet": "20:00-08:00"}})
    bureau.subscribe(PHONE)
    bureau.clock.forward(hours=11)
    item = bureau.publish("web", "sms")
    operate.retry(bureau.rt, bureau.actor("wang"), item, "sms", hurry=True, reason="停播紧急通知")
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    bureau.approve(item, bureau.submit(item, "web", "sms"))
    bureau.work()
    assert bureau.calls("sms") == []


def test_published_again_without_a_time_it_does_not_wait_for_the_time_of_the_withdrawn_one(bureau: Bureau) -> None:
    item = bureau.publish("web", publish_at=bureau.clock() + timedelta(days=2))
    review.withdraw(bureau.rt, bureau.actor("li"), item, "改为立即发布")
    bureau.approve(item, bureau.submit(item, "web"))
    bureau.work("web")
    assert bureau.state(item, "web") == "confirmed"


def test_published_again_an_sms_without_recipients_then_finds_those_who_came_since(bureau: Bureau) -> None:
    item = bureau.publish("web", "sms")
    bureau.work()
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    assert bureau.cell(item, "sms").wanted is None
    bureau.subscribe(PHONE)
    bureau.approve(item, bureau.submit(item, "web", "sms"))
    bureau.work()
    assert len(bureau.effects("sms")) == 1


def test_what_was_refused_after_a_withdrawal_is_skipped_and_asks_nobody(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    bureau.work("web")
    begun = begin(bureau, "sms", lease(bureau, "sms"))
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    end(bureau, "sms", begun, Result.REJECTED)
    assert row(bureau, item, "sms", PHONE).state is State.SKIPPED


# ── the notice board, which takes back but cannot be looked at ───────────────────────────────────────────────────────


def in_doubt_on_the_board(bureau: Bureau) -> int:
    faults(bureau, "board", Fault(raises="in_doubt_after_effect"))
    item = bureau.publish("web", "board")
    bureau.work("web", "board")
    assert bureau.state(item, "board") == "in_doubt"
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    assert bureau.state(item, "board") == "in_doubt"  # its call may still be in flight
    return item


def test_a_notice_in_doubt_is_not_withdrawn_without_anybody_taking_it_down(bureau: Bureau) -> None:
    item = in_doubt_on_the_board(bureau)
    bureau.clock.forward(minutes=1)
    bureau.work("board")
    bureau.work("board")
    assert [call.op for call in bureau.effects("board")] == ["deliver", "withdraw"]
    assert bureau.state(item, "board") == "accepted"


def test_the_older_call_that_arrived_says_a_person_does_not_stand_for_the_withdrawal(bureau: Bureau) -> None:
    item = in_doubt_on_the_board(bureau)
    operate.settle(bureau.rt, bureau.actor("wang"), item, "board", sent=True, reason="打印机旁有一份")
    bureau.work("board")
    assert [call.op for call in bureau.effects("board")] == ["deliver", "withdraw"]


# ── late results where one can look ──────────────────────────────────────────────────────────────────────────────────


def test_a_worker_that_wakes_after_its_lease_with_an_older_text_costs_a_look_and_nothing_else(bureau: Bureau) -> None:
    item = bureau.publish("web")
    (first,) = begin(bureau, "web", lease(bureau, "web"))
    bureau.clock.forward(seconds=61)
    confirm.expire_leases(bureau.rt)
    bureau.correct(item, title="关于试播的通知（更正）")
    bureau.work("web")
    assert bureau.state(item, "web") == "confirmed"
    end(bureau, "web", [first])
    cell = bureau.cell(item, "web")
    assert (cell.state, cell.held_known) == ("accepted", False)
    bureau.work("web")
    assert bureau.state(item, "web") == "confirmed" and len(bureau.calls("web")) == 1


def test_a_late_yes_of_what_was_seen_already_changes_nothing(bureau: Bureau) -> None:
    item = bureau.publish("web")
    (first,) = begin(bureau, "web", lease(bureau, "web"))
    bureau.clock.forward(seconds=61)
    confirm.expire_leases(bureau.rt)
    bureau.work("web")  # the look finds nothing: sent again, and seen
    bureau.work("web")
    at = bureau.cell(item, "web").confirmed_at
    bureau.clock.forward(seconds=5)
    end(bureau, "web", [first])
    assert (bureau.state(item, "web"), bureau.cell(item, "web").confirmed_at) == ("confirmed", at)


def test_a_look_that_began_before_a_correction_says_nothing_of_it(bureau: Bureau) -> None:
    item = bureau.publish("web")
    publish.deliver(bureau.rt, "web")
    looks = confirm._due_looks(bureau.rt, opened(bureau, "web"))
    bureau.correct(item, title="关于试播的通知（更正）")
    assert confirm._settle_looks(bureau.rt, opened(bureau, "web"), looks) == 0
    assert bureau.state(item, "web") == "due"


# ── the breaker ──────────────────────────────────────────────────────────────────────────────────────────────────────


def status(bureau: Bureau, channel: str) -> ChannelStatus:
    with bureau.rt.reading() as db:
        return db.get_one(ChannelStatus, channel)


def test_an_outage_that_meets_a_whole_chunk_opens_the_breaker_for_seconds_not_minutes(bureau: Bureau) -> None:
    for _ in range(12):
        bureau.publish("web")
    begun = begin(bureau, "web", lease(bureau, "web"))
    assert len(begun) == 12
    end(bureau, "web", begun, Result.UNAVAILABLE)
    assert status(bureau, "web").open_until == bureau.clock() + timedelta(seconds=5)
    opening = []
    for _ in range(4):
        bureau.clock.forward(minutes=6)
        rows = lease(bureau, "web")
        assert len(rows) == 1  # one, to try whether it may close again
        end(bureau, "web", begin(bureau, "web", rows), Result.UNAVAILABLE)
        until = status(bureau, "web").open_until
        assert until is not None
        opening.append((until - bureau.clock()).total_seconds())
    assert opening == [15, 60, 300, 300]


def test_a_line_that_broke_neither_closes_the_breaker_nor_counts_as_a_success(bureau: Bureau) -> None:
    for _ in range(6):
        bureau.publish("web")
    end(bureau, "web", begin(bureau, "web", lease(bureau, "web")), Result.UNAVAILABLE)
    bureau.clock.forward(minutes=6)
    end(bureau, "web", begin(bureau, "web", lease(bureau, "web")), Result.IN_DOUBT)
    assert (status(bureau, "web").failures, status(bureau, "web").last_success_at) == (5, None)
    end(bureau, "web", begin(bureau, "web", lease(bureau, "web")), Result.ACCEPTED)
    assert (status(bureau, "web").failures, status(bureau, "web").open_until) == (0, None)


# ── what the office changes ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_item_on_a_channel_that_was_given_up_can_still_be_corrected_and_withdrawn(
    open_office: Callable[..., Bureau],
) -> None:
    before = open_office(
        channels={"old": {"kind": "tests.channels.recording:Recall", "label": "旧站", "directory": "x"}}
    )
    before.rt.channels["old"].adapter.__dict__["directory"] = before.rt.settings.data / "old"
    item = before.publish("web", "old")
    before.work()
    after = open_office()
    after.correct(item, title="关于试播的通知（更正）")
    after.work()
    assert after.cell(item, "web").held == 2
    assert sorted(review.withdraw(after.rt, after.actor("li"), item, "数据有误")) == ["old", "web"]
    after.work()
    assert after.state(item, "web") == "confirmed"
    before.work("old")  # it comes back: the page is taken down
    assert [call.op for call in before.effects("old")] == ["deliver", "withdraw"]


def test_a_report_of_a_channel_that_was_given_up_stops_no_sweep(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    item = bureau.publish("web", "sms")
    bureau.work()
    call = bureau.effects("sms")[0]
    with bureau.rt.writing() as db:
        first = row(bureau, item, "sms", PHONE)
        db.add(
            StoredReport(
                channel="gone",
                delivery_id=first.id,
                number=1,
                started_at=first.last_tried_at,
                query="{}",
                received_at=bureau.clock(),
            )
        )
    confirm.sweep(bureau.rt)
    bureau.report(call, "delivered")
    assert bureau.state(item, "sms") == "confirmed"


def test_retry_of_what_was_withdrawn_meanwhile_has_nothing_to_send(bureau: Bureau) -> None:
    bureau.subscribe(PHONE)
    faults(bureau, "sms", Fault(raises="rejected"))
    item = bureau.publish("web", "sms")
    bureau.work()
    review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
    with pytest.raises(Refused, match="retry.nothing"):
        operate.retry(bureau.rt, bureau.actor("wang"), item, "sms")


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_workers_reports_sweeps_and_persons_at_once_send_each_text_once(bureau: Bureau) -> None:
    """Real threads on one database: no deadlock reaches a person, and nobody gets a text twice."""
    phones = [f"138{number:08d}" for number in range(30)]
    with bureau.rt.writing() as db:
        db.add_all(Subscriber(channel="sms", address=one, added_at=bureau.clock()) for one in phones)
    items = [bureau.publish("web", "sms") for _ in range(4)]
    bureau.work("web")
    failed = list[BaseException]()
    finished = threading.Event()

    def run(step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException as error:
            failed.append(error)

    def reporting() -> None:
        seen = set[str]()
        while not finished.is_set() or len(seen) < len(bureau.effects("sms")):
            for call in bureau.effects("sms"):
                if call.report_to not in seen:
                    seen.add(call.report_to)
                    bureau.report(call, "delivered")

    def sweeping() -> None:
        while not finished.is_set():
            confirm.sweep(bureau.rt)

    def deciding() -> None:
        for item in items[:2]:
            review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
        bureau.correct(items[2], title="关于试播的通知（更正）")

    workers = [threading.Thread(target=run, args=(lambda: publish.deliver(bureau.rt, "sms"),)) for _ in range(3)]
    others = [threading.Thread(target=run, args=(step,)) for step in (reporting, sweeping, deciding)]
    for thread in workers + others:
        thread.start()
    for thread in [*workers, others[2]]:
        thread.join(60)
    bureau.work()
    bureau.work()
    finished.set()
    for thread in others:
        thread.join(60)
    assert failed == []
    sent = [(call.slot, call.recipient) for call in bureau.effects("sms")]
    assert len(sent) == len(set(sent))
    assert bureau.cell(items[3], "sms").counts == {"confirmed": len(phones)}
    assert bureau.cell(items[2], "sms").counts == {"confirmed": len(phones)}
    assert set(bureau.cell(items[0], "sms").counts) <= {"confirmed", "skipped"}


def test_a_channel_that_answers_only_after_the_withdrawal_leaves_no_page(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = bureau.publish("web")
    original = Recall.deliver

    def slow(self: Recall, rendition: Rendition, call: Call) -> Receipt:
        review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
        return original(self, rendition, call)

    monkeypatch.setattr(Recall, "deliver", slow)
    bureau.work("web")
    bureau.work("web")
    assert [call.op for call in bureau.effects("web")] == ["deliver", "withdraw"]
    assert bureau.state(item, "web") == "confirmed" and bureau.cell(item, "web").wanted is None


def test_a_notice_withdrawn_while_it_is_printed_is_to_be_taken_down(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = bureau.publish("web", "board")
    bureau.work("web")
    original = Person.deliver

    def slow(self: Person, rendition: Rendition, call: Call) -> Receipt:
        review.withdraw(bureau.rt, bureau.actor("li"), item, "数据有误")
        return original(self, rendition, call)

    monkeypatch.setattr(Person, "deliver", slow)
    bureau.work("board")
    bureau.work("board")
    assert [call.op for call in bureau.effects("board")] == ["deliver", "withdraw"]
    assert bureau.state(item, "board") == "accepted"
