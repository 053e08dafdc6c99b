"""How our own portal is spoken to: the head of its two channels, signed writes, and what of its texts is compared.

The signature is an HMAC-SHA256 with the shared key over method, path and query below the base address, generation,
timestamp (Unix seconds) and the SHA-256 of the body, each on its line.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from lxml import etree, html

from channels.contract import Call, Kept, Receipt, Rejected, Unavailable
from channels.http import CONNECT_SECONDS, judge, read, session, transport
from channels.readback import Readback

LARGEST_DOCUMENT = 2 * 1024 * 1024  # what the portal takes


@dataclass(frozen=True)
class Signed(Readback):
    """`url`: where we write; `public_url`: where the outside reads, the same unless given; `seconds`: limit of one
    call. A subclass says below which part of the interface its slots lie, and where each is read."""

    slots: ClassVar[str]
    shown: ClassVar[str]

    url: str
    key: str = field(repr=False)
    public_url: str = ""
    seconds: float = 10.0

    def withdraw(self, call: Call) -> Receipt:
        return self._change("DELETE", call)

    def check(self) -> str:
        send("GET", self.url, "/api/health", key=self.key, seconds=self.seconds)
        return "ok"

    def kept(self) -> Mapping[int, Kept]:
        """Page by page. Raises DeliveryError."""
        found: dict[int, Kept] = {}
        after: int | None = 0
        while after is not None:
            page = fetch(self.url, f"/api/{self.slots}?after={after}", key=self.key, seconds=self.seconds)
            try:
                document = json.loads(page)
                found |= {int(slot.pop("number")): Kept(**slot) for slot in document["slots"]}
                after = document["next"]
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise Rejected("portal.no_listing", url=self.url) from error
        return found

    def _change(self, method: str, call: Call, body: bytes = b"") -> Receipt:
        evidence = send(method, self.url, f"/api/{self.slots}/{call.number}", key=self.key, seconds=self.seconds,
                        generation=str(call.generation), body=body)  # fmt: skip
        return Receipt(self._address(call), evidence)

    def _base(self) -> str:
        return (self.public_url or self.url).rstrip("/")

    def _address(self, call: Call) -> str:
        return f"{self._base()}{self.shown}{call.number}"


def signed(key: str, method: str, target: str, generation: str, body: bytes) -> dict[str, str]:
    """The headers that prove who asks for what."""
    timestamp, content, nonce = str(int(time.time())), hashlib.sha256(body).hexdigest(), secrets.token_hex(16)
    text = "\n".join((method, target, generation, timestamp, nonce, content))
    return {
        "X-Fabu-Generation": generation,
        "X-Fabu-Timestamp": timestamp,
        "X-Fabu-Nonce": nonce,
        "X-Fabu-Content-SHA256": content,
        "X-Fabu-Signature": hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest(),
    }


def send(
    method: str, base: str, target: str, *, key: str, seconds: float, generation: str = "", body: bytes = b""
) -> str:
    """One signed request; the answer is its status in words. Raises DeliveryError: `portal.superseded` when a higher
    generation was there, `portal.file_missing` when an attachment is not: both leave the portal as it was."""
    with transport():
        answer = session().request(
            method, base.rstrip("/") + target, data=body, headers=signed(key, method, target, generation, body),
            timeout=(CONNECT_SECONDS, seconds), allow_redirects=False, stream=True,
        )  # fmt: skip
        try:
            judge(answer)
        except Rejected as refusal:
            match refusal.facts.get("detail"):
                case "generation_superseded":
                    raise Rejected("portal.superseded", generation=generation) from None
                case "file_missing":  # taken down with another item between our two requests
                    raise Unavailable("portal.file_missing") from None
            raise
        read(answer)
    return f"{answer.status_code} generation {generation}" if generation else str(answer.status_code)


def fetch(base: str, target: str, *, key: str, seconds: float) -> bytes:
    """The body of one signed GET. Raises DeliveryError."""
    with transport():
        answer = session().get(
            base.rstrip("/") + target, headers=signed(key, "GET", target, "", b""), timeout=(CONNECT_SECONDS, seconds),
            allow_redirects=False, stream=True,
        )  # fmt: skip
        judge(answer)
        return read(answer)


def plain(text: str) -> str:
    """The text without what browsers and parsers make of white space."""
    return " ".join(text.split())


def texts(element: etree._Element) -> tuple[str, ...]:
    """The pieces of text in an element, in order, without its tags."""
    return tuple(text for piece in element.itertext() if (text := plain(str(piece))))


def article_texts(article: str) -> tuple[str, ...]:
    """The same of a piece of HTML."""
    return texts(html.fragment_fromstring(article, create_parent="article"))
