"""What the pipeline may rely on, of every channel and of the fake that stands for them in its tests."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from channels.app_feed import AppFeed
from channels.bulletin import Bulletin
from channels.contract import (
    Call,
    Channel,
    DeliveryError,
    Evidence,
    File,
    InDoubt,
    Message,
    Office,
    Receipt,
    Rejected,
    Seen,
    Unavailable,
)
from channels.document import Closing, Heading, Paragraph, Table
from channels.mail import Mail
from channels.portal import Portal
from channels.sms import Sms
from channels.webhook import Webhook
from tests.channels import recording
from tests.channels.fault_server import (
    Behaviour,
    answers,
    breaks_off,
    closes,
    falls_silent,
    refused_url,
    serving,
    trickles,
)
from tests.channels.rig_bulletin import bulletin_rig
from tests.channels.rig_mail import mail_rig
from tests.channels.rig_portal import app_feed_rig, portal_rig
from tests.channels.rig_sms import sms_rig
from tests.channels.rig_webhook import SECRET, webhook_rig

PHONE = "13900000009"
OTHER_PHONE = "13900000019"
MAILBOX = "li.ming@mail.example"
NUMBERS = count(1)


@dataclass(frozen=True)
class Rig:
    """A channel, and how many times its other side was asked for something."""

    channel: Channel
    asked: Callable[[], int]

    def call(self, number: int, generation: int = 1, recipient: str = PHONE) -> Call:
        facts = {"posting_date": "2026-03-02"}
        recipient = MAILBOX if isinstance(self.channel, Mail) else recipient
        return Call(f"any/{number}", generation, recipient if self.channel.addressed else "", facts)


@contextmanager
def fake_rig(tmp_path: Path) -> Iterator[tuple[Channel, Callable[[], int]]]:
    yield recording.Recall(tmp_path), lambda: len(recording.calls(tmp_path))


@contextmanager
def paper_rig(tmp_path: Path) -> Iterator[tuple[Channel, Callable[[], int]]]:
    yield bulletin_rig(tmp_path)


RIGS = {
    "fake": fake_rig,
    "sms": sms_rig,
    "portal": portal_rig,
    "app_feed": app_feed_rig,
    "bulletin": paper_rig,
    "webhook": webhook_rig,
    "mail": mail_rig,
}
if theirs := os.environ.get("FABU_RIG"):  # an office's own channel: `FABU_RIG=package.module:function`
    RIGS["theirs"] = resolve_name(theirs)


@pytest.fixture(scope="module", params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path_factory.mktemp(request.param)) as (channel, asked):
        yield Rig(channel, asked)


@pytest.fixture
def number() -> int:
    """An item that no other test has touched."""
    return next(NUMBERS)


def message(number: int, **changes: Any) -> Message:
    return replace(
        Message(
            number=number,
            index_number=f"12370303/2026-{number:05d}",
            title="关于农村数字电视改造期间临时停播的公告",
            blocks=(
                Heading(1, "一、停播时间"),
                Paragraph("2026年3月5日9时至12时。<b>&amp;"),
                Table((("乡镇", "时间"), ("马尚", "9时"))),
                Closing("张店区广播电视局", "2026年3月2日"),
            ),
            item_type="公告",
            department="技术科",
            office=Office("张店区广播电视局", "12370303", "0533-2180000", short_name="张店区广电局"),
            address=f"http://www.example.gov.cn/i/{number}",
            formed_on=date(2026, 3, 2),
        ),
        **changes,
    )


def attachment(content: bytes) -> File:
    return File("停播村居名单.txt", "text/plain", content)


# What holds of every channel


def test_a_preview_is_what_is_sent_however_often_it_is_made(rig: Rig, number: int) -> None:
    first, second = rig.channel.render(message(number)), rig.channel.render(message(number))
    assert first == second
    assert first.digest == second.digest
    assert rig.channel.render(message(number, title="另一个标题")).digest != first.digest


def test_an_attachment_is_part_of_what_is_reviewed(rig: Rig, number: int) -> None:
    if isinstance(rig.channel, Sms):
        pytest.skip("an SMS carries the address of the page, and the page the attachments")
    without = rig.channel.render(message(number))
    with_one = rig.channel.render(message(number, files=(attachment(b"1"),)))
    assert with_one.digest != without.digest
    if not isinstance(rig.channel, Bulletin | Mail):  # they carry its name
        assert rig.channel.render(message(number, files=(attachment(b"2"),))).digest != with_one.digest


def test_what_was_delivered_has_a_receipt_without_personal_data(rig: Rig, number: int) -> None:
    before = rig.asked()
    receipt = rig.channel.deliver(rig.channel.render(message(number)), rig.call(number))
    assert receipt.reference
    assert PHONE not in f"{receipt}" and MAILBOX not in f"{receipt}"
    assert "停播" not in receipt.evidence
    assert rig.asked() == before + 1


def test_delivering_again_changes_nothing_that_can_be_seen(rig: Rig, number: int) -> None:
    if not rig.channel.recall:
        pytest.skip("never delivered again: each time would reach the citizen")
    rendition, call = rig.channel.render(message(number, files=(attachment(b"1"),))), rig.call(number)
    first, second = rig.channel.deliver(rendition, call), rig.channel.deliver(rendition, call)
    assert first.reference == second.reference
    if rig.channel.evidence is Evidence.READBACK:
        assert rig.channel.verify([(rendition, call)]) == [Seen.SAME]


def test_a_correction_replaces_what_stood_there(rig: Rig, number: int) -> None:
    if rig.channel.evidence is not Evidence.READBACK:
        pytest.skip("nobody can look")
    old, new = (rig.channel.render(message(number, title=title)) for title in ("停播公告", "停播公告（更正）"))
    rig.channel.deliver(old, rig.call(number, 1))
    assert rig.channel.verify([(new, rig.call(number, 2))]) == [Seen.OTHER]
    rig.channel.deliver(new, rig.call(number, 2))
    assert rig.channel.verify([(new, rig.call(number, 2)), (old, rig.call(number, 1))]) == [Seen.SAME, Seen.OTHER]


def test_a_withdrawal_may_be_repeated_and_leaves_nothing(rig: Rig, number: int) -> None:
    rendition = rig.channel.render(message(number))
    rig.channel.deliver(rendition, rig.call(number, 1))
    if not rig.channel.recall:
        with pytest.raises(Rejected):
            rig.channel.withdraw(rig.call(number, 2))
        return
    first, second = rig.channel.withdraw(rig.call(number, 2)), rig.channel.withdraw(rig.call(number, 2))
    assert first.reference == second.reference
    if rig.channel.evidence is Evidence.READBACK:
        wanted = [(None, rig.call(number, 2)), (rendition, rig.call(number, 1))]
        assert rig.channel.verify(wanted) == [Seen.NOTHING, Seen.NOTHING]


def test_what_never_arrived_can_be_withdrawn(rig: Rig, number: int) -> None:
    if rig.channel.recall:
        assert rig.channel.withdraw(rig.call(number, 2)).reference


def test_a_late_older_generation_is_refused(rig: Rig, number: int) -> None:
    if not rig.channel.fenced:
        pytest.skip("the other side keeps no generations")
    old, new = (rig.channel.render(message(number, title=title)) for title in ("停播公告", "停播公告（更正）"))
    rig.channel.deliver(new, rig.call(number, 2))
    with pytest.raises(Rejected):
        rig.channel.deliver(old, rig.call(number, 1))
    with pytest.raises(Rejected):
        rig.channel.withdraw(rig.call(number, 1))
    assert rig.channel.verify([(new, rig.call(number, 2))]) == [Seen.SAME]
    rig.channel.withdraw(rig.call(number, 4))
    with pytest.raises(Rejected):
        rig.channel.deliver(new, rig.call(number, 3))
    assert rig.channel.verify([(None, rig.call(number, 4))]) == [Seen.NOTHING]


def test_a_look_answers_for_each_in_order(rig: Rig) -> None:
    there, never, gone = (next(NUMBERS) for _ in range(3))
    rows = [(rig.channel.render(message(one)), rig.call(one)) for one in (there, never)]
    rig.channel.deliver(*rows[0])
    wanted = [rows[1], rows[0], (None, rig.call(gone)), (None, rig.call(there))]
    seen = rig.channel.verify(wanted)
    if rig.channel.evidence is Evidence.READBACK:
        assert seen == [Seen.NOTHING, Seen.SAME, Seen.NOTHING, Seen.OTHER]
    else:
        assert seen == [Seen.UNKNOWN] * 4
    assert rig.channel.verify([]) == []


def test_the_other_side_lets_us_in(rig: Rig) -> None:
    assert rig.channel.check()


def test_only_where_the_outside_reports_are_reports_read(rig: Rig) -> None:
    assert rig.channel.read_report({}) is None
    if rig.channel.evidence.reported:
        assert rig.channel.addressed


def test_a_retry_keeps_its_key_and_nothing_else_has_it() -> None:
    first = Call("sms/1", 1, PHONE, {"posting_date": "2026-03-02"}, "https://in.example/r/1")
    again = Call("sms/1", 1, PHONE, {"posting_date": "2026-03-03"}, "https://in.example/r/2")
    others = [Call("sms/2", 1, PHONE), Call("mail/1", 1, PHONE), Call("sms/1", 2, PHONE), Call("sms/1", 1, OTHER_PHONE)]
    assert first.key == again.key
    assert len({call.key for call in [first, *others]}) == 5


# What holds of every channel that is spoken to by HTTP


@dataclass(frozen=True)
class Use:
    """One way to call a channel, at whatever address."""

    open: Callable[[str], Channel]
    withdraw: bool = False

    def __call__(self, url: str) -> Receipt:
        channel = self.open(url)
        call = Call("any/7", 1, PHONE if channel.addressed else "")
        return channel.withdraw(call) if self.withdraw else channel.deliver(channel.render(message(7)), call)


SECONDS = 1.0


def open_sms(url: str) -> Channel:
    return Sms(f"{url}/cgi-bin/sendsms", "fabu", "open sesame", "张店区广电局", seconds=SECONDS)


def open_portal(url: str) -> Channel:
    return Portal(url, "the key of the tests, long enough", seconds=SECONDS)


def open_webhook(url: str) -> Channel:
    return Webhook(f"{url}/fabu", SECRET, seconds=SECONDS)


def open_app_feed(url: str) -> Channel:
    return AppFeed(url, "the key of the tests, long enough", seconds=SECONDS)


OPEN = {"sms": open_sms, "portal": open_portal, "app_feed": open_app_feed, "webhook": open_webhook}
USES = {
    "sms": Use(open_sms),
    "portal": Use(open_portal),
    "portal withdrawal": Use(open_portal, withdraw=True),
    "app_feed": Use(open_app_feed),
    "app_feed withdrawal": Use(open_app_feed, withdraw=True),
    "webhook": Use(open_webhook),
    "webhook withdrawal": Use(open_webhook, withdraw=True),
}
each_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


@each_use
def test_where_nobody_listens_nothing_was_sent(use: Use) -> None:
    with pytest.raises(Unavailable):
        use(refused_url())


@each_use
def test_where_the_name_is_unknown_nothing_was_sent(use: Use) -> None:
    with pytest.raises(Unavailable):
        use("http://gateway.invalid")


@each_use
@pytest.mark.parametrize("behaviour", [closes, falls_silent, trickles, breaks_off])
def test_a_line_that_breaks_leaves_doubt_within_the_limit_and_asked_once(use: Use, behaviour: Behaviour) -> None:
    with serving(behaviour) as server:
        begun = time.monotonic()
        with pytest.raises(InDoubt):
            use(server.url)
        assert time.monotonic() - begun < SECONDS + 1
        assert len(server.requests) == 1


@each_use
@pytest.mark.parametrize("status", [429, 503])
def test_try_later_is_believed_with_its_time(use: Use, status: int) -> None:
    with serving(answers(status, b"", "Retry-After: 17")) as server, pytest.raises(Unavailable) as error:
        use(server.url)
    assert error.value.retry_after == 17
    assert len(server.requests) == 1


@each_use
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_waits_for_a_person(use: Use, status: int) -> None:
    with serving(answers(status, b"<html>no</html>", "Content-Type: text/html")) as server:
        with pytest.raises(Rejected):
            use(server.url)
        assert len(server.requests) == 1


@each_use
@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_server_error_leaves_doubt(use: Use, status: int) -> None:
    with serving(answers(status)) as server:
        with pytest.raises(InDoubt):
            use(server.url)
        assert len(server.requests) == 1


@each_use
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(use: Use, status: int) -> None:
    with (
        serving(answers(202, b"0: Accepted for delivery")) as elsewhere,
        serving(answers(status, b"", f"Location: {elsewhere.url}/")) as server,
    ):
        with pytest.raises((Rejected, InDoubt)):
            use(server.url)
        assert (len(server.requests), len(elsewhere.requests)) == (1, 0)


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize("open_channel", OPEN.values(), ids=OPEN)
def test_a_strange_page_with_a_good_status_never_becomes_a_success(
    open_channel: Callable[[str], Channel], status: int
) -> None:
    """Such as the login page of a hotel. Where we read back, the look finds it out; elsewhere the answer must."""
    with serving(answers(status, b"<html><p>Log in</p></html>", "Content-Type: text/html")) as server:
        channel = open_channel(server.url)
        rendition, call = channel.render(message(7)), Call("any/7", 1, PHONE if channel.addressed else "")
        if channel.evidence is not Evidence.READBACK:
            with pytest.raises((InDoubt, Rejected)):
                channel.deliver(rendition, call)
        assert Seen.SAME not in channel.verify([(rendition, call), (rendition, call)])


@pytest.mark.parametrize("open_channel", OPEN.values(), ids=OPEN)
@pytest.mark.parametrize("behaviour", [closes, falls_silent, answers(500), answers(200, b"\xff\xfe"), answers(204)])
def test_a_look_that_fails_says_so_and_never_raises(
    open_channel: Callable[[str], Channel], behaviour: Behaviour
) -> None:
    with serving(behaviour) as server:
        channel = open_channel(server.url)
        call = Call("any/7", 1, PHONE if channel.addressed else "")
        seen = channel.verify([(channel.render(message(7)), call), (None, call)])
        assert len(seen) == 2
        assert Seen.SAME not in seen


@pytest.mark.parametrize("open_channel", OPEN.values(), ids=OPEN)
@pytest.mark.parametrize("address", [refused_url, lambda: "http://portal.invalid"], ids=["refused", "unknown name"])
def test_with_everything_down_a_look_knows_nothing(
    open_channel: Callable[[str], Channel], address: Callable[[], str]
) -> None:
    channel = open_channel(address())
    call = Call("any/7", 1, PHONE if channel.addressed else "")
    assert channel.verify([(channel.render(message(7)), call), (None, call)]) == [Seen.UNKNOWN, Seen.UNKNOWN]


@pytest.mark.parametrize("open_channel", OPEN.values(), ids=OPEN)
def test_a_check_of_what_is_down_says_so(open_channel: Callable[[str], Channel]) -> None:
    with pytest.raises(DeliveryError):
        open_channel(refused_url()).check()


def test_what_a_reviewer_looks_at_is_made_of_the_bytes_that_are_sent(rig: Rig, number: int) -> None:
    view = rig.channel.view(rig.channel.render(message(number)))
    seen = [view.title, view.html, *view.messages, *(page[:8] for page in view.pages)]
    assert any(seen)
    assert all(page == b"\x89PNG\r\n\x1a\n" for page in (one[:8] for one in view.pages))
