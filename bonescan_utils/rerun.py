"""Rerun: a run repeated from its record in a folder of its own, and compared with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bonescan_utils import provenance
from bonescan_utils.files import read_csv, sha256_file
from bonescan_utils.profiles import StudyConfig, StudyError, make_config
from bonescan_utils.run_record import RECORD, read_record
from bonescan_utils.whereabouts import PATHS, read_whereabouts

if TYPE_CHECKING:
    import pandas as pd

    from bonescan_utils.runner import Project
    from bonescan_utils.screen import Screen

PREDICTIONS = "predictions.csv"
KEYS = ("scan_id", "arm", "partition")
"""What tells a row of `predictions.csv` from the others."""
DRAWN = ("figures/", "tables/")


@dataclass(frozen=True)
class Comparison:
    """A run and its repetition.

    Attributes:
        identical: Whether `predictions.csv` has the same bytes.
        matched, unmatched: Rows of the predictions that both have, and that only one has.
        largest: Largest difference of a score, 0-1; NaN without a matched row.
        where: Arm and scan with that difference; '' if it is 0.
        same, drawn: Figures and tables with the same bytes, and how many the first run has.
    """

    identical: bool
    matched: int
    unmatched: int
    largest: float
    where: str
    same: int
    drawn: int

    def __str__(self) -> str:
        drawn = f"{self.same:,} of {self.drawn:,} figures and tables have the same bytes"
        if self.identical:
            return f"{PREDICTIONS}: identical; {drawn}"
        rows = f"{self.matched:,} rows compared" + (f", {self.unmatched:,} in one only" if self.unmatched else "")
        where = f" ({self.where})" if self.where else ""
        return f"{PREDICTIONS}: not identical; {rows}; largest difference of a score {self.largest:.3g}{where}; {drawn}"


def rerun_study(
    folder: Path, project: Project, *, screen: Screen, name: str = "", moved: Mapping[str, Path] | None = None
) -> Comparison:
    """Repeats a run from its record, and compares the two.

    Args:
        folder: The run to repeat.
        project: Where the notebooks and the runs are.
        screen: Where it is said what differs now, and what is done.
        name: Name of the new run; that of the first with `_rerun` if ''. A repetition that was cut short is resumed.
        moved: Where the files of `PATHS` are now that are not where they were, relative to the run's folder.

    Raises:
        StudyError: The run has no usable record, the new folder is taken, or what `run_study` raises.
    """
    from bonescan_utils.runner import run_study

    record = read_record(folder)
    paths = read_whereabouts(folder) | dict(moved or {})
    config = rerun_config(record, name=name or f"{record['run']}_rerun", paths=paths)
    parent = {"run": str(record["run"]), "record_sha256": sha256_file(folder / RECORD)}
    require_free(project.reports / config.run, parent)
    told = list(differences(record, provenance.environment(project.notebooks), sha256_file(config.manifest)))
    screen.line(f"Repeats run {record['run']} as {config.run}, seed {config.seed}")
    for line in told or ["nothing that is on record differs now"]:
        screen.line(f"  {line}")
    again = run_study(config, project, screen=screen, parent=parent | {"differs": told})
    return compare_runs(folder, again)


def rerun_config(record: Mapping[str, Any], *, name: str, paths: Mapping[str, Path]) -> StudyConfig:
    """Returns the settings of a run on record, under another name.

    Args:
        record: The record of a run.
        name: The other name.
        paths: Where the files and folders of `PATHS` are that the run used.

    Raises:
        StudyError: One of them is not there, or not known here, or a setting is not one of this version.
    """
    settings = {key: value for key, value in record["config"].items() if key != "profile"} | {"run": name}
    for path in (path for path in PATHS if settings.get(path)):
        if path not in paths or not paths[path].exists():
            why = "is not where it was" if path in paths else "is at a place that is not known here"
            option = f"--{path.replace('_', '-')}"
            what = f"{settings[path]}: the {path} of run {record['run']}"
            raise StudyError(f"{what} {why}; say where it is with {option}")
        settings[path] = str(paths[path])
    return make_config(str(record["config"]["profile"]), settings)


def require_free(folder: Path, parent: Mapping[str, Any]) -> None:
    """Checks that a folder is new, or that of the same repetition, cut short.

    Raises:
        StudyError: It holds something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return
    before = (read_record(folder).get("parent") or {}) if (folder / RECORD).is_file() else {}
    if before.get("record_sha256") != parent["record_sha256"]:
        raise StudyError(f"{folder.name}: there is such a folder, and it does not repeat {parent['run']}; choose --run")


def differences(record: Mapping[str, Any], now: Mapping[str, Any], manifest_sha256: str) -> Iterator[str]:
    """Gives a line for each thing on record that is another now: manifest, code, versions, machine.

    Args:
        record: The record of a run.
        now: From `provenance.environment`.
        manifest_sha256: Of the manifest as it is now.
    """
    was = record["environment"]
    if record["manifest"]["sha256"] != manifest_sha256:
        yield f"manifest: sha256 was {record['manifest']['sha256'][:12]}, is {manifest_sha256[:12]}"
    if was["code_sha256"] != now["code_sha256"]:
        yield f"code: sha256 was {was['code_sha256'][:12]}, is {now['code_sha256'][:12]}"
    if was["git"] != now["git"]:
        yield f"git revision: was {_revision(was['git'])}, is {_revision(now['git'])}"
    for part in ("versions", "hardware", "flags"):
        yield from _changes(part, was.get(part, {}), now.get(part, {}))
    yield from _changes("onednn", {"setting": was["onednn"]["setting"]}, {"setting": now["onednn"]["setting"]})


def _revision(git: Mapping[str, Any]) -> str:
    if not git:
        return "not known"
    return f"{git['revision'][:12]}{' with changes' if git['modified'] else ''}"


def _changes(part: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*was, *now}):
        if was.get(key) != now.get(key):
            yield f"{part}, {key}: was {was.get(key) or 'none'}, is {now.get(key) or 'none'}"


# ------------------------------------------------------------------------------------------ comparison
def compare_runs(first: Path, second: Path) -> Comparison:
    """Compares the predictions, figures and tables of two runs.

    Raises:
        StudyError: A run has no record.
    """
    files, others = (read_record(folder).get("files", {}) for folder in (first, second))
    drawn = [name for name in files if name.startswith(DRAWN)]
    same = sum(files[name]["sha256"] == others.get(name, {}).get("sha256") for name in drawn)
    paths = (first / PREDICTIONS, second / PREDICTIONS)
    for path in paths:
        if not path.is_file():
            raise StudyError(f"run {path.parent.name} has no {PREDICTIONS} to compare")
    if sha256_file(paths[0]) == sha256_file(paths[1]):
        rows = len(read_csv(paths[0]))
        return Comparison(True, rows, 0, 0.0, "", same, len(drawn))
    return _compared(read_csv(paths[0]), read_csv(paths[1]), same, len(drawn))


def _compared(first: pd.DataFrame, second: pd.DataFrame, same: int, drawn: int) -> Comparison:
    """Compares two tables of predictions row by row."""
    keys = list(KEYS)
    both = first.merge(second, on=keys, how="outer", suffixes=("", "_again"), indicator=True)
    matched = both[both["_merge"] == "both"]
    apart = (matched["y_score"] - matched["y_score_again"]).abs()
    largest = float(apart.max()) if len(apart) else float("nan")
    where = ""
    if largest > 0:
        row = matched.iloc[int(apart.argmax())]
        where = f"arm {row['arm']}, scan {row['scan_id']}"
    return Comparison(False, len(matched), len(both) - len(matched), largest, where, same, drawn)
