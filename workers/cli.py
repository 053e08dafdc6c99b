"""The command `fabu`: everything the office does, beside the console.

Every command takes `--json`; every decision takes `--as PERSON` and records the account it was made from.
"""

import signal
import sys
from contextlib import suppress

import typer
from sqlalchemy.exc import ArgumentError, DBAPIError

from channels.contract import ChannelError
from config.locale import language
from config.settings import ConfigError
from pipeline.decisions import Refused
from workers import usage
from workers.commands import common

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """The entry point: whatever goes wrong is said in words, and the exit code is not 0."""
    from workers.supervise import SuperviseError

    try:
        sys.exit(common.app(standalone_mode=False))  # errors of use come to us; it returns the exit code
    except typer.TyperException as error:
        if error.format_message():  # else the help was shown, because nothing was given
            usage.tell(common.show_in(language(), "--json" in sys.argv), error.format_message())
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(1)
    except Refused as error:
        common.screen.error(error.code, error.facts, error.findings)
        sys.exit(1)
    except (ConfigError, ChannelError, SuperviseError) as error:
        common.screen.error(error.code, error.facts)
        sys.exit(1)
    except ArgumentError as error:
        common.screen.error("config.bad_database", {"detail": str(error)})
        sys.exit(1)
    except DBAPIError as error:
        common.screen.error("database.error", {"detail": str(error.orig).partition("\n")[0]})
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what Typer makes of Ctrl-C, without a word
            with suppress(OSError):
                common.screen.line("up.interrupted")
        raise
