"""Kind → class, an explicit table, and opening a channel from its configuration section."""

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from channels.contract import Channel, ChannelError

# Named, not imported: a process that never speaks to a channel does not load its parts.
KINDS = {
    "portal": "channels.portal:Portal",
    "app_feed": "channels.app_feed:AppFeed",
    "sms": "channels.sms:Sms",
    "bulletin": "channels.bulletin:Bulletin",
    "webhook": "channels.webhook:Webhook",
    "mail": "channels.mail:Mail",
}


class BadSection(ChannelError):
    """A channel's configuration section does not fit its adapter."""


def open_channel(name: str, kind: str, seconds: float, options: Mapping[str, Any]) -> Channel:
    """The adapter of `kind` with the section's options as its fields. `seconds`: the limit of one call. A kind with a
    colon is the import path of an adapter of the office's own. Raises BadSection."""
    path = KINDS.get(kind, kind)
    if ":" not in path:
        raise BadSection("config.unknown_kind", channel=name, kind=kind, known=", ".join(sorted(KINDS)))
    module, _, attribute = path.partition(":")
    try:
        adapter = getattr(import_module(module), attribute)
        known = {field.name for field in fields(adapter)}
    except (ImportError, AttributeError, TypeError) as error:  # TypeError: it is no dataclass
        raise BadSection("config.cannot_import", channel=name, kind=kind, detail=str(error)) from error
    if unknown := sorted(options.keys() - known):
        # A misspelt key must not pass for a setting: `quite` hours would be no hours at all.
        raise BadSection("config.unknown_option", channel=name, options=", ".join(unknown))
    try:
        return cast(Channel, TypeAdapter(adapter).validate_python({**options, "seconds": seconds}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadSection("config.bad_channel", channel=name, place=place, detail=first["msg"]) from error
