"""What the office says of itself on its portal: columns, the guide (公开指南), how to apply (依申请公开).

`portal.toml`: the file that PORTAL_CONFIG names, else the one in PORTAL_DATA, else the one shipped beside this module.
"""

import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from web.portal.catalogue import Rule

SHIPPED = Path(__file__).parent / "portal.toml"
HOME = "home"  # stands for the whole site where the freshness of columns is told
LARGEST_FORM = 5 * 1024 * 1024  # bytes

Text = Annotated[str, Field(max_length=20_000)]
Named = Annotated[str, Field(min_length=1, max_length=200)]


class OfficeError(Exception):
    """portal.toml cannot be used; the message names file and key."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")  # a misspelt key would silently not count


class Column(_Section):
    """A column (栏目); which items fall in it says `rule`."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]  # in its address: never changed afterwards
    name: Named
    description: Text = ""  # ColumnDescription
    keywords: tuple[Named, ...] = ()  # ColumnKeywords
    type: Named = "政务公开"  # ColumnType
    limit_days: Annotated[int, Field(ge=1, le=3660)] | None = None  # without an update for so long, it is a fault
    item_types: tuple[Named, ...] = ()
    themes: tuple[Named, ...] = ()
    departments: tuple[Named, ...] = ()
    titles: tuple[Named, ...] = ()  # phrases, of which the title holds one

    @property
    def rule(self) -> Rule:
        return Rule(self.item_types, self.themes, self.departments, self.titles)


class Part(_Section):
    """A heading and its paragraphs (an empty line between two)."""

    heading: Named
    text: Text

    @property
    def paragraphs(self) -> list[str]:
        return [" ".join(part.split()) for part in self.text.split("\n\n") if part.strip()]


class Contact(_Section):
    """Who is asked, where and when (条例 art. 12: name, address, hours, phone, fax, internet contact)."""

    name: Named
    address: Text = ""
    postcode: Text = ""
    hours: Text = ""
    phone: Text = ""
    fax: Text = ""
    email: Text = ""


class Guide(_Section):
    title: Named = "政府信息公开指南"
    updated_on: Text = ""
    parts: tuple[Part, ...] = ()


class Apply(_Section):
    """How to apply for what was not made public by itself."""

    title: Named = "依申请公开"
    intro: Text = ""
    parts: tuple[Part, ...] = ()
    form: Text = ""  # the file of the form, beside portal.toml
    form_name: Text = "政府信息公开申请表"  # what it is called when it is downloaded, without the ending


class Form(_Section):
    name: str
    media_type: str
    content: bytes


class Office(_Section):
    contact: Contact
    columns: tuple[Column, ...]
    guide: Guide = Guide()
    apply: Apply = Apply()
    home_limit_days: Annotated[int, Field(ge=1, le=3660)] | None = 14
    annual_reports: str = ""  # id of their column; empty: there is none
    newsletter: str = ""  # the same for 《广电通讯》
    form: Form | None = None

    @model_validator(mode="after")
    def _columns_are_there(self) -> "Office":
        ids = [column.id for column in self.columns]
        for id in ids:
            if id == HOME or ids.count(id) > 1:
                raise ValueError(f"columns.id: {id} is taken")
        for key in ("annual_reports", "newsletter"):
            if (id := getattr(self, key)) and id not in ids:
                raise ValueError(f"{key}: there is no column {id}")
        return self

    @cached_property
    def by_id(self) -> dict[str, Column]:
        return {column.id: column for column in self.columns}

    @cached_property
    def rules(self) -> dict[str, Rule]:
        return {column.id: column.rule for column in self.columns}

    def columns_of(self, fields: Mapping[str, str]) -> list[Column]:
        """The columns that an item with these fields (item_type, theme, department, title) falls in."""
        return [column for column in self.columns if column.rule.lets_in(fields)]


FORMS = {
    ".pdf": "application/pdf",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".wps": "application/vnd.ms-works",
}


def read(environment: Mapping[str, str]) -> Office:
    """Raises OfficeError."""
    file = _file(environment)
    try:
        told: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise OfficeError(f"{file}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OfficeError(f"{file}: {error}") from error
    if "form" in told:
        raise OfficeError(f"{file}: form: belongs in [apply]")
    try:
        office = Office.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step + 1) if isinstance(step, int) else step for step in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise OfficeError(f"{file}: {where}: {reason}" if where else f"{file}: {reason}") from error
    return office.model_copy(update={"form": _form(file, office.apply)}) if office.apply.form else office


def _file(environment: Mapping[str, str]) -> Path:
    if named := environment.get("PORTAL_CONFIG", ""):
        return Path(named)
    own = Path(environment.get("PORTAL_DATA", "var/portal")) / "portal.toml"
    return own if own.exists() else SHIPPED


def _form(file: Path, apply: Apply) -> Form:
    path = file.parent / apply.form
    if path.suffix.lower() not in FORMS:
        raise OfficeError(f"{file}: apply.form: {path.suffix or path.name} is none of {' '.join(FORMS)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OfficeError(f"{file}: apply.form: {path}: {error.strerror}") from error
    if len(content) > LARGEST_FORM:
        raise OfficeError(f"{file}: apply.form: more than {LARGEST_FORM} bytes")
    return Form(name=apply.form_name + path.suffix.lower(), media_type=FORMS[path.suffix.lower()], content=content)
