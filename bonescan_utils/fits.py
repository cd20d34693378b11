"""Fits: one arm trained once, as a piece of work that any process with the run folder can do.

A fit is on the study's partitions, or on one fold of a cross-validation. It leaves its scores and its history (and,
on the study's partitions, its model) and a record, written last, so that a cut leaves no fit that looks whole.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from bonescan_utils import provenance, workers
from bonescan_utils.arms import Arm
from bonescan_utils.backup import Backup
from bonescan_utils.feature_store import row_digests
from bonescan_utils.features import features, shard_count
from bonescan_utils.files import read_csv, sha256_file, write_csv
from bonescan_utils.image_store import ImageStore, open_store
from bonescan_utils.models import assemble, save_model
from bonescan_utils.partitions import fold_partitions
from bonescan_utils.profiles import study_arm
from bonescan_utils.seal import read_sealed, write_sealed
from bonescan_utils.transfer import Fitted, fit
from bonescan_utils.weights import WeightsSource, resolve_weights

SCORES = ["scan_id", "patient_id", "arm", "partition", "y_true", "y_score"]
NOT_TRAINING = frozenset(
    f"{name}.py"
    for name in "charts figures flow forest pictures style wording tables evaluation curves groups paired intervals"
    " rates bootstrap thresholds operating_points calibration recalibration decision subgroups failures sample_size"
    " perturbations landmarks robustness robustness_chart predictions saliency saliency_methods attribution"
    " explanation localisation localisation_chart sanity sanity_run sanity_chart randomisation counterfactuals"
    " deletion count_noise burden boxes breakdown breakdown_chart label_randomisation overlays"
    " lesions study crossval workers plan devices outputs room account".split()
)
"""Modules that training does not run: a change in them alone does not make a trained arm stale."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One fit.

    Attributes:
        folder: The run folder.
        arm: The arm by name.
        seed: Seed of the study.
        weights: `imagenet`, `auto` or `random`.
        weights_dir: Folder with the official weights files; '' for none.
        copies: At most this many augmented copies a scan; -1 as the arm says.
        epochs: At most this many epochs; -1 as the arm says.
        folds: Folds of the cross-validation; 0 for the study's partitions.
        fold: The one that is tested on.
        repeat: Number of the repetition: 0 is trained with the study's seed, others with their own.
        key: Hash of all that the fit depends on (from `with_keys`).
    """

    folder: str
    arm: str
    seed: int
    weights: str = "auto"
    weights_dir: str = ""
    copies: int = -1
    epochs: int = -1
    folds: int = 0
    fold: int = 0
    repeat: int = 0
    key: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        if not self.folds:
            return self.arm
        return f"{self.arm}, fold {self.fold + 1} of {self.folds}" + (f", repeat {self.repeat}" if self.repeat else "")

    @property
    def place(self) -> Path:
        """The folder of its files."""
        base = Path(self.folder) / "arms" / self.arm
        return base / f"folds_{self.folds}" / f"{self.fold}_{self.repeat}" if self.folds else base

    @property
    def model(self) -> Path:
        """Its saved model; a fold has none."""
        return Path(self.folder) / "models" / f"{self.arm}.keras"

    @property
    def settings(self) -> Arm:
        """The arm as this study trains it."""
        return study_arm(self.arm, copies=self.copies, epochs=self.epochs)

    @property
    def training_seed(self) -> int:
        """Seed of this very training."""
        return self.seed + 7919 * self.repeat

    def source(self) -> WeightsSource:
        """The weights it starts from; the same in every fold and repetition, so that features are shared.

        Raises:
            WeightsError: Weights that were asked for are not to be had.
        """
        backbone = self.settings.backbone
        return resolve_weights(backbone, weights=self.weights, weights_dir=self.weights_dir or None, seed=self.seed)

    @property
    def backup(self) -> Backup:
        """Where its state is kept while it is trained."""
        return Backup(self.place / "backup", self.key, say=lambda line: print(f"{self.name}: {line}"))  # noqa: T201

    def record(self) -> dict:
        """What was recorded of it; empty if there is no whole record."""
        try:
            return read_sealed(self.place / "record.json")
        except (OSError, ValueError):
            return {}

    @property
    def done(self) -> bool:
        """Whether it is there, every file as it was written, made from what it would be made from now."""
        return self.record().get("key") == self.key != "" and not self.damaged()

    def damaged(self) -> list[str]:
        """Its files that are gone or not what was written, by their paths in the run folder; none of an unfinished."""
        if not (self.place / "record.json").exists():
            return []
        folder, files = Path(self.folder), self.record().get("files")
        if files is None:
            return [(self.place / "record.json").relative_to(folder).as_posix()]
        paths = {name: folder / name for name in files}
        return [name for name, path in paths.items() if not path.is_file() or sha256_file(path) != files[name]]

    def scores(self) -> pd.DataFrame:
        """Its scores: scan_id, patient_id, arm, partition, y_true, y_score."""
        return read_csv(self.place / "predictions.csv")


def with_keys(fits: Sequence[Fit]) -> list[Fit]:
    """Return fits of one run with the hash of all that each depends on.

    Raises:
        WeightsError: Weights that were asked for are not to be had.
    """
    if not fits:
        return []
    folder = Path(fits[0].folder)
    cohort, store = _cohort(folder), open_store(folder / "store")
    table = cohort[["scan_id", "patient_id", "metastasis", "primary_cancer", "partition"]].to_csv(index=False)
    code, versions = provenance.code_hash(without=NOT_TRAINING), provenance.versions(provenance.DECISIVE)
    seen = _Seen(store)

    def key(each: Fit) -> str:
        arm, which = each.settings, (each.seed, each.folds, each.fold, each.repeat)
        trained_on = np.flatnonzero(_partitions(each, cohort) == "train")
        images = [seen.images, seen.copies(trained_on, arm.copies)]
        return provenance.digest([asdict(arm), each.source().identity, table, which, images, code, versions])

    return [replace(each, key=key(each)) for each in fits]


class _Seen:
    """Hashes of what fits see of an image store, so that copies of which a fit sees none do not make it stale."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._copies: dict[int, list[str]] = {}
        self.images = row_digests(store.images)

    def copies(self, rows: np.ndarray, number: int) -> list[list[str]]:
        """The first so many copies of some scans (fewer where the store has fewer)."""
        held = 0 if self._store.copies is None else self._store.copies.shape[1]
        for at in range(min(number, held)):
            if at not in self._copies and self._store.copies is not None:
                self._copies[at] = row_digests(self._store.copies[:, at])
        mine = np.flatnonzero(np.isin(self._store.copy_rows, rows))
        return [[self._copies[at][row] for row in mine] for at in range(min(number, held))]


def complete(fits: Sequence[Fit], *, progress: bool = True) -> list[bool]:
    """Do the fits that are not there yet; return for each whether it was there already.

    Args:
        fits: From `with_keys`.
        progress: Show progress bars.

    Raises:
        FitError: A partition lacks one of the two labels, or a training diverged.
        WorkerError: On a cluster: a task failed; finished ones are kept.
    """
    there = [each.done for each in fits]
    missing = {each.name: each for each, done in zip(fits, there, strict=True) if not done}
    for each in (each for each, done in zip(fits, there, strict=True) if done):
        each.backup.clear()  # where a kill came between the last record and this
    for each in missing.values():
        if each.damaged():
            print(f"{each.name}: trained again, damaged: {', '.join(each.damaged())}")  # noqa: T201
    if missing and workers.scheduler():
        workers.run_all(_compute_shard, _shards(list(missing.values())), label="features", progress=progress)
    workers.run_all(train, missing, label="fits", progress=progress)
    return there


def train(task: Fit) -> None:
    """Do one fit and write its files."""
    arm, store, cohort = task.settings, open_store(Path(task.folder) / "store"), _cohort(Path(task.folder))
    found = features(store, arm, source=task.source(), out_dir=Path(task.folder) / "features")
    labels, partitions = cohort["metastasis"].to_numpy(), _partitions(task, cohort)
    fitted = fit(arm, found, labels, partitions, seed=task.training_seed, progress=not task.folds, backup=task.backup)
    rows = np.flatnonzero(partitions != "train") if task.folds else np.arange(len(cohort))
    scores = cohort[["scan_id", "patient_id"]].assign(arm=arm.name, partition=partitions, y_true=labels)
    scores = scores.iloc[rows].assign(y_score=fitted.predict(found, rows))
    (task.place / "record.json").unlink(missing_ok=True)
    write_csv(task.place / "predictions.csv", scores[SCORES])
    write_csv(task.place / "history.csv", fitted.history.assign(arm=arm.name))
    if not task.folds:
        save_model(assemble(fitted), task.model, fitted)
    write_sealed(task.place / "record.json", _record(fitted, task, found.seconds))
    task.backup.clear()
    keras.backend.clear_session()
    gc.collect()


def _partitions(task: Fit, cohort: pd.DataFrame) -> np.ndarray:
    if not task.folds:
        return cohort["partition"].to_numpy()
    cut = fold_partitions(cohort, folds=task.folds, fold=task.fold, seed=task.seed, repeat=task.repeat)
    return cut.to_numpy()


def _record(fitted: Fitted, task: Fit, seconds: float) -> Mapping[str, object]:
    written = [task.place / "predictions.csv", task.place / "history.csv"]
    written += [] if task.folds else [task.model, task.model.with_suffix(".json")]
    return {
        "key": task.key,
        "files": {path.relative_to(task.folder).as_posix(): sha256_file(path) for path in written},
        "arm": asdict(fitted.arm),
        "weights": fitted.source.to_dict(),
        "best_epoch": fitted.best_epoch,
        "seed": fitted.seed,
        "folds": task.folds,
        "fold": task.fold,
        "repeat": task.repeat,
        "feature_seconds": round(seconds, 1),
    }


def _shards(fits: Sequence[Fit]) -> dict[str, tuple[Fit, int]]:
    """Every shard of the features that some fits need, by name; shared ones once."""
    found: dict[str, tuple[Fit, int]] = {}
    for each in {each.arm: each for each in fits}.values():
        count = shard_count(open_store(Path(each.folder) / "store"), each.settings)
        found |= {f"features of {each.arm}, shard {n + 1} of {count}": (each, n) for n in range(count)}
    return found


def _compute_shard(task: tuple[Fit, int]) -> None:
    each, number = task
    store = open_store(Path(each.folder) / "store")
    features(store, each.settings, source=each.source(), out_dir=Path(each.folder) / "features", only=number,
             progress=False)  # fmt: skip


def _cohort(folder: Path) -> pd.DataFrame:
    return read_csv(folder / "cohort.csv")
