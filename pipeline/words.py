"""How screens say what the ledger knows: states as marks that are readable without colour, refusals as sentences."""

from collections.abc import Mapping

from channels.contract import Evidence
from config.locale import Language, catalogue, say
from pipeline.reach import Cell
from pipeline.states import State

# Readable without colour: each state has a mark of its own.
MARKS: Mapping[State, str] = {
    State.CONFIRMED: "✓",
    State.ACCEPTED: "→",
    State.SENDING: "…",
    State.DUE: "·",
    State.ON_HOLD: "‖",
    State.IN_DOUBT: "?",
    State.FAILED: "✗",
    State.SKIPPED: "–",
}

# Facts of refusals that are names of ours, and where their words stand.
NAMED: Mapping[str, str] = {"roles": "role", "state": "state", "states": "state", "field": "field"}


def problem(chosen: Language, code: str, facts: Mapping[str, object]) -> str:
    """The sentence for what went wrong; names of ours among its facts are put in words too."""
    comma, words = ("、" if chosen == "zh" else ", "), catalogue(chosen)
    worded = {
        name: comma.join(words.get(f"{NAMED[name]}.{one}", one) for one in str(fact).split(", "))
        if name in NAMED
        else fact
        for name, fact in facts.items()
    }
    return say(chosen, code, **worded)


def state_code(cell: Cell) -> str:
    """The code of the state's word: what a clerk would call it on this kind of channel."""
    if cell.state is State.CONFIRMED and cell.wanted is None:
        return "state.withdrawn"
    if cell.state is State.ACCEPTED and cell.evidence is Evidence.PERSON:
        return "state.to_take_down" if cell.wanted is None else "state.to_post"
    if cell.state is State.ACCEPTED and cell.evidence is Evidence.REPORT:
        return "state.no_report_yet"
    return f"state.{cell.state}"


def masked(address: str) -> str:
    """138****1234 (domain: suggested masking); of a mail address the first letter and the domain."""
    name, at, domain = address.partition("@")
    if at:
        return f"{name[:1]}****@{domain}"
    return f"{address[:3]}****{address[-4:]}" if len(address) >= 11 else address
