"""Words of the interface: a code and its facts become a sentence here, and only here."""

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

Language = Literal["zh", "en"]
HERE = Path(__file__).parent


def language(configured: str = "auto", environ: Mapping[str, str] = os.environ) -> Language:
    """What was configured; otherwise FABU_LOCALE, then the machine's own locale (LC_ALL, LC_MESSAGES, LANG); Chinese
    where these say nothing of either."""
    names = ("FABU_LOCALE", "LC_ALL", "LC_MESSAGES", "LANG")
    given = environ.get(names[0]) or (configured if configured != "auto" else "")
    given = given or next((environ[name] for name in names[1:] if environ.get(name)), "")
    return "en" if given.lower().startswith("en") else "zh"


@cache
def catalogue(chosen: Language) -> Mapping[str, str]:
    """Every sentence of one language, by code."""
    flat: dict[str, str] = {}
    for file in sorted((HERE / chosen).glob("*.toml")):
        for section, entries in tomllib.loads(file.read_text("utf-8")).items():
            for name, sentence in entries.items():
                flat[f"{section}.{name}"] = sentence
    return flat


class _Facts(dict[str, object]):
    def __missing__(self, name: str) -> str:
        return "?"


def say(chosen: Language, code: str, /, **facts: object) -> str:
    """The sentence for a code with its facts filled in; a code without a sentence is shown as it is."""
    sentence = catalogue(chosen).get(code)
    if sentence is None:
        return " ".join([code, *(f"{name}={value}" for name, value in facts.items())])
    return sentence.format_map(_Facts(facts))
