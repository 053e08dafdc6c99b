"""Pictures of an item made ready for print and mail: upright, no larger than needed, without what the camera noted."""

import io
from collections import OrderedDict
from dataclasses import dataclass, replace

from PIL import Image, ImageOps, UnidentifiedImageError

from channels.contract import File, Finding, Severity, Unrenderable


@dataclass(frozen=True)
class Picture:
    """`file` keeps its name; `width` and `height` in pixels as they are now."""

    file: File
    width: int
    height: int


_MOST_KEPT = 64
_kept: OrderedDict[tuple[str, int, int], Picture] = OrderedDict()  # every channel asks for the same ones, one by one


def prepared(file: File, longest: int, quality: int) -> Picture:
    """The picture with its longer side at most `longest` pixels; a drawing (PNG, GIF) as PNG, all else as JPEG of that
    `quality`. Place, time and camera (EXIF) are left out: a telephone writes where its owner stood.

    Raises Unrenderable (`picture.unreadable`) for what is no picture, is broken, or has more pixels than memory is for.
    """
    key = (file.sha256, longest, quality)
    picture = _kept.get(key)
    if picture is None:
        picture = _kept[key] = _made(file, longest, quality)
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return replace(picture, file=replace(picture.file, name=file.name))


def _made(file: File, longest: int, quality: int) -> Picture:
    try:
        with Image.open(io.BytesIO(file.content), formats=("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")) as opened:
            drawing = opened.format in ("PNG", "GIF")
            opened.draft(None, (longest, longest))  # a JPEG is read at a half, a quarter … where that is enough
            upright = ImageOps.exif_transpose(opened)
            if upright.mode not in ("RGB", "L"):
                clear = upright.convert("RGBA")
                upright = Image.new("RGB", clear.size, "white")
                upright.paste(clear, mask=clear.getchannel("A"))
            upright.thumbnail((longest, longest))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise Unrenderable(Finding("picture.unreadable", Severity.BLOCK, file.name, {"file": file.name})) from error
    out, bare = io.BytesIO(), Image.new(upright.mode, upright.size)
    bare.paste(upright)  # pixels only
    if drawing:
        bare.save(out, "PNG", optimize=True)
    else:
        bare.save(out, "JPEG", quality=quality)
    return Picture(File(file.name, "image/png" if drawing else "image/jpeg", out.getvalue()), *bare.size)
