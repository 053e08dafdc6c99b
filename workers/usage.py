"""What a mistyped command line is told: Typer's English sentences, read back into ours.

Typer gives an error of use no more than its sentence (`TyperException.format_message`). One that is not known here is
quoted as it is, so that a new version of Typer loses the translation and nothing else.
"""

import re
import sys
from pathlib import PurePath

from config.locale import say
from workers.show import Screen

_SENTENCES = (
    (r"Missing (?:argument|option|parameter) '(?P<what>[^']+)'", "usage.missing"),
    (r"Option '(?P<what>[^']+)' requires an argument", "usage.without_value"),
    (r"No such option: (?P<what>\S+)", "usage.unknown_option"),
    (r"No such command '(?P<what>[^']+)'", "usage.unknown_command"),
    (r"Invalid value for '(?P<what>[^']+)': .*?'(?P<given>.*)' is not one of (?P<known>.+)\.", "usage.not_one_of"),
    (r"Invalid value for '(?P<what>[^']+)': .*?'(?P<given>.*)' does not match the formats? ", "usage.bad_time"),
    (r"Invalid value for '(?P<what>[^']+)': .* valid integer", "usage.not_a_number"),
    (r"Invalid value for '(?P<what>[^']+)': (?P<detail>.*)", "usage.bad_value"),
    (r"Got unexpected extra arguments?(?:\(s\))? \((?P<what>.*)\)", "usage.too_much"),
)


def told(sentence: str) -> tuple[str, dict[str, str]]:
    """The code and the facts of Typer's sentence."""
    for pattern, code in _SENTENCES:
        if found := re.match(pattern, sentence, re.DOTALL):
            return code, {name: fact.replace("'", "") for name, fact in found.groupdict().items()}
    return "usage.other", {"detail": sentence}


def tell(screen: Screen, sentence: str) -> None:
    """Say what is wrong with the command line, and where its help is."""
    code, facts = told(sentence)
    screen.error(code, facts)
    if not screen.as_json:
        words = [word for word in sys.argv[1:3] if re.fullmatch("[a-z-]*[a-z]", word) and not word.startswith("-")]
        words = [] if code == "usage.unknown_command" else words[:1]
        command = " ".join([PurePath(sys.argv[0]).name, *words, "--help"])
        screen.errors.print(say(screen.language, "usage.help", command=command), highlight=False, soft_wrap=True)
