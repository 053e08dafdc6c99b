"""SMS through a gateway that speaks Kannel's `sendsms` (Kannel User's Guide, "Using the HTTP interface to send SMS").

Nothing here can be taken back, and `sendsms` is a GET that sends again when repeated: it leaves exactly once a call.
The user in smsbox needs `concatenation = true` and `max-messages = 8` (500 units), or a long text loses its end.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import requests

from channels import http
from channels.contract import (
    Call,
    ChannelError,
    Evidence,
    Finding,
    InDoubt,
    Kept,
    Message,
    Office,
    Outcome,
    Receipt,
    Rejected,
    Rendition,
    Report,
    Seen,
    Severity,
    Unrenderable,
    View,
    require_public,
)

# UTF-16 units. A part of a long SMS loses three to the header that joins them (3GPP TS 23.040, 9.2.3.24).
ONE_PART = 70
JOINED_PART = 67
LONGEST = 500  # units the providers accept
REPORTS_WANTED = 31  # dlr-mask: every kind below

_REPORTS = {
    "1": Outcome.DELIVERED,
    "2": Outcome.FAILED,
    "4": Outcome.PENDING,  # buffered
    "8": Outcome.PENDING,  # accepted by the SMS centre
    "16": Outcome.FAILED,  # rejected by the SMS centre
}
_ACCEPTED = {"0:": "202 0: Accepted", "3:": "202 3: Queued"}
_MOBILE = re.compile(r"(?:\+86|0086|86)?(1[3-9][0-9]{9})")
_BETWEEN_DIGITS = re.compile(r"[\s\-‐‑‒–—−ー]")
_OPT_OUT = re.compile(r"拒收请回复\s*[RrＲｒ]")
_MESSAGE_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)


class BadNumber(ChannelError, ValueError):
    """Not a mainland mobile number. Holds the code, never the number."""


def normalise(number: str) -> str:
    """The eleven digits of a mainland mobile number, however it was typed: prefix +86, 0086 or 86, spaces, hyphens,
    full-width characters. Raises BadNumber."""
    found = _MOBILE.fullmatch(_BETWEEN_DIGITS.sub("", unicodedata.normalize("NFKC", number)))
    if found is None:
        raise BadNumber("sms.bad_number")
    return found[1]


def units(text: str) -> int:
    """Length as the networks count it: UTF-16 units, two for a character beyond the basic plane."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def parts(text: str) -> list[str]:
    """The SMS that a phone joins to this text: one up to 70 units, else parts of 67 filled greedily, never splitting a
    surrogate pair. `text` is complete: the signature with its 【】 counts."""
    if units(text) <= ONE_PART:
        return [text]
    found = []
    while text:
        part = _shorten(text, JOINED_PART)
        found.append(part)
        text = text[len(part) :]
    return found


@dataclass(frozen=True)
class Sms:
    """`url` ends in /cgi-bin/sendsms; `signature` stands in 【】 before every text; `sender` is the number the phone
    shows, empty: the gateway's own; `seconds` limits one call."""

    recall: ClassVar[bool] = False
    evidence: ClassVar[Evidence] = Evidence.REPORT
    addressed: ClassVar[bool] = True
    fenced: ClassVar[bool] = False

    url: str
    username: str
    password: str = field(repr=False)
    signature: str
    sender: str = ""
    seconds: float = 10.0

    def render(self, message: Message) -> Rendition:
        """The item's own SMS text, else its short title (or title) and short address. A title that does not fit is cut
        with …, so that the address always arrives whole; a text of its own is never cut. Attachments stay behind the
        address. Raises Unrenderable: sms.too_long, sms.brackets, sms.opt_out_in_notification."""
        require_public(message)
        signature = f"【{self.signature}】"
        text = message.sms_text or _titled(
            message.short_title or message.title, message.address, LONGEST - units(signature)
        )
        findings = [*_brackets(text), *_opt_out(text), *_length(signature + text)]
        if findings:
            raise Unrenderable(*findings)
        return Rendition("text/plain; charset=utf-8", (signature + text).encode())

    def view(self, rendition: Rendition) -> View:
        return View(messages=tuple(parts(rendition.body.decode())))

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        """One SMS to `call.recipient`, a number as `normalise` returns it. Raises DeliveryError."""
        query = {
            "to": call.recipient,
            "text": rendition.body.decode(),
            "charset": "utf-8",
            "coding": "2",  # UCS-2: Kannel's default turns Chinese into question marks
        }
        if self.sender:
            query["from"] = self.sender
        if call.report_to:
            query |= {"dlr-mask": str(REPORTS_WANTED), "dlr-url": _report_address(call.report_to)}
        answer, body = self._ask(query)
        http.judge(answer)
        if answer.status_code == 202 and body[:2] in _ACCEPTED:
            named = _MESSAGE_ID.search(body)
            return Receipt(named[0] if named else call.key, _ACCEPTED[body[:2]])
        # Also Kannel's "Sent." with `immediate-sendsms-reply`: its bearerbox has not said yes.
        raise InDoubt("sms.unclear_answer", status=str(answer.status_code))

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        return [Seen.UNKNOWN for _ in wanted]

    def withdraw(self, call: Call) -> Receipt:
        raise Rejected("sms.no_recall")

    def read_report(self, query: Mapping[str, str]) -> Report | None:
        """Kannel's `%d`, under the name `status`."""
        status = query.get("status", "")
        outcome = _REPORTS.get(status)
        return Report(outcome, f"dlr {status}") if outcome else None

    def kept(self) -> Mapping[int, Kept]:
        return {}

    def normalise(self, address: str) -> str:
        """See `normalise`."""
        return normalise(address)

    def invitation(self, office: Office, link: str, code: str) -> Rendition:
        """A code to be typed on our page: a link in an SMS from an unknown number is what people are warned of."""
        asked = f"验证码{code}，用于确认订阅{office.name}的短信，1小时内有效。如非本人操作，请忽略本短信。"
        return Rendition("text/plain; charset=utf-8", f"【{self.signature}】{asked}".encode())

    def standing(self) -> None:
        return None

    def check(self) -> str:
        """Log in without naming a phone: Kannel looks at the login first (403), then misses the receiver (400)."""
        answer, body = self._ask({})
        if answer.status_code == 400 and "receiver" in body:
            return "ok"
        http.judge(answer)
        raise InDoubt("sms.unclear_answer", status=str(answer.status_code))

    def _ask(self, query: Mapping[str, str]) -> tuple[requests.Response, str]:
        """The answer and the beginning of its body. Raises DeliveryError, also when the login is refused."""
        connect = min(http.CONNECT_SECONDS, self.seconds / 2)
        with (
            http.transport(),
            http.session().get(
                self.url,
                params={"username": self.username, "password": self.password, **query},
                # A kept connection may be closed under the request, and that cannot be told from an SMS sent.
                headers={"Connection": "close"},
                timeout=(connect, self.seconds - connect),
                allow_redirects=False,
                stream=True,
            ) as answer,
        ):
            body = next(answer.iter_content(4096), b"").decode(errors="replace")
        if answer.status_code == 403 and body.startswith("Authorization failed"):
            raise Rejected("sms.login_refused", status="403")
        return answer, body


def _titled(title: str, address: str, room: int) -> str:
    rest = f" {address}"
    if units(title + rest) > room:
        title = _shorten(title, room - units(rest) - 1) + "…"
    return title + rest


def _shorten(text: str, room: int) -> str:
    """The longest beginning of at most `room` units."""
    used = 0
    for place, character in enumerate(text):
        used += units(character)
        if used > room:
            return text[:place]
    return text


def _report_address(address: str) -> str:
    """Kannel fills in %-escapes: its own `%d`, none of ours."""
    return f"{address.replace('%', '%%')}{'&' if '?' in address else '?'}status=%d"


def _brackets(text: str) -> list[Finding]:
    found = re.search("[【】]", text)
    return [Finding("sms.brackets", Severity.BLOCK, _around(text, found))] if found else []


def _opt_out(text: str) -> list[Finding]:
    found = _OPT_OUT.search(text)
    return [Finding("sms.opt_out_in_notification", Severity.BLOCK, found[0])] if found else []


def _length(text: str) -> list[Finding]:
    length = units(text)
    facts = {"units": str(length), "limit": str(LONGEST)}
    return [Finding("sms.too_long", Severity.BLOCK, facts=facts)] if length > LONGEST else []


def _around(text: str, found: re.Match[str]) -> str:
    return text[max(0, found.start() - 8) : found.end() + 8]
