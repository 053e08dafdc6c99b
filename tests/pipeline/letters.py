"""A bureau whose citizens subscribe by mail and SMS: channels that keep what an invitation said."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from channels.contract import Call, ChannelError, Receipt, Rendition
from pipeline.models import Suppression
from tests.channels.recording import Report
from tests.office import Bureau

GROUPS = [
    {"id": "policy", "name": "政策文件", "item_types": ["通知", "公告", "意见"]},
    {"id": "outage", "name": "停电停水播出安排"},
    {"id": "newsletter", "name": "广电通讯", "about": "每月两期", "channels": ["mail"]},
]


class Letters(Report):
    """Like the recording channel; what was handed over in invitations stays readable, too."""

    def normalise(self, address: str) -> str:
        if not re.fullmatch(r"1\d{10}|[^@\s]+@[^@\s]+", address.strip()):
            raise ChannelError("sms.bad_number")
        return address.strip().lower()

    def deliver(self, rendition: Rendition, call: Call) -> Receipt:
        receipt = super().deliver(rendition, call)
        if call.slot.endswith("/0"):
            with (self.directory / "letters.jsonl").open("a") as file:
                file.write(json.dumps([call.recipient, rendition.body.decode()]) + "\n")
        elif "unsubscribe" in call.facts:  # a test to oneself has none
            (self.directory / "way-out").write_text(call.facts["unsubscribe"])
        return receipt


def open_town(open_office: Callable[..., Bureau], tmp_path: Path, **subscription: Any) -> Bureau:
    """The office with its form open."""
    kind = "tests.pipeline.letters:Letters"
    channels = {"sms": {"kind": kind}, "mail": {"kind": kind, "label": "邮件", "directory": tmp_path / "mail"}}
    return open_office(subscription={"groups": GROUPS, **subscription}, channels=channels)


def letters(bureau: Bureau, channel: str) -> list[tuple[str, str]]:
    """Who was invited on a channel, and with which words, in order."""
    adapter = bureau.rt.channels[channel].adapter
    assert isinstance(adapter, Letters)
    file = adapter.directory / "letters.jsonl"
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def is_out(bureau: Bureau, channel: str, address: str) -> bool:
    """Is this address on the suppression list?"""
    with bureau.rt.reading() as db:
        return db.get(Suppression, (channel, address)) is not None


def way_out(bureau: Bureau, channel: str) -> str:
    """The token of the address to unsubscribe that the last message carried."""
    adapter = bureau.rt.channels[channel].adapter
    assert isinstance(adapter, Letters)
    return (adapter.directory / "way-out").read_text().rsplit("/", 1)[1]


def code_in(letter: str) -> str:
    return letter.rsplit(" ", 1)[1]


def path_in(letter: str) -> str:
    return "/" + letter.split(" ")[1].split("/", 3)[3]
