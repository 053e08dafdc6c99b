"""The notice board (公开栏): a PDF in a spool folder that a person prints, posts and takes down.

Layout by GB/T 9704-2012; the facts under the text by what a board notice must carry. Fonts are substitutes for the
standard's proprietary ones unless the office puts its own into `fonts_dir`.
"""

import errno
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import segno

from channels import newsletter
from channels.contract import (
    Call,
    Evidence,
    Finding,
    Kept,
    Message,
    Office,
    Receipt,
    Rejected,
    Rendition,
    Report,
    Seen,
    Severity,
    Unavailable,
    Unrenderable,
    View,
    require_public,
)
from channels.document import Block, Closing
from channels.typst import CannotTypeset, Role, fonts, pictures, title_lines, typeset

MEDIA_TYPE = "application/vnd.fabu.notice+json"
TEMPLATE = "notice/2"  # an approved notice is printed by the layout it was approved in, or not at all
BLANK_DATE = "　　　　年　　月　　日"
SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,5}$")  # .docx says nothing on paper


@dataclass(frozen=True)
class Bulletin:
    """Writes each notice as a PDF into `directory`, and a take-down notice beside it when the item is withdrawn.

    `fonts_dir`: the office's own fonts, named by role (仿宋.ttf …); ours fill in. `seal`: leave room for a seal.
    `number_single_page`: print a page number on a notice of one page.
    """

    directory: Path
    fonts_dir: Path | None = None
    seal: bool = False
    number_single_page: bool = False
    seconds: float = 30.0

    recall: ClassVar[bool] = True
    evidence: ClassVar[Evidence] = Evidence.PERSON
    addressed: ClassVar[bool] = False
    fenced: ClassVar[bool] = False

    def render(self, message: Message) -> Rendition:
        """The notice, or the number of the newsletter, as data. Raises Unrenderable when a character has no font or a
        page does not compile, and for internal material."""
        require_public(message)
        rendition = newsletter.printed(message, self.fonts_dir) if message.issue else self._notice(message)
        try:
            self.preview(rendition)
        except CannotTypeset as error:
            raise Unrenderable(Finding(error.code, Severity.BLOCK, facts=error.facts)) from error
        return rendition

    def _notice(self, message: Message) -> Rendition:
        rendition = self._rendition(
            title=message.title,
            document_number=message.document_number,
            blocks=_blocks(message),
            facts=_facts(message),
            corrected=message.corrected,
            address=message.address,
            caption="扫码查看全文附件" if message.files else "扫码查看全文",
        )
        if findings := fonts(self.fonts_dir).findings(_texts(json.loads(rendition.body))):
            raise Unrenderable(*findings)
        return rendition

    def preview(self, rendition: Rendition, posting_date: str = "") -> bytes:
        """The PDF of a notice or an issue. Without `posting_date` (ISO 8601) a blank is left to fill by pen. Raises
        CannotTypeset, and Rejected for a rendition made for another version of the layout."""
        return typeset(*self._set(rendition, posting_date), self.fonts_dir)

    def view(self, rendition: Rendition) -> View:
        """The printed pages, with a blank for the posting date. Raises CannotTypeset, Rejected."""
        return View(pages=pictures(*self._set(rendition), self.fonts_dir))

    def _set(self, rendition: Rendition, posting_date: str = "") -> tuple[str, dict[str, Any]]:
        """The template of a rendition and the data for it."""
        if rendition.media_type == newsletter.MEDIA_TYPE:
            return "newsletter", newsletter.page(rendition)
        return "notice", self._page(rendition, posting_date)

    def _page(self, rendition: Rendition, posting_date: str = "") -> dict[str, Any]:
        data: dict[str, Any] = json.loads(rendition.body)
        if data["template"] != TEMPLATE:
            raise Rejected("bulletin.other_template", approved=data["template"], present=TEMPLATE)
        posted = _chinese(date.fromisoformat(posting_date)) if posting_date else BLANK_DATE
        data["facts"] = [(label, posted if value is None else value) for label, value in data["facts"]]
        data["qr"] = _qr(data["address"]) if data["address"] else ""
        return data

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        """Write the PDF; the reference is its file name. Raises Unavailable when the folder cannot be written."""
        pdf = self._compiled(rendition, call.facts.get("posting_date", ""))
        return self._write(f"{call.number}-{call.generation}-{rendition.digest[:8]}.pdf", pdf)

    def withdraw(self, call: Call) -> Receipt:
        """Write an internal notice (撤下通知) that asks for the printed one to be taken down."""
        asks = (
            f"请将公开栏中网址以“/i/{call.number}”结尾的信息揭下；已打印尚未张贴的，不再张贴。",
            "揭下后请填写下列事项，并在系统中登记。",
        )
        rendition = self._rendition(
            title="撤下通知",
            document_number="",
            blocks=[{"kind": "paragraph", "text": text} for text in asks],
            facts=[("信息编号", str(call.number)), ("揭下地点", ""), ("揭下时间", BLANK_DATE), ("揭下人", "")],
            address="",
            caption="",
        )
        return self._write(f"{call.number}-{call.generation}-takedown.pdf", self._compiled(rendition))

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        """Only a person can see the board."""
        return [Seen.UNKNOWN] * len(wanted)

    def read_report(self, query: Mapping[str, str]) -> Report | None:
        return None

    def kept(self) -> Mapping[int, Kept]:
        return {}

    def normalise(self, address: str) -> str:
        """Never called: there are no recipients."""
        return address

    def invitation(self, office: Office, link: str, code: str) -> Rendition:
        """Never called, either."""
        raise NotImplementedError

    def standing(self) -> None:
        return None

    def check(self) -> str:
        """Set a page and write it into the spool folder, where it does not stay."""
        page = self._rendition(title="检查", document_number="", blocks=[], facts=[], address="", caption="")
        (self.directory / self._write(f".check-{uuid4().hex}", self._compiled(page)).reference).unlink()
        return "ok"

    def _rendition(self, **notice: object) -> Rendition:
        title = " ".join(str(notice["title"]).split())
        data = {
            "corrected": False,
            **notice,
            "template": TEMPLATE,
            "title": title,
            "title_lines": title_lines(title, width=20),
            "seal": self.seal,
            "number_single_page": self.number_single_page,
        }
        return Rendition(MEDIA_TYPE, json.dumps(data, ensure_ascii=False, sort_keys=True).encode())

    def _compiled(self, rendition: Rendition, posting_date: str = "") -> bytes:
        try:
            return self.preview(rendition, posting_date)
        except CannotTypeset as error:
            raise Rejected(error.code, **error.facts) from error

    def _write(self, name: str, pdf: bytes) -> Receipt:
        """Atomic: whoever looks into the folder sees the whole file or none."""
        part = self.directory / f".{uuid4().hex}.part"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("xb") as file:
                    file.write(pdf)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(self.directory / name)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable("bulletin.cannot_write", reason=errno.errorcode.get(error.errno or 0, "")) from error
        return Receipt(name, f"{len(pdf)} bytes")


def _blocks(message: Message) -> list[dict[str, Any]]:
    """The text with its attachments listed before the signature; signed by the office if the text does not sign."""
    blocks = [_block(block) for block in message.blocks]
    if not any(block["kind"] == "closing" for block in blocks):
        blocks.append(_block(Closing(message.office.name, _chinese(message.formed_on))))
    if message.files:
        names = [SUFFIX.sub("", file.name) for file in message.files]
        at = next(at for at, block in enumerate(blocks) if block["kind"] == "closing")
        blocks.insert(at, {"kind": "attachments", "names": names})
    return blocks


def _block(block: Block) -> dict[str, Any]:
    return {"kind": type(block).__name__.lower(), **asdict(block)}


def _facts(message: Message) -> list[tuple[str, str | None]]:
    """What a notice must carry beside its text; None stands for the posting date, a fact of sending."""
    facts = [
        ("更正", "本件更正此前发布的内容，以本件为准。" if message.corrected else ""),
        ("公示时间", "至".join(map(_chinese, message.period or ()))),
        ("异议受理", message.objection_contact),
        ("监督电话", message.office.phone),
        ("张贴日期", None),
        ("体裁", message.item_type),
        ("索引号", message.index_number),
        ("文号", message.document_number),
    ]
    return [(label, value) for label, value in facts if value != ""]


def _texts(notice: Mapping[str, Any]) -> list[tuple[Role, str]]:
    """Every text of a notice with the role of the font that writes it."""
    texts = [(Role.XIAOBIAOSONG, notice["title"]), (Role.FANGSONG, notice["document_number"])]
    texts += [(Role.FANGSONG, value or "") for _, value in notice["facts"]]
    for block in notice["blocks"]:
        if block["kind"] == "heading":
            role = {1: Role.HEITI, 2: Role.KAITI}.get(block["level"], Role.FANGSONG)
            texts += [(role, block["text"]), (Role.FANGSONG, block["run_in"])]
        elif block["kind"] == "table":
            for at, row in enumerate(block["rows"]):
                texts += [(Role.FANGSONG if at else Role.HEITI, cell) for cell in row]
        elif block["kind"] == "attachments":
            texts += [(Role.FANGSONG, name) for name in block["names"]]
        else:
            texts += [(Role.FANGSONG, text) for key, text in block.items() if key != "kind"]
    return texts


def _chinese(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"


def _qr(address: str) -> str:
    svg = io.BytesIO()
    segno.make(address, error="m", micro=False).save(svg, kind="svg", border=2)
    return svg.getvalue().decode()
