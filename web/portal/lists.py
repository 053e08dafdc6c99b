"""Lists of items on pages: what an address asks for, rows with what was found marked, filters, page numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from web.portal import search
from web.portal.catalogue import Facets, Order, Wanted
from web.portal.content import Item
from web.portal.storage import Slot

ENDED = ("失效", "废止")
FILTERS = {  # in addresses, of the catalogue's facets, on the page
    "column": ("column", "栏目"),
    "theme": ("theme", "主题"),
    "type": ("item_type", "体裁"),
    "department": ("department", "公开部门"),
    "year": ("year", "生成年份"),
    "validity": ("validity", "有效性"),
}
ORDERS = {Order.RELEVANT: "最相关", Order.NEWEST: "最新发布", Order.FORMED: "最新生成"}

Pieces = list[tuple[str, bool]]  # text, each with whether it was looked for


class Asked(BaseModel):
    """What the query of a list's address asks for."""

    model_config = ConfigDict(frozen=True)

    q: Annotated[str, Field(max_length=1000)] = ""
    column: str = ""
    theme: str = ""
    type: str = ""
    department: str = ""
    year: Annotated[str, Field(pattern="^([0-9]{4})?$")] = ""
    validity: str = ""
    order: Annotated[str, Field(pattern="^(newest|relevant|formed)?$")] = ""
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    def address(self, path: str, **changes: Any) -> str:
        """The path with these values; another filter or order begins again on the first page."""
        values = self.model_dump() | {"page": 1} | changes
        query = urlencode({name: value for name, value in values.items() if value and (name, value) != ("page", 1)})
        return f"{path}?{query}" if query else path

    @property
    def words(self) -> str:
        return self.q.strip()

    @property
    def filters(self) -> dict[str, str]:
        return {name: value for name in FILTERS if (value := getattr(self, name))}

    @property
    def usual_order(self) -> Order:
        return Order.RELEVANT if self.words else Order.NEWEST

    def wanted(self) -> Wanted:
        return Wanted(
            column=self.column,
            theme=self.theme,
            item_type=self.type,
            department=self.department,
            year=int(self.year) if self.year else None,
            validity=self.validity,
            words=self.words,
            order=Order(self.order) if self.order else self.usual_order,
        )


@dataclass(frozen=True)
class Row:
    """`state`: of a 公示 or of a document that is no longer in force; `running`: one may still object."""

    slot: Slot
    item: Item
    state: str = ""
    running: bool = False
    asked: str = ""

    @classmethod
    def of(cls, slot: Slot, today: date, asked: str = "") -> "Row":
        assert slot.body is not None  # lists hold live items only
        item = Item.model_validate_json(slot.body)
        if item.validity in ENDED:
            return cls(slot, item, item.validity, asked=asked)
        if item.period is None:
            return cls(slot, item, asked=asked)
        running = item.period[0] <= today <= item.period[1]
        state = "公示中" if running else "期限已满" if today > item.period[1] else "即将公示"
        return cls(slot, item, state, running, asked)

    def lit(self, text: str) -> Pieces:
        return search.highlight(text, self.asked) if self.asked else [(text, False)]

    @property
    def summary(self) -> Pieces:
        """Where title and summary do not hold what was looked for, a piece of the text around it."""
        said = self.lit(self.item.summary) if self.item.summary else []
        if self.asked.casefold() in f"{self.item.title}\n{self.item.summary}".casefold():
            return said
        found = self.lit(search.snippet(search.plain(self.item.html), self.asked))
        return found if any(hit for _, hit in found) else said


@dataclass(frozen=True)
class Choice:
    """A value of a filter: how many items it leaves, and the address with it, or without it where it is chosen."""

    value: str
    count: int
    path: str
    chosen: bool


@dataclass(frozen=True)
class Filter:
    name: str
    choices: list[Choice]


def filters(path: str, asked: Asked, found: Facets, columns: Mapping[str, str]) -> list[Filter]:
    """By what a list can be narrowed; a field of one value narrows nothing. `columns`: names by id; none: no filter."""
    listed = []
    for name, (field, label) in FILTERS.items():
        held = getattr(asked, name)
        values = [(value, count) for value, count in found.get(field, []) if count or value == held]
        if name == "column":
            values = [(value, count) for value, count in values if value in columns]
        if len(values) < 2 and not held:
            continue
        choices = [
            Choice(
                columns.get(value, value) if name == "column" else value,
                count,
                asked.address(path, **{name: "" if value == held else value}),
                value == held,
            )
            for value, count in values
        ]
        if choices:
            listed.append(Filter(label, choices))
    return listed


def chosen(path: str, asked: Asked, columns: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Each filter in use: its name, its value, and the address without it."""
    return [
        (FILTERS[name][1], columns.get(value, value) if name == "column" else value, asked.address(path, **{name: ""}))
        for name, value in asked.filters.items()
    ]


def orders(path: str, asked: Asked) -> list[tuple[str, str, bool]]:
    return [
        (name, asked.address(path, order="" if order is asked.usual_order else order), order is asked.wanted().order)
        for order, name in ORDERS.items()
        if asked.words or order is not Order.RELEVANT
    ]


def numbers(page: int, last: int) -> Iterator[int]:
    """Pages to go to: the first, the last, and those around this one; 0 stands for what is left out."""
    before = 0
    for number in sorted({1, last, *range(max(1, page - 2), min(last, page + 2) + 1)}):
        if number > before + 1:
            yield 0 if number > before + 2 else before + 1
        yield number
        before = number


def nothing(asked: Asked) -> str:
    if asked.words:
        return f"没有找到与“{asked.words[:50]}”有关的信息。可以减少几个字，换个说法，或者取消筛选条件。"
    return "没有符合条件的信息，可以取消一些筛选条件。" if asked.filters else "本栏目暂时没有信息。"
