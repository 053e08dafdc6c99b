"""The portal channel against a real portal process."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from channels.contract import Call, File, Rejected, Seen, Unavailable, Unrenderable
from channels.document import Closing, Heading, Paragraph, Table
from channels.portal import Portal
from tests.channels.rig_portal import KEY, Process, message, portal_process

FULL = replace(
    message(title='关于<b>&"安全播出"</b>的公示'),
    blocks=(
        Heading(1, "一、范围"),
        Heading(3, "1. 人员", "全体  值班人员 <见下表>。"),
        Table((("姓名", "部门"), ("张三 ", "机房 & 总控"))),
        Paragraph("特此公示。"),
        Closing("张店区广播电视局", "2015年3月2日"),
    ),
    document_number="张广发〔2015〕12号",
    summary="范围与人员",
    keywords=("播出", "安全"),
    theme="广播电视",
    source="本局",
    period=(date(2015, 3, 2), date(2015, 3, 9)),
    objection_contact="监督小组 0533-2860001",
    files=(File("附件 1.pdf", "application/pdf", b"%PDF-1"), File("名单&表.txt", "text/plain", "甲\n".encode())),
)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    with portal_process(tmp_path / "portal") as process:
        yield process


@pytest.fixture
def portal(process: Process) -> Portal:
    return Portal(process.url, KEY)


def test_a_published_item_is_seen_as_it_was_approved(portal: Portal) -> None:
    rendition, call = portal.render(FULL), Call("portal/1", 1)
    assert portal.verify([(rendition, call)]) == [Seen.NOTHING]
    receipt = portal.deliver(rendition, call)
    assert receipt.reference == f"{portal.url}/i/1"
    assert receipt.evidence == "200 generation 1"
    assert portal.verify([(rendition, call), (None, call), (rendition, Call("portal/2", 1))]) == [
        Seen.SAME,
        Seen.OTHER,
        Seen.NOTHING,
    ]


CHANGES: list[dict[str, Any]] = [
    {"title": "关于安全播出的公示"},
    {"blocks": (*FULL.blocks[:3], Paragraph("特此公告。"), FULL.blocks[4])},
    {"summary": ""},
    {"keywords": ("播出",)},
    {"period": (date(2015, 3, 2), date(2015, 3, 10))},
    {"objection_contact": ""},
    {"document_number": "张广发〔2015〕13号"},
    {"files": (replace(FULL.files[0], content=b"%PDF-2"), FULL.files[1])},
    {"files": FULL.files[:1]},
]


def test_any_other_word_value_or_attachment_is_seen(portal: Portal) -> None:
    for generation, change in enumerate(CHANGES):
        first, second = Call("portal/1", 2 * generation + 1), Call("portal/1", 2 * generation + 2)
        portal.deliver(portal.render(FULL), first)
        changed = portal.render(replace(FULL, **change))
        assert portal.verify([(changed, first)]) == [Seen.OTHER], change
        portal.deliver(changed, second)
        assert portal.verify([(changed, second)]) == [Seen.SAME], change


def test_a_withdrawn_item_is_gone_and_its_late_original_stays_away(portal: Portal) -> None:
    rendition = portal.render(FULL)
    portal.deliver(rendition, Call("portal/1", 1))
    assert portal.withdraw(Call("portal/1", 2)) == portal.withdraw(Call("portal/1", 2))
    with pytest.raises(Rejected, match=r"portal\.superseded"):
        portal.deliver(rendition, Call("portal/1", 1))
    assert portal.verify([(None, Call("portal/1", 2)), (rendition, Call("portal/1", 1))]) == [Seen.NOTHING] * 2


def test_a_portal_that_answers_200_and_stores_nothing_is_found_out(tmp_path: Path) -> None:
    fault = {"PORTAL_FAULT": "amnesia", "PORTAL_ALLOW_FAULTS": "1"}
    with portal_process(tmp_path / "portal", **fault) as process:
        portal = Portal(process.url, KEY)
        rendition, call = portal.render(FULL), Call("portal/1", 1)
        assert portal.deliver(rendition, call).evidence == "200 generation 1"
        assert portal.verify([(rendition, call)]) == [Seen.NOTHING]
        assert process.requests()["PUT /api/items"] == 1


def test_the_same_delivery_twice_is_one_item(portal: Portal, process: Process) -> None:
    rendition, call = portal.render(message()), Call("portal/1", 1)
    assert portal.deliver(rendition, call) == portal.deliver(rendition, call)
    assert process.requests() == {"PUT /api/items": 2}


def test_the_check_tells_a_wrong_key_and_a_portal_that_is_not_there(portal: Portal) -> None:
    assert portal.check() == "ok"
    with pytest.raises(Rejected, match="wrong_signature"):
        Portal(portal.url, "not the key of this portal").check()
    with pytest.raises(Unavailable):
        Portal("http://127.0.0.1:9", KEY).check()
    assert KEY not in repr(portal)


def test_a_line_that_is_down_says_unknown_never_nothing() -> None:
    portal = Portal("http://127.0.0.1:9", KEY)
    assert (
        portal.verify([(portal.render(message()), Call("portal/1", 1)), (None, Call("portal/2", 1))])
        == [Seen.UNKNOWN] * 2
    )


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (302, b"", Seen.UNKNOWN),
        (500, b"x", Seen.UNKNOWN),
        (200, b"x" * (9 * 1024 * 1024), Seen.UNKNOWN),
        (200, b"", Seen.OTHER),
        (200, b"<p>please log in", Seen.OTHER),
        (200, b"<!-- -->", Seen.OTHER),
        (200, b"<a data-field=file href='http://127.0.0.1:9/files/x'>x</a>", Seen.OTHER),
        (200, b"<a data-field=file href='http://['>x</a>", Seen.OTHER),
    ],
)
def test_a_page_that_is_no_answer_is_unknown_and_a_page_that_is_not_ours_is_another(
    status: int, body: bytes, seen: Seen
) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        portal = Portal(f"http://127.0.0.1:{server.server_port}", KEY)
        assert portal.verify([(portal.render(message()), Call("portal/1", 1))]) == [seen]
    finally:
        server.shutdown()
        server.server_close()


def test_the_office_reads_of_a_file_that_is_too_large_before_anybody_approves(portal: Portal) -> None:
    large = File("大.pdf", "application/pdf", b"x" * (20 * 1024 * 1024 + 1))
    with pytest.raises(Unrenderable) as refusal:
        portal.render(replace(FULL, files=(large,)))
    assert [(finding.code, finding.place) for finding in refusal.value.findings] == [
        ("portal.file_too_large", "大.pdf")
    ]
    with pytest.raises(Unrenderable, match=r"portal\.text_too_large"):
        portal.render(message(text="文" * 700_000))
