"""Another system's address: an office portal, a district's data platform. Signed as Standard Webhooks 1.0.0 says.

What we ask of the receiver (docs/adding-a-channel.md has one): POST keeps the event of the highest generation of each
number, withdrawals included, and refuses lower ones; GET on the same address with `/NUMBER` answers what it keeps.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from channels.contract import (
    Call,
    ChannelError,
    DeliveryError,
    Message,
    Receipt,
    Rejected,
    Rendition,
    Seen,
    require_public,
)
from channels.document import to_html
from channels.http import CONNECT_SECONDS, judge, read, session, transport
from channels.readback import Readback, look, one_by_one

NEVER_PUBLISHED = Call("check/0", 1)  # items are numbered from 1


@dataclass(frozen=True)
class Webhook(Readback):
    """`secret`: `whsec_` and 24 to 64 bytes in base64; `files`: send the bytes of attachments along; `seconds`: limit
    of one call. Raises ChannelError for a `url` or `secret` that cannot be used."""

    url: str
    secret: str = field(repr=False)
    files: bool = False
    seconds: float = 10.0

    def __post_init__(self) -> None:
        _require_plain(self.url)
        _key(self.secret)

    def render(self, message: Message) -> Rendition:
        require_public(message)
        body = json.dumps(_item(message), ensure_ascii=False, sort_keys=True).encode()
        return Rendition("application/vnd.fabu.event+json", body, message.files if self.files else ())

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        contents = {file.sha256: base64.b64encode(file.content).decode() for file in rendition.files}
        return self._post("published", call, item=json.loads(rendition.body), contents=contents)

    def withdraw(self, call: Call) -> Receipt:
        return self._post("withdrawn", call, item=None)

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        return one_by_one(self._look, wanted)

    def check(self) -> str:
        """Withdraw what never was, and read that back: the secret fits, and the receiver can be looked at."""
        self.withdraw(NEVER_PUBLISHED)
        if self._look(None, NEVER_PUBLISHED) is not Seen.NOTHING:
            raise Rejected("webhook.no_readback")
        return "ok"

    def _post(self, event: str, call: Call, **data: Any) -> Receipt:
        """The same id and bytes on every retry. Raises DeliveryError."""
        data = {"slot": call.slot, "number": call.number, "generation": call.generation, **data}
        body = json.dumps({"type": f"item.{event}", "data": data}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **signed(self.secret, call.key, int(time.time()), body)}
        connect = min(CONNECT_SECONDS, self.seconds / 2)
        limits = (connect, self.seconds - connect)
        with (
            transport(),
            session().post(
                self.url, data=body, headers=headers, timeout=limits, allow_redirects=False, stream=True
            ) as answer,
        ):
            try:
                judge(answer)
                read(answer)
            except Rejected as refusal:
                match answer.status_code, refusal.facts.get("detail"):
                    case 409, "duplicate":
                        pass  # this very call had arrived before
                    case 409, "generation_superseded":
                        raise Rejected("webhook.superseded", generation=str(call.generation)) from None
                    case _:
                        raise
        return Receipt(self._address(call), f"{answer.status_code} generation {call.generation}")

    def _address(self, call: Call) -> str:
        return f"{self.url.rstrip('/')}/{call.number}"

    def _look(self, rendition: Rendition | None, call: Call) -> Seen:
        """Only an answer that speaks of the slot counts: 404 may come from a receiver that offers no GET at all."""
        try:
            status, body = look(self._address(call), self.seconds)
            if status != 200:
                return Seen.UNKNOWN
            item = json.loads(body)["item"]
        except (DeliveryError, ValueError, LookupError, TypeError, RecursionError):
            return Seen.UNKNOWN
        if item is None:
            return Seen.NOTHING
        return Seen.SAME if rendition and item == json.loads(rendition.body) else Seen.OTHER


def signed(secret: str, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt, begun at `timestamp` (Unix seconds).

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Signature scheme".
    """
    content = f"{id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(_key(secret), content, hashlib.sha256)).decode()
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}


def _key(secret: str) -> bytes:
    before, _, encoded = secret.partition("whsec_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if before or not 24 <= len(key) <= 64:
        raise ChannelError("webhook.bad_secret")
    return key


def _require_plain(url: str) -> None:
    """No password in it, because it stands in receipts; nothing behind the path, because the number comes there."""
    try:
        address = urlsplit(url)
        fits = address.scheme in ("http", "https") and address.hostname
    except ValueError:
        fits = False
    if not fits or any(character in url for character in "@?#"):
        raise ChannelError("webhook.bad_url")


def _item(message: Message) -> dict[str, Any]:
    return {
        "number": message.number,
        "index_number": message.index_number,
        "title": message.title,
        "short_title": message.short_title,
        "summary": message.summary,
        "html": to_html(message.blocks),
        "publisher": message.office.name,
        "supervision_phone": message.office.phone,
        "department": message.department,
        "item_type": message.item_type,
        "document_number": message.document_number,
        "theme": message.theme,
        "keywords": message.keywords,
        "source": message.source,
        "formed_on": message.formed_on.isoformat(),
        "period": [day.isoformat() for day in message.period] if message.period else None,
        "objection_contact": message.objection_contact,
        "corrects": message.corrects,
        "address": message.address,
        "files": [
            {"name": f.name, "media_type": f.media_type, "size": len(f.content), "sha256": f.sha256}
            for f in message.files
        ],
    }
