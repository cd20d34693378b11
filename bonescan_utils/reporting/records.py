"""Records: a run as the report sees it: its settings, its tables, its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils.arms import ARMS, Arm, protocol
from bonescan_utils.files import read_csv, read_json, read_text_csv, sha256_file
from bonescan_utils.run_record import read_record

NUMBERS = frozenset(
    "estimate ci_low ci_high difference statistic p p_holm lr l2 observed gain gain_low gain_high".split()
)
"""Columns that are numbers even where no row has one, as in a table of groups that are all too small."""
MADE_TEXT = ("comparison", "comparison_equal_protocol", "cross_validation", "table_one")
"""Tables that are text to be read already: their cells are left as they are."""


@dataclass(frozen=True)
class RunRecord:
    """A run folder, read only.

    Attributes:
        folder: The run folder.
        record: Its `run.json`.
    """

    folder: Path
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.record["run"])

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's settings (`profiles.StudyConfig`)."""
        return dict(self.record["config"])

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the notebooks noted: `synthetic`, `layout`, `image_size`, `copies`."""
        return dict(self.record.get("notes", {}))

    @property
    def synthetic(self) -> bool:
        """Whether the scans are phantoms."""
        return bool(self.notes.get("synthetic"))

    @property
    def arm(self) -> str:
        """The arm the study is about."""
        return str(self.config.get("arm", "proposed"))

    @property
    def weights(self) -> dict[str, str]:
        """Arm -> kind of its starting weights."""
        return {str(arm): str(source["weights"]) for arm, source in self.record["weights"].items()}

    @cached_property
    def cohort(self) -> pd.DataFrame | None:
        """The scans of the study; None where the run has not come so far, or its folder holds none."""
        path = self.folder / "cohort.csv"
        return read_csv(path) if path.is_file() and self._mine(path) else None

    @cached_property
    def _outputs(self) -> dict[str, str] | None:
        """Path -> sha256 of all that the done steps wrote; None where the record lists no outputs."""
        done = [step["outputs"] for step in self.record.get("steps", []) if "outputs" in step]
        named = {str(output["path"]): str(output["sha256"]) for outputs in done for output in outputs}
        return named if self.record.get("steps") else None

    def _mine(self, path: Path) -> bool:
        """Whether a file is of this run, not of an older one in the same folder."""
        return self._outputs is None or path.relative_to(self.folder).as_posix() in self._outputs

    def has(self, name: str) -> bool:
        """Tells whether the run has a table with rows, by its file name without suffix."""
        path = self._table(name)
        return path.is_file() and self._mine(path) and len(read_text_csv(path)) > 0

    def table(self, name: str) -> pd.DataFrame:
        """Returns a table of the run.

        Raises:
            CsvError: It is not there, or cannot be read; the text names the file.
        """
        path = self._table(name)
        return read_text_csv(path) if name in MADE_TEXT else read_csv(path, numbers=NUMBERS)

    def table_names(self) -> list[str]:
        """Returns the names of all tables of the run, sorted."""
        return sorted(path.stem for path in (self.folder / "tables").glob("*.csv") if self._mine(path))

    def figure_names(self) -> list[str]:
        """Returns the names of all figures of the run, sorted."""
        return sorted(path.stem for path in (self.folder / "figures").glob("*.png") if self._mine(path))

    def figure_hashes(self) -> list[tuple[str, str]]:
        """Returns (path in the run folder, sha256) of every figure of the run, sorted."""
        paths = sorted(path for path in (self.folder / "figures").glob("*.*") if self._mine(path))
        return [(path.relative_to(self.folder).as_posix(), sha256_file(path)) for path in paths]

    def figure(self, name: str) -> Path:
        """Returns where a figure's picture is, there or not."""
        return self.folder / "figures" / f"{name}.png"

    def paper_arms(self) -> list[str]:
        """Returns the arms of the comparison: the one the study is about, and the frozen backbones."""
        return [arm for arm in self.weights if arm == self.arm or (arm in ARMS and protocol(arm) == "frozen")]

    def settings_of(self, arm: str) -> Arm | None:
        """Returns an arm as this run trained it; None if it is neither on record nor known."""
        path = self.folder / "arms" / arm / "record.json"
        if path.is_file():
            kept = read_json(path)["arm"]
            return Arm(**{**kept, "taps": tuple(kept.get("taps", ()))})
        return ARMS.get(arm)

    def _table(self, name: str) -> Path:
        return self.folder / "tables" / f"{name}.csv"


def read_run(folder: Path) -> RunRecord:
    """Reads a run folder.

    Raises:
        StudyError: There is no run record, or it is not as its schema wants it.
    """
    return RunRecord(folder, read_record(folder))
