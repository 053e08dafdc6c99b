"""Open data of the catalogue: one file for each month of first publication, as CSV for spreadsheets and as JSON, and a
description of all files and fields (Frictionless Data Package with Table Schema).

A withdrawn item stays in its month with its index number and its state, and nothing else.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from sqlalchemy import func, select

from web.portal.answers import answer, reading
from web.portal.state import Portal, State
from web.portal.storage import Kind, Storage
from web.portal.tables import catalogue, slots
from web.portal.words import SHANGHAI, minute

CURRENT = "current"
_FORMULA = re.compile("[=+\\-@\t\r\n＝＋－＠]")  # a cell that begins so is calculated by spreadsheets
FIELDS = {  # key: name in the CSV, type, description
    "index_number": ("索引号", "string", "每条信息唯一的编号，永不改变，永不重用"),
    "state": ("状态", "string", "公开、已撤下；已撤下的只列索引号和状态"),
    "title": ("名称", "string", "信息的标题"),
    "document_number": ("文号", "string", "发文字号，没有则为空"),
    "publisher": ("发布机构", "string", "公开这条信息的机关"),
    "department": ("公开部门", "string", "机关内负责的部门"),
    "item_type": ("体裁", "string", "通知、公告、公示、意见等"),
    "theme": ("主题", "string", "主题分类"),
    "validity": ("有效性", "string", "有效、失效、废止"),
    "summary": ("内容概述", "string", ""),
    "formed_on": ("生成日期", "date", "信息形成的日期"),
    "published_at": ("发布时间", "datetime", "首次公开的时间（北京时间），更正后不变"),
    "changed_at": ("更新时间", "datetime", "最近一次公开或更正的时间（北京时间）"),
    "url": ("网址", "string", "永久网址"),
}


class Shown(StrEnum):
    PUBLIC = "公开"
    WITHDRAWN = "已撤下"


class Form(StrEnum):
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, order=True)
class Month:
    year: int
    month: int

    @classmethod
    def of(cls, moment: datetime) -> "Month":
        here = moment.astimezone(SHANGHAI)
        return cls(here.year, here.month)

    @property
    def following(self) -> "Month":
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def begin(self) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=SHANGHAI)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


routes = APIRouter(prefix="/open-data")


@reading(routes, "/datapackage.json")
def description(portal: Portal) -> Response:
    base = portal.settings.public_url
    package = {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": "catalogue",
        "title": f"{portal.settings.site_name} · 政府信息公开目录",
        "homepage": f"{base}/",
        "resources": [
            _resource(base, month, form) for month in reversed(months(portal.storage)) for form in Form
        ],
    }  # fmt: skip
    return answer(_json(package), "application/json")


@reading(routes, "/schema-{form}.json")
def schema(form: Form) -> Response:
    """What the fields are (Frictionless Table Schema)."""
    fields = [
        {"name": name if form is Form.CSV else key, "title": name, "type": kind, "description": text}
        for key, (name, kind, text) in FIELDS.items()
    ]
    return answer(_json({"fields": fields}), "application/json")


@reading(routes, "/catalogue-{month}.{form}")
def of_month(portal: Portal, month: str, form: Form) -> Response:
    there = months(portal.storage)
    wanted = there[-1] if month == CURRENT else next((one for one in there if str(one) == month), None)
    if wanted is None:
        raise HTTPException(404)
    rows = _rows(portal, wanted)
    if form is Form.CSV:
        return answer(_csv(rows), "text/csv; charset=utf-8; header=present")
    body = {"month": str(wanted), "fields": {key: name for key, (name, _, _) in FIELDS.items()}, "items": list(rows)}
    return answer(_json(body), "application/json")


def months(storage: Storage) -> list[Month]:
    """From the first publication to this month, which is still growing."""
    with storage.engine.connect() as connection:
        first = select(func.min(slots.c.first_published_at)).where(slots.c.kind == Kind.ITEM)
        begin = connection.execute(first).scalar()
    now = Month.of(datetime.now(UTC))
    found = [min(Month.of(begin), now) if begin else now]
    while found[-1] < now:
        found.append(found[-1].following)
    return found


def _rows(portal: State, month: Month) -> Iterator[dict[str, str]]:
    names = ("title", "document_number", "publisher", "department", "item_type", "theme", "validity", "summary")
    query = (
        select(slots.c.number, slots.c.index_number, catalogue.c.formed_on, catalogue.c.published_at,
               catalogue.c.changed_at, *(catalogue.c[name] for name in names))
        .join_from(slots, catalogue, slots.c.number == catalogue.c.number)
        .where(slots.c.kind == Kind.ITEM, slots.c.index_number.is_not(None),
               slots.c.first_published_at >= month.begin, slots.c.first_published_at < month.following.begin)
        .order_by(slots.c.first_published_at, slots.c.number)
    )  # fmt: skip
    with portal.storage.engine.connect() as connection:
        for row in connection.execute(query):
            if row.published_at is None:
                yield {"index_number": row.index_number, "state": Shown.WITHDRAWN}
                continue
            yield {
                "index_number": row.index_number,
                "state": Shown.PUBLIC,
                **{name: getattr(row, name) for name in names},
                "formed_on": row.formed_on.isoformat(),
                "published_at": minute(row.published_at),
                "changed_at": minute(row.changed_at),
                "url": f"{portal.settings.public_url}/i/{row.number}",
            }


def _csv(rows: Iterator[dict[str, str]]) -> bytes:
    """RFC 4180 with a byte order mark, without which Excel takes Chinese for another encoding."""
    text = io.StringIO()
    write = csv.writer(text)
    write.writerow(name for name, _, _ in FIELDS.values())
    write.writerows([_cell(row.get(key, "")) for key in FIELDS] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def _cell(value: str) -> str:
    """With an apostrophe before what a spreadsheet would calculate (OWASP: CSV injection)."""
    return f"'{value}" if _FORMULA.match(value) else value


def _resource(base: str, month: Month, form: Form) -> dict[str, Any]:
    csv_ = form is Form.CSV
    return {
        "name": f"catalogue-{month}-{form}",
        "path": f"{base}/open-data/catalogue-{month}.{form}",
        "format": form,
        "mediatype": "text/csv" if csv_ else "application/json",
        "encoding": "utf-8",
        "schema": f"{base}/open-data/schema-{form}.json",
    }


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
