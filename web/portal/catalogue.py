"""The catalogue as citizens look through it: what may be asked for, and how it is found without reading a text.

Every live item has an ordinal, in the order of first publication, and every term (of its title, of its text, of its
catalogue fields) a set of ordinals, kept as bits in blocks of 2,048 items. What is asked for is then a matter of AND
and OR, its count is exact, and the newest come first as the highest bits: a few milliseconds with 100,000 items,
however common the words. One way for both databases, and one that forgets: SQLite's FTS5 keeps the words of a deleted
text in its segments (before 3.42 always), and PostgreSQL's GIN knows no order.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from operator import and_, or_
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from web.portal import search
from web.portal.content import Item
from web.portal.tables import catalogue, standing, words

RULES = 1  # how terms are made; another number makes catalogue and words anew when the portal starts
BLOCK = 2048  # items
SPARSE = 32  # places in a block up to which they are listed
LONGEST_VALUE = 200  # characters of a field's value in a term; PostgreSQL's index takes up to 2,700 bytes
FEW = 1000  # hits that are ordered by date one by one; more are met by walking along the dates
FIELDS = ("item_type", "theme", "department", "year", "validity")
KNOWN = 500  # sets kept in memory until the next change, 12.5 kB each with 100,000 items
# Terms of fields begin with =, of titles with ^, of corrections with >, as no word does.
EVERY = "="  # the term of all live items
_WHOLE = BLOCK // 8  # bytes


class Order(StrEnum):
    NEWEST = "newest"  # by first publication
    RELEVANT = "relevant"  # where the title or a number holds the words first, then the newest
    FORMED = "formed"  # by 生成日期, latest first


@dataclass(frozen=True)
class Wanted:
    """What a citizen asks the catalogue for; what is left empty is not asked for.

    `column` is the id of one in portal.toml; `words` are looked for in title, text, index and document number.
    """

    column: str = ""
    theme: str = ""
    item_type: str = ""
    department: str = ""
    year: int | None = None  # of 生成日期
    validity: str = ""
    words: str = ""
    corrects: str = ""  # an index number: notices that correct this item
    order: Order = Order.NEWEST


@dataclass(frozen=True)
class Rule:
    """Which items fall in a column: of these types and these themes and these departments, with one of these phrases in
    the title. What names nothing lets all in."""

    item_types: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def lets_in(self, fields: Mapping[str, str]) -> bool:
        """Does an item with these `item_type`, `theme`, `department`, `title` fall in the column?"""
        named = {"item_type": self.item_types, "theme": self.themes, "department": self.departments}
        head = search.terms(fields.get("title", "")) if self.titles else set[str]()
        return all(not values or fields.get(field, "") in values for field, values in named.items()) and (
            not self.titles or any(head.issuperset(search.looked_for(phrase)) for phrase in self.titles)
        )


Facets = dict[str, list[tuple[str, int]]]


class What(StrEnum):
    PUBLISHED = "published"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    REPUBLISHED = "republished"


# ── what is kept of an item ──────────────────────────────────────────────────────────────────────────────────────────


def terms_of(item: Item) -> set[str]:
    """Every term under which an item is kept."""
    head = search.terms(item.title, item.index_number, item.document_number)
    found = head | search.terms(search.plain(item.html), *item.keywords, item.summary) | {EVERY}
    found.update(f"^{term}" for term in head)
    found.update(_field(field, value) for field, value in _values(item).items() if value)
    if item.corrects:
        found.add(f">{item.corrects[:LONGEST_VALUE]}")
    return found


def row_of(item: Item) -> dict[str, Any]:
    names = ("index_number", "title", "document_number", "publisher", "item_type", "theme", "department", "validity",
             "summary", "formed_on")  # fmt: skip
    return {name: getattr(item, name) for name in names}


GONE: dict[str, Any] = dict.fromkeys(
    ("index_number", "title", "document_number", "publisher", "item_type", "theme", "department", "validity",
     "summary"), "",
) | dict.fromkeys(("formed_on", "published_at", "changed_at"))  # fmt: skip


def _values(item: Item) -> dict[str, str]:
    return {
        "item_type": item.item_type, "theme": item.theme, "department": item.department,
        "year": str(item.formed_on.year), "validity": item.validity,
    }  # fmt: skip


def _field(field: str, value: str) -> str:
    return f"={field}:{value[:LONGEST_VALUE]}"


def change_words(connection: Connection, ordinal: int, before: set[str], after: set[str]) -> None:
    """Take an item out of the terms that it had, and into those that it has now."""
    block, place = divmod(ordinal, BLOCK)
    changing = {term.encode(): term in after for term in before ^ after}
    kept: dict[bytes, bytes] = {}
    for some in _batches(changing, 1000):
        read = select(words.c.term, words.c.bits).where(words.c.block == block, words.c.term.in_(some))
        for term, bits in connection.execute(read):
            kept[term] = bits
    added, changed, emptied = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    for term, comes in changing.items():
        old = kept.get(term, b"")
        new = with_place(old, place) if comes else without_place(old, place)
        if new and not old:
            added.append({"block": block, "term": term, "bits": new})
        elif new:
            changed.append({"at_block": block, "at_term": term, "bits": new})
        elif old:
            emptied.append({"at_block": block, "at_term": term})
    if added:
        connection.execute(insert(words), added)
    if changed:
        connection.execute(update(words).where(_THIS).values(bits=bindparam("bits")), changed)
    if emptied:
        connection.execute(delete(words).where(_THIS), emptied)


_THIS = (words.c.block == bindparam("at_block")) & (words.c.term == bindparam("at_term"))


def fill(connection: Connection, items: Iterable[tuple[int, Item]]) -> None:
    """Keep many items at once, each with its ordinal, in the order of these; no word of their blocks is there yet."""
    block, offsets = 0, defaultdict[str, list[int]](list)
    for ordinal, item in items:
        if ordinal // BLOCK != block:
            _write(connection, block, offsets)
            block, offsets = ordinal // BLOCK, defaultdict(list)
        for term in terms_of(item):
            offsets[term].append(ordinal % BLOCK)
    _write(connection, block, offsets)


def _write(connection: Connection, block: int, offsets: Mapping[str, list[int]]) -> None:
    rows = ({"block": block, "term": term.encode(), "bits": packed(found)} for term, found in sorted(offsets.items()))
    for some in _batches(rows, 10_000):
        connection.execute(insert(words), some)


# ── bits ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_place(bits: bytes, place: int) -> bytes:
    """The same set with this place in it. A set is the list of its places, two bytes each, while they are few; else a
    bit for each, BLOCK / 8 bytes."""
    if len(bits) < _WHOLE and len(bits) < 2 * SPARSE:
        here = struct.pack("<H", place)
        return bits if place in _places(bits) else bits + here
    whole = bytearray(bitmap(bits))
    whole[place >> 3] |= 1 << (place & 7)
    return bytes(whole)


def without_place(bits: bytes, place: int) -> bytes:
    """The same set without it; empty where nothing is left."""
    if len(bits) < _WHOLE:
        return b"".join(struct.pack("<H", one) for one in _places(bits) if one != place)
    whole = bytearray(bits)
    whole[place >> 3] &= ~(1 << (place & 7))
    return bytes(whole) if any(whole) else b""


def packed(places: list[int]) -> bytes:
    bits = struct.pack(f"<{len(places)}H", *places)
    return bits if len(places) <= SPARSE else bitmap(bits)


def bitmap(bits: bytes) -> bytes:
    if len(bits) == _WHOLE:
        return bits
    whole = bytearray(_WHOLE)
    for place in _places(bits):
        whole[place >> 3] |= 1 << (place & 7)
    return bytes(whole)


def _places(bits: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(bits) // 2}H", bits)


def _down(bits: int) -> Iterator[int]:
    """The places of the bits, highest first."""
    while bits:
        place = bits.bit_length() - 1
        yield place
        bits ^= 1 << place


def highest(bits: int, skip: int, take: int) -> list[int]:
    """So many of the highest bits' places after so many, highest first; whole blocks are skipped by their count."""
    found = list[int]()
    for block in reversed(range(bits.bit_length() // BLOCK + 1)):
        here = bits >> block * BLOCK & (1 << BLOCK) - 1
        count = here.bit_count()
        if count <= skip:
            skip -= count
            continue
        for place in _down(here):
            if skip:
                skip -= 1
            elif len(found) < take:
                found.append(block * BLOCK + place)
            else:
                return found
    return found


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


_PREPARED = ""  # no term


class Memory:
    """The sets that were read since the last change; shared by all looks of a process."""

    def __init__(self) -> None:
        self._held: tuple[int, dict[str, int]] = (-1, {})

    def at(self, version: int) -> dict[str, int]:
        """What is known at that version of the slots; to be added to."""
        if self._held[0] != version or len(self._held[1]) > KNOWN:
            self._held = version, {}
        return self._held[1]


class Catalogue:
    """The sets of items in one look at the database; `columns` are the rules by the columns' ids."""

    def __init__(self, connection: Connection, columns: Mapping[str, Rule], memory: Memory) -> None:
        self._connection = connection
        self._columns = columns
        # The version first: what is read after it is not older than it says.
        self._known = memory.at(connection.execute(select(standing.c.version)).scalar_one())
        last = connection.execute(select(func.max(catalogue.c.ordinal))).scalar()
        self._blocks = range(0 if last is None else last // BLOCK + 1)

    def prepared(self) -> "Catalogue":
        """Read at once what fields and columns are made of; for who asks for many of them."""
        if _PREPARED not in self._known:
            self._known.update(self._read((words.c.term >= EVERY.encode()) & (words.c.term < b">")))
            self._sets(f"^{term}" for rule in self._columns.values() for phrase in rule.titles
                       for term in search.looked_for(phrase))  # fmt: skip
            self._known[_PREPARED] = 1
        return self

    def page(self, wanted: Wanted, skip: int, take: int) -> tuple[list[int], int]:
        """Ordinals of so many items after so many, and how many there are."""
        bits = self.bits(wanted)
        count = bits.bit_count()
        if wanted.order == Order.FORMED:
            return self._by_date(bits, count, skip, take), count
        if wanted.order == Order.NEWEST or not wanted.words:
            return highest(bits, skip, take), count
        heads = bits & self._all(f"^{term}" for term in search.looked_for(wanted.words))
        first = highest(heads, skip, take)
        rest = highest(bits & ~heads, max(0, skip - heads.bit_count()), take - len(first))
        return first + rest, count

    def bits(self, wanted: Wanted) -> int:
        """The set of what is wanted. A column that there is not holds nothing."""
        terms = [_field(field, str(value)) for field in FIELDS if (value := getattr(wanted, field))]
        if wanted.words:
            looked_for = search.looked_for(wanted.words)
            if not looked_for:  # nothing but signs
                return 0
            terms += looked_for
        if wanted.corrects:
            terms.append(f">{wanted.corrects[:LONGEST_VALUE]}")
        if wanted.column:
            rule = self._columns.get(wanted.column)
            return (self._column(rule) & self._all(terms or [EVERY])) if rule else 0
        return self._all(terms or [EVERY])

    def facets(self, wanted: Wanted) -> Facets:
        """For each field its values among what is wanted, as if that field were not asked for; the most frequent first,
        years from the latest."""
        sets = self._fields()
        every = self.bits(wanted)
        lifted = {field: self.bits(_without(wanted, field)) if getattr(wanted, field) else every
                  for field in (*FIELDS, "column")}  # fmt: skip
        found: Facets = {field: [] for field in FIELDS}
        for (field, value), bits in sets.items():
            if count := (bits & lifted[field]).bit_count():
                found[field].append((value, count))
        for field, values in found.items():
            values.sort(key=lambda pair: (-int(pair[0]) if field == "year" else -pair[1], pair[0]))
        among = lifted["column"]
        found["column"] = [(id, (self._column(rule) & among).bit_count()) for id, rule in self._columns.items()]
        return found

    def _column(self, rule: Rule) -> int:
        conditions = [self._all([EVERY])]
        for field, values in (("item_type", rule.item_types), ("theme", rule.themes), ("department", rule.departments)):
            if values:
                conditions.append(self._any(_field(field, value) for value in values))
        if rule.titles:
            phrases = ([f"^{term}" for term in search.looked_for(phrase)] for phrase in rule.titles)
            conditions.append(reduce(or_, (self._all(phrase) for phrase in phrases)))
        return reduce(and_, conditions)

    def _all(self, terms: Iterable[str]) -> int:
        sets = self._sets(terms)
        return reduce(and_, sets.values()) if sets else 0

    def _any(self, terms: Iterable[str]) -> int:
        return reduce(or_, self._sets(terms).values(), 0)

    def _sets(self, terms: Iterable[str]) -> dict[str, int]:
        wanted = dict.fromkeys(terms, 0)
        if asked := [term for term in wanted if term not in self._known]:
            read = self._read(words.c.term.in_([term.encode() for term in asked]))
            self._known.update(dict.fromkeys(asked, 0) | read)  # at once: others look at it, too
        return {term: self._known[term] for term in wanted}

    def _fields(self) -> dict[tuple[str, str], int]:
        """The sets of all values of fields."""
        self.prepared()
        return {(field, value): bits for term, bits in list(self._known.items()) if term.startswith("=") and bits
                for field, _, value in [term[1:].partition(":")] if field}  # fmt: skip

    def _read(self, which: ColumnElement[bool]) -> dict[str, int]:
        """Put the sets of terms together from their blocks."""
        sets: dict[bytes, bytearray] = {}
        read = select(words.c.term, words.c.block, words.c.bits).where(words.c.block.in_(self._blocks), which)
        for term, block, bits in self._connection.execute(read).all():
            whole = sets.get(term)
            if whole is None:
                whole = sets[term] = bytearray(_WHOLE * len(self._blocks))
            whole[block * _WHOLE : (block + 1) * _WHOLE] = bitmap(bits)
        return {term.decode(): int.from_bytes(whole, "little") for term, whole in sets.items()}

    def _by_date(self, bits: int, count: int, skip: int, take: int) -> list[int]:
        by_date = select(catalogue.c.ordinal).order_by(catalogue.c.formed_on.desc(), catalogue.c.ordinal.desc())
        if count <= FEW:
            found = catalogue.c.ordinal.in_(highest(bits, 0, FEW))
            return list(self._connection.execute(by_date.where(found).limit(take).offset(skip)).scalars())
        at_hand = bits.to_bytes(bits.bit_length() // 8 + 1, "little")
        found_at = list[int]()
        dated = by_date.where(catalogue.c.formed_on.is_not(None))
        with self._connection.execute(dated.execution_options(yield_per=1000)) as rows:
            for ordinal in rows.scalars():
                if ordinal // 8 < len(at_hand) and at_hand[ordinal // 8] >> ordinal % 8 & 1:
                    if skip:
                        skip -= 1
                        continue
                    found_at.append(ordinal)
                    if len(found_at) == take:
                        break
        return found_at


def _without(wanted: Wanted, field: str) -> Wanted:
    return replace(wanted, year=None) if field == "year" else replace(wanted, **{field: ""})  # type: ignore[arg-type]


def _batches(of: Iterable[Any], size: int) -> Iterator[list[Any]]:
    some = list[Any]()
    for one in of:
        some.append(one)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
