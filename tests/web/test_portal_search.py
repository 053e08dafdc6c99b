"""Search on the portal, on either database: what is found, in which order, what is marked, and what is forgotten."""

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.web.test_portal_process import item
from web.portal.catalogue import Order, Wanted
from web.portal.search import LOOKED_FOR, highlight, looked_for, plain, snippet, terms
from web.portal.storage import Kind, Storage


@pytest.fixture
def storage(empty_database_url: str) -> Iterator[Storage]:
    opened = Storage.open(empty_database_url)
    yield opened
    opened.engine.dispose()


def put(storage: Storage, number: int, generation: int = 1, **fields: Any) -> None:
    storage.put(Kind.ITEM, number, generation, item(number, **fields))


def found(storage: Storage, words: str, **more: Any) -> list[int]:
    slots, count = storage.find(Wanted(words=words, **more), 1, 50)
    assert count == len(slots)
    return [slot.number for slot in slots]


def test_words_of_two_characters_and_single_ones_are_found_in_title_and_text(storage: Storage) -> None:
    put(storage, 1, title="关于检修机房的公告", html="<p>届时停播两小时。</p>")
    put(storage, 2, title="工作动态", html="<p>新机房的设备已经到位，张三负责验收。</p>")
    assert found(storage, "机房") == [2, 1]
    assert found(storage, "张三") == [2]
    assert found(storage, "停播") == [1]
    assert found(storage, "修") == [1]
    assert found(storage, "房") == [2, 1]
    assert found(storage, "房机") == []
    assert found(storage, "张四") == []
    assert found(storage, "机房检修") == [], "the characters stand otherwise"
    assert found(storage, "机房 检修") == [1], "words are looked for each by itself"
    assert found(storage, "机房\u3000验收") == [2]


def test_a_word_across_a_mark_or_a_paragraph_is_no_word(storage: Storage) -> None:
    put(storage, 1, title="题", html="<p>开展安全</p><p>播出检查，<strong>监</strong>督到位</p>")
    assert found(storage, "安播") == []
    assert found(storage, "全播") == []
    assert found(storage, "查监") == []
    assert found(storage, "监督") == [1], "emphasis does not cut a word"
    assert found(storage, "strong") == []


def test_numbers_of_documents_and_of_the_index_are_found_whole_and_in_part(storage: Storage) -> None:
    put(storage, 1, index_number="370303/2026-00012", document_number="张广发〔2015〕12号")
    put(storage, 2, index_number="370303/2026-00013", document_number="张广发〔2015〕13号", html="<p>见第12条。</p>")
    assert found(storage, "370303/2026-00012") == [1]
    assert found(storage, "00012") == [1]
    assert found(storage, "2026") == [2, 1]
    assert found(storage, "张广发〔2015〕12号", order=Order.RELEVANT) == [1]
    assert found(storage, "12号") == [1]
    assert found(storage, "第12条") == [2]
    assert found(storage, "张广发[2015]12号") == [1], "as it is typed on a keyboard without 〔〕"
    assert found(storage, "张广发") == [2, 1]
    assert found(storage, "2015 12", order=Order.RELEVANT) == [1, 2]


def test_width_and_case_of_letters_and_digits_do_not_matter(storage: Storage) -> None:
    put(storage, 1, title="ＩＰＴＶ和5G网络升级", html="<p>网址 www.Example.CN，带宽１００兆</p>")
    for words in ("iptv", "IPTV", "ｉｐｔｖ", "5g", "5G网络", "example", "100兆", "IPTV 升级", "5g网络升级"):
        assert found(storage, words) == [1], words
    assert found(storage, "IPT") == []
    put(storage, 2, title="用 IPTV 机顶盒收看 4 套节目")
    assert found(storage, "IPTV机顶盒") == found(storage, "IPTV 机顶盒") == found(storage, "用IPTV机") == [2]
    assert found(storage, "4套") == [2]


def test_titles_come_first_then_the_newest(storage: Storage) -> None:
    put(storage, 1, title="应急广播管理办法")
    put(storage, 2, html="<p>应急广播每日试播。</p>")
    put(storage, 3, title="应急广播竣工")
    put(storage, 4, html="<p>应急广播已经修复。</p>", formed_on="2010-01-01")
    assert found(storage, "应急广播", order=Order.RELEVANT) == [3, 1, 4, 2]
    assert found(storage, "应急广播") == [4, 3, 2, 1]
    assert found(storage, "应急广播", order=Order.FORMED)[-1] == 4
    pages = [storage.find(Wanted(words="应急", order=Order.RELEVANT), page, 3) for page in (1, 2, 3)]
    assert [([slot.number for slot in slots], count) for slots, count in pages] == [([3, 1, 4], 4), ([2], 4), ([], 4)]


def test_search_and_filters_go_together_and_so_do_their_counts(storage: Storage) -> None:
    for number in range(1, 7):
        put(storage, number, title="广播通知", item_type="通知" if number % 2 else "公告", theme=f"主题{number % 3}")
    put(storage, 7, title="别的", item_type="通知")
    assert found(storage, "广播", item_type="通知") == [5, 3, 1]
    assert found(storage, "广播", item_type="通知", theme="主题0") == [3]
    assert storage.facets(Wanted(words="广播", theme="主题0"))["item_type"] == [("公告", 1), ("通知", 1)]


def test_any_query_is_answered(storage: Storage) -> None:
    put(storage, 1, title="通知" * 300, html="<p>" + "".join(map(chr, range(0x4E00, 0x4E00 + 3000))) + "</p>")
    assert found(storage, "") == [1], "no words: no condition"
    for nothing in (
        " ",
        "，。！？",
        "''\"\"()*:^=~",
        "%",
        "\0",
        "\ud800",
        "𠀀",
        "' OR 1=1 --",
        "NEAR(通 知)",
        "通知*x",
    ):
        assert found(storage, nothing) == [], nothing
    assert found(storage, "通知 OR 公告") == []
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 1000)))
    assert found(storage, long) == [1]
    assert len(looked_for(long)) == LOOKED_FOR
    assert found(storage, "通" * 1000) == []
    assert found(storage, "x" * 1000) == []
    for field in ("theme", "item_type", "department", "validity"):
        for value in ("'; DROP TABLE words; --", "%", "通" * 5000, "=", "\0"):
            assert storage.find(replace(Wanted(), **{field: value}), 1, 20) == ([], 0)  # type: ignore[arg-type]


def test_fields_of_any_length_are_kept(storage: Storage) -> None:
    for number, long in enumerate(("主" * 5000, "x" * 5000, "𠀀" * 3000), 1):
        put(storage, number, theme=long, title=long, document_number=long)
        assert found(storage, "", theme=long) == [number]
        assert number in found(storage, long[:40])


def test_a_correction_is_found_by_its_words_and_no_longer_by_those_it_replaced(storage: Storage) -> None:
    put(storage, 1, title="关于停播的通知", theme="安全生产")
    put(storage, 1, 2, title="关于试播的通知", theme="公共服务")
    assert (found(storage, "停播"), found(storage, "试播")) == ([], [1])
    assert dict(storage.facets(Wanted())["theme"]) == {"公共服务": 1}


def test_what_was_withdrawn_is_not_found_and_none_of_its_words_is_left(storage: Storage, tmp_path: Path) -> None:
    put(storage, 1, title="张三丰的处分决定", html="<p>经查，欧阳锋隐瞒事实。</p>", keywords=["华山论剑"])
    put(storage, 2, title="另一份通知")
    assert found(storage, "欧阳锋") == [1]
    storage.put(Kind.ITEM, 1, 2, None)
    for words in ("欧阳锋", "张三丰", "华山", "处分", ""):
        assert 1 not in found(storage, words)
    assert list(storage.facets(Wanted())["item_type"]) == [("通知", 1)]
    with storage.engine.connect() as connection:
        for table in ("words", "catalogue", "change_log"):
            for row in connection.exec_driver_sql(f"select * from {table}"):
                kept = b" ".join(
                    bytes(one) if isinstance(one, bytes | memoryview) else str(one).encode() for one in row
                )
                assert not any(word.encode() in kept for word in ("欧阳", "阳锋", "三丰", "华山")), table


def test_the_bytes_of_sqlite_forget_what_was_withdrawn_or_corrected(tmp_path: Path) -> None:
    storage = Storage.open(f"sqlite:///{tmp_path / 'portal.db'}")
    for number in range(1, 40):
        put(storage, number, title=f"第{number}号通知")
    put(storage, 50, title="张三丰的处分决定", html=f"<p>{'经查，欧阳锋隐瞒事实。' * 400}</p>", keywords=["华山论剑"])
    put(storage, 51, title="黄药师中标", theme="桃花岛")
    secret = ["欧阳", "三丰", "华山", "黄药", "桃花"]
    assert _bytes(tmp_path, secret) == secret
    storage.put(Kind.ITEM, 50, 2, None)
    put(storage, 51, 2, title="更正")
    assert _bytes(tmp_path, secret) == []
    storage.engine.dispose()
    assert _bytes(tmp_path, secret) == []


def _bytes(folder: Path, words: list[str]) -> list[str]:
    content = b"".join(file.read_bytes() for file in folder.glob("portal.db*"))
    return [word for word in words if word.encode() in content]


def test_a_withdrawal_while_somebody_reads_waits_for_nobody(tmp_path: Path) -> None:
    storage = Storage.open(f"sqlite:///{tmp_path / 'portal.db'}")
    put(storage, 1)
    reader = sqlite3.connect(tmp_path / "portal.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM slots").fetchone()
    withdrawing = threading.Thread(target=storage.put, args=(Kind.ITEM, 1, 2, None))
    withdrawing.start()
    withdrawing.join(5)
    assert not withdrawing.is_alive()
    reader.execute("COMMIT")
    assert found(storage, "") == []
    reader.close()
    storage.engine.dispose()


def test_what_was_looked_for_is_marked_where_it_stands() -> None:
    def marked(text: str, query: str) -> str:
        pieces = highlight(text, query)
        assert "".join(piece for piece, _ in pieces) == text
        return "".join(f"[{piece}]" if found else piece for piece, found in pieces)

    assert marked("关于机房检修的公告：机房停播", "机房") == "关于[机房]检修的公告：[机房]停播"
    assert marked("应急广播", "应急 广播") == "[应急广播]"
    assert marked("应急的广播", "应急广播") == "[应急]的[广播]", "as it was found"
    assert marked("ＩＰＴＶ与Iptv", "iptv") == "[ＩＰＴＶ]与[Iptv]"
    assert marked("第2012年12号", "12") == "第2012年[12]号", "as words are found"
    assert marked("用 IPTV 机顶盒", "IPTV机顶盒") == "用 [IPTV] [机顶盒]"
    assert marked("㍿设立", "株式") == "[㍿]设立"
    assert marked("<b>&", "b") == "<[b]>&"
    assert marked("无", "有") == "无"
    assert highlight("", "有") == []
    assert marked("张广发〔2015〕12号", "张广发[2015]12号") == "[张广发]〔[2015]〕[12号]"


def test_a_snippet_shows_the_surroundings_of_the_first_hit() -> None:
    text = "前" * 300 + "停播通知" + "后" * 300
    shown = snippet(text, "停播", 40)
    assert shown.startswith("…前") and shown.endswith("后…") and "停播通知" in shown
    assert len(shown) == 42
    assert snippet("短文", "停播") == "短文"
    assert snippet(text, "没有", 10) == "前" * 10 + "…"
    assert snippet("一\n\n二  三", "二") == "一 二 三"


def test_text_is_read_from_html_line_by_line() -> None:
    html = "<h2>一、事项</h2><p>甲&lt;乙&amp;丙<br>丁</p><table><tr><th>戊</th><td>己</td></tr></table>"
    assert plain(html).split() == ["一、事项", "甲<乙&丙", "丁", "戊", "己"]
    assert terms("张三 ab") == {"张", "三", "张三", "三ab", "ab"}
