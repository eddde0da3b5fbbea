"""The command line: parse, call, print. Results go to stdout, talk to stderr."""

from __future__ import annotations

import io
import os
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from emigbench.cli import contribute, data, leaderboard, predict, run
from emigbench.errors import EmigbenchError, in_words, on_one_line

COMMAND_GROUP = "emigbench.commands"
"""Entry points for groups of commands that other packages bring: a typer app each, under the entry point's name."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="With --debug, any command shows the traceback of an error.",
)
app.add_typer(run.app)
app.add_typer(predict.app)
app.add_typer(contribute.app)
app.add_typer(data.app, name="data")
app.add_typer(leaderboard.app, name="leaderboard")


def _add_plug_ins() -> None:
    """Add the commands of other packages; what cannot be imported says so when it is called."""
    for entry_point in sorted(entry_points(group=COMMAND_GROUP), key=lambda e: e.name):
        try:
            app.add_typer(entry_point.load(), name=entry_point.name)
        except Exception as error:
            _add_stand_in(entry_point.name, in_words(error))


def _add_stand_in(name: str, why: str) -> None:
    takes_anything = {"allow_extra_args": True, "ignore_unknown_options": True}

    @app.command(name, help=f"Not available here ({why}).", context_settings=takes_anything)
    def refuse() -> None:
        raise EmigbenchError(f"The command {name!r} cannot be imported ({why}); install what is missing.")


_add_plug_ins()


def main() -> None:
    """Run the command line.

    What goes wrong outside the program is one sentence and exit code 2; an error in the program is one sentence
    and exit code 1. With --debug, both show the traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file on Windows, or an old locale, has no ρ
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except EmigbenchError as error:
        if debug:
            raise
        print(f"emigbench: {on_one_line(str(error))}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        message = f"internal error, {in_words(error)}; run again with --debug and report it."
        print(f"emigbench: {on_one_line(message)}", file=sys.stderr)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """The benchmark for ionic migration barriers. Try: emigbench evaluate random-forest --dataset spinels."""
    if version:
        from importlib.metadata import version as installed

        print(installed("emigbench"))
        raise typer.Exit
