"""What will go out on each channel, to be looked at before it does: of a stored submission, or of a text being written.

Both are made by the channel's own `render` and `view`, so what was looked at is what is sent.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from channels.contract import Channel, ChannelError, Finding, Message, Rendition, Severity, Unrenderable, View
from pipeline import audience, subscribers
from pipeline.models import StoredRendition, Submission
from pipeline.renditions import load_renditions
from pipeline.runtime import Runtime


@dataclass(frozen=True)
class Preview:
    """One channel: what people will see (None: it cannot be shown, `findings` say why); where it is sent to recipients,
    how many will be sent it, and the groups that it goes to by name."""

    channel: str
    label: str
    view: View | None
    findings: tuple[Finding, ...] = ()
    recipients: int | None = None
    groups: tuple[str, ...] = ()


def of_submission(rt: Runtime, item_id: int, hash: str) -> list[Preview]:
    """Every stored rendition of the item's submission with this hash, in the order of the channels."""
    with rt.reading() as db:
        latest = select(func.max(Submission.id)).where(Submission.item_id == item_id, Submission.hash == hash)
        stored = db.execute(
            select(StoredRendition.channel, StoredRendition.id).where(
                StoredRendition.submission_id == latest.scalar_subquery()
            )
        ).all()
        by_id = load_renditions(db, {row.id for row in stored})
        number = db.scalar(latest)
        groups = audience.of_submission(rt.settings, db, number) if number is not None else ()
    renditions = {row.channel: by_id[row.id] for row in stored}
    known = [_shown(rt, name, renditions[name], groups) for name in rt.channels if name in renditions]
    gone = [Preview(name, name, None) for name in sorted(renditions.keys() - rt.channels.keys())]
    return known + gone


def of_message(
    rt: Runtime, message: Message, channels: Collection[str], looked_at: Collection[str] | None = None,
    groups: Collection[str] | None = None,
) -> list[Preview]:  # fmt: skip
    """How a message would look on these channels now. What cannot be rendered says why. `looked_at`: make the views of
    these only, and of those that are sent to recipients; None: of all. `groups` None: those of the message's type."""
    seen = channels if looked_at is None else looked_at
    told = audience.of_type(rt.settings, message.item_type) if groups is None else groups
    return [_rendered(rt, name, message, name in seen, told) for name in rt.channels if name in channels]


def _rendered(rt: Runtime, name: str, message: Message, seen: bool, groups: Collection[str]) -> Preview:
    try:
        rendition = rt.channels[name].adapter.render(message)
        if not seen and not rt.channels[name].adapter.addressed:
            return Preview(name, rt.channels[name].section.label, None)
        return _shown(rt, name, rendition, groups)
    except Unrenderable as error:
        return Preview(name, rt.channels[name].section.label, None, tuple(error.findings))


def _shown(rt: Runtime, name: str, rendition: Rendition, groups: Collection[str]) -> Preview:
    opened = rt.channels[name]
    told, names = None, tuple[str, ...]()
    if opened.adapter.addressed:
        told, names = subscribers.count(rt, name, groups), tuple(subscribers.group_names(rt, groups))
    try:
        return Preview(name, opened.section.label, _view(opened.adapter, rendition), (), told, names)
    except ChannelError as error:  # approved in a layout that is no more, for instance
        reason = Finding(error.code, Severity.BLOCK, facts=_texts(error.facts))
        return Preview(name, opened.section.label, None, (reason,), told, names)


def _texts(facts: Mapping[str, object]) -> dict[str, str]:
    return {name: str(fact) for name, fact in facts.items()}


def _view(adapter: Channel, rendition: Rendition) -> View:
    """Kept for a while: printed pages take some 10 ms each to set, and are looked at again and again."""
    key = (id(adapter), rendition.digest)
    with _guard:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    view = adapter.view(rendition)
    with _guard:
        _kept[key] = view
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return view


MOST_KEPT = 64
_kept: OrderedDict[tuple[int, str], View] = OrderedDict()
_guard = threading.Lock()
