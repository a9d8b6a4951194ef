"""Words in, exit code out."""

import os
import signal
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from testbed import __version__, foreign
from testbed.cli import build, cells, labs, nats, peers, results, studies, worlds
from testbed.cli.streams import Streams, read_names_as_utf8
from testbed.errors import Exit, TestbedError

app = typer.Typer(
    help="A NAT-traversal testbed: measured NATs, real stacks, verdicts read off the wire.",
    epilog="Exit codes: 0 all as predicted, 1 something differs, 2 wrong usage, "
    "3 inconclusive (the harness is at fault), 4 this machine lacks something.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (labs, cells, studies, results):
    app.add_typer(group.app)
app.add_typer(worlds.world, name="world")
app.add_typer(nats.nat, name="nat")
app.add_typer(build.build, name="build")
app.add_typer(peers.peer, name="peer")
_REPORT = "  please open an issue with the command and what it prints with TESTBED_DEBUG=1 set"


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"testbed {__version__}")
        raise typer.Exit()


@app.callback()
def before_commands(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_say_version, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """Options before a command."""


def main() -> NoReturn:
    """The console script: errors become one message and their exit code."""
    read_names_as_utf8()
    streams = Streams()
    try:
        code = app(standalone_mode=False) or 0  # the code of a typer.Exit comes back
        interrupted = code == Exit.INTERRUPTED  # typer's, of a KeyboardInterrupt
    except (typer.Abort, KeyboardInterrupt):
        code, interrupted = int(Exit.INTERRUPTED), True
    except SystemExit as stop:  # a signal's, or a command's that was run in a lab
        code, interrupted = _stopped(stop), False
    except Exception as error:
        code, interrupted = _failed(error), False
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is to say so
    if interrupted:
        print("testbed: interrupted, all that was brought up was taken down", file=sys.stderr)
    sys.exit(streams.finish(code))


def _stopped(stop: SystemExit) -> int:
    """typer makes a SystemExit of 1 of a broken pipe, whoever's it was."""
    if isinstance(stop.__context__, BrokenPipeError):
        return _failed(stop.__context__)
    return stop.code if isinstance(stop.code, int) else int(Exit.INCONCLUSIVE)


def _failed(error: Exception) -> int:
    """Say what went wrong; the exit code.  What nobody foresaw has measured nothing: 3."""
    if isinstance(error, TestbedError):
        said = foreign.words(str(error).removeprefix("testbed: "))
        print(f"testbed: {said}", file=sys.stderr)
        return int(error.exit_code)
    if show := getattr(error, "show", None):  # typer's own, for wrong words
        show()
        return int(getattr(error, "exit_code", Exit.USAGE))
    if os.environ.get("TESTBED_DEBUG"):
        traceback.print_exception(error)
    said = foreign.words(f"internal error: {type(error).__name__}: {error}")
    print(f"testbed: {said}\n{_REPORT}", file=sys.stderr)
    return int(Exit.INCONCLUSIVE)
