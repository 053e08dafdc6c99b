"""The shapes of requests and answers."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from channels.contract import File, Finding
from pipeline.drafts import Draft

LARGEST = 2**53 - 1  # what JSON keeps exactly
ItemNumber = Annotated[int, Path(ge=1, le=LARGEST, description="The item's number, the N of /i/N")]
ChannelName = Annotated[str, Path(min_length=1, max_length=40)]
Short = Annotated[str, Field(max_length=500)]
Reason = Annotated[str, Field(min_length=1, max_length=2000)]
Validity = Literal["有效", "失效", "废止"]
Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(2200, 1, 1))]
Moment = Annotated[datetime, Field(description="With a time zone, as 2026-11-24T09:00:00+08:00")]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FindingOut(BaseModel):
    code: str
    severity: str
    place: str
    facts: dict[str, str]

    @classmethod
    def of(cls, finding: Finding) -> "FindingOut":
        facts = {name: str(fact) for name, fact in finding.facts.items()}
        return cls(code=finding.code, severity=finding.severity.value, place=finding.place, facts=facts)


class Problem(BaseModel):
    """RFC 9457. `code` and `facts` are for programs, `detail` for people."""

    type: str
    title: str
    status: int
    code: str
    facts: dict[str, str]
    detail: str
    findings: list[FindingOut] = []


PROBLEM: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
    for status, words in (
        (400, "The body is not what it says it is"),
        (401, "No token, or one that was revoked"),
        (403, "Not among this person's rights"),
        (404, "There is no such thing, or this person is not shown it"),
        (405, "Not with this method"),
        (409, "Not in the state that the item is in"),
        (413, "Too large"),
        (422, "It cannot be done as asked; nothing was changed"),
    )
}


class Text(Shape):
    """An item as it is written. `files`: the SHA-256 of attachments uploaded before, with the names they get."""

    title: Annotated[str, Field(max_length=2000, examples=["关于调整元旦期间节目播出安排的通知"])]
    text: Annotated[str, Field(max_length=1_000_000, examples=["一、时间安排\n\n自2026年12月31日起调整。"])]
    item_type: Annotated[Short, Field(examples=["通知"])]
    department: Annotated[Short, Field(examples=["office"])]
    formed_on: Day
    summary: Short = ""
    document_number: Short = ""
    keywords: Annotated[list[Short], Field(max_length=50)] = []
    theme: Short = ""
    source: Short = ""
    short_title: Short = ""
    sms_text: Short = ""
    period: tuple[Day, Day] | None = None
    objection_contact: Short = ""
    corrects: Short = ""
    validity: Validity = "有效"
    files: Annotated[list["FileRef"], Field(max_length=50)] = []

    def draft(self, files: dict[str, bytes]) -> Draft:
        attached = tuple(File(one.name, one.media_type, files[one.sha256]) for one in self.files)
        given = {**dict(self), "keywords": tuple(self.keywords), "files": attached}
        return Draft(**given)


class FileRef(Shape):
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["附件1.xlsx"])]
    media_type: Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+$", max_length=120)] = "application/octet-stream"
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class TextOut(BaseModel):
    title: str
    text: str
    item_type: str
    department: str
    formed_on: date
    summary: str
    document_number: str
    keywords: list[str]
    theme: str
    source: str
    short_title: str
    sms_text: str
    period: tuple[date, date] | None
    objection_contact: str
    corrects: str
    validity: str
    files: list[FileRef]

    @classmethod
    def of(cls, draft: Draft) -> "TextOut":
        given = {name: getattr(draft, name) for name in cls.model_fields if name not in ("files", "keywords")}
        files = [FileRef(name=one.name, media_type=one.media_type, sha256=one.sha256) for one in draft.files]
        return cls(**given, keywords=list(draft.keywords), files=files)
