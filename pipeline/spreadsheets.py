"""A table that somebody hands in, as CSV: from a CSV in any usual encoding, or from the first sheet of an .xlsx.

What its maker says of its size is held against limits before anything is unpacked (a zip bomb), and no more rows and
columns are looked at than anybody needs.
"""

import csv
import io
from datetime import date, datetime
from zipfile import ZipFile

from channels.document import BadText, decode
from pipeline.decisions import Refused

LARGEST = 5_000_000  # bytes
LARGEST_UNPACKED = 60_000_000  # bytes: `zipfile` reads no further than a part's stated size
MOST_PARTS = 2_000
MOST_ROWS, MOST_COLUMNS = 50_001, 40


def as_csv(content: bytes) -> str:
    """The table as CSV, each row on the line of its number. Raises Refused, and says what to do."""
    if len(content) > LARGEST:
        raise Refused("spreadsheet.too_large", limit=str(LARGEST // 1_000_000))
    if content.startswith(b"\xd0\xcf\x11\xe0"):  # OLE: an .xls, or an .xlsx with a password
        raise Refused("spreadsheet.old_format")
    if content.startswith(b"PK"):
        return _from_xlsx(content)
    try:
        return decode(content)
    except BadText as error:
        raise Refused(error.code, **{**error.facts, "field": "file"}) from error


def _from_xlsx(content: bytes) -> str:
    from openpyxl import load_workbook  # slow to import, and seldom asked for

    written = io.StringIO()
    rows = csv.writer(written)
    try:
        with ZipFile(io.BytesIO(content)) as package:
            parts = package.infolist()
        if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > LARGEST_UNPACKED:
            raise Refused("spreadsheet.too_large", limit=str(LARGEST // 1_000_000))
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        for row in book.worksheets[0].iter_rows(max_row=MOST_ROWS, max_col=MOST_COLUMNS, values_only=True):
            cells = [_text(cell) for cell in row]
            rows.writerow(cells if any(cells) else [])
        book.close()
    except Refused:
        raise
    except Exception as error:  # a broken file may raise anything at all
        raise Refused("spreadsheet.damaged") from error
    return written.getvalue()


def _text(cell: object) -> str:
    """A cell as its reader sees it: a phone number without a decimal point, a day without a time."""
    match cell:
        case None:
            return ""
        case float() if cell.is_integer():
            return str(int(cell))
        case datetime():
            return cell.date().isoformat()
        case date():
            return cell.isoformat()
    return " ".join(str(cell).split())
