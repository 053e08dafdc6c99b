"""How somebody wants to see the portal: size of the text, elder mode, high contrast.

The choice lies in a cookie that nothing but one style sheet depends on, /view.css. So it works without a script, and
the pages are the same bytes for everybody and can be kept ready.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

COOKIE = "view"
SIZES = (18, 22, 26, 30)  # px of the body text at the browser's usual setting of 16
_ELDER = 22  # what the elder mode begins with
_STYLES = {
    name: (Path(__file__).parent / "static" / f"{name}.css").read_text("utf-8") for name in ("elder", "contrast")
}
_HELD = re.compile(r"([0-3])(e?)(c?)")


@dataclass(frozen=True)
class View:
    """`size`: place in SIZES."""

    size: int = 0
    elder: bool = False
    contrast: bool = False

    @classmethod
    def read(cls, cookie: str) -> "View":
        """The usual view for what is no cookie of ours."""
        held = _HELD.fullmatch(cookie)
        return cls(int(held[1]), bool(held[2]), bool(held[3])) if held else cls()

    def written(self) -> str:
        return f"{self.size}{'e' * self.elder}{'c' * self.contrast}"

    def after(self, wish: str) -> "View":
        """The view after a button was pressed; for what is no button the same."""
        match wish:
            case "larger" | "smaller":
                step = 1 if wish == "larger" else -1
                return replace(self, size=min(max(self.size + step, 0), len(SIZES) - 1))
            case "elder":
                return replace(self, elder=True, size=max(self.size, SIZES.index(_ELDER)))
            case "standard":
                return replace(self, elder=False, size=0)
            case "contrast" | "plain":
                return replace(self, contrast=wish == "contrast")
        return self

    def css(self) -> str:
        """The style sheet after the portal's own. A button that would change nothing is not shown."""
        idle = [
            "elder" if self.elder else "standard",
            "contrast" if self.contrast else "plain",
            *(["smaller"] if self.size == 0 else []),
            *(["larger"] if self.size == len(SIZES) - 1 else []),
        ]
        hidden = ", ".join(f".tools .{name}" for name in idle)
        parts = [f"html {{ font-size: {SIZES[self.size] / 16:.4%}; }}\n{hidden} {{ display: none; }}\n"]
        parts += [_STYLES["elder"]] if self.elder else []
        parts += [_STYLES["contrast"]] if self.contrast else []
        return "@media screen {\n" + "".join(parts) + "}\n"
