"""What channels share that are read back from outside and whose other side keeps the highest generation of a slot."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from channels.contract import Call, Evidence, Kept, Office, Rendition, Report, Seen, Standing, View
from channels.http import CONNECT_SECONDS, LARGEST_ANSWER, read, session, transport

ROUND_SECONDS = 60.0  # one look at many: what is left then is looked at in the next round


class Readback:
    """The traits of such a channel, and its answers to what it is never asked."""

    recall: ClassVar[bool] = True
    evidence: ClassVar[Evidence] = Evidence.READBACK
    addressed: ClassVar[bool] = False
    fenced: ClassVar[bool] = True

    def view(self, rendition: Rendition) -> View:
        """Of a JSON document with a title, fields and the text as HTML, as all of these channels send."""
        document = json.loads(rendition.body)
        texts = {name: _plain(value) for name, value in document.items() if name not in ("title", "html")}
        facts = tuple((name, text) for name, text in texts.items() if text)
        return View(document["title"], facts, document["html"])

    def kept(self) -> Mapping[int, Kept] | None:
        """Not to be listed, unless a channel knows how."""
        return None if self.fenced else {}

    def read_report(self, query: object) -> Report | None:
        return None

    def normalise(self, address: str) -> str:
        """Never called: there are no recipients."""
        return address

    def invitation(self, office: Office, link: str, code: str) -> Rendition:
        """Never called, either."""
        raise NotImplementedError

    def standing(self) -> Sequence[Standing] | None:
        """Cannot say, unless a channel knows how."""
        return None


def _plain(value: Any) -> str:
    """A field of a document as one line: a file by its name, a list with marks between."""
    match value:
        case {"name": name}:
            return str(name)
        case list():
            return "、".join(_plain(one) for one in value)
        case None:
            return ""
    return str(value)


def one_by_one(
    look_at: Callable[[Rendition | None, Call], Seen], wanted: Sequence[tuple[Rendition | None, Call]]
) -> list[Seen]:
    """`verify` of a channel that is read slot by slot: what `look_at` says of each, UNKNOWN when time is up."""
    until = time.monotonic() + ROUND_SECONDS
    return [look_at(*row) if time.monotonic() < until else Seen.UNKNOWN for row in wanted]


def look(address: str, seconds: float, largest: int = LARGEST_ANSWER) -> tuple[int, bytes]:
    """Status and bytes of a public address, read as anyone would: unsigned, no cookies. Raises DeliveryError."""
    with transport():
        session().cookies.clear()
        answer = session().get(address, timeout=(CONNECT_SECONDS, seconds), allow_redirects=False, stream=True)
        return answer.status_code, read(answer, largest)
