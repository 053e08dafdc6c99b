"""Numbers of 《广电通讯》 as an editor would put them together, of any length."""

import io
from collections.abc import Sequence
from datetime import date
from itertools import cycle, islice

from PIL import Image

from channels.contract import File, Message, Office
from channels.document import Block, Closing, Heading, Paragraph, Table
from channels.issue import Column, Entry, Issue

OFFICE = Office(
    "张店区广播电视局", "000014349", phone="0533-2860000", address="张店区人民西路12号", short_name="张店区广电局"
)
DAY = date(2026, 11, 15)
SITE = "https://www.example.gov.cn/i/"
NAMES = ("要闻", "政策与公告", "工作动态", "民生热线", "基层风采")
TITLES = (
    "区广播电视局召开2026年度安全播出工作会议",
    "关于做好冬季广播电视安全播出保障工作的通知",
    "全区应急广播体系建设项目通过验收",
    "《政风行风热线》举办“区长市民面对面”专场直播节目",
    "关于进一步加强全区卫星电视广播地面接收设施管理规范设置使用行为切实维护广播电视传播秩序的通告",
    "农村电影公益放映完成1200场",
)
SENTENCES = (
    "近日，区广播电视局组织技术人员对辖区内广播电视发射台站开展安全播出专项检查，重点查看机房供电和值班记录等情况。",
    "检查组一行先后到杏园街道、体育场街道和马尚镇等地，实地查看公共服务点建设和设备运行情况，并与群众座谈交流。",
    "针对检查中发现的3处隐患，检查组当场下发整改通知书，做到责任、措施、资金、时限、预案“五落实”。",
    "全年共播出《政风行风热线》59期，其中“区长市民面对面”12期，接听群众来电1000余个，按时回复率达到95%以上。",
    "活动现场，志愿者向过往群众发放宣传资料600余份，解答有线电视数字化整体转换、户户通设备维修等方面的咨询80余人次。",
)
IMPRINT = (
    ("准印证号", "（鲁）字第0300012号"), ("期号", "2026年第22期（总第332期）"), ("编印单位", "张店区广播电视局"),
    ("发送对象", "区直各部门、各镇办"), ("印刷单位", "张店区机关印刷所"), ("印刷日期", "2026年11月14日"),
    ("印数", "600份"),
)  # fmt: skip
TABLE = Table(
    (("序号", "单位", "来电", "回复率"), *((str(n), f"区直部门{n}", str(10 + n), "95%以上") for n in range(1, 9)))
)
WIDE = Table(
    (tuple(f"第{n}项指标" for n in range(1, 12)), *(tuple(str(n * m) for n in range(1, 12)) for m in range(1, 7)))
)


def told(n: int, paragraphs: int, sentences: int = 3) -> tuple[Block, ...]:
    """Paragraphs that no other entry has."""
    return tuple(
        Paragraph(f"第{n}之{at}条。" + "".join(islice(cycle(SENTENCES), n + at, n + at + sentences)))
        for at in range(1, paragraphs + 1)
    )


def entry(n: int, paragraphs: int = 3, picture: str = "") -> Entry:
    blocks = told(n, paragraphs)
    if n % 5 == 0:
        blocks = (Heading(1, "一、总体情况"), *blocks, Heading(2, "（一）播出情况。", "情况见下表。"), TABLE)
    if n % 7 == 0:
        blocks = (*blocks, WIDE)
    if n % 3 == 0:
        blocks = (*blocks, Closing("张店区广播电视局", "2026年11月9日"))
    title = f"{TITLES[n % len(TITLES)]}（{n}）"
    return Entry(1000 + n, title, blocks, f"{SITE}{1000 + n}", "办公室", date(2026, 11, 1 + n % 14), picture)


def photo(width: int = 2400, height: int = 1500, exif: Image.Exif | None = None) -> bytes:
    out = io.BytesIO()
    wave = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    wave.save(out, "JPEG", quality=92, exif=exif or Image.Exif())
    return out.getvalue()


def number(
    entries: int = 8,
    *,
    paragraphs: int = 3,
    editorial: Sequence[Block] | None = None,
    photos: int = 0,
    internal: bool = False,
    first: int = 1,
    imprint: tuple[tuple[str, str], ...] = (("责任编辑", "李明"),),
) -> Message:
    """One number with so many entries, spread over five columns, counted from `first`; the
    first `photos` have a picture."""
    pictures = [f"检查组查看机房设备{n}.jpg" for n in range(1, photos + 1)]
    shown = (*pictures, *[""] * entries)
    every = [entry(first + n, paragraphs, shown[n]) for n in range(entries)]
    share = -(-entries // len(NAMES))
    parts = [tuple(every[at : at + share]) for at in range(0, entries, share)]
    columns = tuple(Column(name, part) for name, part in zip(NAMES, parts, strict=False))
    words = (Paragraph("岁末将至，本期集中刊发安全播出工作情况。"),) if editorial is None else tuple(editorial)
    issue = Issue("广电通讯", 2026, 22, 332, DAY, columns, words, "", internal, IMPRINT if internal else imprint)
    blocks = [block for column in columns for one in column.entries for block in (Paragraph(one.title), *one.blocks)]
    files = tuple(  # what stands behind a picture's end tells them apart
        File(name, "image/jpeg", photo(height=1500 + 90 * n) + str(first).encode()) for n, name in enumerate(pictures)
    )
    return Message(
        number=900, index_number="000014349/2026-00900", title=f"广电通讯{issue.numbers}", blocks=(*words, *blocks),
        item_type="通讯", department="办公室", office=OFFICE, address=f"{SITE}900", formed_on=DAY, files=files,
        issue=issue,
    )  # fmt: skip
