"""Word documents for tests, made by hand: what Word and WPS write, down to the element."""

from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

SPACES = " ".join(
    f'xmlns:{prefix}="{space}"'
    for prefix, space in {
        "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
        "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
        "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
        "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
        "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
        "wp": "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing",
        "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
        "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
        "v": "urn:schemas-microsoft-com:vml",
        "o": "urn:schemas-microsoft-com:office:office",
    }.items()
)
KINDS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf500f0003860180"
    "5a347d6b0000000049454e44ae426082"
)


def root(name: str, inside: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><w:{name} {SPACES}>{inside}</w:{name}>'


def relations(entries: Mapping[str, tuple[str, str]]) -> str:
    """Relations by id: kind and target; a target with a colon lies outside."""
    inside = "".join(
        f'<Relationship Id="{id}" Type="{KINDS}/{kind}" Target="{target}"'
        f"{' TargetMode=' + chr(34) + 'External' + chr(34) if ':' in target else ''}/>"
        for id, (kind, target) in entries.items()
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<?xml version="1.0"?><Relationships xmlns="{space}">{inside}</Relationships>'


def document(
    body: str,
    *,
    styles: str = "",
    numbering: str = "",
    footnotes: str = "",
    related: Mapping[str, tuple[str, str]] | None = None,
    parts: Mapping[str, bytes | str] | None = None,
) -> bytes:
    """A .docx with this body; `related`: further relations of the document; `parts`: further parts, or others."""
    known = {
        "s": ("styles", "styles.xml"), "n": ("numbering", "numbering.xml"), "f": ("footnotes", "footnotes.xml"),
    }  # fmt: skip
    all_parts: dict[str, bytes | str] = {
        "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>",
        "_rels/.rels": relations({"d": ("officeDocument", "word/document.xml")}),
        "word/_rels/document.xml.rels": relations({**known, **(related or {})}),
        "word/document.xml": root("document", f"<w:body>{body}<w:sectPr/></w:body>"),
        "word/styles.xml": root("styles", styles),
        "word/numbering.xml": root("numbering", numbering),
        "word/footnotes.xml": root("footnotes", footnotes),
        **(parts or {}),
    }
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, content in all_parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def p(text: str = "", properties: str = "", inside: str = "") -> str:
    """A paragraph: its text, its properties, and elements behind its text."""
    return f"<w:p><w:pPr>{properties}</w:pPr>{run(text) if text else ''}{inside}</w:p>"


def deleted(text: str) -> str:
    """A deletion that nobody accepted yet."""
    return f'<w:del w:id="2" w:author="李"><w:r><w:delText>{text}</w:delText></w:r></w:del>'


def numbered(num: int, level: int | None = None) -> str:
    """The properties of a paragraph in a numbering; WPS leaves out a level of 0."""
    return f'<w:numPr>{"" if level is None else f"""<w:ilvl w:val="{level}"/>"""}<w:numId w:val="{num}"/></w:numPr>'


def level(index: int, format: str, text: str, more: str = "", start: int = 1) -> str:
    return (
        f'<w:lvl w:ilvl="{index}"><w:start w:val="{start}"/><w:numFmt w:val="{format}"/>{more}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


def abstract(id: int, *levels: str) -> str:
    return f'<w:abstractNum w:abstractNumId="{id}">{"".join(levels)}</w:abstractNum>'


def num(id: int, of: int, overrides: str = "") -> str:
    return f'<w:num w:numId="{id}"><w:abstractNumId w:val="{of}"/>{overrides}</w:num>'


def style(id: str, name: str, based_on: str = "", paragraph: str = "", text: str = "", kind: str = "paragraph") -> str:
    base = f'<w:basedOn w:val="{based_on}"/>' if based_on else ""
    return (
        f'<w:style w:type="{kind}" w:styleId="{id}"><w:name w:val="{name}"/>{base}'
        f"<w:pPr>{paragraph}</w:pPr><w:rPr>{text}</w:rPr></w:style>"
    )


def styled(id: str) -> str:
    return f'<w:pStyle w:val="{id}"/>'


def cell(inside: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inside}</w:tc>"


def row(*cells: str, properties: str = "") -> str:
    return f"<w:tr><w:trPr>{properties}</w:trPr>{''.join(cells)}</w:tr>"


def table(*rows: str) -> str:
    return f"<w:tbl><w:tblPr/>{''.join(rows)}</w:tbl>"
