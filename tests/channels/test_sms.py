"""The rules of SMS (what counts, what is cut, what may not be in it), and its life on the phone network."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from channels.contract import (
    Call,
    InDoubt,
    Message,
    Office,
    Outcome,
    Receipt,
    Rejected,
    Report,
    Seen,
    Severity,
    Unavailable,
    Unrenderable,
)
from channels.document import Paragraph
from channels.sms import BadNumber, Sms, normalise, parts, units
from tests.channels.fault_server import answers, serving
from tests.channels.rig_sms import Sandbox, sandbox

SIGNATURE = "【张店区广电局】"
ADDRESS = "http://www.example.gov.cn/i/1234"

message = Message(
    number=1234,
    index_number="12370303/2026-00012",
    title="关于农村数字电视改造期间临时停播的公告",
    blocks=(Paragraph("因线路改造，部分乡镇临时停播。"),),
    item_type="公告",
    department="技术科",
    office=Office("张店区广播电视局", "12370303", short_name="张店区广电局"),
    address=ADDRESS,
    formed_on=date(2026, 3, 2),
)
offline = Sms("http://127.0.0.1:1/cgi-bin/sendsms", "fabu", "open sesame", "张店区广电局", seconds=1)


def text_of(message: Message) -> str:
    return offline.render(message).body.decode()


@pytest.mark.parametrize(
    ("length", "sizes"),
    [
        (0, [0]),
        (70, [70]),
        (71, [67, 4]),
        (134, [67, 67]),
        (135, [67, 67, 1]),
        (160, [67, 67, 26]),
    ],
)
def test_a_long_text_goes_out_in_parts_of_67(length: int, sizes: list[int]) -> None:
    assert [len(part) for part in parts("字" * length)] == sizes


def test_the_signature_counts_with_its_brackets() -> None:
    assert units(SIGNATURE) == 8
    assert len(parts(SIGNATURE + "字" * 62)) == 1
    assert len(parts(SIGNATURE + "字" * 63)) == 2


def test_a_surrogate_pair_is_never_split() -> None:
    assert [units(part) for part in parts("字" * 66 + "😀" * 3)] == [66, 6]
    assert [units(part) for part in parts("😀" * 36)] == [66, 6]
    assert len(parts("😀" * 35)) == 1
    text = "字😀" * 100
    assert "".join(parts(text)) == text


@pytest.mark.parametrize(
    "typed",
    [
        "13800001234",
        "+8613800001234",
        "008613800001234",
        "8613800001234",
        "+86 138-0000-1234",
        " 138 0000 1234\n",
        "１３８００００１２３４",
        "＋８６　１３８－００００－１２３４",
        "138\u20110000\u20131234",
        "138\u00a00000\u00a01234",
    ],
)
def test_a_number_is_the_same_however_it_was_typed(typed: str) -> None:
    assert normalise(typed) == "13800001234"


@pytest.mark.parametrize(
    "typed",
    ["", "1380000123", "138000012345", "12800001234", "0533-2180000", "+1 2025550123", "1380000123x", "١٣٨٠٠٠٠١٢٣٤"],
)
def test_what_is_no_mobile_number_is_refused_without_repeating_it(typed: str) -> None:
    with pytest.raises(BadNumber) as error:
        normalise(typed)
    assert error.value.code == "sms.bad_number"
    assert str(error.value) == "sms.bad_number"


def test_without_a_text_of_its_own_an_sms_is_title_and_short_address() -> None:
    assert text_of(message) == f"{SIGNATURE}关于农村数字电视改造期间临时停播的公告 {ADDRESS}"
    assert text_of(replace(message, short_title="临时停播公告")) == f"{SIGNATURE}临时停播公告 {ADDRESS}"


def test_an_sms_text_of_its_own_goes_out_as_it_was_reviewed() -> None:
    assert text_of(replace(message, sms_text="3月5日9时至12时停播。")) == f"{SIGNATURE}3月5日9时至12时停播。"


@pytest.mark.parametrize("character", ["字", "😀"])
def test_a_title_that_does_not_fit_is_cut_and_the_address_arrives_whole(character: str) -> None:
    text = text_of(replace(message, title=character * 10_000))
    assert text.endswith(f"{character}… {ADDRESS}")
    assert 499 <= units(text) <= 500


def test_a_title_that_just_fits_is_not_cut() -> None:
    room = 500 - units(f"{SIGNATURE} {ADDRESS}")
    assert "…" not in text_of(replace(message, title="字" * room))
    assert "…" in text_of(replace(message, title="字" * (room + 1)))


@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"sms_text": "字" * 493}, "sms.too_long", ""),
        ({"sms_text": "请看【公告】全文"}, "sms.brackets", "请看【公告】全文"),
        ({"title": "公告】"}, "sms.brackets", "公告】 http://"),
        ({"sms_text": "停播通知，拒收请回复R"}, "sms.opt_out_in_notification", "拒收请回复R"),
        ({"sms_text": "停播通知，拒收请回复 Ｒ"}, "sms.opt_out_in_notification", "拒收请回复 Ｒ"),
    ],
)
def test_what_providers_refuse_is_blocked_before_review(changes: dict[str, str], code: str, place: str) -> None:
    with pytest.raises(Unrenderable) as error:
        offline.render(replace(message, **changes))  # type: ignore[arg-type]
    (finding,) = error.value.findings
    assert (finding.code, finding.severity, finding.place) == (code, Severity.BLOCK, place)


def test_a_text_that_is_too_long_is_told_its_length_and_never_cut() -> None:
    assert units(text_of(replace(message, sms_text="字" * 492))) == 500
    with pytest.raises(Unrenderable) as error:
        offline.render(replace(message, sms_text="字" * 493))
    assert error.value.findings[0].facts == {"units": "501", "limit": "500"}


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Unrenderable) as error:
        offline.render(replace(message, sms_text="【】拒收请回复R" + "字" * 500))
    assert [finding.code for finding in error.value.findings] == [
        "sms.brackets",
        "sms.opt_out_in_notification",
        "sms.too_long",
    ]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("1", "delivered"), ("2", "failed"), ("4", "pending"), ("8", "pending"), ("16", "failed")],
)
def test_a_report_is_read(status: str, outcome: str) -> None:
    assert offline.read_report({"status": status}) == Report(Outcome(outcome), f"dlr {status}")


@pytest.mark.parametrize("query", [{}, {"status": ""}, {"status": "3"}, {"status": "%d"}, {"status": "１"}])
def test_a_report_that_says_nothing_is_none(query: dict[str, str]) -> None:
    assert offline.read_report(query) is None


def test_an_invitation_is_one_sms_with_the_code_and_no_link_and_passes_the_providers_rules() -> None:
    office = Office("张店区广播电视局", "370303", short_name="张店区广电局")
    text = offline.invitation(office, "https://in.example/subscribe/confirm/x", "012345").body.decode()
    assert text.startswith("【张店区广电局】") and text.count("【") == 1 and "012345" in text and "http" not in text
    assert len(parts(text)) == 1 and "拒收请回复" not in text


def test_an_sms_cannot_be_looked_at_or_taken_back() -> None:
    call = Call("sms/1234", 1, "13800001234")
    assert offline.verify([(offline.render(message), call), (None, call)]) == [Seen.UNKNOWN, Seen.UNKNOWN]
    with pytest.raises(Rejected) as error:
        offline.withdraw(call)
    assert error.value.code == "sms.no_recall"


def test_the_password_does_not_show() -> None:
    assert "open sesame" not in repr(offline)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


def test_a_citizen_receives_exactly_what_was_previewed(network: Sandbox) -> None:
    previewed = network.channel.render(replace(message, sms_text="50%+1 & 停播？#看电视=😀\n详见公告"))
    call = Call("sms/1", 1, "13900000009")
    assert network.channel.deliver(previewed, call) == Receipt(call.key, "202 0: Accepted")
    (received,) = network.messages(to="13900000009")
    assert received["text"].encode() == previewed.body
    assert received["sender"] == "10690000", "the gateway's own number"


def test_the_office_may_have_a_number_of_its_own(network: Sandbox) -> None:
    replace(network.channel, sender="106905").deliver(network.channel.render(message), Call("sms/2", 1, "13900000019"))
    assert network.messages(to="13900000019")[0]["sender"] == "106905"


def test_the_gateway_is_checked_without_any_phone_noticing(network: Sandbox) -> None:
    before = network.messages()
    assert network.channel.check() == "ok"
    assert network.messages() == before


def test_a_wrong_password_is_told_from_all_else(network: Sandbox) -> None:
    stranger = replace(network.channel, password="wrong")
    for use in (stranger.check, lambda: stranger.deliver(stranger.render(message), Call("sms/3", 1, "13900000029"))):
        with pytest.raises(Rejected) as error:
            use()
        assert error.value.code == "sms.login_refused"
    assert network.messages(to="13900000029") == []


@pytest.mark.parametrize(
    ("address", "pattern"),
    [
        ("https://in.example/r/abc", "https://in.example/r/abc?status=%d"),
        ("https://in.example/r?t=abc", "https://in.example/r?t=abc&status=%d"),
        ("https://in.example/r/100%25d", "https://in.example/r/100%%25d?status=%d"),
    ],
)
def test_the_report_comes_to_the_address_of_the_attempt(address: str, pattern: str) -> None:
    with serving(answers(202, b"0: Accepted for delivery")) as server:
        channel = replace(offline, url=f"{server.url}/cgi-bin/sendsms")
        channel.deliver(channel.render(message), Call("sms/4", 1, "13800001234", report_to=address))
        channel.deliver(channel.render(message), Call("sms/4", 1, "13800001234"))
    with_report, without = (parse_qs(urlsplit(request.split()[1].decode()).query) for request in server.requests)
    assert (with_report["dlr-url"], with_report["dlr-mask"]) == ([pattern], ["31"])
    assert not {"dlr-url", "dlr-mask"} & without.keys()


@pytest.mark.parametrize(
    ("body", "receipt"),
    [
        (b"3: Queued for later delivery", Receipt(Call("sms/5", 1, "13800001234").key, "202 3: Queued")),
        (
            b"0: Accepted for delivery: 0c2fa3a4-2a33-4f2b-8d3f-6f5d6c3f8a11 Denied receivers are: 13800001234",
            Receipt("0c2fa3a4-2a33-4f2b-8d3f-6f5d6c3f8a11", "202 0: Accepted"),
        ),
    ],
)
def test_a_yes_becomes_a_receipt_without_numbers(body: bytes, receipt: Receipt) -> None:
    with serving(answers(202, body)) as server:
        channel = replace(offline, url=server.url)
        assert channel.deliver(channel.render(message), Call("sms/5", 1, "13800001234")) == receipt


@pytest.mark.parametrize(
    ("status", "body", "raised"),
    [
        (202, b"Sent.", InDoubt),
        (202, b"", InDoubt),
        (202, b"<html>0: Accepted</html>", InDoubt),
        (200, b"0: Accepted for delivery", InDoubt),
        (403, b"Not routable. Do not try again.", Rejected),
        (503, b"Temporal failure, try again later.", Unavailable),
        (500, b"Sending failed.", InDoubt),
    ],
)
def test_no_other_answer_is_a_yes(status: int, body: bytes, raised: type[Exception]) -> None:
    with serving(answers(status, body)) as server:
        channel = replace(offline, url=server.url)
        with pytest.raises(raised):
            channel.deliver(channel.render(message), Call("sms/6", 1, "13800001234"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "body"), [(202, b"0: Accepted for delivery"), (400, b"<html>"), (200, b"hello")])
def test_another_server_does_not_pass_for_the_gateway(status: int, body: bytes) -> None:
    with serving(answers(status, body)) as server, pytest.raises((InDoubt, Rejected)):
        replace(offline, url=server.url).check()


def test_no_number_and_no_text_stands_in_logs(network: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    network.channel.deliver(network.channel.render(message), Call("sms/7", 1, "13900000039"))
    with pytest.raises(Unavailable) as error:
        offline.deliver(offline.render(message), Call("sms/7", 1, "13900000049"))
    said = caplog.text + str(error.value) + repr(error.value.__cause__)
    assert "139000000" not in said
    assert "停播" not in said


def test_a_phone_network_that_restarts_has_lost_nothing(tmp_path: Path) -> None:
    with sandbox(tmp_path) as running:
        for number in range(5):
            running.channel.deliver(running.channel.render(message), Call("sms/8", 1, f"1370000000{number}"))
        running.kill()
        with pytest.raises(Unavailable):
            running.channel.deliver(running.channel.render(message), Call("sms/8", 1, "13700000009"))
        running.start()
        assert len(running.messages()) == 5
