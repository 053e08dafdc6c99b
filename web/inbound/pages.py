"""What citizens see of us: the form that asks to be told, the yes to an invitation, and the way out.

Plain pages without script, cookie or anything from elsewhere. A GET never changes anything: mail servers and phones
follow links before their owner does.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import FormData

from config.locale import say
from pipeline import subscriptions
from pipeline.decisions import Refused
from pipeline.runtime import Runtime

HERE = Path(__file__).parent
STYLE = (HERE / "static" / "subscribe.css").read_bytes()
LONGEST = 200  # characters of an address
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the addresses of these pages are keys
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}
templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


async def _typed(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=60)


Typed = Annotated[FormData, Depends(_typed)]


def routes(rt: Runtime) -> APIRouter:
    """The pages on a runtime."""
    pages, base = APIRouter(), urlsplit(rt.settings.inbound_url).path.rstrip("/")

    def page(template: str, status: int = 200, **values: Any) -> Response:
        section = rt.settings.subscription
        html = templates.get_template(template).render(
            base=base, office=rt.settings.office, portal=rt.settings.public_url, open=section is not None,
            label=lambda channel: rt.channels[channel].section.label, **values,
        )  # fmt: skip
        return HTMLResponse(html, status, headers=SECURITY)

    def problem(error: Refused) -> Response:
        gone = error.code in ("subscription.link_gone", "subscription.not_ours", "subscription.closed")
        return page("problem.html", 404 if gone else 409, words=say("zh", error.code, **error.facts))

    def form(data: FormData | None = None, wrong: Refused | None = None) -> Response:
        try:
            section = subscriptions.form(rt)
        except Refused as error:
            return problem(error)
        offered = subscriptions.offered(rt)
        carried = {one.id for opened in offered for one in subscriptions.groups_of(rt, opened.name)}
        status = 429 if wrong and wrong.code == "subscription.busy" else 409 if wrong else 200
        answer = page(
            "subscribe.html", status,
            section=section, channels=offered, groups=[one for one in section.groups if one.id in carried],
            typed=data or FormData(), chosen=data.getlist("group") if data else [],
            wrong=say("zh", wrong.code, **wrong.facts) if wrong else "",
        )  # fmt: skip
        if status == 429:
            answer.headers["Retry-After"] = str(int(subscriptions.BETWEEN.total_seconds()))
        return answer

    @pages.get("/subscribe")
    def subscribe_page() -> Response:
        return form()

    @pages.post("/subscribe")
    def subscribe(request: Request, data: Typed) -> Response:
        """Whatever the addresses are to us, the answer is the same page."""
        given = {one.name: str(data.get(f"to:{one.name}", "")).strip() for one in subscriptions.offered(rt)}
        given = {channel: typed for channel, typed in given.items() if typed}
        try:
            for channel, typed in given.items():
                if len(typed) > LONGEST:
                    raise Refused("subscription.bad_address", channel=rt.channels[channel].section.label)
            if given and not data.get("consent"):
                raise Refused("subscription.no_consent")
            chosen = [str(one) for one in data.getlist("group")]
            asked = subscriptions.ask(rt, given, chosen, request.client.host if request.client else "")
        except Refused as error:
            return form(data, error)
        return page("asked.html", asked=asked, wrong="")

    @pages.post("/subscribe/code")
    def confirm_code(data: Typed) -> Response:
        channel, token = str(data.get("channel", "")), str(data.get("token", ""))
        try:
            done = subscriptions.confirm_code(rt, token, str(data.get("code", "")))
        except Refused as error:
            named = subscriptions.asked_again(rt, token)
            if named is None or named.channel != channel:
                return problem(Refused("subscription.link_gone"))
            return page("asked.html", 409, asked=[named], wrong=say("zh", error.code, **error.facts))
        return page("subscribed.html", invited=done)

    @pages.get("/subscribe/confirm/{token}")
    def confirm_page(token: str) -> Response:
        try:
            found = subscriptions.invited(rt, token)
        except Refused as error:
            return problem(error)
        return page("subscribed.html" if found.done else "confirm.html", invited=found, token=token)

    @pages.post("/subscribe/confirm/{token}")
    def confirm(token: str) -> Response:
        try:
            return page("subscribed.html", invited=subscriptions.confirm(rt, token))
        except Refused as error:
            return problem(error)

    @pages.get("/u/{token}")
    @pages.get("/u/{token}/all")
    def leave_page(token: str) -> Response:
        try:
            return page("leave.html", leaving=subscriptions.leaving(rt, token), token=token)
        except Refused as error:
            return problem(error)

    @pages.post("/u/{token}")
    def leave(token: str) -> Response:
        """One click (RFC 8058): no cookie is asked for, nothing of the body is read, no other page is sent to. The same
        for the button of the page."""
        try:
            return page("leave.html", leaving=subscriptions.leave(rt, token), token=token)
        except Refused as error:
            return problem(error)

    @pages.post("/u/{token}/all")
    def leave_all(token: str) -> Response:
        try:
            return page("leave.html", leaving=subscriptions.leave(rt, token, everything=True), token=token)
        except Refused as error:
            return problem(error)

    @pages.get("/subscribe/style.css")
    def style() -> Response:
        return Response(STYLE, media_type="text/css; charset=utf-8", headers={"Cache-Control": "public, max-age=3600"})

    return pages
