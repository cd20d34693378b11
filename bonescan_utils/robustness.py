"""Robustness: how the AUROC of a trained arm changes when its test scans are perturbed.

Perturbed scans are scored by the saved model. Nothing is fitted here, and no threshold is chosen: labels of the test
partition are read where the AUROC is computed, and nowhere before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonescan_utils import landmarks, perturbations, preprocessing, provenance
from bonescan_utils.bootstrap import N_BOOT
from bonescan_utils.files import read_csv, sha256_file, write_csv
from bonescan_utils.forward import Forward, as_rgb, compile_forward, run_in_batches
from bonescan_utils.groups import auroc_by_group
from bonescan_utils.intervals import Estimate
from bonescan_utils.models import load_in_precision, model_record
from bonescan_utils.paired import holm, paired_tests
from bonescan_utils.perturbations import PERTURBATIONS, UNPERTURBED, Drawn, Perturbation, draw_perturbed
from bonescan_utils.precision import precision_policy
from bonescan_utils.profiles import StudyError
from bonescan_utils.scan import VIEWS
from bonescan_utils.study import Run, examples
from bonescan_utils.workers import in_order

N_SCANS = 60
BATCH = 16
KEPT_EVERY = 4 * BATCH
"""Scores are written whenever so many are new: what is lost with an interrupted run is seconds of work."""

SCORES = ["arm", "scan_id", "patient_id", "partition", "y_true", "perturbation", "level", "y_score", "reason"]
TABLE = [
    "arm", "perturbation", "level", "estimate", "ci_low", "ci_high", "method", "n", "n_positive",
    "difference", "difference_low", "difference_high", "p", "p_holm", "note",
]  # fmt: skip
_STORED = ["key_sha256", "scan_id", "condition", "y_score", "reason"]
_KEY = ["key_sha256", "condition"]


# --------------------------------------------------------------------------------------------- the scores
def robustness_scores(
    run: Run,
    arms: Sequence[str],
    *,
    seed: int,
    n_scans: int = N_SCANS,
    conditions: Sequence[Perturbation] = PERTURBATIONS,
    n_jobs: int = -1,
    progress: bool = True,
) -> pd.DataFrame:
    """Score test scans under every perturbation; what the run folder has already is not computed again.

    Args:
        run: A run with cohort, image store and trained arms.
        arms: Arms by name; each must have a saved model.
        seed: Seed of the choice of scans and of all that is random in a perturbation.
        n_scans: Test scans at most, as many of either label as there are; 0 for none.
        conditions: The perturbations; the first is `UNPERTURBED`.
        n_jobs: Processes that prepare images; -1 for one a core.
        progress: Show a progress bar.

    Returns:
        One row per arm, condition and scan: arm, scan_id, patient_id, partition (`test`), y_true, perturbation, level
        (NaN without levels), y_score (0-1; NaN where the scan cannot be perturbed so), reason (why not).

    Raises:
        StudyError: The cohort has no test scan, or a file of an earlier notebook is missing.
        ModelError: A model is not the file that was saved.
        ScanError: A scan cannot be read any more.
    """
    if not n_scans:
        return pd.DataFrame(columns=SCORES)
    cohort = run.cohort
    test = cohort[cohort["partition"] == "test"]
    if test.empty:
        raise StudyError(f"{run.folder.name}/cohort.csv has no scan of partition test: there is nothing to perturb")
    chosen = examples(test, n_scans, seed=seed)
    parts = [
        _arm_scores(run, arm, chosen, list(conditions), seed=seed, n_jobs=n_jobs, progress=progress) for arm in arms
    ]
    return pd.concat(parts, ignore_index=True)


def _arm_scores(
    run: Run, arm: str, chosen: pd.DataFrame, conditions: list[Perturbation], *, seed: int, n_jobs: int, progress: bool
) -> pd.DataFrame:
    """Score the chosen scans by one arm; complete its file of scores in the run folder."""
    model = run.need(f"models/{arm}.keras")
    record, policy, path = model_record(model), precision_policy(), run.path(f"robustness/{arm}.csv")
    height, width = (int(side) for side in record["input_shape"][:2])
    how: dict[str, Any] = {"layout": str(run.notes["layout"]), "size": (height, width), "seed": seed}
    made_from = {"model": record["sha256"], "policy": policy, "code": _code(), **how}
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in chosen.to_dict("records")]
    keys = [provenance.digest([made_from, row["scan_id"], _files(row, run.data_root)]) for row in rows]
    stored = _stored(path, keys)
    done = set(zip(stored["key_sha256"], stored["condition"], strict=True))
    wanted = [
        (row, key, [c for c in conditions if (key, str(c)) not in done]) for row, key in zip(rows, keys, strict=True)
    ]
    tasks = [task for task in wanted if task[2]]
    if tasks:
        prepare_one = partial(draw_perturbed, root=run.data_root, **how)
        images = in_order(prepare_one, tasks, label=f"robustness {arm}", n_jobs=n_jobs, progress=progress)
        forward = compile_forward(load_in_precision(model, policy))
        for found in _scored(images, forward):
            stored = pd.concat([stored, pd.DataFrame(found, columns=_STORED)], ignore_index=True)
            write_csv(path, stored)
    return _with_labels(arm, chosen, keys, conditions, stored)


def _scored(drawn: Iterable[list[Drawn]], forward: Forward) -> Iterator[list[tuple[str, str, str, float, str]]]:
    """Give the rows to store (`_STORED`) as images come, some batches at a time."""
    waiting: list[Drawn] = []
    for of_scan in drawn:
        waiting += of_scan
        if len(waiting) >= KEPT_EVERY:
            yield _score(waiting, forward)
            waiting = []
    if waiting:
        yield _score(waiting, forward)


def _score(waiting: Sequence[Drawn], forward: Forward) -> list[tuple[str, str, str, float, str]]:
    """Return the rows to store of some images; without an image the score is NaN."""
    images = np.array([each.image for each in waiting if each.image is not None])
    outputs = run_in_batches(forward, lambda at: as_rgb(images[at]), len(images), batch=BATCH)
    scores = iter([float(score) for batch in outputs for score in batch[:, 0]])
    return [
        (each.key, each.scan_id, str(each.condition), np.nan if each.image is None else next(scores), each.reason)
        for each in waiting
    ]


def _stored(path: Path, keys: Sequence[str]) -> pd.DataFrame:
    """Return the scores in the run folder that hold for the present model, code and scans."""
    if not path.exists():
        return pd.DataFrame(columns=_STORED)
    stored = read_csv(path, numbers=("y_score",))
    return stored[stored["key_sha256"].isin(keys)].drop_duplicates(_KEY, ignore_index=True)


def _code() -> str:
    """Return a hash of the code that makes a perturbed image."""
    return provenance.digest([sha256_file(str(room.__file__)) for room in (landmarks, perturbations, preprocessing)])


def _files(row: Mapping[str, Any], root: Path) -> str:
    return provenance.files_state(root / str(row[view]) for view in VIEWS if str(row[view] or ""))


def _with_labels(
    arm: str, chosen: pd.DataFrame, keys: Sequence[str], conditions: Sequence[Perturbation], stored: pd.DataFrame
) -> pd.DataFrame:
    """Put the scores beside what the cohort says of each scan, conditions in their order."""
    scans = chosen[["scan_id", "patient_id", "partition"]].assign(y_true=chosen["metastasis"], key_sha256=keys, arm=arm)
    named = [(str(c), c.name, np.nan if c.level is None else float(c.level)) for c in conditions]
    table = pd.DataFrame(named, columns=["condition", "perturbation", "level"]).merge(scans, how="cross")
    table = table.merge(stored[[*_KEY, "y_score", "reason"]], on=_KEY, how="left", validate="one_to_one")
    return table[SCORES].astype({"y_score": float, "reason": "str"})


# ---------------------------------------------------------------------------------------------- the table
def robustness_table(scores: pd.DataFrame, *, seed: int = 0, n_boot: int = N_BOOT) -> pd.DataFrame:
    """AUROC under every perturbation, and its difference from that of the same scans unperturbed.

    Args:
        scores: From `robustness_scores`.
        seed: Seed of the patient bootstrap (used only where patients have several scans).
        n_boot: Resamples of that bootstrap.

    Returns:
        One row per arm and perturbation: arm, perturbation, level (NaN without levels; unit in
        `perturbations.CURVES`), estimate, ci_low, ci_high, method, n, n_positive, difference (perturbed minus
        unperturbed, same scans), difference_low, difference_high, p (paired DeLong; patient bootstrap where a patient
        has several scans), p_holm (over all perturbations of the arm), note (scans left out and why, or why a number
        is missing). No rows without scores.
    """
    rows: list[dict[str, Any]] = []
    for arm, mine in scores.groupby("arm", sort=False):
        named = {
            _name(str(name), level): {"arm": arm, "perturbation": name, "level": level} | _sizes(part)
            for (name, level), part in mine.groupby(["perturbation", "level"], sort=False, dropna=False)
        }
        usable = mine[mine["y_score"].notna()]
        usable = usable.assign(
            arm=[_name(name, level) for name, level in zip(usable["perturbation"], usable["level"], strict=True)]
        )
        areas = _areas(usable, seed=seed, n_boot=n_boot)
        tests = _differences(usable[usable["arm"].isin(areas)], seed=seed, n_boot=n_boot)
        found = [row | _numbers(areas.get(name), tests.get(name), row["note"]) for name, row in named.items()]
        adjusted = holm(np.array([row.get("p", np.nan) for row in found], float))
        rows += [row | {"p_holm": p} for row, p in zip(found, adjusted, strict=True)]
    return pd.DataFrame(rows, columns=TABLE)


def _name(name: str, level: Any) -> str:
    return str(Perturbation(name, None if pd.isna(level) else level))


def _areas(usable: pd.DataFrame, *, seed: int, n_boot: int) -> dict[str, pd.Series]:
    """AUROC of each condition that has scans of both labels."""
    both = usable.groupby("arm")["y_true"].transform("nunique") == 2
    if not both.any():
        return {}
    everyone = pd.Series("all", index=pd.Index(usable["scan_id"].unique()))
    table = auroc_by_group(usable[both], everyone, against="same", min_scans=1, seed=seed, n_boot=n_boot)
    return {str(row["arm"]): row for _, row in table.iterrows()}


def _differences(usable: pd.DataFrame, *, seed: int, n_boot: int) -> dict[str, pd.Series]:
    """Paired test of each condition against the same scans unperturbed; one call for all that share their scans."""
    of_condition = usable.groupby("arm", sort=False)["scan_id"].agg(frozenset)
    found: dict[str, pd.Series] = {}
    for scans in of_condition.unique():
        names = of_condition.index[of_condition == scans]
        compared = [UNPERTURBED, *(str(name) for name in names if name != UNPERTURBED)]
        rows = usable[usable["arm"].isin(compared) & usable["scan_id"].isin(scans)]
        of_no_account = dict.fromkeys(compared, 0.5)  # thresholds: AUROC has none
        tests = paired_tests(rows, of_no_account, reference=UNPERTURBED, seed=seed, n_boot=n_boot)
        found |= {str(row["arm_b"]): row for _, row in tests[tests["quantity"] == "AUROC"].iterrows()}
    return found


def _numbers(area: pd.Series | None, test: pd.Series | None, note: str) -> dict[str, Any]:
    """The numbers of one row; the tests are of unperturbed minus perturbed, the table of the reverse."""
    if area is None:
        reason = "AUROC undefined: it needs scans of both labels"
        return {"method": "", "note": "; ".join(filter(None, [note, reason]))}
    row: dict[str, Any] = {str(name): area[name] for name in Estimate._fields}
    if test is None:
        return row
    row |= {"difference": -test["difference"], "difference_low": -test["ci_high"], "difference_high": -test["ci_low"]}
    return row | {"p": test["p"], "note": "; ".join(filter(None, [note, str(test["note"])]))}


def _sizes(part: pd.DataFrame) -> dict[str, Any]:
    """Return how many scans of a condition were scored, how many of them are positive, and who was left out."""
    labels = part.loc[part["y_score"].notna(), "y_true"]
    return {"n": len(labels), "n_positive": int(labels.sum()), "note": _left_out(part)}


def _left_out(part: pd.DataFrame) -> str:
    """Return how many scans a condition could not be made of, and the commonest reason."""
    lost = part[part["y_score"].isna()]
    return f"{len(lost)} of {len(part)} scans left out: {lost['reason'].mode().iloc[0]}" if len(lost) else ""
