"""The channel of the benchmark: it does nothing, for as long as it is told to."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from channels.contract import Call, Evidence, Kept, Message, Receipt, Rendition, Report, Seen


@dataclass(frozen=True)
class Nothing:
    """Takes back and is ticked by a person: a delivery on it is claim, attempt, call and record, and no look. The
    reference of its receipt is the call's key: counted in the ledger, it shows that every effect was meant once."""

    recall: ClassVar[bool] = True
    evidence: ClassVar[Evidence] = Evidence.PERSON
    addressed: ClassVar[bool] = False
    fenced: ClassVar[bool] = False

    takes: float = 0.0
    seconds: float = 5.0

    def render(self, message: Message) -> Rendition:
        return Rendition("text/plain", message.title.encode())

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        if self.takes:
            time.sleep(self.takes)
        return Receipt(call.key)

    def verify(self, wanted: Sequence[tuple[Rendition | None, Call]]) -> list[Seen]:
        return [Seen.UNKNOWN] * len(wanted)

    def withdraw(self, call: Call) -> Receipt:
        return Receipt(call.key)

    def read_report(self, query: Mapping[str, str]) -> Report | None:
        return None

    def kept(self) -> Mapping[int, Kept]:
        return {}

    def normalise(self, address: str) -> str:
        return address

    def check(self) -> str:
        return "ok"
