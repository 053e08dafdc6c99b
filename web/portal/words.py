"""How the public pages and feeds put dates, sizes, addresses and the few fixed sentences."""

import json
from datetime import date, datetime
from pathlib import PurePath
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from markupsafe import Markup

from web.portal.catalogue import What
from web.portal.content import Attachment

WITHDRAWN = "该信息已撤下。"
BECAME = {What.PUBLISHED: "发布", What.CORRECTED: "更正", What.WITHDRAWN: "撤下", What.REPUBLISHED: "重新发布"}
SHANGHAI = ZoneInfo("Asia/Shanghai")
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
FEEDS = {"application/atom+xml": "Atom", "application/rss+xml": "RSS", "application/feed+json": "JSON"}
_KINDS = {
    "pdf": "PDF 文件", "doc": "Word 文档", "docx": "Word 文档", "wps": "WPS 文档", "xls": "Excel 表格",
    "xlsx": "Excel 表格", "et": "WPS 表格", "csv": "CSV 表格", "ppt": "演示文稿", "pptx": "演示文稿", "txt": "文本文件",
    "zip": "压缩文件", "rar": "压缩文件", "7z": "压缩文件", "mp3": "音频", "mp4": "视频", "ofd": "OFD 版式文件",
}  # fmt: skip


def minute(moment: datetime) -> str:
    """PubDate's form: yyyy-MM-dd HH:mm, 24 h, in the time of the people who read it."""
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")


def date_of(moment: datetime) -> str:
    """The day of it where it is read."""
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d")


def today(now: datetime) -> date:
    return now.astimezone(SHANGHAI).date()


def day(value: date) -> str:
    return f"{value.year}年{value.month}月{value.day}日"


def days_left(period: tuple[date, date], today: date) -> str:
    """What of the period of a 公示 is left; its last day counts, and today."""
    begin, end = period
    if today < begin:
        return f"{day(begin)}开始"
    if today > end:
        return "期限已满"
    return f"还剩{(end - today).days + 1}天（含今天）" if today < end else "今天是最后一天"


def size(count: int) -> str:
    """Bytes as the explorer of an office PC puts them."""
    if count < 1024:
        return f"{count} 字节"
    return f"{count / 1024:.0f} KB" if count < 1024**2 else f"{count / 1024**2:.1f} MB"


def stem(name: str) -> str:
    return PurePath(name).stem


def kind_of_file(name: str) -> str:
    """By its ending, as the explorer of an office PC names it."""
    ending = PurePath(name).suffix.lstrip(".").lower()
    return _KINDS.get(ending, f"{ending.upper()} 文件" if ending else "文件")


def file_path(file: Attachment) -> str:
    return f"/files/{file.sha256}/{quote(file.name, safe='')}"


def article(html: str) -> Markup:
    """The text of an item (the checked subset, in which `<` only begins a tag); a table lies in a box that scrolls
    sideways, by keyboard too."""
    box = '<div class="scroll" tabindex="0" role="group" aria-label="表格">'
    return Markup(html.replace("<table", f"{box}<table").replace("</table>", "</table></div>"))


def ld(data: dict[str, Any]) -> Markup:
    """JSON-LD for the inside of a script element: nothing in it can end the element (HTML, 4.12.1.3)."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)
