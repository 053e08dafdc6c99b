"""One number of a newsletter (《广电通讯》), as channels set it: columns of entries under a masthead."""

from dataclasses import dataclass
from datetime import date

from channels.document import Block


@dataclass(frozen=True)
class Entry:
    """One item in an issue. `number` is the N of its permanent address; `picture` names one of the message's files."""

    number: int
    title: str
    blocks: tuple[Block, ...]
    address: str
    department: str = ""
    published_on: date | None = None
    picture: str = ""


@dataclass(frozen=True)
class Column:
    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Issue:
    """`number` counts within `year` from 1, `running` for ever: 2015年第3期（总第51期）. `day`: on which it comes out.

    `internal`: 内部资料性出版物; then `imprint` is complete (label and value, in order; domain: Print) and no public
    channel takes it. A public newsletter (公开简报) may have an imprint.
    """

    name: str  # 广电通讯
    year: int
    number: int
    running: int
    day: date
    columns: tuple[Column, ...]
    editorial: tuple[Block, ...] = ()
    editorial_picture: str = ""
    internal: bool = False
    imprint: tuple[tuple[str, str], ...] = ()
    note: str = ""  # one line after the last item: 本期有一则信息已撤下

    @property
    def numbers(self) -> str:
        return f"{self.year}年第{self.number}期（总第{self.running}期）"
