"""Administration of the channels. The staff is in `people`."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Response

from channels.contract import ChannelError
from pipeline import desk, operate, staff
from pipeline.decisions import Decision, Refused, permit
from pipeline.runtime import Opened
from web.console.page import Posted, Signed

routes = APIRouter()
SECRET_WORDS = ("key", "password", "secret", "token")


@routes.get("/admin/channels")
def channels_page(console: Signed) -> Response:
    lines = desk.channels(console.rt)
    settings = {name: _settings(opened) for name, opened in console.rt.channels.items()}
    return console.page(
        "admin-channels.html", lines=lines, settings=settings, channels=console.rt.channels,
        names=staff.names(console.rt),
    )  # fmt: skip


def _settings(opened: Opened) -> Mapping[str, str]:
    """A channel's settings as they may be shown: what lets somebody in is masked."""
    given = {**opened.section.model_dump(exclude=set(opened.section.options)), **opened.section.options}
    hidden = {name for name in given if any(word in name.lower() for word in SECRET_WORDS)}
    return {
        name: "••••••" if name in hidden and value else str(value)
        for name, value in given.items()
        if value not in ("", False, None) and name not in ("kind", "label")
    }


@routes.post("/admin/channels/{name}/test")
def test_channel(console: Posted, name: str) -> Response:
    """A test that no citizen sees."""
    permit(console.actor, Decision.PAUSE)  # those who may pause it
    opened = console.rt.channels.get(name)
    if opened is None:
        raise Refused("review.unknown_channel", given=name, known="、".join(console.rt.channels))
    try:
        opened.adapter.check()
    except ChannelError as error:
        why = console.problem(error.code, error.facts)
        return console.done("/admin/channels", "admin.channel_broken", channel=opened.section.label, why=why)
    return console.done("/admin/channels", "admin.channel_ok", channel=opened.section.label)


@routes.post("/admin/channels/{name}/pause")
def pause(console: Posted, name: str, reason: Annotated[str, Form()] = "") -> Response:
    operate.pause(console.rt, console.actor, name, reason)
    return console.done("/admin/channels", "admin.channel_paused", channel=console.rt.channels[name].section.label)


@routes.post("/admin/channels/{name}/resume")
def resume(console: Posted, name: str) -> Response:
    operate.resume(console.rt, console.actor, name)
    return console.done("/admin/channels", "admin.channel_resumed", channel=console.rt.channels[name].section.label)
