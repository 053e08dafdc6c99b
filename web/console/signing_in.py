"""Coming in and going out, one's own password, the language."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Response
from fastapi.responses import RedirectResponse

from pipeline import accounts
from pipeline.decisions import Refused
from web.console.page import LANGUAGE, SESSION, Anybody, Console, own_form, safe_target

routes = APIRouter()
OwnForm = Annotated[Console, Depends(own_form)]


@routes.get("/sign-in")
def sign_in_page(console: Anybody, to: str = "/") -> Response:
    if console.visitor is not None:
        return RedirectResponse(console.link("/"), 303)
    return console.page("sign-in.html", to=safe_target(to), name="", wrong="")


@routes.post("/sign-in")
def sign_in(
    console: Anybody, name: Annotated[str, Form()] = "", password: Annotated[str, Form()] = "",
    to: Annotated[str, Form()] = "/",
) -> Response:  # fmt: skip
    try:
        token = accounts.sign_in(console.rt, name.strip(), password)
    except Refused as error:
        wrong = console.problem(error.code, error.facts)
        return console.page("sign-in.html", 403, to=safe_target(to), name=name, wrong=wrong)
    return _with_cookie(console, RedirectResponse(console.link(safe_target(to)), 303), token)


@routes.post("/sign-out")
def sign_out(console: OwnForm) -> Response:
    accounts.sign_out(console.rt, console.request.cookies.get(SESSION, ""))
    answer = RedirectResponse(console.link("/sign-in"), 303)
    answer.delete_cookie(SESSION, path=console.base or "/")
    return answer


@routes.get("/password")
def password_page(console: Anybody) -> Response:
    if console.visitor is None:
        return RedirectResponse(console.link("/sign-in"), 303)
    return console.page("password.html", wrong="", must=console.visitor.must_change)


@routes.post("/password")
def password(
    console: OwnForm, old: Annotated[str, Form()] = "", new: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    assert console.visitor is not None  # own_form saw to it
    try:
        if new != again:
            raise Refused("account.not_the_same")
        token = accounts.change_password(console.rt, console.actor, old, new)
    except Refused as error:
        wrong = console.problem(error.code, error.facts)
        return console.page("password.html", 409, wrong=wrong, must=console.visitor.must_change)
    return _with_cookie(console, console.done("/", "account.password_changed"), token)


@routes.post("/language")
def language(console: Anybody, to: Annotated[str, Form()] = "zh", back: Annotated[str, Form()] = "/") -> Response:
    """Harmless, so it needs no token: the sign-in page has none."""
    answer = RedirectResponse(console.link(safe_target(back)), 303)
    answer.set_cookie(
        LANGUAGE, "en" if to == "en" else "zh", max_age=400 * 86400, samesite="lax", httponly=True,
        path=console.base or "/",
    )  # fmt: skip
    return answer


def _with_cookie(console: Console, answer: Response, token: str) -> Response:
    secure = console.request.url.scheme == "https" or console.rt.settings.console_url.startswith("https:")
    answer.set_cookie(SESSION, token, httponly=True, samesite="lax", secure=secure, path=console.base or "/")
    return answer
