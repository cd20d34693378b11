"""The command `bonescan`; its subcommands are in `commands/`.

Exit codes: 0 done, 1 a failure of the program, 2 input that cannot be used as it is, 3 out of disk or memory, 130
stopped.
Bad input never gives a traceback. That of a failure of the program goes to a file of its own, which is named;
BONESCAN_DEBUG=1 shows every one.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from types import FrameType

from bonescan_utils import __version__
from bonescan_utils.commands import BAD_INPUT, FAILED, NO_RESOURCES, STOPPED, add_all
from bonescan_utils.files import safe_text
from bonescan_utils.problems import LINE

BAD_INPUT_ERRORS = frozenset(
    "StudyError ManifestError ScanError CsvError WeightsError BackboneError ArmError ModelError FitError"
    " FeatureError SaliencyError WorkerError LexiconError LabelError KeyFileError AuditError CohortError"
    " SampleError SampleSizeError SanityError BurdenError StoreError".split()
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
        traceback.print_exception(error)
    name = getattr(error, "ename", type(error).__name__)
    names = {name, *(base.__name__ for base in type(error).__mro__)}
    spent = _spent(error, names)
    no_place = not spent and not names & BAD_INPUT_ERRORS and _is_no_place(error)
    bad_input = not spent and (bool(names & BAD_INPUT_ERRORS) or no_place)
    known = bad_input or bool(spent) or hasattr(error, "ename") or isinstance(error, OSError)
    text = str(error) if known else f"internal error: {type(error).__name__}: {safe_text(error, limit=300)}"
    todo = spent or _ELSEWHERE * no_place
    lines = [safe_text(line, limit=LINE - 1 - len(todo)) for line in f"bonescan: {text}".splitlines()]
    print(" ".join(["\n".join(lines), todo]).rstrip(), file=sys.stderr)
    if hasattr(error, "ename"):
        print("The notebook up to there is in the run folder. The same command resumes.", file=sys.stderr)
    elif not (bad_input or spent):
        print(_traceback_kept(error), file=sys.stderr)
    if spent:
        return NO_RESOURCES
    return BAD_INPUT if bad_input else FAILED


def _spent(error: Exception, names: set[str]) -> str:
    """Return what to do where disk, memory or open files ran out, here or in a notebook; '' for anything else."""
    told = re.search(r"\[Errno (\d+)\]", getattr(error, "reason", "")) if hasattr(error, "ename") else None
    number = int(told[1]) if told else getattr(error, "errno", None) if isinstance(error, OSError) else None
    if number in _DISK or getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_DISK:
        return "The disk is full. Files written earlier are intact; free some room, then repeat."
    if number in _MEMORY or names & _MEMORY_ERRORS:
        return "Out of memory. Files written earlier are intact; end other programs or use smaller images, then repeat."
    if number in (errno.EMFILE, errno.ENFILE):
        return "Too many open files. Raise the limit (ulimit -n 4096), then repeat."
    return ""


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SQLITE_DISK = (10, 13)
"""SQLITE_IOERR and SQLITE_FULL (https://sqlite.org/rescode.html): the journal of an ingest could not be written."""
_MEMORY = (errno.ENOMEM,)
_MEMORY_ERRORS = frozenset(
    "MemoryError _ArrayMemoryError ResourceExhaustedError DeviceError TerminatedWorkerError KernelKilled".split()
)
_PLACES = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
_PLACE_NUMBERS = (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
_SQLITE_PLACES = (3, 8, 14)
"""SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN."""
_ELSEWHERE = "It cannot be read or written there. Name another file or folder, or give the permission."


def _is_no_place(error: Exception) -> bool:
    """Whether what was named on the command line cannot be used as the file or the folder that it is named for."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_PLACES:
        return True
    return isinstance(error, OSError) and (isinstance(error, _PLACES) or error.errno in _PLACE_NUMBERS)


def _traceback_kept(error: Exception) -> str:
    """Write the traceback into a file that only its owner can read; return where it is, in words."""
    try:
        number, path = tempfile.mkstemp(prefix="bonescan-traceback-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.writelines(traceback.format_exception(error))
    except OSError:
        return "This is a fault of the program; BONESCAN_DEBUG=1 shows where."
    return f"This is a fault of the program; where it happened is in {path}"


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
