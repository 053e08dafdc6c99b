"""What the app reads: `/api/app/v1/`, described by OpenAPI 3.1 there and for its developers in docs/app-api.md.

It shows the catalogue. Of each item it says whether the office has also put it into the app's feed.
"""

import html
import json
import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from web.portal import description, listing, search
from web.portal.answers import answer, reading
from web.portal.catalogue import Order, Wanted, What
from web.portal.content import Entry, Item
from web.portal.description import APP
from web.portal.listing import Listed
from web.portal.problems import Problem
from web.portal.state import Portal, State
from web.portal.storage import LARGEST_NUMBER, Kind
from web.portal.words import file_path

_CELL_ENDS = re.compile(r"</t[hd]>(?=\s*<t[hd])")
_LINE_ENDS = re.compile(r"</(?:h[2-5]|p|tr)>|<br ?/?>")
_TAG = re.compile("<[^>]*>")
LOOKED_AT = 20_000  # characters of a text in which an excerpt is looked for
LARGEST_SKIP = 10_000  # of a search; who looks for the ten-thousandth hit narrows the search instead

INTRODUCTION = """政务信息公开目录的只读接口，供手机应用使用。无需登录，不限来源（CORS），支持 `ETag` 与 gzip。

- **翻页**：列表给出 `next`（下一页的完整网址，没有则为 `null`）。请原样使用，不要自行拼接。
- **同步**：先取 `/changes` 得到 `cursor`，再用 `/items` 取全部，以后定期取 `/changes?since=cursor`。变动永久保存；
  门户从备份恢复后旧的 `cursor` 作废，返回 410 `cursor_gone`，此时从头再来。
- **正文**：`html` 只含 `h2 h3 h4 h5 p br strong em table thead tbody tr th td`，
  属性只有 `class scope colspan`，标签成对；`text` 是同一内容的纯文本。不含脚本、样式、图片、链接。
- **出错**：一律 `application/problem+json`（RFC 9457），程序看 `code`，`detail` 给人看。
- **时间**：`…_at` 为 UTC，`…_on` 为北京时间的日期。
"""

routes = APIRouter(prefix=APP, responses=description.problems((422, "bad_parameter, bad_cursor")))


# Whole seconds: the date parsers of phones often take nothing finer.
Moment = Annotated[datetime, AfterValidator(lambda moment: moment.replace(microsecond=0))]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class AttachedFile(_Shape):
    """附件。图片有宽高，以像素计。"""

    name: str
    media_type: str
    url: str
    size: int = Field(description="字节")
    width: int | None = None
    height: int | None = None


class Period(_Shape):
    """公示期，首尾两日都算在内。"""

    begin: date
    end: date


class Event(_Shape):
    at: Moment
    what: What


class Summary(_Shape):
    """目录中的一条。"""

    number: int = Field(description="永久编号，网址 /i/编号", examples=[7])
    url: str = Field(description="供人阅读的永久网址", examples=["https://www.example.gov.cn/i/7"])
    index_number: str = Field(description="索引号", examples=["370303/2026-00007"])
    title: str = Field(examples=["关于农村数字电视改造期间临时停播的公告"])
    summary: str = Field(description="内容概述", examples=["3月5日9时至12时，马尚镇部分村居停播。"])
    publisher: str = Field(description="发布机构", examples=["张店区广播电视局"])
    department: str = Field(description="公开部门", examples=["技术科"])
    item_type: str = Field(description="体裁", examples=["公告"])
    theme: str = Field(description="主题分类", examples=["广播电视"])
    document_number: str = Field(description="文号", examples=["张广发〔2026〕12号"])
    validity: str = Field(description="有效性", examples=["有效"])
    columns: list[str] = Field(description="所在栏目，见 /columns", examples=[["notices"]])
    in_app_feed: bool = Field(description="本单位另行推送到应用的信息（/feed.json），适合放在首页或推送通知")
    formed_on: date = Field(description="生成日期", examples=["2026-03-01"])
    published_at: Moment = Field(description="首次公开的时间，更正后不变", examples=["2026-03-02T01:30:00Z"])
    changed_at: Moment = Field(description="最近一次公开或更正的时间", examples=["2026-03-02T01:30:00Z"])


class FullItem(Summary):
    """一条信息的全部内容。"""

    short_title: str = Field(description="短标题，供推送通知；没有则为空")
    html: str = Field(description="正文，HTML 子集", examples=["<p>3月5日9时至12时临时停播。</p>"])
    text: str = Field(description="正文，纯文本", examples=["3月5日9时至12时临时停播。"])
    keywords: list[str]
    source: str = Field(description="信息来源")
    disclosure: str = Field(description="公开属性", examples=["主动公开"])
    period: Period | None
    objection_contact: str = Field(description="公示的异议联系方式")
    supervision_phone: str = Field(description="监督电话")
    corrects: str = Field(description="更正说明所更正的信息")
    files: list[AttachedFile]
    history: list[Event] = Field(description="公开、更正、撤下、重新公开的经过，由远到近")


class ItemPage(_Shape):
    items: list[Summary]
    next: str | None = Field(description="下一页的网址")


class Piece(_Shape):
    text: str
    match: bool = Field(description="是否为所查的词")


class Hit(_Shape):
    item: Summary
    title: list[Piece]
    excerpt: list[Piece] = Field(description="正文中出现所查的词的一段")


class Hits(_Shape):
    count: int
    hits: list[Hit]
    next: str | None = Field(description="下一页的网址")


class ShownColumn(_Shape):
    id: str = Field(examples=["notices"])
    name: str = Field(examples=["通知公告"])
    description: str
    url: str = Field(description="供人阅读的网址")
    count: int = Field(description="栏目中现有信息的条数")


class ShownColumns(_Shape):
    columns: list[ShownColumn]


class Happened(StrEnum):
    NEW = "new"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"


class ItemChange(_Shape):
    """一条信息最近一次的变动；在两次同步之间变动过几次的，只列最后一次。"""

    what: Happened
    number: int
    at: Moment
    item: Summary | None = Field(description="撤下的为 null：请删去本地所存")


class Changes(_Shape):
    changes: list[ItemChange] = Field(description="由远到近")
    more: bool = Field(description="还有更多：立即用 cursor 再取")
    cursor: str = Field(description="下次的 since", examples=["1042.1791184508000000"])


Cursor = Annotated[str, Query(pattern="^[0-9]{1,10}$", description="由 `next` 带上，请勿自拟")]
Size = Annotated[int, Query(ge=1, le=100, description="一页的条数")]
Word = Annotated[str, Query(max_length=200)]
Column = Annotated[str, Query(max_length=200, description="栏目的 id，见 /columns")]
Year = Annotated[int | None, Query(ge=1900, le=2999, description="生成日期的年份")]


@reading(
    routes, "/items", response_model=ItemPage, operation_id="items", summary="目录，最新公开的在前",
    responses=description.problems((404, "no_such_column")),
)  # fmt: skip
def items(
    request: Request, portal: Portal, column: Column = "", item_type: Word = "", theme: Word = "",
    department: Word = "", validity: Word = "", year: Year = None, cursor: Cursor = "", limit: Size = 20,
) -> Response:  # fmt: skip
    wanted = Wanted(column=_column(portal, column), item_type=item_type, theme=theme, department=department,
                    validity=validity, year=year)  # fmt: skip
    listed, following = listing.page(portal.storage, wanted, int(cursor) if cursor else None, limit)
    return _answer(ItemPage(items=[_summary(portal, one) for one in listed], next=_next(portal, request, following)))


@reading(
    routes, "/items/{number:int}", response_model=FullItem, operation_id="item", summary="一条信息",
    responses=description.problems((404, "no_such_item"), (410, "withdrawn：已撤下，请删去本地所存")),
)  # fmt: skip
def item(portal: Portal, number: Annotated[int, Path(description="永久编号")]) -> Response:
    slot = portal.storage.slot(Kind.ITEM, number) if 1 <= number <= LARGEST_NUMBER else None
    if slot is None or slot.first_published_at is None:
        raise Problem(404, "no_such_item")
    listed = listing.one(portal.storage, number)
    if slot.body is None or listed is None:
        raise Problem(410, "withdrawn")
    entry = portal.storage.slot(Kind.ENTRY, number)
    short_title = Entry.model_validate_json(entry.body).short_title if entry and entry.body else ""
    shown, sizes = Item.model_validate_json(slot.body), listing.pictures(portal.storage, number)
    files = [
        AttachedFile(name=file.name, media_type=file.media_type, url=portal.settings.public_url + file_path(file),
                     **vars(sizes[file.sha256]))
        for file in shown.files if file.sha256 in sizes
    ]  # fmt: skip
    history = [Event(at=change.at, what=change.what) for change in portal.storage.history(number)]
    period = Period(begin=shown.period[0], end=shown.period[1]) if shown.period else None
    same = {name: getattr(shown, name) for name in ("html", "source", "disclosure", "objection_contact",
                                                    "supervision_phone", "corrects")}  # fmt: skip
    return _answer(FullItem(
        **_summary(portal, listed).model_dump(), **same, short_title=short_title, text=plain(shown.html),
        keywords=list(shown.keywords), period=period, files=files, history=history,
    ))  # fmt: skip


@reading(routes, "/columns", response_model=ShownColumns, operation_id="columns", summary="栏目")
def columns(portal: Portal) -> Response:
    counts = portal.storage.updated()
    return _answer(ShownColumns(columns=[
        ShownColumn(id=one.id, name=one.name, description=one.description, count=counts[one.id][0],
                    url=f"{portal.settings.public_url}/columns/{one.id}")
        for one in portal.office.columns
    ]))  # fmt: skip


@reading(
    routes, "/search", response_model=Hits, operation_id="search", summary="检索标题、正文、索引号、文号",
    responses=description.problems((404, "no_such_column")),
)  # fmt: skip
def look(
    request: Request, portal: Portal, q: Annotated[str, Query(min_length=1, max_length=200, description="所查的词")],
    column: Column = "", item_type: Word = "", theme: Word = "", department: Word = "", validity: Word = "",
    year: Year = None, order: Order = Order.RELEVANT, cursor: Cursor = "", limit: Size = 20,
) -> Response:  # fmt: skip
    wanted = Wanted(column=_column(portal, column), item_type=item_type, theme=theme, department=department,
                    validity=validity, year=year, words=q, order=order)  # fmt: skip
    skip = min(int(cursor or 0), LARGEST_SKIP)
    found, count = listing.found(portal.storage, wanted, skip, limit)
    hits = [
        Hit(item=_summary(portal, one), title=_pieces(one.row.title, q),
            excerpt=_pieces(search.snippet(plain(json.loads(body)["html"])[:LOOKED_AT], q), q))
        for one, body in found
    ]  # fmt: skip
    following = skip + limit if skip + limit < min(count, LARGEST_SKIP) else None
    return _answer(Hits(count=count, hits=hits, next=_next(portal, request, following)))


@reading(
    routes, "/changes", response_model=Changes, operation_id="changes", summary="自某时以来的变动：新公开、更正、撤下",
    responses=description.problems((410, "cursor_gone：门户已从备份恢复，请删去本地所存，从头同步")),
)  # fmt: skip
def changes(
    portal: Portal,
    since: Annotated[str, Query(max_length=40, description="上次得到的 cursor；不带则只给出现在的 cursor")] = "",
    limit: Size = 100,
) -> Response:
    newest, at = listing.newest_change(portal.storage)
    if not since:
        return _answer(Changes(changes=[], more=False, cursor=_cursor(newest, at)))
    begin = _begin(portal, since)
    changed, more = listing.changes(portal.storage, begin, newest, limit)
    shown = [
        ItemChange(what=_what(one), number=one.number, at=one.at,
                   item=_summary(portal, one.listed) if one.listed else None)
        for one in changed
    ]  # fmt: skip
    last = changed[-1].change if more else max(newest, begin)
    return _answer(Changes(changes=shown, more=more, cursor=_cursor(last, at)))


@reading(routes, "/openapi.json", include_in_schema=False)
def described(portal: Portal) -> Response:
    content = description.app_interface(portal.settings, routes.routes, INTRODUCTION)
    return answer(json.dumps(content, ensure_ascii=False).encode(), "application/json")


def plain(document: str) -> str:
    """The text of HTML of our subset: a line for each paragraph, heading and row, a tab between two cells."""
    lines = _LINE_ENDS.sub("\n", _CELL_ENDS.sub("\t", document))
    return html.unescape(_TAG.sub("", lines)).strip()


def _summary(portal: State, listed: Listed) -> Summary:
    row = vars(listed.row)
    return Summary(
        **row, url=f"{portal.settings.public_url}/i/{listed.row.number}", in_app_feed=listed.in_app_feed,
        columns=[column.id for column in portal.office.columns_of(row)],
    )  # fmt: skip


def _column(portal: State, column: str) -> str:
    """Raises Problem 404: an app that asks for a column that was given up should be told so."""
    if column and column not in portal.office.by_id:
        raise Problem(404, "no_such_column")
    return column


def _what(changed: listing.Changed) -> Happened:
    if changed.listed is None:
        return Happened.WITHDRAWN
    return Happened.CORRECTED if changed.corrected else Happened.NEW


def _pieces(text: str, words: str) -> list[Piece]:
    return [Piece(text=piece, match=found) for piece, found in search.highlight(text, words)]


def _next(portal: State, request: Request, cursor: int | None) -> str | None:
    """The address that was asked for, from another place on."""
    if cursor is None:
        return None
    asked = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
    path = request.url.path.removeprefix(portal.settings.base_path)
    return f"{portal.settings.public_url}{path}?{urlencode([*asked, ('cursor', cursor)])}"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _cursor(change: int, at: datetime) -> str:
    """The last change that was told, and when the portal last changed: a portal that was restored since does not know
    of that moment."""
    return f"{change}.{(at - EPOCH) // timedelta(microseconds=1)}"


def _begin(portal: State, cursor: str) -> int:
    """Raises Problem: 422 `bad_cursor`, 410 `cursor_gone`."""
    match = re.fullmatch(r"(\d{1,10})\.(\d{1,17})", cursor, re.ASCII)
    if match is None:
        raise Problem(422, "bad_cursor")
    change, microseconds = map(int, match.groups())
    if listing.other_history(portal.storage, change, EPOCH + timedelta(microseconds=microseconds)):
        raise Problem(410, "cursor_gone")
    return change


def _answer(shape: BaseModel) -> Response:
    return answer(shape.model_dump_json().encode(), "application/json")
