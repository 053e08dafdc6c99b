"""What every page is made with: who asks, the words of their language, the templates, and what to say after a decision.

A page is a function that takes `Console` and `Signed`, calls the pipeline, and returns `console.page(...)`. A form's
function ends in `console.done(...)`: a redirect with a sentence on the next page. What the pipeline refuses becomes a
page with the sentence (`app.refused`), unless the form itself shows it.
"""

import base64
import getpass
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Form, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from channels.contract import File
from config.locale import Language, catalogue, language, say
from config.settings import Person
from pipeline import accounts, deputies
from pipeline.accounts import Visitor
from pipeline.decisions import Actor, Decision, Refused, may
from pipeline.runtime import Runtime
from pipeline.states import State
from pipeline.words import MARKS, problem

HERE = Path(__file__).parent
SESSION, FLASH, LANGUAGE = "fabu_session", "fabu_said", "fabu_language"
# A mail brings styles of its own. It is shown in a frame that may do nothing at all, and loads nothing.
FRAMED = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; form-action 'none'; sandbox"
)
MEDIA = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
STATIC = {  # read once; the hash in the address lets browsers keep them
    file.name: (file.read_bytes(), MEDIA[file.suffix]) for file in sorted((HERE / "static").iterdir())
}
VERSION = hashlib.sha256(b"".join(content for content, _ in STATIC.values())).hexdigest()[:12]

templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# HTML that channels/document.to_html made is the only kind that is not escaped again.
templates.filters |= {
    "set": frozenset,
    "published": Markup,
    # Its letters need no escaping, and an issue has megabytes of them.
    "base64": lambda content: Markup(base64.b64encode(content).decode()),
}


class SignInFirst(Exception):
    """Nobody is signed in, or their first password is still to be changed. `to`: where they wanted to go."""

    def __init__(self, to: str, must_change: bool = False) -> None:
        super().__init__(to)
        self.to = to
        self.must_change = must_change


class Forged(Exception):
    """A form came without its token: from another site, or from before the last sign-in."""


@dataclass(frozen=True)
class Console:
    """One request: the runtime, who asks (None: nobody yet), and their language."""

    rt: Runtime
    request: Request
    base: str  # the path before every address, "" or "/fabu"
    visitor: Visitor | None
    language: Language

    # ── who ──

    @property
    def person(self) -> Person:
        if self.visitor is None:
            raise SignInFirst(self.here)
        return self.visitor.person

    @property
    def actor(self) -> Actor:
        return Actor(self.person, f"console/{getpass.getuser()}")

    def may(self, decision: Decision, department: str | None = None) -> bool:
        """Would the visitor be allowed this decision? For showing or hiding a button; the decision asks again."""
        return self.visitor is not None and may(self.actor, decision, department)

    def may_withdraw(self) -> bool:
        """The same for taking an item back, for whom a deputy stands in, too."""
        return self.visitor is not None and deputies.may_withdraw(self.rt, self.actor)

    @property
    def here(self) -> str:
        query = f"?{self.request.url.query}" if self.request.url.query else ""
        return self.request.url.path.removeprefix(self.base) + query

    # ── words ──

    def t(self, code: str, /, **facts: object) -> str:
        return say(self.language, code, **facts)

    def word(self, section: str, name: str) -> str:
        """The word for one of our own names, where there is one: a field, a role, a state."""
        return catalogue(self.language).get(f"{section}.{name}", name)

    def problem(self, code: str, facts: Mapping[str, object]) -> str:
        """The sentence for what went wrong, with names of ours in words; where it would name a command, the one that
        speaks of buttons."""
        here = f"web_{code}"
        return problem(self.language, here if here in catalogue(self.language) else code, facts)

    def minute(self, moment: datetime | None) -> str:
        """A time as the office reads it: its own zone, to the minute."""
        return moment.astimezone(self.rt.settings.zone).strftime("%Y-%m-%d %H:%M") if moment else ""

    def second(self, moment: datetime | None) -> str:
        return moment.astimezone(self.rt.settings.zone).strftime("%Y-%m-%d %H:%M:%S") if moment else ""

    @property
    def today(self) -> date:
        return self.rt.now().astimezone(self.rt.settings.zone).date()

    # ── what was typed ──

    def moment(self, text: str) -> datetime:
        """A time from a form, in the office's zone. Raises Refused."""
        try:
            return datetime.fromisoformat(text).replace(tzinfo=self.rt.settings.zone)
        except ValueError as error:
            raise Refused("console.bad_time", given=text[:30]) from error

    def day(self, text: str) -> date:
        """A day from a form. Raises Refused."""
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise Refused("console.bad_time", given=text[:30]) from error

    # ── answers ──

    def link(self, path: str) -> str:
        return self.base + path

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """The template with everything that all of them use."""
        said = _read_said(self.request)
        html = templates.get_template(template).render(
            console=self, t=self.t, word=self.word, link=self.link, visitor=self.visitor,
            office=self.rt.settings.office, version=VERSION, said=said, csrf=self.csrf_field(), marks=MARKS,
            State=State, Decision=Decision, **values,
        )  # fmt: skip
        answer = HTMLResponse(html, status)
        if said is not None:
            answer.delete_cookie(FLASH, path=self.base or "/")
        return answer

    def fragment(self, template: str, **values: Any) -> str:
        """A part of a page, for the page's own module."""
        return templates.get_template(template).render(
            console=self, t=self.t, word=self.word, link=self.link, marks=MARKS, State=State, **values
        )

    def csrf_field(self) -> Markup:
        token = self.visitor.csrf if self.visitor is not None else ""
        return Markup('<input type="hidden" name="csrf" value="{}">').format(token)

    def done(self, to: str, code: str, /, **facts: object) -> Response:
        """Go on to another page of ours, and say there what was done."""
        answer = RedirectResponse(self.link(to), 303)
        said = base64.urlsafe_b64encode(json.dumps([code, facts], default=str).encode()).decode()
        answer.set_cookie(FLASH, said, max_age=60, httponly=True, samesite="lax", path=self.base or "/")
        return answer


def _read_said(request: Request) -> tuple[str, dict[str, object]] | None:
    try:
        code, facts = json.loads(base64.urlsafe_b64decode(request.cookies.get(FLASH, "")))
        return str(code), dict(facts)
    except (ValueError, TypeError):
        return None


# ── dependencies ─────────────────────────────────────────────────────────────────────────────────────────────────────


def anybody(request: Request) -> Console:
    """Whoever asks, signed in or not."""
    rt: Runtime = request.app.state.runtime
    base: str = request.scope.get("root_path", "")
    token = request.cookies.get(SESSION, "")
    chosen = request.cookies.get(LANGUAGE, "")
    spoken: Language = "en" if chosen == "en" else "zh" if chosen == "zh" else language(rt.settings.locale)
    return Console(rt, request, base, accounts.visitor(rt, token), spoken)


def signed(console: Annotated[Console, Depends(anybody)]) -> Console:
    """Somebody who is signed in and has a password of their own. Raises SignInFirst."""
    if console.visitor is None:
        raise SignInFirst(console.here if console.request.method == "GET" else "/")
    if console.visitor.must_change:
        raise SignInFirst(console.here, must_change=True)
    return console


def own_form(console: Annotated[Console, Depends(anybody)], csrf: Annotated[str, Form()] = "") -> Console:
    """The same for a form: it must carry the token of the page it stood on. Raises Forged."""
    if console.visitor is None:
        raise SignInFirst("/")
    given = csrf or console.request.headers.get("X-CSRF-Token", "")
    if not hmac.compare_digest(given.encode(), console.visitor.csrf.encode()):
        raise Forged
    return console


def signed_form(console: Annotated[Console, Depends(own_form)]) -> Console:
    if console.visitor is not None and console.visitor.must_change:
        raise SignInFirst("/", must_change=True)
    return console


Anybody = Annotated[Console, Depends(anybody)]
Signed = Annotated[Console, Depends(signed)]
Posted = Annotated[Console, Depends(signed_form)]


def date_of(text: str) -> date | None:
    """A day in a filter, or None: a filter that cannot be read asks for nothing."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def upload(rt: Runtime, file: UploadFile, name: str) -> File | None:
    """A file from a form, as far as one byte beyond the limit, so that one that is too large is refused in words; None
    when none was chosen. `name`: when the browser gives none."""
    content = file.file.read(rt.settings.limits.file_bytes + 1)
    given = (file.filename or "").replace("\\", "/").rpartition("/")[2]  # some browsers send the whole path
    if not given and not content:
        return None
    return File(given or name, file.content_type or "application/octet-stream", content)


def safe_target(to: str) -> str:
    """A path of ours, whatever was asked: never another site."""
    return quote(to, safe="/?=&%") if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"
