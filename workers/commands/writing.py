"""Writing: drafts and what changes them."""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import intake, reach, review
from pipeline.docx import Body
from pipeline.drafts import Draft, latest_revision, read_draft
from workers.commands.common import (
    DEFAULT_DATA,
    AsJson,
    Attach,
    Contact,
    Corrects,
    Data,
    DepartmentId,
    Formed,
    ItemName,
    ItemType,
    Keywords,
    Number,
    Open,
    PeriodFrom,
    PeriodTo,
    Person,
    ShortTitle,
    SmsText,
    Source,
    Summary,
    Theme,
    Title,
    Validity,
    app,
    day,
    help_,
    period,
)


@app.command(help=help_("new"))
def new(
    file: Annotated[Path, typer.Argument(help=help_("file"))],
    person: Person,
    title: Title = None,
    item_type: ItemType = None,
    department: DepartmentId = None,
    formed: Formed = None,
    summary: Summary = None,
    number: Number = None,
    keyword: Keywords = None,
    theme: Theme = None,
    source: Source = None,
    short_title: ShortTitle = None,
    sms: SmsText = None,
    period_from: PeriodFrom = None,
    period_to: PeriodTo = None,
    contact: Contact = None,
    corrects: Corrects = None,
    validity: Validity = None,
    attach: Attach = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    with Open(data, as_json) as here:
        actor = here.actor(person)
        body = intake.read_body(here.rt, file)
        title = title or body.title
        if not title and not as_json and sys.stdin.isatty():
            title = typer.prompt(here.screen.say("draft.ask_title"))
        blank = Draft(
            title=title,
            text=body.text,
            item_type=item_type or here.rt.settings.item_types[0],
            department=actor.person.department,
            formed_on=here.rt.now().astimezone(here.rt.settings.zone).date(),
        )
        draft = _changed(
            blank, department=department, formed_on=day(formed), summary=summary, document_number=number,
            keywords=tuple(keyword) if keyword else None, theme=theme, source=source, short_title=short_title,
            sms_text=sms, period=period(period_from, period_to), objection_contact=contact,
            corrects=_index_number(here, corrects), validity=validity, files=(*body.pictures, *(_files(attach) or ())),
        )  # fmt: skip
        item = review.create(here.rt, actor, draft, intake.remember(here.rt, file))
        findings = intake.findings_of(body, draft.title)
        here.screen.json({"item": item, "revision": 1, "findings": [asdict(one) for one in findings]})
        here.screen.line("draft.created", item=item, title=draft.title)
        if not as_json:
            here.screen.findings(findings)


def _revise(decide: Callable[..., int], done: str) -> Callable[..., None]:
    """`edit` and `correct` take the same: what is not given stays as it was."""

    def command(
        name: ItemName,
        person: Person,
        file: Annotated[Path | None, typer.Argument(help=help_("file"))] = None,
        title: Title = None,
        item_type: ItemType = None,
        department: DepartmentId = None,
        formed: Formed = None,
        summary: Summary = None,
        number: Number = None,
        keyword: Keywords = None,
        theme: Theme = None,
        source: Source = None,
        short_title: ShortTitle = None,
        sms: SmsText = None,
        period_from: PeriodFrom = None,
        period_to: PeriodTo = None,
        contact: Contact = None,
        validity: Validity = None,
        attach: Attach = None,
        data: Data = DEFAULT_DATA,
        as_json: AsJson = False,
    ) -> None:
        with Open(data, as_json) as here:
            item = here.item(name)
            with here.rt.reading() as db:
                before = read_draft(db, latest_revision(db, item))
            body = intake.read_body(here.rt, file) if file else Body("")
            files = _files(attach)
            if file:
                files = intake.with_pictures(file, body, files or before.files)
            draft = _changed(
                before, text=body.text or None, title=title, item_type=item_type,
                department=department, formed_on=day(formed), summary=summary, document_number=number,
                keywords=tuple(keyword) if keyword else None, theme=theme, source=source, short_title=short_title,
                sms_text=sms, period=period(period_from, period_to), objection_contact=contact, validity=validity,
                files=files,
            )  # fmt: skip
            revision = decide(here.rt, here.actor(person), item, draft)
            findings = intake.findings_of(body, draft.title)
            here.screen.json({"item": item, "revision": revision, "findings": [asdict(one) for one in findings]})
            here.screen.line(done, item=item, revision=revision)
            if not as_json:
                here.screen.findings(findings)

    return command


app.command("edit", help=help_("edit"))(_revise(review.edit, "draft.edited"))
app.command("correct", help=help_("correct"))(_revise(review.correct, "draft.corrected"))


def _changed(draft: Draft, **given: Any) -> Draft:
    return replace(draft, **{name: value for name, value in given.items() if value is not None})


def _files(paths: list[Path] | None) -> tuple[Any, ...] | None:
    return tuple(intake.read_attachment(path) for path in paths) if paths else None


def _index_number(here: Open, name: str | None) -> str | None:
    """The index number of the item that a correction notice corrects."""
    if name is None:
        return None
    cells = reach.matrix(here.rt, [here.item(name)])
    return next((cell.index_number for cell in cells if cell.index_number), name)
