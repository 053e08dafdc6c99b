"""Checks of an item before review (domain: Secrecy review): numbers of persons, secrecy marks, lists of names, wrong
set phrases, in what is written and in the attachments; and what is missing.

`find` is pure: what is written, the office's rules and what the attachments hold → findings. `report` gathers these.
No finding carries a number in full: excerpts are masked.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from channels.contract import Finding, Severity
from config.settings import CheckKind
from pipeline import attachments, phrases
from pipeline.arrangement import REQUIRED_LABELS
from pipeline.attachments import Inside
from pipeline.drafts import Draft
from pipeline.phrases import Phrase
from pipeline.runtime import Runtime

SUMMARY_CHARACTERS = 100
FIELDS = ("title", "text", "summary", "keywords", "theme", "source", "short_title", "sms_text", "objection_contact")
KEYWORD_MARK = "、"  # between the keywords, where they are looked at as one text
MOST_OF_A_KIND = 200  # findings in one field: whoever mends these will see the rest
SURROUNDINGS = 12  # characters on either side, in the same line, that a reason was given for, too
MANY_NAMES = 5  # rows that make a list of names


@dataclass(frozen=True)
class Found(Finding):
    """A finding with its place: characters `start` to `end` of the field `place`, as it was written (both 0: of an
    attachment or a whole field). `excerpt`: what stands there, masked; `instead`: what one click puts there, "" where
    only a person can tell. `key` names it as long as it and its surroundings stay; a warning that `needs_reason` is
    submitted only with one."""

    start: int = 0
    end: int = 0
    excerpt: str = ""
    instead: str = ""
    key: str = ""
    needs_reason: bool = False

    def noted(self) -> "Found":
        """The same as a note; what is missing stays what it is."""
        return replace(self, severity=Severity.WARN, needs_reason=False) if self.key else self


@dataclass(frozen=True)
class Kind:
    """What is looked for. `in_file`: its code where it stands in an attachment. `reason`: a warning needs one."""

    code: str
    in_file: str
    severity: Severity = Severity.WARN
    reason: bool = True


# How severe by default; the office may decide otherwise (settings: checks.severity).
KINDS: Mapping[CheckKind, Kind] = {
    "id_number": Kind("check.id_number", "check.file_id_number", Severity.BLOCK),
    "old_id_number": Kind("check.old_id_number", "check.file_old_id_number"),
    "mobile": Kind("check.mobile", "check.file_mobile"),
    "bank_card": Kind("check.bank_card", "check.file_bank_card", Severity.BLOCK),
    "secret_mark": Kind("check.secret_mark", "check.file_secret_mark", Severity.BLOCK),
    "internal_mark": Kind("check.internal_mark", "check.file_internal_mark"),
    "name_list": Kind("check.name_list", "check.file_name_list"),
    "phrase": Kind("check.phrase", "check.file_phrase"),
    "comments": Kind("", "check.file_comments"),
    "tracked_changes": Kind("", "check.file_tracked_changes"),
    "hidden_text": Kind("", "check.file_hidden_text"),
    "hidden_sheets": Kind("", "check.file_hidden_sheets"),
    "annotations": Kind("", "check.file_annotations"),
    "embedded_files": Kind("", "check.file_embedded_files"),
    "script": Kind("", "check.file_script"),
    "location": Kind("", "check.file_location"),
    "author_data": Kind("", "check.file_author_data", reason=False),
    "closed": Kind("", "check.file_closed"),
    "partly": Kind("", "check.file_partly"),
    "damaged": Kind("", "check.file_damaged"),
}


@dataclass(frozen=True)
class Rules:
    """What the office decides: its own phones, which are no secret, set phrases, and severities that differ."""

    phones: frozenset[str] = frozenset()  # digits only
    phrases: tuple[Phrase, ...] = ()
    severity: Mapping[CheckKind, Severity] = field(default_factory=dict)


def report(rt: Runtime, draft: Draft, public: bool = True) -> list[Found]:
    """All that the checks find in a draft, saved or not, its attachments included; in the order of its fields. What is
    not to become public may hold numbers and marks: these are noted then, and stop nothing."""
    insides = {file.sha256: attachments.look(file) for file in draft.files}
    found = find(draft, _rules(rt), insides)
    return found if public else [one.noted() for one in found]


def report_typed(
    rt: Runtime, draft: Draft, files: Iterable[tuple[str, str]], insides: Mapping[str, Inside]
) -> list[Found]:
    """The same for a text that is being written: of its attachments only names and SHA-256 are given, and what they
    hold as far as it is known by now."""
    rules = _rules(rt)
    return find(draft, rules) + _in_files(files, insides, rules)


def _rules(rt: Runtime) -> Rules:
    """What the office has decided, today."""
    with rt.reading() as db:
        known = phrases.in_force(db, rt.now().astimezone(rt.settings.zone).date())
    given = rt.settings.checks
    phones = frozenset(_digits(phone) for phone in (rt.settings.office.phone, *given.allowed_phones))
    return Rules(phones, known, {kind: Severity(chosen) for kind, chosen in given.severity.items()})


def find(draft: Draft, rules: Rules, insides: Mapping[str, Inside] | None = None) -> list[Found]:
    """What is wrong or doubtful. `insides`: what the draft's attachments hold, by SHA-256; others are not looked at."""
    found = [*_missing(draft), *_internal(draft)]
    for name in FIELDS:
        found += _in_field(name, written(draft, name), rules)
    if insides:
        found += _in_files([(file.name, file.sha256) for file in draft.files], insides, rules)
    return found


def _in_files(files: Iterable[tuple[str, str]], insides: Mapping[str, Inside], rules: Rules) -> list[Found]:
    known = [(name, sha256, insides[sha256]) for name, sha256 in files if sha256 in insides]
    return [one for name, sha256, inside in known for one in _in_file(name, sha256, inside, rules)]


def written(draft: Draft, name: str) -> str:
    """A field as the one text that places are counted in."""
    value = getattr(draft, name)
    return KEYWORD_MARK.join(value) if isinstance(value, tuple) else str(value)


def mask(text: str, found: Found) -> str:
    """The text of the finding's field, the number masked or the right phrase put in (domain: suggested masking). Raises
    ValueError where only a person can tell what to put, or something else stands there by now."""
    there = text[found.start : found.end]
    if not found.instead or found.excerpt not in (there, _masked(there, _KEPT.get(found.code, (0, 0)))):
        raise ValueError(found.code)
    return text[: found.start] + found.instead + text[found.end :]


def mended(draft: Draft, found: Iterable[Found]) -> Draft:
    """The draft with what was found in it masked or put right, as far as one click can. Raises ValueError: `mask`."""
    kept: dict[str, str] = {}
    for one in sorted(found, key=lambda one: one.start, reverse=True):  # from the end: places before it stay
        if one.instead and one.place in FIELDS:
            kept[one.place] = mask(kept.get(one.place, written(draft, one.place)), one)
    keywords = tuple(kept.pop("keywords").split(KEYWORD_MARK)) if "keywords" in kept else draft.keywords
    return replace(draft, keywords=keywords, **kept)  # type: ignore[arg-type]


# ── what is missing ──────────────────────────────────────────────────────────────────────────────────────────────────


def _missing(draft: Draft) -> Iterator[Found]:
    if draft.item_type == "公示" and draft.period is None:
        yield Found("check.period_missing", Severity.BLOCK, "period")
    if draft.item_type == "公示" and not draft.objection_contact:
        yield Found("check.contact_missing", Severity.BLOCK, "objection_contact")
    if len(draft.summary) > SUMMARY_CHARACTERS:
        facts = {"length": str(len(draft.summary)), "limit": str(SUMMARY_CHARACTERS)}
        yield Found("check.summary_long", Severity.WARN, "summary", facts)
    if draft.summary and draft.summary.rstrip("。") == draft.title.rstrip("。"):
        yield Found("check.summary_repeats", Severity.WARN, "summary")


OWN_NAMES = re.compile("本报|本刊")


def _internal(draft: Draft) -> Iterator[Found]:
    """Internal material does not call itself a newspaper or a journal, and its imprint is complete (domain: Print)."""
    if draft.issue is None or not draft.issue.internal:
        return
    imprint = dict(draft.issue.imprint)
    if missing := [label for label in REQUIRED_LABELS if not imprint.get(label, "").strip()]:
        yield Found("check.imprint_missing", Severity.BLOCK, "text", {"labels": "、".join(missing)})
    for name in ("title", "text", "summary"):
        for match in OWN_NAMES.finditer(getattr(draft, name)):
            facts = {"word": match[0]}
            yield Found("check.internal_name", Severity.BLOCK, name, facts, match.start(), match.end(), match[0])


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# One character for one, so that places stay: full-width digits, all kinds of blanks and hyphens.
_PLAIN = str.maketrans(
    "０１２３４５６７８９Ｘｘx＋\u3000\t\xa0\u2002\u2003\u2009－‐‑‒–—−", "0123456789XXX+" + " " * 6 + "-" * 7
)
_GAP = r"[ \n-]{0,3}"  # digits are split to be read more easily, or by a page's edge
_ID = re.compile(rf"(?<!\d)(?=(\d(?:{_GAP}\d){{16}}{_GAP}[\dX])(?![0-9A-Za-z]))")
_OLD_ID = re.compile(r"(?<!\d)(\d{6}[ -]?\d{6}[ -]?\d{3})(?![0-9A-Za-z])")
_MOBILE = re.compile(r"(?<!\d)(?<!\d\.)((?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4})(?!\d|\.\d|\s*[元万亿%])")
_CARD = re.compile(r"(?<!\d)(\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}(?:[ -]?\d{1,3})?)(?!\d)")
# Its digits are another thing's number.
_LABELLED = re.compile(
    r"(?:编号|单号|订单|流水号?|批号|登记号|备案号|货号|型号|索引号|文号|书号|ISBN|代码)[^，。；、\s\d]{0,6}$"
)
_ADDRESS = re.compile(r"(?:https?://|www\.)[\x21-\x7e]+")

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_CHECK = "10X98765432"
_PROVINCES = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|91")
# What stays readable of a number: so many digits from the left and from the right; negative: all but so many.
_KEPT: Mapping[str, tuple[int, int]] = {
    "check.id_number": (6, 4),
    "check.old_id_number": (6, 4),
    "check.mobile": (-8, 4),
    "check.bank_card": (0, 4),
}


def _is_id(digits: str) -> bool:
    """GB 11643-1999: 17 digits and a check character by ISO 7064, MOD 11-2."""
    weighed = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=False))
    return _PROVINCES.match(digits) is not None and _is_day(digits[6:14]) and digits[17] == _CHECK[weighed % 11]


def _is_old_id(digits: str) -> bool:
    """GB 11643-1989: no check character, the year in two digits."""
    return _PROVINCES.match(digits) is not None and digits[2:6] != "0000" and _is_day(f"19{digits[6:12]}")


def _is_day(digits: str) -> bool:
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year < 2100
    except ValueError:
        return False


def _is_card(digits: str) -> bool:
    """Numbers of Chinese banks' cards: UnionPay's 62 with 16 to 19 digits, the older 16 of the others; check digit by
    Luhn (ISO/IEC 7812-1)."""
    issued = digits.startswith(("62", "60")) or (
        len(digits) == 16 and digits.startswith(("4", "35", "51", "52", "53", "54", "55"))
    )
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return issued and len(set(digits)) > 2 and sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def _digits(text: str) -> str:
    return re.sub(r"[^\dX]", "", text.translate(_PLAIN))


def _masked(text: str, kept: tuple[int, int]) -> str:
    """The text as long as it was, the digits between those that are kept replaced by *."""
    places = [place for place, sign in enumerate(text.translate(_PLAIN)) if sign.isdigit() or sign == "X"]
    left = kept[0] if kept[0] >= 0 else len(places) + kept[0] - kept[1] + 4
    hidden = set(places[left : len(places) - kept[1]])
    return "".join("*" if place in hidden else sign for place, sign in enumerate(text))


@dataclass(frozen=True)
class _Place:
    kind: CheckKind
    start: int
    end: int
    excerpt: str
    instead: str = ""


def _numbers(text: str, rules: Rules) -> Iterator[_Place]:
    """Numbers of persons, none of them twice: what is an ID number is no bank card."""
    plain = text.translate(_PLAIN)
    taken, in_address = bytearray(len(plain)), bytearray(len(plain))  # by character: 1 where one stands
    for address in _ADDRESS.finditer(plain):
        in_address[address.start() : address.end()] = b"\1" * len(address[0])

    def anonymous(start: int) -> bool:
        return not in_address[start] and not _LABELLED.search(plain[max(0, start - 16) : start])

    tests: tuple[tuple[CheckKind, re.Pattern[str], Callable[[str, int], bool]], ...] = (
        ("id_number", _ID, lambda digits, start: _is_id(digits)),
        ("bank_card", _CARD, lambda digits, start: _is_card(digits) and anonymous(start)),
        ("old_id_number", _OLD_ID, lambda digits, start: _is_old_id(digits) and anonymous(start)),
        ("mobile", _MOBILE, lambda digits, start: not _own(digits, rules) and anonymous(start)),
    )
    for kind, pattern, is_one in tests:
        for match in pattern.finditer(plain):
            start, end = match.span(1)
            if not any(taken[start:end]) and is_one(_digits(match[1]), start):
                taken[start:end] = b"\1" * (end - start)
                shown = _masked(text[start:end], _KEPT[KINDS[kind].code])
                yield _Place(kind, start, end, shown, shown)


def _own(digits: str, rules: Rules) -> bool:
    return digits in rules.phones or digits[-11:] in rules.phones


# ── marks and phrases ────────────────────────────────────────────────────────────────────────────────────────────────

_YEARS = r"(?:\d{1,2}|[一二三四五六七八九十]{1,3})\s*年"
# 国家秘密载体标志: grade, star, period; or the grade alone on its line. ★ before years elsewhere marks what a tender
# insists on, too: a warning only.
_SECRET = re.compile(
    rf"(?:绝\s*密|机\s*密|秘\s*密)\s*★(?:\s*(?:{_YEARS}|长期))?|^[ \t]*(?:绝\s*密|机\s*密|秘\s*密)[ \t]*$", re.M
)
# 不予公开 is spoken of in every report on disclosure; it is a mark where nothing follows it.
_INTERNAL = re.compile(
    rf"内部资料(?!性)|内部文件|征求意见稿|不予公开(?=\s*(?:$|[。；;，,)）\]】〕》”\"]))|★\s*{_YEARS}", re.M
)


def _marks(text: str) -> Iterator[_Place]:
    plain = text.translate(str.maketrans("☆⭐", "★★")).translate(_PLAIN)
    taken = bytearray(len(plain))
    kinds: tuple[tuple[CheckKind, re.Pattern[str]], ...] = (("secret_mark", _SECRET), ("internal_mark", _INTERNAL))
    for kind, pattern in kinds:
        for match in pattern.finditer(plain):
            start, end = match.span()
            if not any(taken[start:end]):
                taken[start:end] = b"\1" * (end - start)
                yield _Place(kind, start, end, match[0].strip())


def _phrases(text: str, known: Sequence[Phrase]) -> Iterator[_Place]:
    """Wrong set phrases; not where the letters happen to stand inside the right one."""
    for phrase in known:
        start = text.find(phrase.wrong)
        while start >= 0:
            end = start + len(phrase.wrong)
            inside = phrase.correct.find(phrase.wrong)
            begin = start - inside
            if inside < 0 or text[max(0, begin) : begin + len(phrase.correct)] != phrase.correct:
                yield _Place("phrase", start, end, phrase.wrong, phrase.correct)
            start = text.find(phrase.wrong, end)


# ── lists of names ───────────────────────────────────────────────────────────────────────────────────────────────────

_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝"
    "孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂焦向柳邢路岳齐梅莫庄辛管祝左涂谷"
    "祁时舒耿牟卜路詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边辜吉饶刁瞿戚丘古米池滕晋苑邬臧"
)
_NAME = re.compile(rf"(?:[{_SURNAMES}]|欧阳|上官|司马|诸葛|皇甫|尉迟|公孙|慕容|令狐)[\u4e00-\u9fff]{{1,2}}|"
                   r"[\u4e00-\u9fff]{2,8}·[\u4e00-\u9fff]{1,8}")  # fmt: skip
_NAMES_HEAD = re.compile(r"姓\s*名|^名字$|申请人|联系人|户主|(?:职工|人员|学生|考生|家长|负责人)姓名")
_PRIVATE_HEAD = re.compile(
    r"身份证|证件号|公民身份|手机|电话|联系方式|住址|家庭地址|户籍|银行|卡号|账号|帐号|开户|出生|生日|年龄|民族|工资|收入|低保|残疾|病|学号|准考证"
)
_LONG_NUMBER = re.compile(r"[\d*]{6,}")


def _list_of_names(rows: Sequence[Sequence[str]]) -> tuple[int, str] | None:
    """How many persons this table lists, and which other columns say something of them; None: it is no such list.

    A list of names alone (of the commended, for instance) is what a 公示 is made of, and none of these."""
    head = [cell.strip() for cell in rows[0]] if rows else []
    names = [place for place, cell in enumerate(head) if _NAMES_HEAD.search(cell)]
    private = [cell for cell in head if _PRIVATE_HEAD.search(cell)]
    if names and private:
        people = sum(any(_is_name(row, place) for place in names) for row in rows[1:])
        return (people, KEYWORD_MARK.join(private)) if people >= MANY_NAMES else None
    listed = [
        row for row in rows
        if any(_is_name(row, place) for place in range(len(row))) and any(_LONG_NUMBER.search(cell) for cell in row)
    ]  # fmt: skip
    return (len(listed), "") if len(listed) >= MANY_NAMES else None


def _is_name(row: Sequence[str], place: int) -> bool:
    return place < len(row) and _NAME.fullmatch(re.sub(r"\s", "", row[place])) is not None


def _tables(text: str) -> Iterator[tuple[int, int, list[list[str]]]]:
    """The tables of a text, drawn with bars or tabs: where each begins and ends, and its rows."""
    for match in re.finditer(r"(?:^[^\n]*[|｜\t][^\n]*(?:\n|\Z))+", text, re.M):
        rows = [re.split(r"[|｜\t]", line.strip().strip("|｜")) for line in match[0].splitlines()]
        yield match.start(), match.end(), [row for row in rows if not re.fullmatch(r"[-: ]*", "".join(row))]


# ── findings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _places(text: str, rules: Rules) -> Iterator[_Place]:
    yield from _numbers(text, rules)
    yield from _marks(text)
    yield from _phrases(text, rules.phrases)


def _in_field(name: str, text: str, rules: Rules) -> list[Found]:
    if not text:
        return []
    breaks = [match.start() for match in re.finditer("\n", text)]
    found, counted = list[Found](), dict[str, int]()
    for one in sorted(_places(text, rules), key=lambda place: place.start):
        counted[one.kind] = counted.get(one.kind, 0) + 1
        if counted[one.kind] > MOST_OF_A_KIND:
            continue
        facts = {"line": str(bisect_left(breaks, one.start) + 1), "excerpt": one.excerpt}
        if one.kind == "phrase":
            facts["correct"] = one.instead
        before = text[max(0, one.start - SURROUNDINGS) : one.start].rpartition("\n")[2]
        around = (before, text[one.end : one.end + SURROUNDINGS].partition("\n")[0])
        found.append(_found(one.kind, name, facts, rules, around, one))
    for start, end, rows in _tables(text):
        if listed := _list_of_names(rows):
            facts = {"line": str(bisect_left(breaks, start) + 1), "count": str(listed[0]), "columns": listed[1] or "—"}
            found.append(_found("name_list", name, facts, rules, (), _Place("name_list", start, end, "")))
    return found


def _in_file(name: str, sha256: str, inside: Inside, rules: Rules) -> list[Found]:
    """Of each kind one finding for an attachment, with how often it is there."""
    first, counted = dict[CheckKind, _Place](), dict[CheckKind, int]()
    for text in (name, *inside.texts):
        for one in _places(text, rules):
            first.setdefault(one.kind, one)
            counted[one.kind] = counted.get(one.kind, 0) + 1
    found = []
    for kind, one in first.items():
        facts = {"file": name, "count": str(counted[kind]), "excerpt": one.excerpt}
        if kind == "phrase":
            facts["correct"] = one.instead
        found.append(_found(kind, "attachments", facts, rules, (sha256,)))
    lists = [listed for rows in inside.tables if (listed := _list_of_names(rows))]
    if lists:
        facts = {"file": name, "count": str(sum(people for people, _ in lists)), "columns": lists[0][1] or "—"}
        found.append(_found("name_list", "attachments", facts, rules, (sha256,)))
    for trace in inside.traces:
        found.append(_found(trace.kind, "attachments", {"file": name, **trace.facts}, rules, (sha256,)))
    return found


def _found(
    kind: CheckKind,
    place: str,
    facts: Mapping[str, str],
    rules: Rules,
    around: Sequence[str],
    where: _Place | None = None,
) -> Found:
    """`around`: what a reason is given for beside the finding itself. Its digits are left out of the key, from which
    nobody shall guess a number."""
    known = KINDS[kind]
    severity = rules.severity.get(kind, known.severity)
    code = known.code if where is not None else known.in_file
    said = [facts.get(name, "") for name in ("file", "excerpt", "count", "columns")]
    kept = [re.sub(r"[\d\s]", "", one.translate(_PLAIN)) if where is not None else one for one in around]
    key = hashlib.sha256("\n".join((code, place, *said, *kept)).encode()).hexdigest()[:20]
    found = Found(code, severity, place, facts, key=key, needs_reason=known.reason and severity is Severity.WARN)
    if where is None:
        return found
    return replace(found, start=where.start, end=where.end, excerpt=where.excerpt, instead=where.instead)
