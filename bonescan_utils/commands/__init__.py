"""The subcommands of `bonescan`, a module each: what it takes, and the function that does it.

A module has `add(commands)`, which adds its parser. It imports what it works with only when it runs, so that
`bonescan --help` answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

OK, FAILED, BAD_INPUT, NO_RESOURCES, STOPPED = 0, 1, 2, 3, 130
"""Exit codes: done; a failure of the program; input that cannot be used as it is; out of disk or memory; stopped."""

COMMANDS = (
    "ingest", "audit", "label", "review", "adjudicate", "check", "run", "predict", "report", "export", "phantom",
    "verify", "rerun", "archive", "plan", "precision", "doctor",
)  # fmt: skip
"""In the order of `bonescan --help`."""

Commands = argparse._SubParsersAction  # of ArgumentParser


def add_all(commands: Commands) -> None:
    """Add every subcommand."""
    for name in COMMANDS:
        import_module(f"bonescan_utils.commands.{name}").add(commands)


def add_command(
    commands: Commands, name: str, function: Callable[[argparse.Namespace], int], text: str, example: str
) -> argparse.ArgumentParser:
    """Add a subcommand whose help ends with an example.

    Args:
        commands: Where it is added.
        name: Its name.
        function: Takes the options, returns the exit code.
        text: What it does, in one line without a full stop.
        example: What may follow `bonescan NAME`.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"Example: bonescan {name} {example}",
    )
    parser.set_defaults(command=function)
    return parser


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add `-p NAME=VALUE`, which sets any parameter of the study."""
    parser.add_argument(
        "-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="set a parameter; repeatable"
    )


def run_folder(name: str) -> Path:
    """Return the folder of a run given by its name or by its path."""
    from bonescan_utils.runner import find_project

    path = Path(name)
    return path if (path / "run.json").exists() else find_project().reports / name


def even(text: str) -> int:
    """Return an even number above 0: half of the phantoms have metastases."""
    if not text.isdecimal() or int(text) < 2 or int(text) % 2:
        raise argparse.ArgumentTypeError(f"expected an even number of 2 or more, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def seed(text: str) -> int:
    """Return a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text!r}")
    return int(text)
