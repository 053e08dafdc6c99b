"""What a writer need not type again: words that earlier items used."""

import json
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import func, select

from config.settings import Person
from pipeline.items import visible
from pipeline.models import Item, Revision
from pipeline.runtime import Runtime

LOOKED_AT = 200  # of the latest revisions
LONGEST = 60_000  # bytes of one; longer ones are not worth reading for a few words
MOST = 30  # of each kind


@dataclass(frozen=True)
class Suggestions:
    """Of each kind what was used most, first; `document_number`: the last one, to count on from."""

    themes: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    document_number: str = ""


def suggestions(rt: Runtime, person: Person) -> Suggestions:
    """From the latest items that this person may see."""
    wanted = visible(rt, person)
    chosen = select(Revision.content).join(Item, Item.id == Revision.item_id)
    chosen = chosen.where(func.length(Revision.content) <= LONGEST, *([] if wanted is None else [wanted]))
    with rt.reading() as db:
        documents = [json.loads(one) for one in db.scalars(chosen.order_by(Revision.id.desc()).limit(LOOKED_AT))]
    return Suggestions(
        themes=_most([one["theme"] for one in documents]),
        keywords=_most([keyword for one in documents for keyword in one["keywords"]]),
        sources=_most([one["source"] for one in documents]),
        contacts=_most([one["objection_contact"] for one in documents]),
        document_number=next((one["document_number"] for one in documents if one["document_number"]), ""),
    )


def _most(words: list[str]) -> tuple[str, ...]:
    return tuple(word for word, _ in Counter(word for word in words if word).most_common(MOST))
