"""The sandbox as a process: `uvicorn --factory web.sandbox.app:create --no-access-log`.

Environment: SANDBOX_DATA (folder), SANDBOX_PUBLIC_URL, SANDBOX_USERNAME and SANDBOX_PASSWORD (both `sandbox` if unset),
SANDBOX_LATE_SECONDS (5), and faults from the start: SANDBOX_DELAY_MS, SANDBOX_STATUS. With SANDBOX_MAIL (host:port) it
takes mails there, and puts what comes back into the folder SANDBOX_BOUNCES.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, Field
from starlette.types import Receive

from web.sandbox import mail
from web.sandbox.network import Network, Reporter
from web.sandbox.store import Mail, Outcome, Sms, Store

GLOBAL_SENDER = "10690000"
PHONES_SHOWN, MESSAGES_SHOWN = 24, 12
MAILS_SHOWN = 200
# A foreign mail may hold anything: in a frame without an origin, scripts or anything fetched.
MAIL_POLICY = "sandbox allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SHANGHAI = ZoneInfo("Asia/Shanghai")
_NUMBER_CHARACTERS = frozenset("0123456789+- ")


class Faults(BaseModel):
    """What goes wrong from now on. `delay_ms`: recorded, and answered late; `status`: answered so, and nothing
    recorded but the request; `close`: recorded, and the line closed without an answer."""

    delay_ms: int = Field(default=0, ge=0)
    status: int | None = Field(default=None, ge=200, le=599)
    close: bool = False


def create() -> FastAPI:
    """The application, from its environment."""
    environment = os.environ
    logging.getLogger("uvicorn.access").disabled = True  # request lines hold numbers, texts and the password
    store = Store(Path(environment["SANDBOX_DATA"]))
    network = Network(late_seconds=float(environment.get("SANDBOX_LATE_SECONDS", "5")))
    reporter = Reporter(store)
    login = (environment.get("SANDBOX_USERNAME", "sandbox"), environment.get("SANDBOX_PASSWORD", "sandbox"))
    public_url = environment.get("SANDBOX_PUBLIC_URL", "").rstrip("/")
    templates = Jinja2Templates(Path(__file__).parent / "templates")
    templates.env.filters |= {"clock": _clock, "spaced": _spaced}
    mail_host, _, mail_port = environment.get("SANDBOX_MAIL", "").rpartition(":")
    bounces = Path(environment["SANDBOX_BOUNCES"]) if environment.get("SANDBOX_BOUNCES") else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        reporter.start()
        async with AsyncExitStack() as stack:
            if mail_port:
                await stack.enter_async_context(mail.listening(store, mail_host, int(mail_port), bounces))
            yield
        await asyncio.to_thread(reporter.stop)
        store.close()

    app = FastAPI(title="Fabu sandbox", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.faults = Faults(
        delay_ms=int(environment.get("SANDBOX_DELAY_MS") or 0),
        status=int(environment.get("SANDBOX_STATUS") or 0) or None,
    )

    @app.get("/cgi-bin/sendsms")
    async def sendsms(request: Request) -> Response:
        faults: Faults = app.state.faults
        query = _query(request)
        to = query.get("to", "")
        if faults.status is not None:
            store.record(to, Outcome.FAULT)
            await asyncio.sleep(faults.delay_ms / 1000)
            return PlainTextResponse("Temporal failure, try again later.", faults.status)
        if refusal := _refusal(query, login):
            store.record(to, Outcome.REFUSED)
            return refusal
        text = _as_sent(query)
        if text is None:
            store.record(to, Outcome.REFUSED)
            return PlainTextResponse("Charset or body misformed, rejected", 400)
        sender, mask = query.get("from") or GLOBAL_SENDER, int(query.get("dlr-mask", "0"))
        sendings = [network.sending(one, sender, text, query.get("dlr-url", ""), mask) for one in to.split()]
        ids = store.record(to, Outcome.CLOSED if faults.close else Outcome.ACCEPTED, sendings)
        if to.endswith("8"):
            for report in store.first_reports(ids):
                await asyncio.to_thread(reporter.hand_over, report)
        await asyncio.sleep(faults.delay_ms / 1000)
        if faults.close:
            await _hang_up(request.receive)
        return PlainTextResponse("0: Accepted for delivery", 202)

    @app.get("/api/messages")
    def messages(to: str | None = None, since: int = 0) -> dict[str, list[dict[str, Any]]]:
        """Everything each phone was sent, in order; `since`: the id after which to begin."""
        return {"messages": [{**asdict(sms), "state": sms.state} for sms in store.messages(to, since)]}

    @app.get("/api/requests")
    def requests(to: str | None = None) -> dict[str, int]:
        counts = store.counts(to)
        return {"total": sum(counts.values())} | {outcome.value: count for outcome, count in counts.items()}

    @app.post("/api/faults")
    def set_faults(faults: Faults) -> Faults:
        app.state.faults = faults
        return faults

    @app.get("/", response_class=HTMLResponse)
    def phones(request: Request) -> Response:
        messages, numbers = store.totals()
        page = {
            "phones": _by_phone(store.newest(PHONES_SHOWN * MESSAGES_SHOWN)),
            "messages": messages,
            "numbers": numbers,
            "gateway": f"{public_url}/cgi-bin/sendsms",
        }
        return templates.TemplateResponse(request, "phones.html", page)

    @app.get("/api/mails")
    def mails(to: str | None = None, since: int = 0) -> dict[str, list[dict[str, Any]]]:
        """Everything each mailbox was sent, in order; `since`: the id after which to begin."""
        return {"mails": [_without_content(one) for one in store.mails(to, since)]}

    @app.get("/mail", response_class=HTMLResponse)
    def mailboxes(request: Request, to: str | None = None) -> Response:
        count, boxes = store.mail_totals()
        page = {
            "mails": store.mails(to, newest=MAILS_SHOWN), "count": count, "boxes": boxes, "to": to,
            "server": environment.get("SANDBOX_MAIL", ""),
        }  # fmt: skip
        return templates.TemplateResponse(request, "mailboxes.html", page)

    @app.get("/mail/{id}", response_class=HTMLResponse)
    def one_mail(request: Request, id: int) -> Response:
        kept = _kept(store, id)
        return templates.TemplateResponse(request, "mail.html", {"mail": kept, "opened": mail.opened(kept)})

    @app.get("/mail/{id}/html", response_class=HTMLResponse)
    def its_html(id: int) -> Response:
        html = mail.opened(_kept(store, id)).html
        return HTMLResponse(f'<base target="_blank">{html}', headers={"Content-Security-Policy": MAIL_POLICY})

    @app.get("/mail/{id}/raw")
    def its_source(id: int) -> Response:
        name = {"Content-Disposition": f'attachment; filename="mail-{id}.eml"'}
        return Response(_kept(store, id).content, media_type="message/rfc822", headers=name)

    return app


def _kept(store: Store, id: int) -> Mail:
    if (found := store.mail(id)) is None:
        raise HTTPException(404)
    return found


def _without_content(one: Mail) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "content"}


def _query(request: Request) -> dict[str, str]:
    """The parameters, undecodable bytes kept as lone surrogates until the charset is looked at."""
    values = parse_qs(request.url.query, keep_blank_values=True, errors="surrogateescape")
    return {name: value[0] for name, value in values.items()}


def _refusal(query: dict[str, str], login: tuple[str, str]) -> Response | None:
    """Kannel's answers, in Kannel's order."""
    if (query.get("username"), query.get("password")) != login:
        return PlainTextResponse("Authorization failed for sendsms", 403)
    if "to" not in query:
        return PlainTextResponse("Missing receiver number, rejected", 400)
    if not query["to"].strip():
        return PlainTextResponse("Empty receiver number not allowed, rejected", 400)
    if not _NUMBER_CHARACTERS.issuperset(query["to"]):
        return PlainTextResponse("Receiver number misformed, rejected", 400)
    if not query.get("dlr-mask", "0").isdigit() or int(query.get("dlr-mask", "0")) > 63:
        return PlainTextResponse("DLR-Mask field misformed, rejected", 400)
    if query.get("dlr-url") and not query["dlr-url"].lower().startswith(("http://", "https://")):
        return PlainTextResponse("DLR-URL field misformed, rejected", 400)
    return None


def _as_sent(query: dict[str, str]) -> str | None:
    """The text as a phone shows it: without `coding=2` Chinese turns into question marks. None: not in its charset."""
    sent = query.get("text", "").encode("utf-8", "surrogateescape")
    try:
        text = sent.decode(query.get("charset", "utf-8"))
    except (LookupError, UnicodeDecodeError):
        return None
    return text if query.get("coding") == "2" else text.encode("latin-1", "replace").decode("latin-1")


async def _hang_up(receive: Receive) -> None:
    """Close the connection under the answer. ASGI has no word for it, so this takes uvicorn's own transport."""
    receive.__self__.transport.abort()  # type: ignore[attr-defined]
    await asyncio.sleep(0.01)  # let uvicorn notice, or it complains of an answer nobody can get


def _by_phone(newest: list[Sms]) -> list[tuple[str, list[Sms]]]:
    """The phones last written to first, each with its newest messages first."""
    phones: dict[str, list[Sms]] = {}
    for sms in newest:
        phones.setdefault(sms.recipient, []).append(sms)
    return [(number, texts[:MESSAGES_SHOWN]) for number, texts in list(phones.items())[:PHONES_SHOWN]]


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, SHANGHAI).strftime("%m-%d %H:%M:%S")


def _spaced(number: str) -> str:
    """138 0000 0001, as people read a mobile number."""
    return f"{number[:3]} {number[3:7]} {number[7:]}" if len(number) == 11 else number
