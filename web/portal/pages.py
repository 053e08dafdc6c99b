"""What a citizen sees. Every page works without a script; the one module that there is reads aloud and prints."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

import segno
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from web.portal import feeds, listing, lists, words
from web.portal import head as heads
from web.portal.cache import KEEP
from web.portal.catalogue import Order, Wanted
from web.portal.content import Item
from web.portal.head import Head, Links
from web.portal.lists import Asked, Row
from web.portal.state import Portal, State
from web.portal.storage import LARGEST_NUMBER, Kind
from web.portal.view import COOKIE, View

PAGE = 20
HERE = Path(__file__).parent
STATIC = {  # read once; the hash in the address lets browsers keep them for a year
    name: ((HERE / "static" / name).read_bytes(), media_type)
    for name, media_type in (
        ("portal.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("page.js", "text/javascript; charset=utf-8"),
    )
}
SHOWN_IN_BROWSER = {"application/pdf", "image/png", "image/jpeg", "image/gif", "image/webp", "text/plain"}
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}
LONGEST_FORM = 8192  # bytes
HOME = ("首页", "/")
CATALOGUE = heads.Column(
    "信息公开目录",
    "本机关主动公开的政府信息，可以按主题、体裁、部门、年份和有效性查找。",
    ("政府信息公开", "信息公开目录"),
    "政务公开",
)
SEARCH = heads.Column(
    "信息搜索", "在标题、正文、索引号和文号中查找公开的政府信息。", ("搜索", "政府信息公开"), "政务公开"
)
GUIDE = heads.Column(
    "政府信息公开指南",
    "政府信息的分类、编排和获取方式，以及信息公开工作机构。",
    ("公开指南", "政府信息公开"),
    "政务公开",
)
APPLYING = heads.Column(
    "依申请公开", "怎样申请公开政府信息：申请表、受理机构、提交方式和办理期限。", ("依申请公开", "申请表"), "政务公开"
)

routes = APIRouter()
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "minute": words.minute, "date": words.date_of, "day": words.day, "days_left": words.days_left,
    "file_path": words.file_path, "stem": words.stem, "kind_of_file": words.kind_of_file, "size": words.size,
    "article": words.article, "ld": words.ld,
}  # fmt: skip
_templates.globals["feed_names"] = words.FEEDS
_templates.globals["version"] = hashlib.sha256(b"".join(content for content, _ in STATIC.values())).hexdigest()[:12]


@routes.api_route("/", methods=["GET", "HEAD"])
def home(portal: Portal, page: Annotated[int, Query(ge=1, le=1_000_000)] = 1) -> Response:
    if page > 1:  # where the list was before it had an address of its own
        return RedirectResponse(f"{portal.settings.base_path}/catalogue?page={page}", 301)
    site, today = portal.settings, words.today(datetime.now(UTC))

    columns = portal.office.columns
    asked = [(Wanted(), 12), (Wanted(item_type="公示"), PAGE), *((Wanted(column=one.id), 5) for one in columns)]
    newest, notices, *held = ([Row.of(slot, today) for slot in some] for some in portal.storage.first(asked))
    described = f"{site.organiser or site.site_name}主动公开的政府信息：目录、公开指南、依申请公开、年度报告。"
    said = heads.Column(site.site_name, described, ("政府信息公开", "信息公开目录"), "政务公开")
    return _page(
        portal,
        "home.html",
        Head(path="/", current="/", description=described, column=said, data=(heads.website(site),)),
        newest=newest,
        running=[row for row in notices if row.running][:4],
        columns=[(one, rows) for one, rows in zip(columns, held, strict=True) if rows],
        doors=_doors(portal),
        today=today,
    )


@routes.api_route("/catalogue", methods=["GET", "HEAD"])
def catalogue(portal: Portal, asked: Annotated[Asked, Query()]) -> Response:
    if asked.words:
        return RedirectResponse(portal.settings.base_path + asked.address("/search"), 303)
    return _list(portal, "/catalogue", asked, asked.wanted(), CATALOGUE, CATALOGUE.description)


@routes.api_route("/search", methods=["GET", "HEAD"])
def searching(portal: Portal, asked: Annotated[Asked, Query()]) -> Response:
    if not asked.words:
        return RedirectResponse(portal.settings.base_path + asked.address("/catalogue", q=""), 303)
    return _list(portal, "/search", asked, asked.wanted(), SEARCH)


@routes.api_route("/columns/{id}", methods=["GET", "HEAD"])
def column(portal: Portal, id: str, asked: Annotated[Asked, Query()]) -> Response:
    found = next((one for one in portal.office.columns if one.id == id), None)
    if found is None or asked.column or asked.q:
        return missing(portal)
    said = heads.Column(found.name, found.description, found.keywords, found.type)
    wanted = asked.model_copy(update={"column": id}).wanted()
    return _list(portal, f"/columns/{id}", asked, wanted, said, found.description)


def _list(portal: State, path: str, asked: Asked, wanted: Wanted, said: heads.Column, lead: str = "") -> Response:
    in_column = path.startswith("/columns/")
    by_year = in_column and wanted.column in _archives(portal)
    if by_year:
        wanted = replace(wanted, order=Order.FORMED)
    slots, count = portal.storage.find(wanted, asked.page, PAGE)
    last = max(1, -(-count // PAGE))
    if asked.page > last:
        return missing(portal)
    today = words.today(datetime.now(UTC))
    rows = [Row.of(slot, today, asked.words) for slot in slots]
    names = {} if in_column else {one.id: one.name for one in portal.office.columns}
    years = groupby(rows, lambda row: str(row.item.formed_on.year)) if by_year else [("", rows)]
    plain = asked == Asked(page=asked.page)  # filtered lists are not to be found by: their content is elsewhere
    of_department = rows and asked.filters.keys() == {"department"} and not asked.words
    title = f"“{asked.words[:50]}”的搜索结果" if asked.words else said.name
    return _page(
        portal,
        "list.html",
        Head(
            title=title if asked.page == 1 else f"{title}（第{asked.page}页）",
            name=title,
            here=asked.address(path, page=asked.page),
            path=asked.address(path, page=asked.page) if plain else "",
            description=said.description,
            trail=(HOME,),
            column=said,
            current=path,
            previous=asked.address(path, page=asked.page - 1) if asked.page > 1 else "",
            following=asked.address(path, page=asked.page + 1) if asked.page < last else "",
            asked=asked.words,
            kept=tuple(asked.filters.items()),
            data=(
                heads.collection(portal.settings, said, path),
                heads.crumbs(portal.settings, (HOME,), said.name, path),
            )
            if plain
            else (),
        ),
        keep=not asked.words,
        also_fed=feeds.feed_links(portal, wanted.column, wanted.department) if in_column or of_department else [],
        lead=lead if asked.page == 1 else "",
        groups=[(year, list(some)) for year, some in years],
        count=count,
        page=asked.page,
        numbers=[(number, asked.address(path, page=number)) for number in lists.numbers(asked.page, last)],
        filters=lists.filters(path, asked, portal.storage.facets(wanted), names),
        chosen=lists.chosen(path, asked, names),
        orders=[] if by_year else lists.orders(path, asked),
        nothing=lists.nothing(asked),
    )


@routes.api_route("/guide", methods=["GET", "HEAD"])
def guide(portal: Portal) -> Response:
    return _said(portal, "/guide", "guide.html", GUIDE)


@routes.api_route("/apply", methods=["GET", "HEAD"])
def applying(portal: Portal) -> Response:
    return _said(portal, "/apply", "apply.html", APPLYING)


def _said(portal: State, path: str, template: str, said: heads.Column) -> Response:
    """A page of what portal.toml says."""
    head = Head(
        title=said.name, here=path, path=path, description=said.description, trail=(HOME,), column=said, current=path,
        data=(heads.crumbs(portal.settings, (HOME,), said.name, path),),
    )  # fmt: skip
    return _page(portal, template, head)


@routes.api_route("/apply/form", methods=["GET", "HEAD"])
def form(portal: Portal) -> Response:
    """The form to apply with, as portal.toml names it."""
    if (blank := portal.office.form) is None:
        return missing(portal)
    return _download(blank.name, blank.media_type, blank.content, "attachment")


@routes.api_route("/i/{number:int}", methods=["GET", "HEAD"])
def item(portal: Portal, number: int) -> Response:
    slot = portal.storage.slot(Kind.ITEM, number) if number <= LARGEST_NUMBER else None
    if slot is None:
        return missing(portal)
    path = f"/i/{number}"
    if slot.body is None:
        sentence = "发布机构已将这条信息从本站撤下，这里不再提供它的内容。"
        return _page(portal, "notice.html", Head(words.WITHDRAWN.rstrip("。"), path), 410, sentence=sentence)
    item = Item.model_validate_json(slot.body)
    columns = portal.office.columns_of(item.model_dump(include={"item_type", "theme", "department", "title"}))
    column = next((one for one in columns if one.id in _archives(portal)), columns[0] if columns else None)
    trail = (HOME, (column.name, f"/columns/{column.id}") if column else (CATALOGUE.name, "/catalogue"))
    pictures = [file for file in item.files if file.media_type in words.PICTURES]
    papers = [file for file in item.files if file not in pictures]
    in_newsletter = any(one.id == portal.office.newsletter for one in columns)
    return _page(
        portal,
        "item.html",
        Head(
            title=item.title,
            name="正文",
            here=path,
            path=path,
            trail=trail,
            data=(
                heads.article(portal.settings, slot, item),
                heads.crumbs(portal.settings, trail, item.title, path),
            ),
        ),
        slot=slot,
        item=item,
        pictures=pictures,
        papers=papers,
        issue=next((file for file in papers if file.media_type == "application/pdf"), None) if in_newsletter else None,
        measures=listing.pictures(portal.storage, number),
        history=[(change.at, words.BECAME[change.what]) for change in portal.storage.history(number)],
        corrected=_corrected(portal, item),
        corrections=_items(portal, Wanted(corrects=item.index_number)),
        today=words.today(datetime.now(UTC)),
    )


def _corrected(portal: State, notice: Item) -> list[Item]:
    """What a correction notice corrects, where that is public here."""
    if not notice.corrects:
        return []
    return [one for one in _items(portal, Wanted(words=notice.corrects)) if one.index_number == notice.corrects]


def _items(portal: State, wanted: Wanted) -> list[Item]:
    slots, _ = portal.storage.find(wanted, 1, PAGE)
    return [Item.model_validate_json(slot.body) for slot in slots if slot.body is not None]


@routes.api_route("/i/{number:int}/qr.svg", methods=["GET", "HEAD"])
def qr(portal: Portal, number: int) -> Response:
    """The permanent address, to be taken along on a telephone (ISO/IEC 18004)."""
    slot = portal.storage.slot(Kind.ITEM, number) if number <= LARGEST_NUMBER else None
    if slot is None or slot.body is None:
        return missing(portal)
    picture = io.BytesIO()
    segno.make_qr(Item.model_validate_json(slot.body).address).save(picture, kind="svg", border=2, scale=4)
    headers = SECURITY | KEEP | {"Cache-Control": "no-cache"}
    return Response(picture.getvalue(), media_type="image/svg+xml", headers=headers)


@routes.api_route("/files/{sha256}/{name}", methods=["GET", "HEAD"])
def file(portal: Portal, sha256: str, name: str) -> Response:
    found = portal.storage.file(sha256, name) if "\0" not in sha256 + name else None
    if found is None:
        return missing(portal)
    media_type, content = found
    return _download(name, media_type, content, "inline" if media_type in SHOWN_IN_BROWSER else "attachment")


def _download(name: str, media_type: str, content: bytes, way: str) -> Response:
    headers = {
        "Content-Disposition": f"{way}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",  # it may be taken down
    }
    return Response(content, media_type=media_type, headers=headers)


@routes.api_route("/static/{name}", methods=["GET", "HEAD"])
def static(portal: Portal, name: str) -> Response:
    if name not in STATIC:
        return missing(portal)
    content, media_type = STATIC[name]
    headers = SECURITY | {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(content, media_type=media_type, headers=headers)


@routes.api_route("/view.css", methods=["GET", "HEAD"])
def view_css(request: Request) -> Response:
    css = View.read(request.cookies.get(COOKIE, "")).css()
    headers = SECURITY | {"Cache-Control": "private, no-cache", "Vary": "Cookie"}
    return Response(css, media_type="text/css; charset=utf-8", headers=headers)


@routes.post("/view")
async def change_view(request: Request, portal: Portal) -> Response:
    """A button in the page's head was pressed. Back to where that was, never to another site."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            return missing(portal)
    told = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    view = View.read(request.cookies.get(COOKIE, "")).after(told.get("set", ""))
    base = portal.settings.base_path
    back = told.get("back", "")
    here = back.startswith(f"{base}/") and back[len(base) :][:2] not in ("//", "/\\") and back.isprintable()
    answer = RedirectResponse(back if here else f"{base}/", 303, headers=SECURITY)
    answer.set_cookie(
        COOKIE, view.written(), max_age=365 * 24 * 3600, path=f"{base}/", httponly=True, samesite="lax",
        secure=portal.settings.public_url.startswith("https:"),
    )  # fmt: skip
    return answer


def _archives(portal: State) -> list[str]:
    """The columns that are looked through by year: annual reports, newsletter."""
    return [id for id in (portal.office.annual_reports, portal.office.newsletter) if id]


def _menu(portal: State) -> Links:
    """Where every page leads to."""
    columns = [(portal.office.by_id[id].name, f"/columns/{id}") for id in _archives(portal)]
    return (HOME, ("公开指南", "/guide"), (CATALOGUE.name, "/catalogue"), ("依申请公开", "/apply"), *columns)


def _doors(portal: State) -> list[tuple[str, str, str]]:
    """What a citizen comes for, with a line about it."""
    columns = [portal.office.by_id[id] for id in _archives(portal)]
    return [
        (GUIDE.name, "/guide", "分类、编排和获取方式"),
        (APPLYING.name, "/apply", "申请表、受理机构和答复期限"),
        *((column.name, f"/columns/{column.id}", column.description) for column in columns),
    ]


def missing(portal: State) -> Response:
    head = Head("没有找到这个页面")
    return _page(portal, "notice.html", head, 404, sentence="请核对网址，或者从信息公开目录中查找。")


def _page(
    portal: State,
    template: str,
    head: Head,
    status: int = 200,
    keep: bool = True,
    also_fed: Sequence[feeds.Link] = (),
    **values: Any,
) -> Response:
    html = _templates.get_template(template).render(
        site=portal.settings, base=portal.settings.base_path, office=portal.office, menu=_menu(portal),
        feeds=[*also_fed, *feeds.feed_links(portal)], head=head, **values,
    )  # fmt: skip
    return HTMLResponse(html, status, headers=SECURITY | {"Cache-Control": "no-cache"} | (KEEP if keep else {}))
