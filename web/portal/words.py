"""How the public pages and feeds put dates, addresses and the few fixed sentences."""

from datetime import date, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from web.portal.content import Attachment

WITHDRAWN = "该信息已撤下。"
SHANGHAI = ZoneInfo("Asia/Shanghai")


def minute(moment: datetime) -> str:
    """PubDate's form: yyyy-MM-dd HH:mm, 24 h, in the time of the people who read it."""
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")


def day(value: date) -> str:
    return f"{value.year}年{value.month}月{value.day}日"


def file_path(file: Attachment) -> str:
    return f"/files/{file.sha256}/{quote(file.name, safe='')}"
