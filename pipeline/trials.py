"""A test to oneself: what subscribers will be sent of an item, sent to the person who asks, and to nobody else."""

from collections.abc import Mapping

from channels.contract import Call, ChannelError, Unrenderable
from pipeline import items, reports
from pipeline.decisions import Actor, Decision, Refused, audit, permit
from pipeline.drafts import compose_unsubmitted
from pipeline.runtime import Opened, Runtime


def channels(rt: Runtime, actor: Actor) -> dict[str, str]:
    """The channels that can reach this person at the mail address that the office knows: name → address."""
    found = {}
    for name, opened in rt.channels.items():
        address = _address(opened, actor.person.email)
        if address:
            found[name] = address
    return found


def send(rt: Runtime, actor: Actor, item_id: int, channel: str) -> str:
    """Send the item's latest revision once, through this channel. The ledger keeps the decision, and no delivery of it.
    Returns the address. Raises Refused, with the channel's own code where it could not be sent."""
    permit(actor, Decision.TRY)
    address = channels(rt, actor).get(channel)
    if address is None:
        raise Refused("trial.no_address", person=actor.person.name)
    opened, now = rt.channels[channel], rt.now()
    message = compose_unsubmitted(rt, item_id, items.history(rt, item_id).draft)
    try:
        rendition = opened.adapter.render(message)
        generation = int(now.timestamp())  # every test is a mail of its own
        facts: Mapping[str, str] = {"effect": reports.effect(rt, channel, item_id, generation, address)}
        call = Call(f"{channel}/{item_id}", generation, address, facts)
        opened.adapter.deliver(rendition, call)
    except Unrenderable as error:
        raise Refused(error.code, error.findings, **error.facts) from error
    except ChannelError as error:
        raise Refused(error.code, **error.facts) from error
    with rt.writing() as db:
        audit(rt, db, actor, Decision.TRY, item_id, channel=channel)
    return address


def _address(opened: Opened, email: str) -> str:
    if not opened.adapter.addressed or not email:
        return ""
    try:
        return opened.adapter.normalise(email)
    except ChannelError:
        return ""
