"""The phone network of demonstrations and tests: what a phone received is never lost and never tidied up."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from channels import smtp
from channels.contract import Call, Gone, Unavailable
from channels.mail import Mail
from pipeline import bounces
from pipeline.models import BounceKind
from tests.channels.fault_server import wait_for
from tests.channels.rig_sms import Sandbox, free_port, sandbox
from tests.channels.test_contract import message
from web.sandbox.network import count_parts


class Inbound:
    """Where reports arrive: (`name` of the address, status), in order."""

    def __init__(self, port: int = 0) -> None:
        self.reports: list[tuple[str, str]] = []
        reports = self.reports

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                reports.append((address.path.strip("/"), parse_qs(address.query).get("status", [""])[0]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}?status=%d"

    def of(self, name: str) -> list[str]:
        return [status for named, status in self.reports if named == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def inbound(port: int = 0) -> Iterator[Inbound]:
    listening = Inbound(port)
    try:
        yield listening
    finally:
        listening.close()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("sandbox"), SANDBOX_LATE_SECONDS="1.5") as running:
        yield running


def send(network: Sandbox, to: str, text: str = "【张店区广电局】通知", **more: str) -> requests.Response:
    query = {"username": "fabu", "password": "open sesame", "to": to, "text": text, "charset": "utf-8", "coding": "2"}
    return requests.get(f"{network.url}/cgi-bin/sendsms", params={**query, "dlr-mask": "31", **more}, timeout=10)


def test_each_phone_reports_as_its_last_digit_says(network: Sandbox) -> None:
    with inbound() as listening:
        for digit in "0123456789":
            answer = send(network, f"1390000000{digit}", **{"dlr-url": listening.address(digit)})
            assert (answer.status_code, answer.text) == (202, "0: Accepted for delivery")
            if digit == "8":
                assert listening.of("8") == ["1"], "its report comes before the answer"
        wait_for(lambda: all(listening.of(digit) == ["1"] for digit in "01234"))
        wait_for(lambda: listening.of("5") == ["8", "2"])
        wait_for(lambda: listening.of("6") == ["1", "1"])
        assert listening.of("7") == [], "late"
        wait_for(lambda: listening.of("7") == ["1"])
        assert listening.of("8") == ["1"]
        assert listening.of("9") == []
    states = {sms["recipient"][-1]: sms["state"] for sms in network.messages() if sms["recipient"][:4] == "1390"}
    assert states == dict.fromkeys("0123467", "delivered") | {"8": "delivered", "5": "failed", "9": "silent"}
    assert [sms["received"] for sms in network.messages(to="13900000005")] == [False]


def test_the_same_request_twice_is_two_messages(network: Sandbox) -> None:
    before = network.requests()["accepted"]
    for _ in range(2):
        send(network, "13810000000")
    assert len(network.messages(to="13810000000")) == 2
    assert network.requests()["accepted"] == before + 2


def test_only_the_reports_that_were_wanted_are_sent(network: Sandbox) -> None:
    with inbound() as listening:
        send(network, "13820000005", **{"dlr-url": listening.address("only-failures"), "dlr-mask": "2"})
        wait_for(lambda: listening.of("only-failures") == ["2"])


def test_escapes_are_filled_in_as_kannel_does(network: Sandbox) -> None:
    with inbound() as listening:
        url = f"http://127.0.0.1:{listening.port}/100%%25-%p-%P?status=%d"
        send(network, "13830000000", **{"dlr-url": url, "from": "1069"})
        wait_for(lambda: listening.of("100%25-13830000000-1069") == ["1"])


@pytest.mark.parametrize(
    ("changes", "status", "body"),
    [
        ({"password": "wrong"}, 403, "Authorization failed for sendsms"),
        ({"username": "wrong", "to": ""}, 403, "Authorization failed for sendsms"),
        ({"to": ""}, 400, "Empty receiver number not allowed, rejected"),
        ({"to": "letters"}, 400, "Receiver number misformed, rejected"),
        ({"charset": "no-such"}, 400, "Charset or body misformed, rejected"),
        ({"dlr-url": "file:///etc/passwd"}, 400, "DLR-URL field misformed, rejected"),
        ({"dlr-mask": "64"}, 400, "DLR-Mask field misformed, rejected"),
    ],
)
def test_it_refuses_as_kannel_does(network: Sandbox, changes: dict[str, str], status: int, body: str) -> None:
    before = network.requests()
    answer = send(network, **{"to": "13840000000", **changes})
    assert (answer.status_code, answer.text) == (status, body)
    assert network.messages(to="13840000000") == []
    assert network.requests()["refused"] == before["refused"] + 1


def test_a_missing_receiver_is_told_from_a_refused_login(network: Sandbox) -> None:
    login = {"username": "fabu", "password": "open sesame"}
    answer = requests.get(f"{network.url}/cgi-bin/sendsms", params=login, timeout=5)
    assert (answer.status_code, answer.text) == (400, "Missing receiver number, rejected")


def test_chinese_without_ucs2_turns_into_question_marks(network: Sandbox) -> None:
    send(network, "13850000000", "通知 ok", coding="0")
    assert network.messages(to="13850000000")[0]["text"] == "?? ok"


def test_messages_are_read_on_from_where_one_was(network: Sandbox) -> None:
    for text in ("一", "二", "三"):
        send(network, "13860000000", text)
    first, *_ = network.messages(to="13860000000")
    assert [sms["text"] for sms in network.messages(to="13860000000", since=first["id"])] == ["二", "三"]


def test_one_request_may_name_several_phones(network: Sandbox) -> None:
    send(network, "13870000000 13870000001")
    assert len(network.messages(to="13870000000")) == len(network.messages(to="13870000001")) == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [("", 1), ("字" * 70, 1), ("字" * 71, 2), ("字" * 134, 2), ("字" * 135, 3), ("😀" * 35, 1), ("😀" * 67, 3)],
)
def test_parts_are_counted_as_an_operator_does(text: str, parts: int) -> None:
    assert count_parts(text) == parts


def test_a_killed_sandbox_keeps_what_phones_received_and_still_reports(tmp_path: Path) -> None:
    port = free_port()
    with sandbox(tmp_path, SANDBOX_LATE_SECONDS="1") as network:
        send(network, "13900000007", **{"dlr-url": f"http://127.0.0.1:{port}/late?status=%d"})
        network.kill()
        network.start()
        assert [sms["state"] for sms in network.messages()] == ["waiting"]
        time.sleep(1.5)  # the report is due, and inbound is down
        with inbound(port) as listening:
            wait_for(lambda: listening.of("late") == ["1"], seconds=20)
        assert network.requests() == {"total": 1, "accepted": 1, "refused": 0, "fault": 0, "closed": 0}


def test_faults_are_ordered_at_the_start_or_at_any_time(tmp_path: Path) -> None:
    with sandbox(tmp_path, SANDBOX_STATUS="503", SANDBOX_DELAY_MS="200") as network:
        begun = time.monotonic()
        assert send(network, "13900000000").status_code == 503
        assert time.monotonic() - begun >= 0.2
        assert network.messages() == [], "a refused SMS reaches no phone"

        network.faults(close=True)
        with pytest.raises(requests.ConnectionError):
            send(network, "13900000000")
        assert len(network.messages()) == 1, "read and recorded, and no answer"

        network.faults(delay_ms=1000)
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(send, network, "13900000001")
            wait_for(lambda: len(network.messages(to="13900000001")) == 1, seconds=0.9)
            assert not slow.done(), "the phone has it before the sender knows"
            assert slow.result().status_code == 202

        network.faults()
        assert send(network, "13900000002").status_code == 202
        assert network.requests() == {"total": 4, "accepted": 2, "refused": 0, "fault": 1, "closed": 1}


def test_the_page_shows_each_phone_and_says_that_nothing_was_sent(network: Sandbox) -> None:
    send(network, "13880000009", "<b>粗</b>" + "字" * 70)
    page = requests.get(network.url, timeout=5).text
    assert "138 8000 0009" in page
    assert "&lt;b&gt;粗&lt;/b&gt;" in page
    assert "2 段" in page
    assert "演练" in page
    assert "nothing was really sent" in page


# ── mail ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def mail_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Mail]]:
    """The sandbox with its mail server, and the channel that speaks to it."""
    folder, port = tmp_path_factory.mktemp("mail"), free_port()
    with sandbox(folder, SANDBOX_MAIL=f"127.0.0.1:{port}", SANDBOX_BOUNCES=str(folder / "bounces")) as running:
        how = {"bounces": "tuixin+*@gd.example", "port": port, "security": "none", "seconds": 5.0}
        yield running, Mail("127.0.0.1", "tongxun@gd.example", **how)  # type: ignore[arg-type]
        smtp.close_all()


def mail_to(channel: Mail, to: str, number: int = 1) -> None:
    facts = {"unsubscribe": "https://in.example/u/abc", "effect": f"{number}.1.abcdefghijklmnop"}
    report_to = "https://in.example/reports/mail/1.1.1790000000000000.abcdefghijklmnop"
    channel.deliver(channel.render(message(number)), Call(f"mail/{number}", 1, to, facts, report_to))


def test_a_mail_is_in_its_mailbox_and_shown_as_page_and_text_with_nothing_that_runs(
    mail_network: tuple[Sandbox, Mail],
) -> None:
    running, channel = mail_network
    mail_to(channel, "li@mail.example")
    (kept,) = requests.get(f"{running.url}/api/mails", params={"to": "li@mail.example"}, timeout=5).json()["mails"]
    assert kept["subject"] == "关于农村数字电视改造期间临时停播的公告"
    assert "li@mail.example" in requests.get(f"{running.url}/mail", timeout=5).text
    page = requests.get(f"{running.url}/mail/{kept['id']}", timeout=5).text
    assert f'<iframe sandbox="allow-popups" src="/mail/{kept["id"]}/html"' in page
    assert "https://in.example/u/abc" in page and "2026年3月5日9时" in page
    framed = requests.get(f"{running.url}/mail/{kept['id']}/html", timeout=5)
    policy = framed.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox") and "default-src 'none'" in policy and "script" not in policy
    raw = requests.get(f"{running.url}/mail/{kept['id']}/raw", timeout=5)
    assert raw.headers["Content-Type"] == "message/rfc822" and b"List-Unsubscribe: " in raw.content
    assert requests.get(f"{running.url}/mail/99999", timeout=5).status_code == 404


def test_how_an_address_begins_decides_what_becomes_of_its_mail(
    mail_network: tuple[Sandbox, Mail], tmp_path: Path
) -> None:
    running, channel = mail_network
    with pytest.raises(Gone):
        mail_to(channel, "nobody@mail.example")
    with pytest.raises(Unavailable):
        mail_to(channel, "later@mail.example")
    mail_to(channel, "later@mail.example")
    for at, to in enumerate(("bounce", "full", "spam"), 2):
        mail_to(channel, f"{to}@mail.example", at)
    heard = {}
    for file in (running.folder / "bounces").glob("*.eml"):
        said = bounces.hear(file.read_bytes())
        assert said is not None and said.addresses
        heard[said.addresses[0]] = (said.kind, said.tokens, said.effects)
    token = ("1.1.1790000000000000.abcdefghijklmnop",)
    assert {to.partition("@")[0]: kind for to, (kind, _, _) in heard.items()} == {
        "bounce": BounceKind.HARD, "full": BounceKind.SOFT, "spam": BounceKind.COMPLAINT,
    }  # fmt: skip
    assert all(tokens == token for _, tokens, _ in heard.values())
    assert sorted(effects for _, _, effects in heard.values()) == [((at, 1, "abcdefghijklmnop"),) for at in (2, 3, 4)]
