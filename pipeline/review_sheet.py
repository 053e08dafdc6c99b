"""The review sheet (保密审查单): one submission on paper, for those who sign with a pen. Always in Chinese."""

import io
from datetime import datetime
from itertools import zip_longest

import segno

from channels.typst import typeset
from config.locale import catalogue, say
from pipeline import desk, items, staff
from pipeline.drafts import VALIDITIES
from pipeline.runtime import Runtime
from pipeline.words import problem


def of(rt: Runtime, item_id: int) -> bytes:
    """The sheet of the submission under review, as PDF/UA. Raises Refused when none waits, CannotTypeset."""
    view = desk.submission(rt, item_id)
    history, names, words = items.history(rt, item_id), staff.names(rt), catalogue("zh")
    draft, now = history.draft, history.rounds[0]

    def at(moment: datetime | None) -> str:
        return moment.astimezone(rt.settings.zone).strftime("%Y年%m月%d日 %H:%M") if moment else ""

    labels = {name: opened.section.label for name, opened in rt.channels.items()}
    ground = f"（{words[f'ground.{view.ground}']}）" if view.ground else ""
    pairs = [
        ("索引号", view.index_number), ("版本", f"第{view.revision}版"),
        ("体裁", draft.item_type), ("部门", names.department(draft.department)),
        ("撰稿人", names.person(view.author)), ("生成日期", draft.formed_on.isoformat()),
        ("提交人", names.person(now.submitted_by)), ("提交时间", at(now.submitted_at)),
        ("公开属性", words[f"disclosure.{view.disclosure}"] + ground),
        ("发布时间", at(view.publish_at) or "通过后立即"),
    ]  # fmt: skip
    rows = [["标题", draft.title]]
    rows += [[*left, *right] for left, right in zip_longest(pairs[::2], pairs[1::2], fillvalue=("", ""))]
    rows.append(["渠道", "、".join(labels[name] for name in labels if name in view.renditions) or "不发布到渠道"])
    if draft.validity != VALIDITIES[0]:
        rows.append(["有效性", draft.validity])
    rows.append(["内容概述", draft.summary or "—"])
    rows.append(["附件", "；".join(file.name for file in draft.files) or "无"])
    levels = []
    for place, role in enumerate(rt.settings.review.levels):
        given = now.approvals[place] if place < len(now.approvals) else None
        done = f"{names.person(given.person)} 已于 {at(given.at)} 在管理系统中通过。" if given else ""
        levels.append({"role": words[f"role.{role}"], "done": done})
    findings = [
        {"what": problem("zh", one.found.code, one.found.facts), "why": one.answer.reason if one.answer else "—"}
        for one in view.findings
    ]
    address = f"{rt.settings.console_url}/items/{item_id}/review"
    data = {
        "heading": f"{rt.settings.office.name}信息公开保密审查单",
        "short": f"{view.index_number}　{view.hash[:12]}",
        "rows": rows,
        "findings_heading": "自动检查",
        "no_findings": say("zh", "sheet.no_findings"),
        "findings": findings,
        "levels": levels,
        "hash": [view.hash[n : n + 8] for n in range(0, 64, 8)],
        "address": address,
        "qr": _qr(address),
    }
    return typeset("review-sheet", data)


def _qr(address: str) -> str:
    svg = io.BytesIO()
    segno.make(address or "fabu", error="m", micro=False).save(svg, kind="svg", border=2)
    return svg.getvalue().decode()
