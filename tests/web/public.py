"""A portal as citizens find it: published through the real channel, with every kind of item that pages show."""

import struct
import zlib
from dataclasses import replace
from datetime import date, timedelta

from channels.contract import Call, File, Message
from channels.document import Heading, Paragraph, Table
from channels.portal import Portal
from tests.channels.rig_portal import KEY, message

LONG = "关于" + "进一步做好全区广播电视和网络视听安全播出保障" * 9 + "工作的通知"  # 205 characters
WITHDRAWN, RUNNING, ENDED, NOTICE, PICTURES, WIDE = 3, 4, 5, 6, 7, 8


def picture(width: int, height: int) -> bytes:
    """A PNG of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = (b"\0" + b"\x60\x80\xa0" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + end


def believable(url: str, now: date) -> dict[int, Message]:
    """Publish to the portal at `url`, as it was on a day; the answer is what stands there."""
    portal = Portal(url, KEY)

    def of(number: int, title: str, item_type: str, **fields: object) -> Message:
        plain = message(number, title, "为保障广播电视安全播出，现将应急广播检修安排公布如下。")
        return replace(plain, item_type=item_type, address=f"{url}/i/{number}", **fields)  # type: ignore[arg-type]

    wide = Table(tuple(tuple(f"第{row}行{cell}列的内容" for cell in range(10)) for row in range(4)))
    pages = [
        of(1, "关于做好冬季安全播出工作的通知", "通知", theme="广播电视", document_number="张广发〔2026〕58号",
           summary="部署冬季值班和隐患排查。", keywords=("安全播出", "值班"), validity="有效", source="本局"),
        of(2, LONG, "通知", theme="安全生产", department="技术科", summary=LONG),
        of(WITHDRAWN, "一条后来撤下的公告", "公告"),
        of(RUNNING, "关于拟表彰名单的公示", "公示", theme="人事信息", objection_contact="监督小组 0533-2860001",
           period=(now - timedelta(days=2), now + timedelta(days=4))),
        of(ENDED, "关于施工方案的公示", "公示", objection_contact="技术科 0533-2860002",
           period=(now - timedelta(days=9), now - timedelta(days=2))),
        of(NOTICE, "关于拟表彰名单公示期的更正说明", "公告", corrects="370303/2015-00004"),
        of(PICTURES, "“广电惠民进社区”活动图片", "工作动态", files=(
            File("现场 & 观众.png", "image/png", picture(120, 80)),
            File("活动方案.docx", "application/msword", b"x" * 48_000),
        )),
        of(WIDE, "应急广播终端运行情况", "统计信息",
           blocks=(Heading(1, "一、情况"), Paragraph("见下表。"), *[wide] * 10)),
        of(9, "2025年政府信息公开年度报告", "报告", formed_on=date(2026, 1, 12)),
        of(10, "《广电通讯》2026年第1期（总第73期）", "通讯", formed_on=date(2026, 1, 1),
           files=(File("广电通讯2026年第1期.pdf", "application/pdf", b"%PDF-1.7"),)),
        of(11, "《广电通讯》2025年第24期（总第72期）", "通讯", formed_on=date(2025, 12, 15)),
        of(12, "关于中波发射时间的通知", "通知", theme="广播电视", department="技术科", formed_on=date(2019, 5, 6),
           validity="废止"),
    ]  # fmt: skip
    for page in pages:
        portal.deliver(portal.render(page), Call(f"portal/{page.number}", 1))
    portal.deliver(portal.render(replace(pages[0], summary="部署冬季值班和隐患排查。（有调整）")), Call("portal/1", 2))
    portal.withdraw(Call(f"portal/{WITHDRAWN}", 2))
    return {page.number: page for page in pages}
