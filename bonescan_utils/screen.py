"""Screen: lines and one progress bar, on a terminal or in a log."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_NOISE = re.compile(
    r"^(WARNING: All log messages before absl::InitializeLog|[IWE]0000 00:00:\d"
    r"|To enable the following instructions: ).*\n?",
    re.MULTILINE,
)
QUIET_SECONDS = 20.0
"""Without a terminal, a progress bar is reported at most this often."""


class Screen:
    """A terminal or log with at most one unfinished line, a progress bar.

    Args:
        stream: Where to write.
        live: Whether the stream is a terminal; if not, progress bars are reported now and then.
    """

    def __init__(self, stream: TextIO, *, live: bool | None = None) -> None:
        self.stream = stream
        self.live = stream.isatty() if live is None else live
        self._bar = False
        self._last = time.monotonic()

    def line(self, text: str) -> None:
        """Write a whole line."""
        self._write(("\r\x1b[K" if self._bar else "") + text.rstrip() + "\n")
        self._bar, self._last = False, time.monotonic()

    def bar(self, text: str) -> None:
        """Write a progress bar over the last one; on a log, write one line now and then."""
        if self.live:
            self._write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
            self._bar = True
        elif time.monotonic() - self._last > QUIET_SECONDS:
            self._write(text + "\n")
            self._last = time.monotonic()

    def clear(self) -> None:
        """Take an unfinished progress bar away."""
        if self._bar:
            self._write("\r\x1b[K")
            self._bar = False

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def without_noise(text: str) -> str:
    """Return text without the lines that TensorFlow's libraries log while they are loaded."""
    return _NOISE.sub("", text)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C libraries write to the error stream nowhere, for the time of the block; blocks may overlap."""
    sys.stderr.flush()
    with _LOCK:
        if not _QUIET:
            _KEPT.append(_aside())
        _QUIET.append(1)
    try:
        yield
    finally:
        with _LOCK:
            _QUIET.pop()
            if not _QUIET and (kept := _KEPT.pop()) >= 0:
                os.dup2(kept, 2)
                os.close(kept)


_LOCK = threading.Lock()
_QUIET: list[int] = []  # one for each block that is open, in whatever thread
_KEPT: list[int] = []


def _aside() -> int:
    """Put nothing in the place of the error stream; return where it is kept, -1 if there is none."""
    try:
        kept = os.dup(2)
    except OSError:
        return -1
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return kept
