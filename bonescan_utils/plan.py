"""Plan: what a study of so many scans would take, from unit costs measured on this machine.

Each cost is measured on a few dozen fabricated images: reading and preparing a scan, the frozen part of each backbone,
and a fit. The plan multiplies them. It is an estimate for planning: it knows nothing of a slow network drive, of other
programs on the machine, or of a training that stops early.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from bonescan_utils import provenance
from bonescan_utils.arms import Arm
from bonescan_utils.files import read_json, write_json
from bonescan_utils.profiles import StudyConfig, StudyError, copies_needed, study_arm
from bonescan_utils.screen import quiet_stderr

FEW, MANY = 16, 64  # images: the difference of two runs is free of the time that building a model takes
FIT_EPOCHS = (1, 9)  # building the model takes longer than an epoch of a small head: its noise is spread over eight
HEAD_SCANS = 400
COLUMNS = "stage what units seconds_each hours_here hours_shared memory_GB disk_GB".split()


@dataclass(frozen=True)
class Costs:
    """Unit costs of one machine, in seconds and bytes.

    Attributes:
        prepare: Reading one scan of two views and making its image, per core.
        features: Arm -> the frozen part of its backbone, per image.
        fit: Arm -> fitting, per training image (a scan or a copy; of a fine-tuned arm, for all its epochs).
        stored: Arm -> bytes of features on disk per image, while the run lasts.
        cores: Cores of this machine.
    """

    prepare: float
    features: dict[str, float]
    fit: dict[str, float]
    stored: dict[str, float]
    cores: int


class Images(NamedTuple):
    """Fabricated images in the form of an image store."""

    images: np.ndarray
    copies: np.ndarray | None
    copy_rows: np.ndarray


def first_arms(text: str) -> list[str]:
    """Return arms given as names (`proposed,vgg16`), or as a number: the first so many of the study's arms.

    Raises:
        StudyError: There are not so many.
        ArmError: There is no such arm.
    """
    from bonescan_utils.arms import ARMS, get_arm

    if not text.strip().isdecimal():
        return [get_arm(name.strip()).name for name in text.split(",") if name.strip()]
    number = int(text)
    if not 1 <= number <= len(ARMS):
        raise StudyError(f"--arms {number}: expected 1 to {len(ARMS)}, or names such as proposed,vgg16")
    return list(ARMS)[:number]


def measured_costs(config: StudyConfig, arms: Sequence[str], *, kept: Path, progress: bool = True) -> Costs:
    """Return the unit costs of this machine, measured now (minutes) or kept from an earlier measurement.

    Args:
        config: The settings that matter: size of the images, copies, epochs.
        arms: The arms by name.
        kept: JSON file that measurements are kept in, by machine, versions and settings.
        progress: Show a progress bar.
    """
    found = read_json(kept) if kept.exists() else {}
    machine = provenance.digest([provenance.hardware(), provenance.versions(provenance.DECISIVE)])
    size = [config.image_height, config.image_width]

    def key(what: object) -> str:
        return provenance.digest([machine, size, what])[:20]

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        import tensorflow  # noqa: F401  # what it says of this machine is for `bonescan doctor`

    settings = {name: study_arm(name, copies=config.copies, epochs=config.epochs) for name in arms}
    missing = [name for name, arm in settings.items() if key(asdict(arm)) not in found]
    if key("prepare") not in found:
        found[key("prepare")] = _prepare_cost((size[0], size[1]))
    for name in tqdm(missing, "measuring arms", disable=not progress or not missing, unit="arm"):
        found[key(asdict(settings[name]))] = _arm_costs(settings[name], (size[0], size[1]))
        write_json(kept, found)
    of = {name: found[key(asdict(arm))] for name, arm in settings.items()}
    features, fit, stored = ({name: float(values[at]) for name, values in of.items()} for at in range(3))
    return Costs(float(found[key("prepare")]), features, fit, stored, int(provenance.hardware()["cores"]))


def plan_table(costs: Costs, config: StudyConfig, arms: Sequence[str], *, n: int, workers: int = 1) -> pd.DataFrame:
    """Return what a study of `n` scans takes, stage by stage, and in sum.

    Args:
        costs: From `measured_costs`.
        config: Settings; its folds and seeds count.
        arms: The arms by name.
        n: Number of scans.
        workers: Machines like this one that share the work.

    Returns:
        `COLUMNS`: `seconds_each` per unit on this whole machine; `hours_here`; `hours_shared` by the workers, where
        a stage takes no less than its longest piece; `memory_GB` at its peak, `disk_GB` while it lasts. The last row
        is the sum (of memory the largest).
    """
    copies = copies_needed(arms, copies=config.copies)
    share = 1.0 if config.folds else 0.7
    pixels = config.image_height * config.image_width
    images = n * (1 + share * copies)
    rows = [_row("prepare", "scans and copies", images, costs.prepare / costs.cores, 0.3, images * pixels, workers)]
    for name in arms:
        arm = study_arm(name, copies=config.copies, epochs=config.epochs)
        mine = n * (1 + share * arm.copies)
        disk = mine * costs.stored[name]
        rows.append(_row("features", name, mine, costs.features[name], 1.5, disk, workers))
        rows.append(_fit_row(costs, config, arm, n, workers))
    table = pd.DataFrame(rows, columns=COLUMNS)
    total = {"stage": "all", "what": f"{n:,} scans", "units": n, "memory_GB": table["memory_GB"].max()}
    total |= {name: table[name].sum() for name in ("hours_here", "hours_shared", "disk_GB")}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)[COLUMNS]


def _row(
    stage: str, what: str, units: float, seconds: float, memory: float, disk: float, workers: int
) -> dict[str, object]:
    hours = units * seconds / 3600
    return dict(zip(COLUMNS, (stage, what, units, seconds, hours, hours / workers, memory, disk / 1e9), strict=True))


def _fit_row(costs: Costs, config: StudyConfig, arm: Arm, n: int, workers: int) -> dict[str, object]:
    """The fits of one arm: on the study's partitions, and on each fold with each seed."""
    fits = 1 + config.folds * config.seeds
    images = 0.7 * n * (1 + (arm.copies if arm.frozen else 0))
    hours = costs.fit[arm.name] * images / 3600
    rounds = -(-fits // workers)
    memory = 1.5 + (images * costs.stored[arm.name] * 6 / 1e9 if arm.frozen and not arm.via else 0.0)
    values = ("fits", arm.name, fits, hours * 3600, hours * fits, hours * rounds, memory, 0.12)
    return dict(zip(COLUMNS, values, strict=True))


# ------------------------------------------------------------------------------------------- measuring
def _prepare_cost(size: tuple[int, int]) -> float:
    """Seconds to read one phantom scan from DICOM and make its image, on one core."""
    from bonescan_utils.loading import load_scan
    from bonescan_utils.manifest import read_manifest
    from bonescan_utils.phantom import write_cohort
    from bonescan_utils.preprocessing import prepare

    with tempfile.TemporaryDirectory() as folder:
        manifest = read_manifest(write_cohort(Path(folder), n=4, seed=1, n_jobs=1, progress=False))
        rows = [{str(k): v for k, v in row.items()} for row in manifest.to_dict("records")] * 5
        began = time.perf_counter()
        for row in rows:
            prepare(load_scan(row, Path(folder)), layout="side_by_side", size=size)
        return (time.perf_counter() - began) / len(rows)


def _arm_costs(arm: Arm, size: tuple[int, int]) -> list[float]:
    """Seconds of features per image, seconds of the fit per training image, bytes of features per image."""
    from bonescan_utils.features import features
    from bonescan_utils.weights import resolve_weights

    source = resolve_weights(arm.backbone, weights="random")
    single = replace(arm, copies=0)
    rng = np.random.default_rng(0)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (FEW, MANY):
            images = rng.integers(0, 256, (count, *size), np.uint8)
            store = Images(images, None, np.empty(0, np.int64))
            found = features(store, single, source=source, out_dir=folder, progress=False)
            seconds.append(found.seconds)
        written = sum(path.stat().st_size for path in Path(folder).glob("*.npy"))
        fit = (
            _gradient_cost(single, found) if not arm.frozen else _head_cost(single, found.gather(np.arange(2)).shape[1])
        )
    return [max(1e-6, (seconds[1] - seconds[0]) / (MANY - FEW)), fit, written / (FEW + MANY)]


def _gradient_cost(arm: Arm, found: object) -> float:
    """Seconds per scan for all epochs of a fine-tuned arm."""
    from bonescan_utils.transfer import fit

    labels = np.arange(MANY) % 2
    partitions = np.where(np.arange(MANY) < MANY // 4, "tuning", "train")
    seconds = []
    for epochs in FIT_EPOCHS:
        began = time.perf_counter()
        fit(replace(arm, epochs=epochs, patience=0), found, labels, partitions, progress=False)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - began)
    each = (seconds[1] - seconds[0]) / (FIT_EPOCHS[1] - FIT_EPOCHS[0])
    return max(1e-6, each * arm.epochs / (MANY * 3 / 4))


def _head_cost(arm: Arm, width: int) -> float:
    """Seconds per training image of a logistic head on `width` features that tell the label a little."""
    from bonescan_utils.feature_store import Block, FeatureStore, Part
    from bonescan_utils.transfer import fit
    from bonescan_utils.weights import resolve_weights

    rng = np.random.default_rng(0)
    labels = np.arange(HEAD_SCANS) % 2
    values = rng.normal(size=(HEAD_SCANS, width)).astype(np.float32) + 0.1 * labels[:, None].astype(np.float32)
    store = FeatureStore(arm, resolve_weights(arm.backbone, weights="random"), (32, 32, 3), Block((Part(values),)))
    partitions = np.where(np.arange(HEAD_SCANS) < HEAD_SCANS // 8, "tuning", "train")
    began = time.perf_counter()
    fit(arm, store, labels, partitions, progress=False)
    return (time.perf_counter() - began) / (HEAD_SCANS * 7 / 8)
