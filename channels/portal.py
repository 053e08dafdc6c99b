"""The public portal: an item at its permanent address. Fenced; read back as a citizen would read it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from lxml import etree, html

from channels import newsletter
from channels.contract import (
    Call,
    DeliveryError,
    Finding,
    Message,
    Receipt,
    Rejected,
    Rendition,
    Seen,
    Severity,
    Standing,
    Unrenderable,
    require_public,
)
from channels.document import to_html
from channels.readback import look, one_by_one
from channels.signing import LARGEST_DOCUMENT, Signed, article_texts, fetch, plain, send, texts

LARGEST_FILE = 20 * 1024 * 1024

_Content = dict[str, set[tuple[str, ...]]]  # a page's fields, each with the texts of every place that shows it


@dataclass(frozen=True)
class Portal(Signed):
    """Writes items; `public_url` is where citizens read them."""

    slots: ClassVar[str] = "items"
    shown: ClassVar[str] = "/i/"

    def render(self, message: Message) -> Rendition:
        require_public(message)
        files = newsletter.files(message)
        document = {
            "number": message.number,
            "index_number": message.index_number,
            "title": message.title,
            "html": to_html(message.blocks),
            "publisher": message.office.name,
            "supervision_phone": message.office.phone,
            "department": message.department,
            "item_type": message.item_type,
            "formed_on": message.formed_on.isoformat(),
            "address": message.address,
            "document_number": message.document_number,
            "theme": message.theme,
            "keywords": message.keywords,
            "source": message.source,
            "disclosure": "主动公开",  # only such items are published
            "validity": message.validity,
            "summary": message.summary,
            "period": [day.isoformat() for day in message.period] if message.period else None,
            "objection_contact": message.objection_contact,
            "corrects": message.corrects,
            "files": [{"name": f.name, "media_type": f.media_type, "sha256": f.sha256} for f in files],
        }
        body = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        large = [Finding("portal.file_too_large", Severity.BLOCK, file.name, {"limit": "20 MB"})
                 for file in files if len(file.content) > LARGEST_FILE]  # fmt: skip
        if len(body) > LARGEST_DOCUMENT:
            large.append(Finding("portal.text_too_large", Severity.BLOCK, facts={"limit": "2 MB"}))
        if large:
            raise Unrenderable(*large)
        return Rendition("application/vnd.fabu.item+json", body, files)

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        for file in rendition.files:  # not public until the item names them
            send("PUT", self.url, f"/api/files/{file.sha256}", key=self.key, seconds=self.seconds, body=file.content)
        return self._change("PUT", call, rendition.body)

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        return one_by_one(self._look, wanted)

    def standing(self) -> Sequence[Standing] | None:
        """None of a system in the portal's place that has no such page. Raises DeliveryError."""
        try:
            page = fetch(self.url, "/api/columns", key=self.key, seconds=self.seconds)
        except Rejected as refusal:
            if refusal.facts.get("status") == "404":
                return None
            raise
        try:
            return [_column(**one) for one in json.loads(page)["columns"]]
        except (ValueError, LookupError, TypeError) as error:
            raise Rejected("portal.no_columns", url=self.url) from error

    def _look(self, rendition: Rendition | None, call: Call) -> Seen:
        try:
            status, page = look(self._address(call), self.seconds)
            if status in (404, 410):
                return Seen.NOTHING
            if status != 200:
                return Seen.UNKNOWN
            if rendition is None:
                return Seen.OTHER
            return Seen.SAME if self._shown(page, self._address(call)) == _expected(rendition) else Seen.OTHER
        except DeliveryError:
            return Seen.UNKNOWN
        except (ValueError, etree.LxmlError):  # a page without a document, a link that is none
            return Seen.OTHER

    def _shown(self, page: bytes, address: str) -> _Content:
        """What the page shows in each place that carries a field; attachments are fetched and hashed."""
        shown: _Content = {}
        tree = html.document_fromstring(page, parser=html.HTMLParser(encoding="utf-8"))
        for place in tree.iterfind(".//*[@data-field]"):
            value = texts(place)
            if (link := place.get("href")) is not None:
                file = urljoin(address, link)
                if not file.startswith(address.removesuffix(urlsplit(address).path)):
                    raise ValueError("an attachment elsewhere")
                status, content = look(file, self.seconds, LARGEST_FILE)
                value = (*value, hashlib.sha256(content).hexdigest() if status == 200 else str(status))
            shown.setdefault(str(place.get("data-field")), set()).add(value)
        return shown


def _column(id: str, name: str, items: int, updated_at: str | None, limit_days: int | None, **_: object) -> Standing:
    moment = datetime.fromisoformat(updated_at) if updated_at else None
    if moment is not None and moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return Standing(str(id), str(name), moment, int(items), int(limit_days) if limit_days is not None else None)


def _expected(rendition: Rendition) -> _Content:
    fields: dict[str, Any] = json.loads(rendition.body)
    fields["keywords"] = "、".join(fields["keywords"])
    if fields["period"]:
        fields["period"] = "至".join(f"{day.year}年{day.month}月{day.day}日"
                                    for day in map(date.fromisoformat, fields["period"]))  # fmt: skip
    content: _Content = {name: {(plain(text),)} for name, text in fields.items() if isinstance(text, str) and text}
    content["html"] = {article_texts(fields["html"])}
    if fields["files"]:
        content["file"] = {(plain(file["name"]), file["sha256"]) for file in fields["files"]}
    return content
