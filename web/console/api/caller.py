"""Who calls, and in which language they are answered."""

import getpass
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, UploadFile
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from config.locale import Language
from config.settings import Person
from pipeline import accounts, items
from pipeline.decisions import Actor, Refused
from pipeline.renditions import load_files
from pipeline.runtime import Runtime

_scheme = HTTPBearer(auto_error=False, description="A token made in the console (程序令牌)")


class Unknown(Exception):
    """No token, or one that nobody holds any more."""


@dataclass(frozen=True)
class Caller:
    """One request: the runtime, and the person whose token it carries."""

    rt: Runtime
    person: Person

    @property
    def actor(self) -> Actor:
        return Actor(self.person, f"api/{getpass.getuser()}")

    def see(self, item: int) -> None:
        """Raise Refused when this person is not shown this item."""
        items.require_visible(self.rt, self.person, item)

    def uploaded(self, *sha256: str) -> dict[str, bytes]:
        """What was uploaded before under these names. Raises Refused for one that was not."""
        with self.rt.reading() as db:
            kept = load_files(db, sha256)
        if missing := sorted(set(sha256) - kept.keys()):
            raise Refused("api.unknown_file", sha256=missing[0])
        return kept

    def content(self, file: UploadFile) -> bytes:
        """What was uploaded. Raises Refused when it is too large."""
        limit = self.rt.settings.limits.file_bytes
        content = file.file.read(limit + 1)
        if len(content) > limit:
            raise Refused("draft.file_too_large", file=file.filename or "", limit=str(limit // 1_000_000))
        return content


def caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]
) -> Caller:  # fmt: skip
    rt: Runtime = request.app.state.runtime
    visitor = accounts.bearer(rt, credentials.credentials) if credentials is not None else None
    if visitor is None:
        raise Unknown
    return Caller(rt, visitor.person)


Called = Annotated[Caller, Depends(caller)]


def language_of(request: Request) -> Language:
    return "en" if request.headers.get("Accept-Language", "").lower().startswith("en") else "zh"
