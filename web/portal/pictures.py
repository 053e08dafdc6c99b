"""How large a picture is, read from the head of its file; nothing of it is decoded."""

import re
import struct

# A segment that holds the frame: C4, C8 and CC are others (ITU-T T.81, table B.1). Those before it say their length.
_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = re.compile(rb"[\x01\xd0-\xd8]")  # markers without a length


def size(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, JPEG or GIF; None for anything else, and for what is broken.

    A JPEG that asks to be turned by its Exif note is told as it lies in the file.
    """
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
            width, height = struct.unpack_from(">II", content, 16)
        elif content.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack_from("<HH", content, 6)
        elif content.startswith(b"\xff\xd8"):
            height, width = struct.unpack_from(">HH", content, _frame(content) + 5)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return (width, height) if 0 < width < 2**31 and 0 < height < 2**31 else None


def _frame(content: bytes) -> int:
    """Where the marker's code of the frame's segment stands minus one. Raises IndexError or struct.error."""
    place = 2
    while content[place] == 0xFF:
        code = content[place + 1]
        if code in _FRAME:
            return place
        if code == 0xFF:  # a filler
            place += 1
        elif _ALONE.match(content, place + 1):
            place += 2
        else:
            place += 2 + struct.unpack_from(">H", content, place + 2)[0]
    raise IndexError
