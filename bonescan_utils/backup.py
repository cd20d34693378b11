"""Backup: the state of a fit after an epoch, on disk, so that a training that was killed goes on from there.

A backup is `epoch_<n>.npz`, and a sealed `epoch_<n>.json` written after it, with its hash. The last two are kept: where
the last is damaged, the one before is used, and that is said. No backup is half used, and none silently passed over.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonescan_utils.files import sha256_file, write_atomic
from bonescan_utils.profiles import StudyError
from bonescan_utils.seal import read_sealed, write_sealed

EVERY_S = 60.0
"""Seconds of training between two backups: at most this much is done again."""
KEPT = 2


@dataclass(frozen=True)
class Saved:
    """What a backup holds: the epoch it was taken after, arrays by name, and plain facts."""

    epoch: int
    arrays: Mapping[str, np.ndarray]
    about: Mapping[str, Any]


class Backup:
    """The backups of one fit.

    Args:
        folder: Where they are; of this fit alone.
        key: Hash of all that the fit depends on; backups under another key are of another fit.
        every_s: Seconds of training between two.
        say: Called with a line on each that is used or damaged.
    """

    def __init__(
        self, folder: Path, key: str, *, every_s: float = EVERY_S, say: Callable[[str], object] = print
    ) -> None:
        self.folder, self.key, self.every_s, self._say = folder, key, every_s, say
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() - self._last >= self.every_s

    def save(self, saved: Saved) -> None:
        """Write a backup, then remove all but the last two.

        Raises:
            OSError: The disk is full; earlier backups are intact.
        """
        path = self.folder / f"epoch_{saved.epoch:05d}.npz"
        with write_atomic(path) as part, part.open("wb") as stream:
            np.savez(stream, **saved.arrays)  # type: ignore[arg-type]
        record = {"key": self.key, "epoch": saved.epoch, "sha256": sha256_file(path), "about": saved.about}
        write_sealed(path.with_suffix(".json"), record)
        for old in sorted(self.folder.glob("epoch_*.npz"))[:-KEPT]:
            old.with_suffix(".json").unlink(missing_ok=True)
            old.unlink()
        self._last = time.monotonic()

    def load(self) -> Saved | None:
        """Return the last backup of this fit that is whole; None if there is none.

        Raises:
            StudyError: There are backups, and all of them are damaged.
        """
        damaged = []
        for path in sorted(self.folder.glob("epoch_*.npz"), reverse=True):
            try:
                record = read_sealed(path.with_suffix(".json"))
                if record["key"] != self.key:
                    continue  # of another fit
                if record["sha256"] != sha256_file(path):
                    raise ValueError(f"{path.name}: its hash is another")
                with np.load(path, allow_pickle=False) as arrays:
                    found = Saved(int(record["epoch"]), dict(arrays), record["about"])
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                damaged.append(path.stem)
                self._say(f"backup {path.stem} is cut short or damaged ({type(error).__name__}: {error})"[:300])
                continue
            self._say(f"goes on after epoch {found.epoch}, from its backup")
            return found
        if damaged:
            raise StudyError(
                f"all backups of this fit are damaged ({', '.join(damaged)}); to train it again from the first epoch,"
                f" remove {'/'.join(self.folder.parts[-4:])} from the run folder and repeat the command"
            )
        return None

    def clear(self) -> None:
        """Remove all backups: the fit is done, or they are of another."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
