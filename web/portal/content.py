"""What may stand on the portal: items and feed entries as they come in, checked before they are stored."""

import re
from datetime import date
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from web.portal.problems import Problem

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # none of them may stand in XML 1.0 (2.2)
_BAD_IN_NAME = re.compile("[/\\\\\x00-\x1f\u202a-\u202e\u2066-\u2069]")  # separators; overrides that disguise .exe
_PIECE = re.compile(
    r"[^<]+|<br ?/?>"
    r"|<(?P<open>h[2-5]|p|table|thead|tbody|tr|th|td|strong|em)(?: (?:class|scope|colspan)=\"[\w -]*\")*>"
    r"|</(?P<close>h[2-5]|p|table|thead|tbody|tr|th|td|strong|em)>"
)


def _printable(text: str) -> str:
    if _UNPRINTABLE.search(text):
        raise ValueError("control characters")
    return text


def _file_name(name: str) -> str:
    if _BAD_IN_NAME.search(name) or name in (".", ".."):
        raise ValueError("not a file name")
    return name


def _subset(html: str) -> str:
    """Every tag opened is closed in order, and nothing stands outside the subset. Strict on purpose: where `<` can
    only be one of our tags, no browser reads anything else into it."""
    place, open_tags = 0, list[str]()
    while place < len(html):
        piece = _PIECE.match(html, place)
        if piece is None:
            raise ValueError(f"outside the HTML subset at character {place}")
        if piece["open"]:
            open_tags.append(piece["open"])
        elif piece["close"] and (not open_tags or open_tags.pop() != piece["close"]):
            raise ValueError(f"unbalanced tags at character {place}")
        place = piece.end()
    if open_tags:
        raise ValueError(f"unclosed {open_tags[-1]}")
    return html


Text = Annotated[str, AfterValidator(_printable)]
Named = Annotated[Text, Field(min_length=1)]
Html = Annotated[Text, AfterValidator(_subset)]
Address = Annotated[Text, Field(pattern=r"^https?://")]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")  # a field we do not know would silently not be shown


class Attachment(_Document):
    name: Annotated[Named, Field(max_length=255), AfterValidator(_file_name)]
    media_type: Annotated[str, Field(pattern=r"^[a-z]+/[A-Za-z0-9.+_-]+$", max_length=255)]  # goes into a header
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Publication(_Document):
    """What items and entries have in common."""

    number: int
    index_number: Named
    title: Named
    html: Html
    publisher: Named
    department: Text
    item_type: Text
    formed_on: date
    address: Address
    summary: Text = ""
    files: tuple[Attachment, ...] = ()


class Item(Publication):
    document_number: Text = ""
    theme: Text = ""
    keywords: tuple[Text, ...] = ()
    source: Text = ""
    disclosure: Text = ""
    validity: Text = ""
    period: tuple[date, date] | None = None
    objection_contact: Text = ""
    supervision_phone: Text = ""
    corrects: Text = ""


class Entry(Publication):
    short_title: Text = ""


P = TypeVar("P", bound=Publication)


def read(kind: type[P], number: int, body: bytes) -> P:
    """Raises Problem 422 for what is not JSON, not of this kind, or of another number."""
    try:
        publication = kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise Problem(422, "bad_document", f"{where}: {first['msg']}".lstrip(": ")) from error
    if publication.number != number:
        raise Problem(422, "bad_document", "number: not that of the address")
    return publication
