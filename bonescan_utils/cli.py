"""The command `bonescan`; its subcommands are in `commands/`.

Exit codes: 0 done, 1 a failure of ours or of the machine, 2 input that cannot be used as it is, 130 stopped.
Bad input never gives a traceback; for any other failure, BONESCAN_DEBUG=1 shows it.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from bonescan_utils import __version__
from bonescan_utils.commands import BAD_INPUT, FAILED, STOPPED, add_all
from bonescan_utils.files import safe_text

BAD_INPUT_ERRORS = frozenset(
    "StudyError ManifestError ScanError CsvError WeightsError BackboneError ArmError ModelError FitError"
    " FeatureError SaliencyError WorkerError DeviceError LexiconError LabelError KeyFileError AuditError CohortError"
    " SampleError SanityError BurdenError".split()
)
"""Names of the errors whose text is meant for the user, wherever they were raised: here or in a notebook."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    signal.signal(signal.SIGTERM, _stop)  # what a batch system sends before it kills
    try:
        return command(options)
    except KeyboardInterrupt:
        return _say_stopped()
    except BrokenPipeError:  # `bonescan check ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _say_failed(error)


def _say_stopped() -> int:
    print("\nStopped; nothing half written. The same command resumes.", file=sys.stderr)
    return STOPPED


def _say_failed(error: Exception) -> int:
    """Print what went wrong; return the exit code that fits."""
    if os.environ.get("BONESCAN_DEBUG"):
        import traceback

        traceback.print_exception(error)
    name = getattr(error, "ename", type(error).__name__)
    bad_input = name in BAD_INPUT_ERRORS or any(base.__name__ in BAD_INPUT_ERRORS for base in type(error).__mro__)
    known = bad_input or hasattr(error, "ename") or isinstance(error, OSError)
    text = str(error) if known else f"internal error: {type(error).__name__}: {error}"
    lines = [safe_text(line, limit=1000) for line in text.splitlines() or [""]]
    print("bonescan: " + "\n".join(lines), file=sys.stderr)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        print(
            "The disk is full. Files written earlier are intact; free some room, then repeat.",
            file=sys.stderr,
        )
    if hasattr(error, "ename"):
        print("The notebook up to there is in the run folder. The same command resumes.", file=sys.stderr)
    if not known:
        print("This is a fault of the program; BONESCAN_DEBUG=1 shows where.", file=sys.stderr)
    return BAD_INPUT if bad_input else FAILED


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bonescan", description="Whole-body bone scans: run the study, check a manifest, score scans."
    )
    parser.add_argument("--version", action="version", version=f"bonescan {__version__}")
    add_all(parser.add_subparsers(title="commands", required=True, metavar="COMMAND"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
