"""The forms of one number of the newsletter, all from `Message.issue`: printed pages, PDF for the web, mail.

The mail of any other item is made here too, so that all mails of the office look alike.
"""

import base64
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import segno
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from channels.contract import File, Finding, Message, Rejected, Rendition, Severity, Unrenderable
from channels.document import Block, Heading, Paragraph, Table, to_text
from channels.issue import Entry, Issue
from channels.pictures import Picture, prepared
from channels.typst import TEMPLATES, CannotTypeset, Role, fonts, title_lines, typeset

MEDIA_TYPE = "application/vnd.fabu.newsletter+json"
TEMPLATE = "newsletter/2"  # an approved issue is printed by the layout it was approved in, or not at all
UNSUBSCRIBE = "{{unsubscribe}}"  # in a mail its last occurrence is the place of the recipient's own address

PRINT_PIXELS, PRINT_QUALITY = 1600, 85  # 170 mm at 240 dpi
MAIL_PIXELS, MAIL_QUALITY = 800, 72  # on a phone two or three a point
MAIL_BYTES = 240_000  # of pictures in one mail, sent to everybody: some three; the others are behind the links
PREHEADER = 80  # characters that a list of mails shows beside the subject
WHOLE, EXCERPT = 200, 130  # characters: an entry up to the first stands whole in a mail, of another about so many


# ── print ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def printed(message: Message, fonts_dir: Path | None = None) -> Rendition:
    """The issue as data for its pages, with its pictures. Raises Unrenderable when a character has no font, or a
    picture cannot be read or is missing."""
    issue = _issue(message)
    pictures = _pictures(message, issue)
    data = {
        "template": TEMPLATE,
        "name": issue.name,
        "name_size": min(60.0, 400 / len(issue.name)),
        "numbers": issue.numbers,
        "day": _chinese(issue.day),
        "date": [issue.day.year, issue.day.month, issue.day.day],
        "publisher": message.office.name,
        "internal": issue.internal,
        "permit": _permit(issue),
        "address": "" if issue.internal else message.address,
        "qr": "" if issue.internal else _qr(message.address),
        "editorial": [_block(block) for block in issue.editorial],
        "editorial_picture": _shown(pictures.get(issue.editorial_picture), "卷首语"),
        "columns": [
            {"name": column.name, "entries": [_entry(entry, pictures) for entry in column.entries]}
            for column in issue.columns
        ],
        "note": issue.note,
        "imprint": list(_imprint(message, issue)),
    }
    body = json.dumps(data, ensure_ascii=False, sort_keys=True).encode()
    rendition = Rendition(MEDIA_TYPE, body, tuple(picture.file for picture in pictures.values()))
    if findings := fonts(fonts_dir).findings(_texts(data)):
        raise Unrenderable(*findings)
    return rendition


def page(rendition: Rendition) -> dict[str, Any]:
    """The data of the template `newsletter`. Raises Rejected for a rendition made for another version of the layout."""
    data: dict[str, Any] = json.loads(rendition.body)
    if data["template"] != TEMPLATE:
        raise Rejected("newsletter.other_template", approved=data["template"], present=TEMPLATE)
    contents = {file.name: file for file in rendition.files}
    shown = [data["editorial_picture"]]
    shown += [entry["picture"] for column in data["columns"] for entry in column["entries"]]
    for picture in filter(None, shown):
        picture["svg"] = _svg(contents[picture["name"]], picture["pixels"])
    return data


def pdf(message: Message) -> File:
    """The printed issue as a file for the web: same message, same bytes. Set in our own fonts: those that an office
    has bought for its printer may rarely be given away inside a file. Raises Unrenderable."""
    return _bound(_name(_issue(message)), printed(message))


def files(message: Message) -> tuple[File, ...]:
    """What can be had of an item beside its text: of an issue first its PDF, and its pictures as they are printed; of
    any other item its attachments. Raises Unrenderable."""
    if message.issue is None:
        return message.files
    rendition = printed(message)
    shown = {file.name: file for file in rendition.files}
    return (_bound(_name(message.issue), rendition), *(shown.get(file.name, file) for file in message.files))


def _name(issue: Issue) -> str:
    return f"{issue.name}{issue.numbers}.pdf"


@lru_cache(maxsize=4)  # portal, app and everybody who looks at it have the same one
def _bound(name: str, rendition: Rendition) -> File:
    try:
        content = typeset("newsletter", page(rendition))
    except CannotTypeset as error:
        raise Unrenderable(Finding(error.code, Severity.BLOCK, facts=error.facts)) from error
    return File(name, "application/pdf", content)


def _issue(message: Message) -> Issue:
    if message.issue is None:
        raise ValueError("no number of the newsletter")
    return message.issue


def _pictures(message: Message, issue: Issue) -> dict[str, Picture]:
    """The pictures that the issue shows, by name, ready for print."""
    named = [issue.editorial_picture, *(entry.picture for column in issue.columns for entry in column.entries)]
    there = {file.name: file for file in message.files}
    missing = [name for name in dict.fromkeys(named) if name and name not in there]
    if missing:
        raise Unrenderable(
            *(Finding("newsletter.no_picture", Severity.BLOCK, name, {"file": name}) for name in missing)
        )
    return {name: prepared(there[name], PRINT_PIXELS, PRINT_QUALITY) for name in dict.fromkeys(named) if name}


def _entry(entry: Entry, pictures: dict[str, Picture]) -> dict[str, Any]:
    return {
        "title": entry.title,
        "title_lines": title_lines(" ".join(entry.title.split()), width=20),
        "department": entry.department,
        "day": _chinese(entry.published_on) if entry.published_on else "",
        "address": entry.address,
        "short": _short(entry.address),
        "qr": _qr(entry.address),
        "blocks": [_block(block) for block in entry.blocks],
        "picture": _shown(pictures.get(entry.picture), entry.title),
    }


def _shown(picture: Picture | None, of: str) -> dict[str, Any] | None:
    """A picture in the data: by name; `width` of the text column, so that no picture is higher than some 80 mm."""
    if picture is None:
        return None
    caption = _caption(picture.file.name)
    return {
        "name": picture.file.name,
        "caption": caption,
        "alt": caption or f"配图：{of}",
        "pixels": [picture.width, picture.height],
        "width": round(min(1.0, picture.width / picture.height / 1.6), 3),
    }


def _caption(name: str) -> str:
    """A file's name is its caption where a person gave it one: IMG_2041.jpg is none."""
    stem = name.rpartition(".")[0] or name
    return stem if re.search("[\u4e00-\u9fff]", stem) else ""


def _imprint(message: Message, issue: Issue) -> Iterator[tuple[str, str]]:
    labels = {label for label, _ in issue.imprint}
    if not issue.internal:
        if not labels & {"主办单位", "编印单位"}:
            yield "主办单位", message.office.name
        yield from issue.imprint
        own = (("地址", message.office.address), ("监督电话", message.office.phone))
        yield from ((label, value) for label, value in own if value and label not in labels)
    else:
        yield from issue.imprint


def _block(block: Block) -> dict[str, Any]:
    return {"kind": type(block).__name__.lower(), **asdict(block)}


def _texts(data: dict[str, Any]) -> Iterator[tuple[Role, str]]:
    """Every text of an issue with the role of the font that writes it."""
    yield Role.XIAOBIAOSONG, data["name"]
    yield Role.KAITI, data["publisher"] + data["name"] + data["numbers"]
    yield Role.FANGSONG, data["numbers"] + data["day"] + data["permit"]
    yield Role.KAITI, data["note"]
    for label, value in data["imprint"]:
        yield from ((Role.HEITI, label), (Role.FANGSONG, value))
    yield from _block_texts(data["editorial"], Role.KAITI)
    if data["editorial_picture"]:
        yield Role.KAITI, data["editorial_picture"]["caption"]
    for column in data["columns"]:
        yield from ((Role.HEITI, column["name"]), (Role.KAITI, column["name"]))
        for entry in column["entries"]:
            yield from ((Role.XIAOBIAOSONG, entry["title"]), (Role.FANGSONG, entry["title"] + entry["short"]))
            yield Role.KAITI, entry["department"] + entry["day"]
            if entry["picture"]:
                yield Role.KAITI, entry["picture"]["caption"]
            yield from _block_texts(entry["blocks"], Role.FANGSONG)


def _block_texts(blocks: Iterable[dict[str, Any]], body: Role) -> Iterator[tuple[Role, str]]:
    for block in blocks:
        if block["kind"] == "heading":
            yield {1: Role.HEITI, 2: Role.KAITI}.get(block["level"], Role.FANGSONG), block["text"]
            yield body, block["run_in"]
        elif block["kind"] == "table":
            header, *rows = block["rows"]
            yield Role.HEITI, "".join(header)
            yield from ((body, cell) for row in rows for cell in row)
        elif block["kind"] == "closing":
            yield Role.KAITI, block["name"] + block["date"]
        else:
            yield body, block["text"]


@lru_cache(maxsize=1024)  # each takes two milliseconds, and an issue is looked at again and again
def _qr(address: str) -> str:
    if not address:
        return ""
    svg = io.BytesIO()
    segno.make(address, error="m", micro=False).save(svg, kind="svg", border=1)
    return svg.getvalue().decode()


def _svg(file: File, pixels: list[int]) -> str:
    """Typst takes data as strings only; an SVG may carry a picture as one."""
    width, height = pixels
    content = base64.b64encode(file.content).decode()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="data:{file.media_type};base64,{content}"/></svg>'
    )


def _short(address: str) -> str:
    return address.partition("://")[2] or address


def _chinese(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"


# ── mail ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class MailParts:
    """One mail before it has a recipient: `html` and `text` say the same, each with UNSUBSCRIBE once after all texts of
    the item. `pictures`: shown in `html` as `cid:NAME`."""

    subject: str
    html: str
    text: str
    pictures: tuple[File, ...] = ()


def mail_parts(message: Message) -> MailParts:
    """The mail of an issue or of any other item. Of an issue: the editorial, and of each entry its beginning and the
    way to the original; short ones whole, as are those without an address.

    Its pictures come along, small, in order until MAIL_BYTES are spent: a mail program shows what is inside a mail, not
    what would have to be fetched, and nobody is watched. Raises Unrenderable for a picture that cannot be read.
    """
    issue = message.issue
    facts = [*_imprint(message, issue)] if issue else [(label, value) for label, value in _facts(message) if value]
    given: dict[str, Any] = {
        "subject": f"{issue.name} {issue.numbers}" if issue else " ".join(message.title.split()),
        "issue": issue,
        "publisher": message.office.name,
        "facts": facts,
        "web": "" if issue and issue.internal else message.address,
        "unsubscribe": UNSUBSCRIBE,
    }
    pictures: dict[str, File] = {}
    if issue:
        pictures = _small(_pictures(message, issue))
        columns = [(column.name, [_told(entry, pictures) for entry in column.entries]) for column in issue.columns]
        given |= {
            "day": _chinese(issue.day),
            "permit": _permit(issue),
            "editorial": [_block(block) for block in issue.editorial],
            "editorial_picture": pictures[issue.editorial_picture].name if issue.editorial_picture in pictures else "",
            "columns": [{"name": name, "entries": entries} for name, entries in columns],
            "preheader": "；".join(entry.title for column in issue.columns for entry in column.entries)[:PREHEADER],
        }
    else:
        text = "".join(to_text(message.blocks).split())
        given |= {
            "text": [_block(block) for block in message.blocks],
            "attachments": [file.name for file in message.files],
            "preheader": (message.summary or text)[:PREHEADER],
        }
    mail = _environment()
    html, plain = (mail.get_template(name).render(given) for name in ("mail.html", "mail.txt"))
    return MailParts(given["subject"], html, plain, tuple(pictures.values()))


def alone(html: str, pictures: Iterable[File]) -> str:
    """A mail's HTML as a page of its own, to be looked at: its pictures are in it, and its links lead nowhere new."""
    for picture in pictures:
        content = base64.b64encode(picture.content).decode()
        html = html.replace(f'"cid:{picture.name}"', f'"data:{picture.media_type};base64,{content}"')
    return html.replace(UNSUBSCRIBE, "#")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(["html"]), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def _small(pictures: dict[str, Picture]) -> dict[str, File]:
    """Those that come along, by the name of the file they are made of; each called after its place."""
    found, room = dict[str, File](), MAIL_BYTES
    for name, picture in pictures.items():
        small = prepared(picture.file, MAIL_PIXELS, MAIL_QUALITY).file
        room -= len(small.content)
        if room < 0:
            break
        found[name] = replace(small, name=f"picture-{len(found) + 1}.{small.media_type.rpartition('/')[2]}")
    return found


def _told(entry: Entry, pictures: dict[str, File]) -> dict[str, Any]:
    """An entry as a mail tells it. `more`: there is more in the original."""
    length = len(to_text(entry.blocks))
    short = length <= WHOLE and not any(isinstance(block, Table) for block in entry.blocks)
    whole = short or not entry.address
    return {
        "title": entry.title,
        "meta": "　".join(filter(None, (entry.department, _chinese(entry.published_on) if entry.published_on else ""))),
        "address": entry.address,
        "blocks": [_block(block) for block in (entry.blocks if whole else _beginning(entry.blocks))],
        "more": not whole,
        "picture": pictures[entry.picture].name if entry.picture in pictures else "",
        "alt": _caption(entry.picture) or f"配图：{entry.title}",
    }


def _beginning(blocks: Iterable[Block]) -> list[Block]:
    """The first sentences, about EXCERPT characters of them; one that is too long is cut with …."""
    told = [block for block in blocks if isinstance(block, Paragraph | Heading)]
    text = "".join(block.text if isinstance(block, Paragraph) else block.run_in for block in told)
    ends = [end.end() for end in re.finditer("[。！？][”’）]?", text) if end.end() <= EXCERPT * 3 // 2]
    begun = text[: ends[-1]] if ends else text[:EXCERPT] + "…" * (len(text) > EXCERPT)
    return [Paragraph(begun)] if begun else []


def _permit(issue: Issue) -> str:
    return "".join(f"{label}：{value}" for label, value in issue.imprint if label == "准印证号")


def _facts(message: Message) -> list[tuple[str, str]]:
    """What stands below an item beside its text."""
    return [
        ("公示时间", "至".join(map(_chinese, message.period or ()))),
        ("异议受理", message.objection_contact),
        ("文号", message.document_number),
        ("索引号", message.index_number),
        ("发布机构", message.office.name),
        ("监督电话", message.office.phone),
    ]
