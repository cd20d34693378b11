"""Study: the run folder as the notebooks see it.

Notebooks talk by files only. Each opens the run folder, asks for the files it needs, hands over its tables
and figures, and closes with a list of all it wrote. That list is also what `bonescan run` checks and resumes
by.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bonescan_utils import provenance
from bonescan_utils.files import read_csv, read_json, sha256_file, write_csv, write_json
from bonescan_utils.profiles import StudyError

if TYPE_CHECKING:
    from IPython.display import Image
    from matplotlib.figure import Figure

SYNTHETIC_NOTE = "Synthetic phantom cohort - not clinical data"
NONCE_VARIABLE = "BONESCAN_NONCE"
WRITTEN_BY = {
    "cohort.csv": "01_cohort",
    "store": "02_preprocessing",
    "predictions.csv": "03_vgg16_transfer",
    "models": "03_vgg16_transfer",
    "tables/weights.csv": "03_vgg16_transfer",
}
"""Which notebook writes what another one needs: for the message when it is not there."""


class Run:
    """One run folder, opened by one notebook.

    Attributes:
        folder: The run folder.
        step: Stem of the notebook, such as `02_preprocessing`.
    """

    def __init__(self, folder: Path, step: str) -> None:
        self.folder = folder
        self.step = step
        self._written: dict[str, int | None] = {}
        self._notes: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Run {self.folder.name}, step {self.step}"

    def path(self, name: str) -> Path:
        """Return a path in the run folder."""
        return self.folder / name

    def need(self, name: str) -> Path:
        """Return the path of a file or folder that an earlier notebook wrote.

        Raises:
            StudyError: It is not there; the text names the notebook to run first.
        """
        path = self.folder / name
        if not path.exists():
            writer = WRITTEN_BY.get(name, "an earlier notebook")
            raise StudyError(
                f"{self.folder.name}/{name} is not there: run {writer} with the same run_dir first"
            )
        return path

    def read(self, name: str) -> pd.DataFrame:
        """Return a table that an earlier notebook wrote, by its path in the run folder."""
        return read_csv(self.need(name))

    def table(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write a table to `tables/<name>.csv` (and `.tex`), and return it to be shown."""
        from bonescan_utils.tables import write_table

        for path in write_table(table, self.folder / "tables", name):
            self.add(path, rows=len(table))
        return table

    def csv(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write a table to `<name>` in the run folder, and return it to be shown."""
        write_csv(self.folder / name, table)
        self.add(self.folder / name, rows=len(table))
        return table

    def figure(self, figure: Figure, name: str, *, note: str = "") -> Image:
        """Write a figure to `figures/<name>` as PNG and PDF, and return the picture to be shown.

        Args:
            figure: The figure; it is closed.
            name: File name without suffix.
            note: Footnote under the figure; that of a phantom cohort is added.
        """
        from IPython.display import Image
        from matplotlib import pyplot

        from bonescan_utils.figures import save_figure

        notes = [note, SYNTHETIC_NOTE if self.synthetic else ""]
        target = self.folder / "figures" / name
        save_figure(figure, target, note=" | ".join(filter(None, notes)))
        pyplot.close(figure)
        picture = target.with_name(f"{name}.png")
        self.add(picture)
        self.add(target.with_name(f"{name}.pdf"))
        return Image(data=picture.read_bytes(), format="png", width=880)

    def add(self, path: Path, *, rows: int | None = None) -> Path:
        """List a file or a folder among what this notebook wrote, and return it."""
        self._written[path.relative_to(self.folder).as_posix()] = rows
        return path

    @property
    def cohort(self) -> pd.DataFrame:
        """The scans of the study: `cohort.csv` of notebook 01."""
        return self.read("cohort.csv")

    @property
    def data_root(self) -> Path:
        """The folder that the paths of the cohort are relative to: that of its manifest."""
        return (self.folder / self.notes["data_root"]).resolve()

    @property
    def synthetic(self) -> bool:
        """Whether the scans are phantoms."""
        return bool(self.notes.get("synthetic", False))

    @property
    def notes(self) -> dict[str, Any]:
        """What the finished steps of this run, and this one, have noted."""
        found: dict[str, Any] = {}
        for path in sorted((self.folder / "steps").glob("*.json")):
            found |= read_json(path).get("notes", {})
        return found | self._notes

    def note(self, **notes: Any) -> None:
        """Note plain values for later notebooks and for `run.json`."""
        self._notes |= notes

    def finish(self) -> pd.DataFrame:
        """Record what this notebook wrote, and return the list. The last cell of each notebook calls it."""
        outputs = [_described(self.folder, name, rows) for name, rows in self._written.items()]
        record = {
            "step": self.step,
            "finished": provenance.now(),
            "nonce": os.environ.get(NONCE_VARIABLE, ""),
            "versions": provenance.versions(provenance.DECISIVE),
            "notes": self._notes,
            "outputs": outputs,
        }
        write_json(self.folder / "steps" / f"{self.step}.json", record)
        shown = pd.DataFrame(outputs, columns=["path", "rows", "bytes"])
        return shown.astype({"rows": "Int64"})


def open_run(run_dir: str | Path, step: str, *, needs: tuple[str, ...] = ()) -> Run:
    """Open a run folder for one notebook, making it if need be.

    Args:
        run_dir: The run folder; a relative path is relative to the notebook.
        step: Stem of the notebook's file name.
        needs: Files and folders that must be there already.

    Raises:
        StudyError: A needed file is missing.
    """
    run = Run(Path(run_dir).expanduser().resolve(), step)
    for name in needs:
        run.need(name)
    for folder in ("tables", "figures", "steps"):
        (run.folder / folder).mkdir(parents=True, exist_ok=True)
    return run


def outputs_changed(folder: Path, outputs: list[Mapping[str, Any]]) -> list[str]:
    """Return the paths among a step's recorded outputs that are gone or differ from what it wrote."""
    return [str(output["path"]) for output in outputs if not _same(folder / str(output["path"]), output)]


def _described(folder: Path, name: str, rows: int | None) -> dict[str, Any]:
    """Return a record of one output; of a folder, its files are hashed by name and size."""
    path = folder / name
    return {"path": name, "rows": rows, "bytes": _size(path), "mtime_ns": _mtime(path), "sha256": _hash(path)}


def _same(path: Path, output: Mapping[str, Any]) -> bool:
    if not path.exists() or _size(path) != output["bytes"]:
        return False
    return _mtime(path) == output["mtime_ns"] or _hash(path) == output["sha256"]


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in _files(path))


def _mtime(path: Path) -> int:
    return max((p.stat().st_mtime_ns for p in _files(path)), default=0)


def _hash(path: Path) -> str:
    if path.is_dir():
        return provenance.digest([(p.relative_to(path).as_posix(), sha256_file(p)) for p in _files(path)])
    return sha256_file(path)


__all__ = ["Run", "StudyError", "open_run", "outputs_changed"]
