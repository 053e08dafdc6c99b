"""The portal: an item's page against nginx, search among 100,000 items, and writes while many read.

Needs Debian's nginx and wrk (`python -m tests.setup_parts`); without them the page is not measured, and that is said.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from sqlalchemy import delete, insert, select, update

from channels.signing import signed
from tests.bench import measures
from tests.bench.figures import Figure
from tests.bench.measures import Scale
from tests.channels.rig_portal import KEY, Process, free_port, start
from tests.parts import create_database, postgres
from web.portal.storage import Storage
from web.portal.tables import catalogue, slots, standing, words

SAMPLES = Path(__file__).parents[2] / "config/samples"
WORKERS = 1  # of nginx, and processes of the portal
CONNECTIONS = 32
BATCH = 1000  # slots inserted at once

NGINX = """
worker_processes {workers};
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  default_type "text/html; charset=utf-8";
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


READERS = """
local paths, at = {{ {paths} }}, 0
function request()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
"""
PATHS = 4000  # that they ask for, one after the other


@dataclass(frozen=True)
class Load:
    seconds: int  # a run of wrk
    items: int  # that are searched
    queries: int
    writes: int


FULL = Load(seconds=3, items=100_000, queries=400, writes=60)
QUICK = Load(seconds=1, items=400, queries=20, writes=5)


def _load(scale: Scale) -> Load:
    return QUICK if scale == measures.QUICK else FULL


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def portal_page(data: Path, scale: Scale) -> list[Figure]:
    """Requests a second for one item's page: the portal, and nginx with the same bytes on disk; turn about, with the
    same connections and as many processes. The run in the middle counts."""
    load, wrk, nginx = _load(scale), _found("wrk"), _found("nginx")
    if wrk is None or nginx is None:
        print("nginx or wrk is not there: the item's page is not measured", file=sys.stderr)
        return []
    with ExitStack() as stack:
        portal = stack.enter_context(_portal(data / "portal-page"))
        _put(portal, 1, _document(1, random.Random(1)))
        page = requests.get(f"{portal.url}/i/1", headers={"Accept-Encoding": "identity"}, timeout=10)
        assert page.status_code == 200
        ceiling = stack.enter_context(_nginx(nginx, data / "nginx", page.content))
        assert requests.get(f"{ceiling}/i/1", timeout=10).content == page.content
        rates = [(_rate(wrk, f"{portal.url}/i/1", load), _rate(wrk, f"{ceiling}/i/1", load)) for _ in range(scale.runs)]
    ours, theirs = sorted(rates, key=lambda pair: pair[0] / pair[1])[len(rates) // 2]
    return [
        Figure("an item's page from the portal ÷ nginx from disk", ours / theirs, "ratio", at_least=0.1),
        Figure("an item's page from the portal", ours, "requests/s"),
        Figure("the same bytes from nginx", theirs, "requests/s"),
        Figure("size of that page", len(page.content), "bytes"),
    ]


def _rate(wrk: str, url: str, load: Load) -> float:
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{load.seconds}s", url]
    return _reads(subprocess.run(command, capture_output=True, text=True, timeout=load.seconds + 30, check=True).stdout)


def _reads(told: str) -> float:
    """Requests a second, of what wrk tells in the end."""
    assert "Non-2xx" not in told and "Socket errors" not in told, told
    rate = re.search(r"Requests/sec:\s*([\d.]+)", told)
    assert rate, told
    return float(rate[1])


@contextmanager
def _nginx(binary: str, folder: Path, page: bytes) -> Iterator[str]:
    (folder / "www/i").mkdir(parents=True)
    (folder / "www/i/1").write_bytes(page)
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # its worker must enter our folder
    (folder / "nginx.conf").write_text(NGINX.format(workers=WORKERS, user=user, folder=folder, port=port))
    server = subprocess.Popen([binary, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")])
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            with contextlib.suppress(requests.ConnectionError):
                requests.get(url, timeout=1)
                break
            time.sleep(0.05)
        yield url
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(10)


# ── search ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def portal_search(data: Path, scale: Scale) -> list[Figure]:
    """A citizen's search by HTTP, page and filters with their counts and all, no page twice: rare words and those that
    most items hold, of one character to a sentence, numbers, with filters, in every order. The round in the middle
    counts; on PostgreSQL, which gets a copy of the same, the only one. And writes while as many read as can."""
    load, folder, wrk = _load(scale), data / "portal-search", _found("wrk")
    url = f"sqlite:///{folder / 'portal.db'}"
    folder.mkdir()
    seconds = _fill(url, load.items)
    size = (folder / "portal.db").stat().st_size
    with _portal(folder) as portal:
        _searches(portal, load.items, 10)  # warms up
        rounds = [_searches(portal, load.items, load.queries) for _ in range(scale.runs)]
        storm = _storm(wrk, portal, load, folder) if wrk else []
    if not storm:
        print("wrk is not there: writes during a read storm are not measured", file=sys.stderr)
    takes = sorted(rounds, key=lambda takes: _percentile(takes, 95))[len(rounds) // 2]
    return [
        Figure(f"search among {load.items:,} items, 95th percentile", _percentile(takes, 95) * 1000, "ms", at_most=50),
        Figure(f"search among {load.items:,} items, median", statistics.median(takes) * 1000, "ms"),
        Figure(f"catalogue and words of {load.items:,} items made anew", seconds, "s"),
        Figure(f"size of that database, {load.items:,} items", size / 1e6, "MB"),
        *_on_postgres(data / "portal-postgres", url, load),
        *storm,
    ]


def _on_postgres(folder: Path, source: str, load: Load) -> list[Figure]:
    folder.mkdir()
    with postgres(folder / "cluster", fsync=False) as cluster:  # nothing is written while it is measured
        url = create_database(cluster, "portal")
        _copy(source, url)
        with _portal(folder / "portal", PORTAL_DATABASE_URL=url) as portal:
            _searches(portal, load.items, 10)  # warms up
            takes = _searches(portal, load.items, load.queries)
    name = f"search among {load.items:,} items on PostgreSQL"
    return [
        Figure(f"{name}, 95th percentile", _percentile(takes, 95) * 1000, "ms", at_most=50),
        Figure(f"{name}, median", statistics.median(takes) * 1000, "ms"),
    ]


def _searches(portal: Process, items: int, count: int) -> list[float]:
    """Seconds that each took."""
    session, dice, takes = requests.Session(), random.Random(count), list[float]()
    session.trust_env = False
    for _ in range(count):
        asked = {"q": _query(dice, items)} | _filters(dice)
        begun = time.perf_counter()
        answer = session.get(f"{portal.url}/search", params=asked, timeout=30)
        takes.append(time.perf_counter() - begun)
        assert answer.status_code == 200, (answer.status_code, asked)
    return takes


def _storm(wrk: str, portal: Process, load: Load, folder: Path) -> list[Figure]:
    """Items that are written one after the other: nobody reads, then 16 read pages and search without a pause, from a
    process of their own, so that a write waits for the portal only."""
    alone = _writes(portal, load.items + 1, load.writes)
    dice, script = random.Random(5), folder / "readers.lua"
    asked = [
        f"/i/{dice.randint(1, load.items)}" if at % 4 else f"/search?{urlencode({'q': _query(dice, load.items)})}"
        for at in range(PATHS)
    ]
    script.write_text(READERS.format(paths=",".join(json.dumps(path) for path in asked)))
    command = [wrk, "-t1", "-c16", "-d600s", "--timeout", "60s", "-s", str(script), portal.url]
    readers = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        among = _writes(portal, load.items + 1 + load.writes, load.writes)
    finally:
        readers.send_signal(signal.SIGINT)
        told, _ = readers.communicate(timeout=60)
    reads = _reads(told)
    for number in range(load.items + 1, load.items + 1 + 2 * load.writes):
        assert requests.get(f"{portal.url}/i/{number}", timeout=10).status_code == 200, "a write was lost"
    return [
        Figure("an item written during a read storm, 95th percentile", _percentile(among, 95) * 1000, "ms",
               at_most=200),
        Figure("an item written while nobody reads, 95th percentile", _percentile(alone, 95) * 1000, "ms"),
        Figure("a write during the storm ÷ while nobody reads, median", statistics.median(among)
               / statistics.median(alone), "ratio"),
        Figure("pages read during those writes", reads, "requests/s"),
    ]  # fmt: skip


def _writes(portal: Process, first: int, count: int) -> list[float]:
    takes = list[float]()
    dice = random.Random(first)
    for number in range(first, first + count):
        begun = time.perf_counter()
        _put(portal, number, _document(number, dice))
        takes.append(time.perf_counter() - begun)
    return takes


# ── what is written and looked for ───────────────────────────────────────────────────────────────────────────────────

_TEXTS = [
    [line for line in file.read_text("utf-8").splitlines() if line.strip()] for file in sorted(SAMPLES.glob("*.txt"))
]
_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗"
_GIVEN = "建国志强明华丽娟伟芳敏静磊洋勇军杰涛超霞平刚桂英晓东海燕文博思远子涵雨轩"
_TYPES = ("通知", "公告", "公示", "意见", "报告", "政策解读", "工作动态", "统计信息", "办事指南")
_THEMES = ("广播电视", "人事信息", "政策解读", "统计信息", "民生服务", "安全生产", "政务公开", "文化事业", "公共服务")
_DEPARTMENTS = ("局办公室", "新闻部", "技术科", "事业管理科", "新媒体部")
_COMMON = ("广播", "通知", "信息公开", "安全播出", "工作", "张店区", "关于", "应急广播", "的", "2026", "电视")
_RARER = ("停播", "机房", "无线信号", "值班值守", "公示期", "先进集体", "志愿者", "听众来信", "山区", "信", "无障碍")


def _name(dice: random.Random) -> str:
    return dice.choice(_SURNAMES) + "".join(dice.sample(_GIVEN, 2))


def _document(number: int, dice: random.Random) -> bytes:
    """An invented item of eight to fourteen paragraphs out of the samples, with a name and figures of its own."""
    item_type, year = dice.choice(_TYPES), 2010 + number % 17
    lines = [dice.choice(dice.choice(_TEXTS)) for _ in range(dice.randint(8, 14))]
    lines.append(f"联系人：{_name(dice)}，共{dice.randint(1, 99999)}户，{_name(dice)}负责。")
    subject = dice.choice(dice.choice(_TEXTS))[: dice.randint(6, 16)].rstrip("，。：、；")
    document = {
        "number": number,
        "index_number": f"370303/{year}-{number:05d}",
        "title": f"关于{subject}的{item_type}",
        "html": "".join(f"<p>{line.replace('&', '&amp;').replace('<', '&lt;')}</p>" for line in lines),
        "publisher": "张店区广播电视局",
        "department": dice.choice(_DEPARTMENTS),
        "item_type": item_type,
        "theme": dice.choice(_THEMES),
        "formed_on": date(year, dice.randint(1, 12), dice.randint(1, 28)).isoformat(),
        "address": f"http://127.0.0.1/i/{number}",
        "document_number": f"张广发〔{year}〕{number % 90 + 1}号",
        "summary": lines[0][:100],
        "keywords": ["广播电视", item_type],
        "validity": dice.choice(("有效", "有效", "有效", "失效")),
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _query(dice: random.Random, items: int) -> str:
    number = dice.randint(1, items)
    kind = dice.randrange(6)
    if kind == 0:
        return dice.choice(_COMMON)
    if kind == 1:
        return " ".join(dice.sample(_COMMON + _RARER, 2))
    if kind == 2:
        return _name(dice)
    if kind == 3:
        return dice.choice(
            (f"370303/{2010 + number % 17}-{number:05d}", f"张广发〔{2010 + number % 17}〕{number % 90 + 1}号")
        )
    if kind == 4:
        return dice.choice(dice.choice(_TEXTS))[:30]
    return dice.choice(_RARER)


def _filters(dice: random.Random) -> dict[str, str]:
    """As the addresses of the search page say them."""
    chosen = {
        "type": dice.choice(_TYPES), "department": dice.choice(_DEPARTMENTS), "year": str(dice.randint(2010, 2026)),
        "order": dice.choice(("newest", "relevant", "formed")),
    }  # fmt: skip
    return {name: value for name, value in chosen.items() if dice.random() < 0.25}


def _fill(url: str, items: int) -> float:
    """Slots as the write API leaves them; the answer is how many seconds the catalogue took."""
    storage = Storage.open(url)
    dice, begin = random.Random(3), datetime(2010, 1, 1, tzinfo=UTC)
    for first in range(1, items + 1, BATCH):
        rows = list[dict[str, Any]]()
        for number in range(first, min(first + BATCH, items + 1)):
            body, at = _document(number, dice), begin + timedelta(minutes=85 * number)
            rows.append({"kind": "item", "number": number, "generation": 1, "body": body, "change": number,
                         "digest": hashlib.sha256(body).hexdigest(), "changed_at": at, "first_published_at": at,
                         "shown_since": at})  # fmt: skip
        with storage.writing() as connection:
            connection.execute(insert(slots), rows)
    with storage.writing() as connection:
        connection.execute(update(standing).values(derived=0, version=items))
    storage.engine.dispose()
    begun = time.monotonic()
    Storage.open(url).engine.dispose()
    return time.monotonic() - begun


def _copy(source: str, target: str) -> None:
    """What one portal holds, to the database of another."""
    here, there = Storage.open(source), Storage.open(target)
    with here.engine.connect() as reading, there.writing() as writing:
        driver: Any = writing.connection.driver_connection
        writing.execute(delete(standing))
        for table in (slots, catalogue, words, standing):
            names = ", ".join(column.name for column in table.columns)
            with driver.cursor().copy(f"COPY {table.name} ({names}) FROM STDIN") as copied:
                for row in reading.execute(select(table).execution_options(yield_per=BATCH)):
                    copied.write_row(row)
        writing.exec_driver_sql("ANALYZE")
    here.engine.dispose()
    there.engine.dispose()


def _put(portal: Process, number: int, body: bytes) -> None:
    headers = signed(KEY, "PUT", f"/api/items/{number}", "1", body)
    answer = requests.put(f"{portal.url}/api/items/{number}", data=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


@contextmanager
def _portal(folder: Path, **environment: str) -> Iterator[Process]:
    process = start(folder, free_port(), **environment)
    try:
        yield process
    finally:
        process.stop()


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
