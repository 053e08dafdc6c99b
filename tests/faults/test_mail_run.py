"""A run of mails to many, against a real mail server in a process of its own, with everything that can go wrong."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from channels import smtp
from pipeline import confirm, publish
from pipeline.models import Attempt, ChannelStatus, Delivery, Subscriber, Suppression
from pipeline.states import State
from tests.faults.conftest import Found
from tests.faults.stack import hands_of, rows, settled, states, until, until_begun
from tests.mail_server import Separate, separate
from tests.office import Bureau, open_bureau, settings_for

SENDERS = 16
MANY = 10_000
DOMAINS = ("a.example", "b.example", "c.example")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Separate]:
    with separate(tmp_path / "mail") as running:
        yield running
    smtp.close_all()


def section(server: Separate, **changes: Any) -> dict[str, Any]:
    """The mail channel of an office, as it stands in fabu.toml."""
    return {
        "kind": "mail", "label": "邮件", "host": "127.0.0.1", "port": server.port, "security": "none",
        "sender": "tongxun@gd.example", "bounces": "tuixin+*@gd.example", "senders": SENDERS, "batch": 500,
        "per_minute": 0.0, "call_seconds": 10.0, **changes,
    }  # fmt: skip


def readers(count: int, name: str = "reader") -> list[str]:
    return [f"{name}{at}@{DOMAINS[at % 3]}" for at in range(count)]


def subscribe(bureau: Bureau, addresses: list[str]) -> None:
    with bureau.rt.writing() as db:
        db.add_all(Subscriber(channel="mail", address=one, added_at=bureau.clock()) for one in addresses)


@pytest.mark.timeout(600)
def test_ten_thousand_readers_get_one_mail_each_though_the_sender_is_killed_again_and_again(
    found: Found, server: Separate
) -> None:
    bureau = found(channels={"mail": section(server)}, limits={"lease_seconds": 20.0})
    many = MANY if bureau.rt.engine.dialect.name == "sqlite" else MANY // 5
    subscribe(bureau, readers(many))
    bureau.publish("mail")
    torn = set[int]()
    with hands_of(bureau) as hands:
        for point in range(5):
            pid = hands.start("mail")
            until_begun(bureau, (point + 1) * many // 8)
            hands.kill(pid)
            left = {row.id for row in rows(bureau, "mail") if row.state is State.SENDING and row.call_open} - torn
            assert len(left) <= SENDERS, "at most one mail a connection may be in doubt"
            torn |= left
        assert torn
        hands.start("mail")
        until(lambda: settled(bureau, "mail"), 300)
    assert_each_once(bureau, server, many, torn)


def assert_each_once(bureau: Bureau, server: Separate, count: int, torn: set[int]) -> None:
    """Everybody has one mail, or the ledger says of whom it cannot tell; nobody has two."""
    ledger, taken = rows(bureau, "mail"), server.times()
    assert len(ledger) == count
    assert max(taken.values()) == 1
    assert {row.id for row in ledger if row.state is State.IN_DOUBT} <= torn
    for row in ledger:
        assert row.state in (State.ACCEPTED, State.IN_DOUBT)
        if row.state is State.ACCEPTED:
            assert taken[row.recipient] == 1


def office(tmp_path: Path, database_url: str, server: Separate, **changes: Any) -> Bureau:
    """A bureau on a clock that we move."""
    channels = {"mail": section(server, **changes)}
    return open_bureau(settings_for(tmp_path / "bureau", database_url, channels=channels))


def send_all(bureau: Bureau) -> None:
    publish.deliver(bureau.rt, "mail")
    confirm.expire_leases(bureau.rt)


def test_noes_closed_lines_and_slow_answers_lose_nothing_and_double_nothing(
    tmp_path: Path, database_url: str, server: Separate
) -> None:
    bureau = office(tmp_path, database_url, server)
    kinds = ("reader", "later", "nobody", "policy", "torn", "lost", "slow")
    for kind in kinds:
        subscribe(bureau, readers(12, kind))
    bureau.publish("mail")
    for _ in range(40):
        send_all(bureau)
        bureau.clock.forward(minutes=11)
        smtp_time_passes(bureau)
    of = {kind: [row for row in rows(bureau, "mail") if row.recipient.startswith(kind)] for kind in kinds}
    assert {kind: {row.state.value for row in found} for kind, found in of.items()} == {
        "reader": {"accepted"}, "later": {"accepted"}, "slow": {"accepted"}, "nobody": {"failed"},
        "policy": {"failed"}, "torn": {"in_doubt"}, "lost": {"in_doubt"},
    }  # fmt: skip
    taken = server.times()
    assert set(taken.values()) == {1}
    assert sorted(taken) == sorted(row.recipient for kind in ("reader", "later", "slow", "lost") for row in of[kind])
    assert {row.attempts for row in of["later"]} == {3}
    with bureau.rt.reading() as db:
        barred = set(db.scalars(select(Suppression.address)))
    assert barred == {row.recipient for row in of["nobody"]}, "nobody is there: they are not written to again"


def smtp_time_passes(bureau: Bureau) -> None:
    """The pace of domains goes by a clock of its own."""
    pace = bureau.rt.channels["mail"].adapter._pace  # type: ignore[attr-defined]
    for domain in pace._domains.values():
        domain.shut_until = domain.next = domain.end = 0.0


def test_a_server_that_is_down_for_an_hour_gets_everything_afterwards_once(
    tmp_path: Path, database_url: str, server: Separate
) -> None:
    bureau = office(tmp_path, database_url, server)
    subscribe(bureau, readers(60))
    bureau.publish("mail")
    server.stop()
    for _ in range(60):
        send_all(bureau)
        bureau.clock.forward(minutes=1)
    assert states(bureau, "mail") == {"due": 60}
    with bureau.rt.reading() as db:
        tried = db.scalar(select(func.count()).select_from(Attempt)) or 0
        assert tried < 60 + 35, "each of the first chunk once; then the breaker lets one try now and then"
        assert db.scalars(select(Delivery.tries).where(Delivery.channel == "mail")).all() == [0] * 61
    server.start()
    for _ in range(30):
        send_all(bureau)
        bureau.clock.forward(minutes=1)
    assert states(bureau, "mail") == {"accepted": 60}
    assert set(server.times().values()) == {1} and len(server.taken) == 60


def test_a_run_that_was_stopped_goes_on_with_those_who_were_not_sent_to(
    tmp_path: Path, database_url: str, server: Separate
) -> None:
    bureau = office(tmp_path, database_url, server, batch=20, senders=4)
    subscribe(bureau, readers(100))
    item = bureau.publish("mail")
    publish.deliver(bureau.rt, "mail", seconds=0)  # nothing
    with bureau.rt.reading() as db:
        due = publish.look(bureau.rt, db, bureau.rt.channels["mail"])
    assert due is not None
    rows_of: list[publish.Claimed] = []
    while not rows_of:  # the first lease expands the slot
        with bureau.rt.writing() as db:
            rows_of, _ = publish.lease(bureau.rt, db, bureau.rt.channels["mail"], due)
    assert publish.send(bureau.rt, bureau.rt.channels["mail"], rows_of) == 20
    assert len(server.taken) == 20
    subscribe(bureau, ["late@a.example"])  # copied once: who subscribes during the run is told of the next item
    bureau.clock.forward(hours=3)
    bureau.correct(item, title="关于试播的通知（更正）")
    send_all(bureau)
    assert states(bureau, "mail") == {"accepted": 100}
    assert set(server.times().values()) == {1} and len(server.taken) == 100
    generations = {mail.name.split(".")[1] for mail in server.taken}
    assert generations == {"1", "2"}, "who had the first text keeps it; the others get the corrected one"


def test_one_domain_that_must_not_be_hurried_holds_up_no_other(
    tmp_path: Path, database_url: str, server: Separate
) -> None:
    bureau = office(tmp_path, database_url, server, per_minute=60)
    subscribe(bureau, [f"reader{at}@{'slow' if at < 40 else f'd{at}'}.example" for at in range(50)])
    bureau.publish("mail")
    begun = time.monotonic()
    send_all(bureau)
    assert time.monotonic() - begun < 20
    taken = [mail.to.partition("@")[2] for mail in server.taken]
    assert taken.count("slow.example") < 12 and len(set(taken)) == 11
    waiting = [row for row in rows(bureau, "mail") if row.state is State.DUE]
    assert waiting and {row.attempts for row in waiting} == {0}, "waiting for one's turn is no attempt"
    bureau.clock.forward(minutes=1)
    smtp_time_passes(bureau)
    for _ in range(6):
        send_all(bureau)
        bureau.clock.forward(minutes=1)
        smtp_time_passes(bureau)
    assert states(bureau, "mail") == {"accepted": 50}
    assert set(server.times().values()) == {1}


def test_readers_who_are_put_off_never_shut_the_channel_for_the_others(
    tmp_path: Path, database_url: str, server: Separate
) -> None:
    bureau = office(tmp_path, database_url, server)
    subscribe(bureau, [f"later{at}@d{at}.example" for at in range(20)])  # a domain each
    bureau.publish("mail")
    send_all(bureau)
    assert {row.attempts for row in rows(bureau, "mail")} == {1}
    with bureau.rt.reading() as db:
        kept = db.get_one(ChannelStatus, "mail")
        assert (kept.failures, kept.open_until) == (0, None) and kept.last_success_at is not None


def test_who_leaves_or_comes_back_as_dead_while_a_run_goes_on_gets_nothing_more(
    tmp_path: Path, database_url: str, server: Separate
) -> None:
    bureau = office(tmp_path, database_url, server, batch=10, senders=2)
    subscribe(bureau, readers(30))
    bureau.publish("mail")
    claimed: list[publish.Claimed] = []
    while not claimed:
        with bureau.rt.reading() as db:
            due = publish.look(bureau.rt, db, bureau.rt.channels["mail"])
        assert due is not None
        with bureau.rt.writing() as db:
            claimed, _ = publish.lease(bureau.rt, db, bureau.rt.channels["mail"], due)
    with bureau.rt.writing() as db:
        gone = claimed[3].recipient
        db.add(Suppression(channel="mail", address=gone, reason="退订", at=bureau.clock()))
    publish.send(bureau.rt, bureau.rt.channels["mail"], claimed)
    send_all(bureau)
    assert states(bureau, "mail") == {"accepted": 29, "skipped": 1}
    assert gone not in server.times() and len(server.taken) == 29
