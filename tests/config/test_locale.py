"""Both languages say everything that the code can say, in the words of the interface and no others."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

from channels.contract import Evidence, Outcome, Seen, Severity
from config.locale import HERE, Language, catalogue, language, say
from config.settings import Role
from pipeline.decisions import Decision
from pipeline.drafts import Draft
from pipeline.states import Disclosure, Ground, Result, State
from pipeline.words import NAMED
from workers.show import Screen

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for room in ("config", "channels", "pipeline", "workers", "web/inbound", "web/console")
    for path in (ROOT / room).rglob("*.py")
    if "migrations" not in path.parts
)
TEMPLATES = sorted((ROOT / "web" / "console" / "templates").glob("*.html"))
FILES = (".toml", ".json", ".csv", ".html", ".js", ".css", ".lock", ".txt", ".zip")  # names that look like codes
LANGUAGES: tuple[Language, ...] = ("zh", "en")
CODE = re.compile(r"[a-z_]+\.[a-z_0-9]+")
# Chosen by the name of a field, a state and so on: held against their enums below, not against the source.
FAMILIES = ("help", "word", "field", "state", "reason", "result", "evidence", "seen", "role", "disclosure", "health",
            "notice", "severity", "withdraw", "document", "ground", "phase", "stage", "did")  # fmt: skip
SPEAKERS = {"say", "line", "error", "Finding", "Found", "_wrong"}  # beside the exceptions: the first argument is a code
OTHER_WORDS = ("召回", "撤回", "下架", "稿件", "文稿", "推送", "送达", "送审", "驳回", "审批", "批准", "终审", "勘误",
               "订正", "重试", "黑名单", "通道", "频道", "条目", "挂起", "订户")  # fmt: skip
OTHER_ENGLISH = ("recall", "retract", "unpublish", "revoke", "article", "resend", "blacklist", "ticket")


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCES:
        yield path, ast.parse(path.read_text("utf-8"))


@cache
def exceptions() -> frozenset[str]:
    """The names of all exception classes of the house."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for _, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"Exception"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return frozenset(found)


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _spoken() -> Iterator[tuple[str, str, set[str] | None]]:
    """Where, which code, and the facts that are given with it (None: not to be read from the source)."""
    for path, tree in _trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args or _name(node) not in exceptions() | SPEAKERS:
                continue
            facts: set[str] | None = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
            more = len(node.args) > 1 or None in {keyword.arg for keyword in node.keywords}
            if more or _name(node) in ("Finding", "Found"):
                facts = None
            if isinstance(node.args[0], ast.Call):  # Unrenderable(Finding(…)) is read at the Finding
                continue
            codes = [one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)]
            for code in codes:
                if isinstance(code, str) and CODE.fullmatch(code):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", code, facts


@cache
def mentioned() -> frozenset[str]:
    """Every code that stands anywhere in the source, also in a stored JSON or in a tuple."""
    sections = {code.partition(".")[0] for code in catalogue("zh")}
    found = set()
    for _, tree in _trees():
        keys = {
            id(argument)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and _name(node) == "ForeignKey"
            for argument in node.args
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in keys:
                quoted = re.findall(rf'"code": "({CODE.pattern})"', node.value)
                whole = [node.value] if CODE.fullmatch(node.value) else []
                found |= {code for code in quoted + whole if code.partition(".")[0] in sections}
    for template in TEMPLATES:
        found |= set(re.findall(rf"['\"]({CODE.pattern})['\"]", template.read_text("utf-8")))
    shown = {code for code in found - composed() if code.partition(".")[0] in sections}
    return frozenset(code for code in shown if not code.endswith(FILES) or code in catalogue("zh"))


@cache
def composed() -> frozenset[str]:
    """The beginnings of codes that are put together in templates: `t("phase." ~ line.phase)`."""
    return frozenset(
        begin
        for template in TEMPLATES
        for begin in re.findall(r"""['"]([a-z_]+\.[a-z_]*)['"] ?~""", template.read_text("utf-8"))
    )


@cache
def put_together() -> frozenset[str]:
    """The codes that an f-string of the source can come to: `f"doctor.{kind}_gone"`."""
    shapes = {
        "".join(re.escape(part.value) if isinstance(part, ast.Constant) else "[a-z0-9_]+" for part in node.values)
        for _, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        and isinstance(node.values[0], ast.Constant)
        and re.match(r"[a-z_]+\.", str(node.values[0].value))
        and all(isinstance(part, ast.FormattedValue) or isinstance(part.value, str) for part in node.values)  # type: ignore[attr-defined]
    }
    return frozenset(code for code in catalogue("zh") if any(re.fullmatch(shape, code) for shape in shapes))


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_both_languages_have_the_same_sentences() -> None:
    assert catalogue("zh").keys() == catalogue("en").keys()


def test_no_sentence_is_written_twice() -> None:
    for chosen in LANGUAGES:
        keys = [
            f"{section}.{name}"
            for file in sorted((HERE / chosen).glob("*.toml"))
            for section, name in _written(file.read_text("utf-8"))
        ]
        assert sorted(keys) == sorted(set(keys)) and set(keys) == set(catalogue(chosen))


def _written(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = heading[1]
        elif entry := re.match(r"(\w+) = ", line):
            yield section, entry[1]


def test_both_languages_tell_the_same_facts() -> None:
    zh, en = catalogue("zh"), catalogue("en")
    assert {code for code in zh if fields(zh[code]) != fields(en[code])} == set()


def test_everything_that_is_raised_or_shown_has_a_sentence() -> None:
    spoken = {code: place for place, code, _ in _spoken()}
    assert len(spoken) > 100  # the scan sees the source
    assert {code: place for code, place in spoken.items() if code not in catalogue("zh")} == {}
    assert mentioned() - catalogue("zh").keys() == set()


def test_no_sentence_is_left_over() -> None:
    used = mentioned() | {code for _, code, _ in _spoken()}
    used |= put_together() | {code for code in catalogue("zh") if code.startswith(tuple(composed()))}
    used |= {f"web_{code}" for code in used}  # what the console says in their place
    assert {code for code in catalogue("zh") if code.partition(".")[0] not in FAMILIES} - used == set()


def test_the_console_tells_the_same_facts_where_it_speaks_of_buttons() -> None:
    for chosen in LANGUAGES:
        words = catalogue(chosen)
        instead = {code.removeprefix("web_"): code for code in words if code.startswith("web_")}
        assert len(instead) > 10
        assert {code for code, other in instead.items() if not fields(words[other]) <= fields(words[code])} == set()
        assert not [code for code in instead.values() if re.search(r"fabu |--[a-z]", words[code])]


def test_every_fact_of_a_sentence_is_given_where_it_is_raised() -> None:
    wanting = {
        place: fields(catalogue("zh")[code]) - facts
        for place, code, facts in _spoken()
        if facts is not None and not fields(catalogue("zh")[code]) <= facts
    }
    # The file's name is added by `load`.
    assert {place: facts for place, facts in wanting.items() if facts != {"file"}} == {}


def test_every_help_of_the_command_line_is_there_and_none_is_left_over() -> None:
    source = "".join(file.read_text("utf-8") for file in (ROOT / "workers" / "commands").glob("*.py"))
    asked = {f"help.{name}" for name in re.findall(r'help_\("(\w+)"\)', source)}
    assert asked == {code for code in catalogue("zh") if code.startswith("help.")}


def test_every_column_of_the_tables_has_a_word() -> None:
    tree = ast.parse((ROOT / "workers" / "show.py").read_text("utf-8"))
    names = {
        str(one.value)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For) and isinstance(loop.iter, ast.Tuple) and "word.{name}" in ast.unparse(loop)
        for one in loop.iter.elts
        if isinstance(one, ast.Constant)
    } | {
        str(key.value)
        for rows in ast.walk(tree)
        if isinstance(rows, ast.Assign) and ast.unparse(rows.targets[0]) == "rows" and isinstance(rows.value, ast.Dict)
        for key in rows.value.keys
        if isinstance(key, ast.Constant)
    }
    assert len(names) > 20
    assert {f"word.{name}" for name in names} <= catalogue("zh").keys()


@pytest.mark.parametrize(
    ("section", "members"),
    [
        ("state", State), ("result", Result), ("seen", Seen), ("seen", Outcome), ("evidence", Evidence),
        ("disclosure", Disclosure), ("ground", Ground), ("severity", Severity), ("did", Decision),
    ],
)  # fmt: skip
def test_everything_that_is_counted_has_a_word(section: str, members: type[StrEnum]) -> None:
    assert {f"{section}.{member}" for member in members} <= catalogue("zh").keys()


def test_every_role_has_a_word() -> None:
    assert {f"role.{role}" for role in get_args(Role)} == {one for one in catalogue("zh") if one.startswith("role.")}


def test_every_legal_ground_and_disclosure_class_is_explained_where_it_is_asked_for() -> None:
    for chosen in LANGUAGES:
        assert all(ground in say(chosen, "help.ground") for ground in Ground)
        assert all(disclosure in say(chosen, "help.class") for disclosure in Disclosure)


def test_every_reason_and_everything_a_person_saw_has_a_word() -> None:
    reasons, seen = set[str](), set[str]()
    for _, tree in _trees():
        for node in ast.walk(tree):
            match node:
                case ast.keyword(arg="reason", value=value):
                    reasons |= _constants(value)
                case ast.Assign(targets=[target], value=value) if ast.unparse(target).endswith(".reason"):
                    reasons |= _constants(value)
                case ast.Call(func=ast.Name(id="sight"), args=[_, _, _, what, *_]):
                    seen |= _constants(what)
    assert reasons >= {"late", "suppressed", "no_recipients"} and seen == {"sent", "not_sent", "posted", "taken_down"}
    assert {f"reason.{one}" for one in reasons} | {f"seen.{one}" for one in seen} <= catalogue("zh").keys()


def test_every_field_that_an_error_points_at_has_a_word() -> None:
    asked = {field.name for field in dataclasses.fields(Draft) if field.type in ("str", str)}
    for _, tree in _trees():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="plain"), args=[_, ast.Constant(value=str(name))]):
                    asked.add(name)
                case ast.Call(func=ast.Name(id="Finding" | "Found"), args=[_, _, ast.Constant(value=str(name)), *_]):
                    asked.add(name)
    assert asked >= {"title", "reason", "period"}
    assert {f"field.{name}" for name in asked} <= catalogue("zh").keys()


def _constants(value: ast.expr) -> set[str]:
    return {
        one.value for one in ast.walk(value) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    } - {""}  # fmt: skip


def test_one_word_is_used_for_one_thing() -> None:
    strays = [
        (code, word)
        for chosen, words in (("zh", OTHER_WORDS), ("en", OTHER_ENGLISH))
        for code, sentence in catalogue(chosen).items()
        for word in words
        if word in sentence.lower()
    ]
    assert strays == []


def test_an_error_names_roles_and_states_as_the_office_does() -> None:
    assert set(NAMED) == {"roles", "state", "states", "field"}
    zh, en = Screen("zh"), Screen("en")
    facts = {"person": "李信息员", "roles": "author, editor"}
    assert "撰稿、编辑" in zh.problem("decision.not_permitted", facts)
    assert "author, editor" in en.problem("decision.not_permitted", facts)
    assert "已提交" in zh.problem("retry.nothing", {"states": "accepted"})
    assert "正文第 3 行" in zh.problem("document.nul", {"field": "text", "line": "3", "character": "U+0000"})


def test_a_code_without_a_sentence_is_still_shown_and_a_fact_without_a_value_does_not_raise() -> None:
    assert say("zh", "own.code", address="x") == "own.code address=x"
    assert "{" not in say("zh", "item.unknown")


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        ("auto", {}, "zh"),
        ("auto", {"LANG": "C.UTF-8"}, "zh"),
        ("auto", {"LANG": "en_US.UTF-8"}, "en"),
        ("auto", {"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN.UTF-8"}, "zh"),
        ("zh", {"LANG": "en_US.UTF-8"}, "zh"),
        ("en", {"LANG": "zh_CN.UTF-8"}, "en"),
        ("zh", {"FABU_LOCALE": "en"}, "en"),
        ("auto", {"FABU_LOCALE": "zh", "LANG": "en_US.UTF-8"}, "zh"),
    ],
)
def test_the_language_is_the_persons_then_the_offices_then_the_machines(
    configured: str, environ: dict[str, str], expected: str
) -> None:
    assert language(configured, environ) == expected
