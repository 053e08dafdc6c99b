"""Collecting from the command line, and by the workers: what a clerk reads, and that beats never pile up."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import workers.app
from config import settings as config
from config.locale import catalogue, say
from pipeline import collect
from pipeline.migrate import set_up
from pipeline.runtime import Runtime, open_runtime
from tests.pipeline.sites import Page, Site, website
from tests.workers.test_cli import CHANNELS, LANGUAGES, PORTS, Desk
from workers import tasks

ENTRIES = """<rss version="2.0"><channel><title>市局</title>
<item><title>关于试播的通知</title><guid>1</guid><description>自11月23日起试播。</description></item>
<item><title>图片新闻</title><guid>2</guid><description/></item>
</channel></rss>"""


@pytest.fixture
def site() -> Iterator[Site]:
    with website() as one:
        yield one


@pytest.fixture
def desk(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An office with two feeds in its settings."""
    data = tmp_path / "office"
    config.prepare(data, ports=PORTS)
    file = data / "fabu.toml"
    head = file.read_text("utf-8").partition("[channels.portal]")[0]
    feeds = "".join(
        f'[[feeds]]\nurl = "{site.url}{path}"\nauthor = "zhao"\nlabel = "{label}"\nallow_private = true\n'
        for path, label in (("/feed", "市局"), ("/gone", "省局"))
    )
    file.write_text(head + feeds + CHANNELS, "utf-8")
    set_up(config.load(data, {}))
    return Desk(data, capsys, monkeypatch)


def test_a_clerk_reads_what_became_of_each_entry(desk: Desk, site: Site) -> None:
    site.pages["/feed"] = Page(ENTRIES.encode(), headers={"ETag": '"1"'})
    said = desk.fabu("collect", f"{site.url}/feed", "--as", "zhao")
    assert said.code == 1  # one entry needs somebody's hands
    assert "《关于试播的通知》：新建草稿 1（通知）" in said.out and "《图片新闻》：没有采集。" in said.out
    assert "市局：共 2 篇，新建草稿 1 条，此前已采集 0 篇，来源有改动 0 篇，没有采集 1 篇。" in said.out
    again = desk.fabu("collect", f"{site.url}/feed", "--as", "zhao")
    assert (again.code, "304" in again.out) == (0, True)
    site.pages["/feed"] = Page(ENTRIES.replace("11月23日", "11月24日").encode())
    assert "信息 1 没有跟着改" in desk.fabu("collect", f"{site.url}/feed", "--as", "zhao").out


def test_a_program_reads_the_same(desk: Desk, site: Site) -> None:
    site.pages["/feed"] = Page(ENTRIES.encode())
    said = desk.fabu("collect", f"{site.url}/feed", "--as", "zhao", "--json")
    assert [(one["became"], one.get("item"), one.get("code")) for one in said.json["entries"]] == [
        ("refused", None, "collect.no_text"), ("made", 1, None),
    ]  # fmt: skip
    assert said.json["entries"][0]["message"] and not said.json["unchanged"]


def test_what_cannot_be_visited_is_said_in_both_languages(desk: Desk, site: Site) -> None:
    assert desk.refused("collect", "http://10.0.0.1/feed", "--as", "zhao") == "fetch.private_address"
    assert desk.refused("collect", f"{site.url}/other", "--as", "zhao") == "fetch.private_address"
    assert desk.refused("collect", f"{site.url}/other", "--as", "wang", "--allow-private") == "decision.not_permitted"
    assert desk.refused("collect", f"{site.url}/other", "--as", "admin", "--allow-private") == "collect.needs_author"
    assert desk.refused("collect", "nonsense", "--as", "zhao") == "fetch.bad_address"
    site.pages["/feed"] = Page(b"<html>")
    assert desk.refused("collect", f"{site.url}/feed", "--as", "zhao") == "feed.web_page"


def test_an_administrator_collects_for_an_author_from_the_own_network(desk: Desk, site: Site) -> None:
    site.pages["/other"] = Page(ENTRIES.encode())
    words = ("collect", f"{site.url}/other", "--as", "admin", "--author", "wang", "--allow-private")
    assert "市局：共 2 篇，新建草稿 1 条" in desk.fabu(*words).out


def test_the_feeds_are_listed_with_what_went_wrong(desk: Desk, site: Site) -> None:
    site.pages["/feed"] = Page(ENTRIES.encode())
    for path in ("/feed", "/gone"):
        desk.fabu("collect", f"{site.url}{path}", "--as", "zhao")
    well, ill = desk.done("feeds")
    assert (well["drafts"], well["error"], ill["error"]["code"]) == (1, None, "fetch.status")
    for language in LANGUAGES:
        desk.patch.setenv("FABU_LOCALE", language)
        shown = desk.fabu("feeds").out
        assert "404" in shown and "赵记者" in shown and catalogue(language)["word.problem"] in shown


def test_an_office_without_feeds_is_told_how_to_have_one(desk: Desk) -> None:
    file = desk.data / "fabu.toml"
    text = file.read_text("utf-8")
    file.write_text(text[: text.index('[[feeds]]\nurl = "http://127')] + CHANNELS, "utf-8")
    assert "[[feeds]]" in desk.fabu("feeds").out and desk.done("feeds") == []


def test_a_slow_feed_takes_one_thread_of_a_worker_and_no_second_one(
    desk: Desk, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, over, visits = threading.Event(), threading.Event(), list[Runtime]()

    def slow(rt: Runtime) -> None:
        visits.append(rt)
        inside.set()
        over.wait(30)

    monkeypatch.setattr(collect, "collect_due", slow)
    rt = open_runtime(config.load(desk.data, {}))
    first = threading.Thread(target=tasks.visit_feeds, args=(rt,))
    first.start()
    assert inside.wait(10)
    tasks.visit_feeds(rt)  # another beat's: returns at once
    assert visits == [rt]
    over.set()
    first.join(10)
    tasks.visit_feeds(rt)
    assert visits == [rt, rt]


def test_the_beat_asks_every_minute(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.app, "settings", lambda: config.load(desk.data, {}))
    planned = workers.app.Fabu("fabu", set_as_current=False).conf.beat_schedule["collect"]
    assert (planned["task"], planned["schedule"].total_seconds()) == ("fabu.collect", 60)


def test_the_example_in_the_shipped_settings_works_when_its_marks_are_taken_away(tmp_path: Path) -> None:
    config.prepare(tmp_path, ports=PORTS)
    file = tmp_path / "fabu.toml"
    assert config.load(tmp_path, {}).feeds == ()
    before, _, rest = file.read_text("utf-8").partition("# [[feeds]]\n")
    example, blank, after = rest.partition("\n\n")
    file.write_text(f"{before}[[feeds]]\n{re.sub('^# ', '', example, flags=re.M)}{blank}{after}", "utf-8")
    (feed,) = config.load(tmp_path, {}).feeds
    assert (feed.url, feed.author, feed.allow_private) == ("https://www.example.gov.cn/rss.xml", "wang", False)


@pytest.mark.parametrize(
    ("feeds", "code"),
    [
        (['url = "ftp://gd.example.gov.cn/"'], "config.bad_feed"),
        (['url = "https://gd.example.gov.cn/"'] * 2, "config.same_feed"),
        (['url = "https://gd.example.gov.cn/"\nitem_type = "诗歌"'], "config.feed_type"),
        (['url = "https://gd.example.gov.cn/"\nevery_minutes = 0'], "config.invalid"),
        (['url = "https://gd.example.gov.cn/"\nevery = 5'], "config.unknown_key"),
    ],
)
def test_feeds_that_make_no_sense_are_refused_with_the_settings(tmp_path: Path, feeds: list[str], code: str) -> None:
    config.prepare(tmp_path, ports=PORTS)
    file = tmp_path / "fabu.toml"
    given = "".join(f'[[feeds]]\nauthor = "wang"\n{one}\n' for one in feeds)
    file.write_text(file.read_text("utf-8").replace("[channels.portal]", f"{given}[channels.portal]", 1), "utf-8")
    with pytest.raises(config.ConfigError) as error:
        config.load(tmp_path, {})
    assert error.value.code == code
    for language in LANGUAGES:
        assert "{" not in say(language, code, **error.value.facts)
