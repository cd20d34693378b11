"""Screen: lines and one progress bar, on a terminal or in a log."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

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
        self._bar = False

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
