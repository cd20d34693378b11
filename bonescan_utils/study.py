"""Study: the run folder as the notebooks see it.

Notebooks talk by files only. Each opens the run folder, asks for the files it needs, hands over its tables
and figures, and closes with a list of all it wrote. That list is also what `bonescan run` checks and resumes
by.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bonescan_utils import provenance
from bonescan_utils.files import read_csv, write_csv, write_text
from bonescan_utils.outputs import begun_path, described, read_begun
from bonescan_utils.profiles import StudyError
from bonescan_utils.seal import read_sealed, write_sealed
from bonescan_utils.whereabouts import read_whereabouts, write_whereabouts

if TYPE_CHECKING:
    from IPython.display import Image
    from matplotlib.figure import Figure

    from bonescan_utils.boxes import Boxes
    from bonescan_utils.scan import Scan

NONCE_VARIABLE = "BONESCAN_NONCE"
WRITTEN_BY = {
    "cohort.csv": "01_cohort",
    "store": "02_preprocessing",
    "predictions.csv": "04_backbone_comparison",
    "tables/weights.csv": "04_backbone_comparison",
}
"""Which notebook writes what another one needs: for the message when it is not there."""


class Run:
    """One run folder, opened by one notebook.

    Attributes:
        folder: The run folder.
        step: Stem of the notebook, such as `02_preprocessing`.
        boxes: Lesions boxed by readers (`use_boxes`); None without.
    """

    def __init__(self, folder: Path, step: str) -> None:
        self.folder = folder
        self.step = step
        self._written: dict[str, int | None] = {}
        self._notes: dict[str, Any] = {}
        self.boxes: Boxes | None = None
        self._begun = read_begun(folder, step)

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
            raise StudyError(f"{self.folder.name}/{name} is not there: run {writer} with the same run_dir first")
        return path

    def read(self, name: str) -> pd.DataFrame:
        """Return a table that an earlier notebook wrote, by its path in the run folder."""
        return read_csv(self.need(name))

    def table(self, table: pd.DataFrame, name: str, *, caption: str = "") -> pd.DataFrame:
        """Write a table for a paper to `tables/<name>.csv` and `.tex`, and return it to be shown."""
        from bonescan_utils.tables import write_table

        self._begin(*(f"tables/{name}{suffix}" for suffix in (".csv", ".tex")))
        note = "Synthetic phantom cohort, not clinical data." if self.synthetic else ""
        for path in write_table(table, self.folder / "tables", name, caption=caption, note=note):
            self.add(path, rows=len(table))
        return table

    def csv(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write a table of data to `<name>` in the run folder, and return it to be shown."""
        self._begin(name)
        write_csv(self.folder / name, table)
        self.add(self.folder / name, rows=len(table))
        return table

    def figure(self, figure: Figure | None, name: str, *, note: str = "") -> Image | None:
        """Write a figure to `figures/<name>` as PNG and PDF, and return the picture to be shown.

        Args:
            figure: The figure; None where there is nothing to draw: then nothing is written.
            name: File name without suffix.
            note: Footnote under the figure; that of a phantom cohort is added.
        """
        from IPython.display import Image

        from bonescan_utils.figures import PHANTOM_NOTE, save_figure
        from bonescan_utils.style import add_footnote

        if figure is None:
            return None
        if note:
            add_footnote(figure, note)
        self._begin(*(f"figures/{name}{suffix}" for suffix in (".png", ".pdf")))
        target = self.folder / "figures" / name
        picture, document = save_figure(figure, target, note=PHANTOM_NOTE if self.synthetic else "")
        self.add(picture)
        self.add(document)
        return Image(data=picture.read_bytes(), format="png", alt=name.replace("_", " "))

    def add(self, path: Path, *, rows: int | None = None) -> Path:
        """List a file or a folder among what this notebook wrote, and return it."""
        self._written[path.relative_to(self.folder).as_posix()] = rows
        return path

    def _begin(self, *names: str) -> None:
        """Note files about to be written: if this notebook stops early, its next execution knows of them."""
        new = [name for name in names if name not in self._begun]
        if new:
            self._begun += new
            write_text(begun_path(self.folder, self.step), "".join(f"{name}\n" for name in self._begun))

    @property
    def cohort(self) -> pd.DataFrame:
        """The scans of the study: `cohort.csv` of notebook 01."""
        return self.read("cohort.csv")

    def note_data(self, manifest: str | Path, *, synthetic: bool) -> None:
        """Keep where the scans are, beside the run folder, and note whether they are phantoms."""
        write_whereabouts(self.folder, read_whereabouts(self.folder) | {"manifest": manifest})
        self.note(synthetic=bool(synthetic))

    @property
    def data_root(self) -> Path:
        """The folder that the paths of the cohort are relative to: that of its manifest."""
        manifest = read_whereabouts(self.folder).get("manifest")
        if manifest is None:
            where = f"{self.folder.name}: where its scans are is not kept in a run folder, and not known here"
            raise StudyError(f"{where}; repeat the command that made it, or run 01_cohort with the same run_dir")
        return manifest.parent

    def scans(self, scan_ids: Iterable[str]) -> list[Scan]:
        """Return scans of the cohort, in counts."""
        from bonescan_utils.loading import load_scan

        rows = self.cohort.set_index("scan_id", drop=False)
        return [load_scan({str(k): v for k, v in rows.loc[name].items()}, self.data_root) for name in scan_ids]

    def scan_paths(self, scan_ids: Iterable[str]) -> dict[str, Path]:
        """Return the file of each scan's first view."""
        rows = self.cohort.set_index("scan_id")
        return {name: self.data_root / str(rows.loc[name, "anterior"]) for name in scan_ids}

    def truth(self, scan_ids: Iterable[str]) -> dict[str, dict[str, np.ndarray] | None]:
        """Return the lesion masks by scan and view, on counts pixels: readers' boxes, or a phantom's; None without."""
        from bonescan_utils.phantom import read_truth

        names = list(scan_ids)
        boxed = [] if self.boxes is None else self.scans(name for name in names if name in self.boxes.scans())
        found = {scan.scan_id: self.boxes.masks(scan) for scan in boxed if self.boxes is not None}
        paths = self.scan_paths(name for name in names if name not in found)
        return {name: found[name] if name in found else read_truth(paths[name]) for name in names}

    def use_boxes(self, path: str) -> int:
        """Take lesions that readers have boxed for the truth of the scans named there; return how many these are.

        Args:
            path: A CSV or a folder of Pascal VOC XML (`boxes.read_boxes`); '' for none.

        Raises:
            ManifestError: A box is faulty, or of a scan that is not in the study.
        """
        from bonescan_utils.boxes import read_boxes

        if not path:
            return 0
        tables = (name for name in ("cohort.csv", "excluded.csv", "quarantine.csv") if self.path(name).exists())
        known = pd.concat([self.read(name)["scan_id"] for name in tables])
        found = read_boxes(Path(path).expanduser(), known.astype(str))
        found.check(self.scans(name for name in self.cohort["scan_id"] if name in found.scans()))
        self.boxes = found
        return len(found.scans())

    def lesions(self) -> pd.DataFrame | None:
        """Return the findings of phantoms, one row each (`phantom.read_lesions`); None of a cohort without truth."""
        from bonescan_utils.phantom import read_lesions

        return read_lesions(self.data_root / name for name in self.cohort["anterior"]) if self.synthetic else None

    def lesion_bands(self) -> pd.Series:
        """Return each scan's band of visible metastases, indexed by scan_id; `unknown` without truth."""
        from bonescan_utils.lesions import lesion_bands, visible_lesions

        scan_ids, lesions = self.cohort["scan_id"], self.lesions()
        if lesions is None:
            return pd.Series("unknown", index=pd.Index(scan_ids), name="visible_lesions")
        return lesion_bands(visible_lesions(lesions, scan_ids))

    @property
    def synthetic(self) -> bool:
        """Whether the scans are phantoms."""
        return bool(self.notes.get("synthetic", False))

    @property
    def notes(self) -> dict[str, Any]:
        """What the finished steps of this run, and this one, have noted.

        Raises:
            StudyError: The record of a step is damaged.
        """
        found: dict[str, Any] = {}
        for path in sorted((self.folder / "steps").glob("*.json")):
            try:
                found |= read_sealed(path, strict=False).get("notes", {})
            except ValueError as error:
                raise StudyError(f"steps/{error}: run {path.stem} again with the same run_dir") from None
        return found | self._notes

    def note(self, **notes: Any) -> None:
        """Note plain values for later notebooks and for `run.json`."""
        self._notes |= notes

    def finish(self, **settings: Any) -> pd.DataFrame:
        """Record what this notebook wrote, and return the list. The last cell of each notebook calls it.

        Args:
            **settings: Plain values to show and record beside it, such as the seed.
        """
        from IPython.display import Markdown, display

        versions = provenance.versions(provenance.DECISIVE)
        if "tensorflow" in sys.modules:
            self.note(onednn=provenance.onednn())
        outputs = [described(self.folder, name, rows) for name, rows in self._written.items()]
        record = {
            "step": self.step,
            "finished": provenance.now(),
            "nonce": os.environ.get(NONCE_VARIABLE, ""),
            "versions": versions,
            "settings": settings,
            "notes": self._notes,
            "outputs": outputs,
        }
        write_sealed(self.folder / "steps" / f"{self.step}.json", record)
        facts = [*(f"{name} {value}" for name, value in settings.items()), *map(" ".join, versions.items())]
        display(Markdown(", ".join(facts)))
        shown = pd.DataFrame(outputs, columns=["path", "rows", "bytes"])
        return shown.assign(rows=shown["rows"].map(lambda n: "" if pd.isna(n) else f"{n:.0f}"))


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
    # for tables shown in the notebook; the list of what it wrote is shown whole
    pd.set_option("display.precision", 3, "display.max_colwidth", 90, "display.max_rows", 200)
    for folder in ("tables", "figures", "steps"):
        (run.folder / folder).mkdir(parents=True, exist_ok=True)
    return run


def examples(cohort: pd.DataFrame, n: int, *, seed: int) -> pd.DataFrame:
    """Draw scans to look at, as many of either label, in random order within the labels, labels taking turns.

    Args:
        cohort: scan_id, metastasis.
        n: Number of scans, at most.
        seed: Seed of the draw.
    """
    drawn = cohort.sample(frac=1, random_state=seed)
    turn = drawn.groupby("metastasis").cumcount()
    return drawn.assign(_turn=turn).sort_values(["_turn", "metastasis"]).head(n).drop(columns="_turn")


def titles(cohort: pd.DataFrame) -> list[str]:
    """Return a title for each scan: its id, its label, and the primary cancer."""
    words = cohort["metastasis"].map({0: "no metastasis", 1: "metastasis"})
    return [f"{name}\n{word}" for name, word in zip(cohort["scan_id"], words, strict=True)]


__all__ = ["Run", "StudyError", "examples", "open_run", "titles"]
