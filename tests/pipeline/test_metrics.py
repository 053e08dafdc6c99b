"""The figures that a monitoring system reads: they say what the ledger says."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import event, insert

from pipeline import confirm, health, metrics, operate, publish
from pipeline.models import Attempt, AttemptEnd, Delivery, Feed
from pipeline.states import Result
from tests.channels.recording import Fault, set_faults
from tests.office import Bureau, claim


def read(figures: metrics.Figures) -> dict[str, float]:
    """Every figure by its name and labels."""
    lines = re.findall(r"^(fabu_\S+) (\S+)$", figures.text().decode(), re.M)
    return {name: float(value) for name, value in lines}


def test_what_is_due_and_how_long_is_counted_by_channel(bureau: Bureau) -> None:
    figures = metrics.Figures(bureau.rt)
    assert read(figures)['fabu_due{channel="web"}'] == 0
    bureau.publish("web", "sms")
    bureau.clock.forward(minutes=30)
    now = read(figures)
    assert (now['fabu_due{channel="web"}'], now['fabu_due_oldest_seconds{channel="web"}']) == (1, 1800)
    assert now['fabu_due{channel="sms"}'] == 0  # it waits for the page
    bureau.work()
    assert read(figures)['fabu_due{channel="web"}'] == 0


def test_what_a_pause_holds_up_is_due_and_what_a_person_scheduled_is_not(bureau: Bureau) -> None:
    operate.pause(bureau.rt, bureau.actor("wang"), "web", "检修")
    bureau.publish("web")
    bureau.publish("web", publish_at=bureau.clock() + timedelta(days=1))
    now = read(metrics.Figures(bureau.rt))
    assert (now['fabu_due{channel="web"}'], now['fabu_channel_paused{channel="web"}']) == (1, 1)


@pytest.mark.parametrize(("raises", "state"), [("rejected", "failed"), ("in_doubt", "in_doubt")])
def test_what_waits_for_a_person_is_counted_by_channel_and_state(bureau: Bureau, raises: str, state: str) -> None:
    set_faults(bureau.rt.settings.data / "web", Fault(raises=raises))  # type: ignore[arg-type]
    bureau.publish("web")
    publish.deliver(bureau.rt, "web")
    assert read(metrics.Figures(bureau.rt))[f'fabu_trouble{{channel="web",state="{state}"}}'] == 1


def test_attempts_are_counted_once_by_how_they_ended(bureau: Bureau) -> None:
    figures = metrics.Figures(bureau.rt)
    accepted = 'fabu_attempts_total{channel="web",result="accepted"}'
    assert read(figures)[accepted] == 0
    bureau.publish("web")
    bureau.work()
    assert read(figures)[accepted] == 0  # too young: an older one may not be committed yet
    bureau.clock.forward(seconds=31)
    assert [read(figures)[accepted] for _ in range(3)] == [1, 1, 1]
    set_faults(bureau.rt.settings.data / "web", Fault(raises="rejected"))
    bureau.publish("web")
    bureau.work()
    bureau.clock.forward(seconds=31)
    now = read(figures)
    assert (now[accepted], now['fabu_attempts_total{channel="web",result="rejected"}']) == (1, 1)
    afresh = metrics.Figures(bureau.rt)
    assert read(afresh)[accepted] == 0  # a counter begins with its process
    assert read(metrics.Figures(bureau.rt, all_attempts=True))[accepted] == 1


def test_an_end_that_is_committed_after_a_later_one_is_counted_too(bureau: Bureau) -> None:
    """Ids are given before the commit: the higher may be seen first."""
    bureau.publish("web")
    with bureau.rt.reading() as db:
        (delivery,) = db.query(Delivery.id).one()
    figures = metrics.Figures(bureau.rt, all_attempts=True)
    end = {"delivery_id": delivery, "result": Result.ACCEPTED, "reference": "", "evidence": "", "error": ""}

    def commit(id: int) -> None:
        with bureau.rt.writing() as db:
            attempt = {"delivery_id": delivery, "number": id, "generation": 1, "worker": "w"}
            db.execute(insert(Attempt).values(**attempt, started_at=bureau.clock()))
            db.execute(insert(AttemptEnd).values(**end, id=id, number=id, at=bureau.clock()))

    accepted = 'fabu_attempts_total{channel="web",result="accepted"}'
    commit(2)
    assert read(figures)[accepted] == 0
    bureau.clock.forward(seconds=10)
    commit(1)
    bureau.clock.forward(seconds=25)
    assert read(figures)[accepted] == 0  # the first is 25 s old: neither it nor what came after it
    bureau.clock.forward(seconds=10)
    assert read(figures)[accepted] == 2


def test_leases_whose_worker_did_not_come_back_are_counted(bureau: Bureau) -> None:
    bureau.publish("web")
    assert len(claim(bureau.rt, bureau.rt.channels["web"])[0]) == 1
    expired = 'fabu_leases_expired_total{channel="web"}'
    assert read(metrics.Figures(bureau.rt))[expired] == 0
    bureau.clock.forward(minutes=2)
    for _ in range(2):
        confirm.expire_leases(bureau.rt)
    assert read(metrics.Figures(bureau.rt))[expired] == 1


def test_processes_and_feeds_are_told_without_secrets(bureau: Bureau) -> None:
    seen = bureau.clock()
    health.note(bureau.rt, "worker@a:1", seen)
    with bureau.rt.writing() as db:
        db.add(Feed(url="https://user:pass@xinwen.example/feed.xml?key=abc", read_at=seen, error='{"code": "x"}'))
    now = read(metrics.Figures(bureau.rt))
    assert now['fabu_last_seen_timestamp_seconds{host="a",kind="worker"}'] == seen.timestamp()
    assert (now['fabu_alive{kind="worker"}'], now['fabu_alive{kind="beat"}']) == (1, 0)
    assert now['fabu_feed_failing{feed="xinwen.example/feed.xml"}'] == 1
    bureau.clock.forward(minutes=2)
    assert read(metrics.Figures(bureau.rt))['fabu_alive{kind="worker"}'] == 0


def test_no_number_of_a_subscriber_is_among_the_figures(bureau: Bureau) -> None:
    bureau.subscribe("13800000001")
    set_faults(bureau.rt.settings.data / "sms", Fault(raises="rejected"))
    bureau.publish("web", "sms")
    bureau.work()
    bureau.clock.forward(minutes=1)
    text = metrics.Figures(bureau.rt, all_attempts=True).text().decode()
    assert "13800000001" not in text and 'fabu_trouble{channel="sms",state="failed"} 1.0' in text


def test_a_scrape_reads_no_attempt_that_an_earlier_one_counted(bureau: Bureau) -> None:
    figures = metrics.Figures(bureau.rt, all_attempts=True)
    asked = list[str]()

    @event.listens_for(bureau.rt.engine, "before_cursor_execute")
    def note(_c: object, _u: object, statement: str, parameters: object, *_: object) -> None:
        if "attempt_end" in statement and "GROUP BY" in statement:
            asked.append(str(parameters))

    for _ in range(2):
        bureau.publish("web")
        bureau.work()
        bureau.clock.forward(minutes=1)
        read(figures)
    read(figures)  # nothing new: nothing is counted
    first, second = asked
    assert "1" in first and first != second and len(asked) == 2
    with bureau.rt.reading() as db:
        newest = db.query(AttemptEnd.id).order_by(AttemptEnd.id.desc()).first()
    assert newest is not None and str(newest[0]) in second and str(newest[0] - 1) in second
