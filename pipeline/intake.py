"""Files → drafts: what the clerk already has, without retyping. Nothing is half-imported."""

import mimetypes
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from channels.contract import File
from channels.document import BadText, decode
from pipeline.decisions import Refused
from pipeline.drafts import Draft


def read_text(path: Path) -> str:
    """The text of a plain text file. Raises Refused when it is not there or not text."""
    try:
        return decode(path.read_bytes())
    except BadText as error:
        raise Refused(error.code, **{**error.facts, "file": path.name}) from error
    except OSError as error:
        raise Refused("intake.cannot_read", file=str(path), detail=error.strerror or "") from error


def read_attachment(path: Path) -> File:
    """A file as an attachment, under its own name."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused("intake.cannot_read", file=str(path), detail=error.strerror or "") from error
    media_type, _ = mimetypes.guess_type(path.name)
    return File(path.name, media_type or "application/octet-stream", content)


@dataclass(frozen=True)
class Sample:
    """A draft of the samples, who writes it, and where it goes."""

    draft: Draft
    author: str
    channels: tuple[str, ...]


def read_samples(folder: Path) -> list[Sample]:
    """The items that `samples.toml` in this folder describes."""
    samples = []
    for entry in tomllib.loads((folder / "samples.toml").read_text("utf-8"))["sample"]:
        period = entry.pop("period", None)
        file, author, channels = entry.pop("file"), entry.pop("author"), entry.pop("channels")
        files = tuple(read_attachment(folder / "attachments" / name) for name in entry.pop("attachments", ()))
        draft = Draft(
            **{
                **entry,
                "text": read_text(folder / file),
                "formed_on": _date(entry["formed_on"]),
                "keywords": tuple(entry.get("keywords", ())),
                "period": (_date(period[0]), _date(period[1])) if period else None,
                "files": files,
            }
        )
        samples.append(Sample(draft, author, tuple(channels)))
    return samples


def _date(value: date | str) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)
