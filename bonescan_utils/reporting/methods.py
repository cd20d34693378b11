"""Methods: the methods section of a paper, written from what the run has on record.

Each part has an anchor of its own, so that a checklist can point to it. What the run cannot know (who was eligible,
who read the scans, which committee approved) is not made up: the checklists leave it to the author.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bonescan_utils.arms import PLACES_SHARE, Arm
from bonescan_utils.backbones import BACKBONES
from bonescan_utils.preprocessing import WINDOW_FACTOR, WINDOW_PERCENTILE
from bonescan_utils.reporting.readable import methods_sentence
from bonescan_utils.reporting.records import RunRecord
from bonescan_utils.tables import partition_sizes
from bonescan_utils.wording import arm_text, weights_sentence

LAYOUT_TEXT = {
    "side_by_side": "both views side by side (anterior left), aspect kept",
    "anterior": "the anterior view alone, aspect kept",
    "posterior": "the posterior view alone, aspect kept",
    "squash224": "both views side by side, squashed to the size of the image without regard to aspect",
}
POOLING_TEXT = {"avg": "average", "max": "maximum", "avg_max": "average and maximum", "lse": "log-mean-exp"}
SOFTWARE = ("python", "tensorflow", "keras", "numpy", "scipy", "scikit-learn", "statsmodels", "pydicom")
"""Packages named in the text; all of them are in the table of versions."""


@dataclass(frozen=True)
class Part:
    """One part of the methods: its `anchor`, `title`, and `text`."""

    anchor: str
    title: str
    text: str


def methods(run: RunRecord) -> list[Part]:
    """Returns the parts of the methods section, in the order of a paper."""
    return [Part(anchor, title, " ".join(write(run))) for anchor, (title, write) in ANCHORS.items()]


def _design(run: RunRecord) -> Iterable[str]:
    yield "Tc-99m whole-body bone scans are classified as with or without bone metastasis: one score (0-1) per scan."
    others = [arm for arm in map(run.settings_of, run.weights) if arm is not None and arm.name != run.arm]
    kinds = [word for word, frozen in (("frozen", True), ("fine-tuned", False)) if frozen in {a.frozen for a in others}]
    compared = f", compared with {' and '.join(kinds)} convolutional backbones on the same scans" if kinds else ""
    yield f"The study's arm is {arm_text(run.arm)}{compared}."
    yield (
        "The design follows Yim et al. 2022 (J Korea Multimedia Soc 25(8):1224-1232) as far as its abstract"
        " tells; what is an assumption is listed under Limitations."
    )
    yield "One seed decides every draw."


def _data(run: RunRecord) -> Iterable[str]:
    manifest = run.record["manifest"]
    yield (
        f"The manifest names {manifest['scans']:,} scans of {manifest['patients']:,} patients,"
        f" {manifest['with_metastasis']:,} of the scans with metastasis."
    )
    wanted = int(run.config.get("n_scans", 0))
    if 0 < wanted < int(manifest["scans"]):
        yield f"Of these, {wanted:,} were drawn at random, whole patients at a time, in the proportions of the whole."
    yield (
        "Every file was opened and checked (kind of examination, views, counts, checksum); a scan that cannot be"
        " used was set aside with the reason, and the flow of scans adds up."
    )
    if run.synthetic:
        yield (
            "All scans are phantoms: each is one invented patient seen by two detectors, made by a physics model"
            " (attenuation, depth-dependent resolution, scatter, Poisson noise), with metastases and benign mimics at"
            " rates that are priors of the package. No patient took part."
        )


def _reference(run: RunRecord) -> Iterable[str]:
    if run.synthetic:
        yield "The reference standard is the phantom's own truth: whether metastases were placed in it, and where."
        return
    sources = [] if run.cohort is None else sorted(set(run.cohort["label_source"].astype(str)) - {""})
    yield f"One reference label per scan (metastasis yes or no), from: {', '.join(sources) or 'not stated'}."


def _partitions(run: RunRecord) -> Iterable[str]:
    yield (
        "Scans were divided by patient into train, tuning and test, so that no patient is in two; where the manifest"
        " brings no partitions of its own, they are drawn 70 / 10 / 20 %, stratified by label and primary cancer"
        f" (seed {run.config['seed']})."
    )
    if run.cohort is not None:
        sizes = partition_sizes(run.cohort).itertuples()
        yield "; ".join(f"{row.group}: {row.n:,} scans, {row.n_positive:,} with metastasis" for row in sizes) + "."
    folds, seeds = int(run.config.get("folds", 0)), int(run.config.get("seeds", 1))
    if folds:
        yield (
            f"Beside it, {folds}-fold cross-validation, {seeds} repetition(s) of each fit: each scan is scored by"
            " a model that saw it neither for training nor for stopping nor for its threshold."
        )


def _preprocessing(run: RunRecord) -> Iterable[str]:
    height, width = run.config["image_height"], run.config["image_width"]
    yield f"One {height} x {width} image per scan: {LAYOUT_TEXT[run.config['layout']]}, cropped to the body."
    yield (
        f"Counts were scaled per scan to 0-255; white is {WINDOW_FACTOR:g} times the {WINDOW_PERCENTILE:g}th"
        " percentile of the body's pixels. Nothing was fitted to the cohort. The image was repeated in three"
        " channels and passed through the backbone's own preprocessing."
    )
    yield "No arm is given anything but the image: no age, sex, history or report."
    copies = int(run.notes.get("copies", 0))
    yield (
        f"Augmented copies per training scan: {copies}, each with one rotation, shift, scale and left-right"
        " flip for both views alike, and binomial thinning of the counts."
    )


def _arms(run: RunRecord) -> Iterable[str]:
    for name in run.weights:
        arm = run.settings_of(name)
        if arm is not None:
            yield f"{arm_text(name)}: {_structure(arm)}."
    yield weights_sentence(list(run.weights), run.weights)


def _structure(arm: Arm) -> str:
    """Returns the structure of an arm in words."""
    title = BACKBONES[arm.backbone].title
    if arm.taps:
        layers = ", ".join([*arm.taps, str(arm.output)])
        return f"frozen {title}, the mean activations of {layers} joined, logistic head"
    if arm.frozen:
        return f"frozen {title}, global {POOLING_TEXT[arm.pooling]} pooling, logistic head"
    if arm.local_units:
        return (
            f"{title} frozen up to {arm.cut}, a trained head that judges each place by itself ({arm.local_units} 3 x 3"
            f" convolutions, ReLU, channel dropout {arm.dropout:g}; one value of evidence a place), whose score is the"
            f" mean of the highest {PLACES_SHARE:.0%} of the places, one sigmoid output"
        )
    return (
        f"{title} trained from {arm.cut} on, global {POOLING_TEXT[arm.pooling]} pooling, {arm.dense_units} hidden"
        f" units (ReLU), dropout {arm.dropout:g}, one sigmoid output"
    )


def _training(run: RunRecord) -> Iterable[str]:
    arms = [arm for arm in map(run.settings_of, run.weights) if arm is not None]
    if any(arm.frozen for arm in arms):
        yield (
            "Logistic heads were fitted to the training scans with an L2 penalty; its strength is the one with"
            " the lowest loss on the tuning scans."
        )
    trained: dict[str, list[str]] = {}  # arms that are trained alike are told together
    for arm in arms:
        if not arm.frozen:
            trained.setdefault(_recipe(arm), []).append(arm_text(arm.name))
    for recipe, names in trained.items():
        yield f"{', '.join(names)}: {recipe}."
    yield (
        "Model, epoch and penalty were chosen on tuning scans; test scans took no part. No ensembles, and no class was"
        " weighted or resampled."
    )


def _recipe(arm: Arm) -> str:
    """Returns in words how an arm is trained."""
    return (
        f"AdamW, step {arm.learning_rate:g} (head {arm.head_learning_rate or arm.learning_rate:g}), {arm.schedule}"
        f" schedule, weight decay {arm.weight_decay:g}, batches of {arm.batch_size}, at most {arm.epochs} epochs; the"
        " epoch with the best tuning AUROC was kept"
    )


def _threshold(run: RunRecord) -> Iterable[str]:
    yield (
        "Each arm's threshold is the one with the largest sensitivity + specificity (Youden) on the tuning"
        " scans, fixed before the test scans were scored. A scan with a score at or above it is called positive."
        " Every scan gets a call: there are no indeterminate results."
    )


def _statistics(run: RunRecord) -> Iterable[str]:
    yield "Test scans only."
    if run.has("metrics"):
        yield methods_sentence(run.table("metrics"))
    resamples = f"{int(run.config['n_boot']):,} resamples, seed {run.config['seed']}"
    yield f"The bootstrap is by patient, stratified by label ({resamples})."
    if run.has("paired_tests"):
        yield (
            f"Arms were compared on the same scans with the study's arm. {methods_sentence(run.table('paired_tests'))}"
            " P values were adjusted by Holm's method."
        )
    yield (
        "A group with too few scans of either label gets no estimate. Arms that did not start from pretrained weights"
        " are shown and not ranked."
    )
    if run.record["manifest"]["patients"] < run.record["manifest"]["scans"]:
        yield "Some patients have several scans: all intervals are then by resampling patients."


def _saliency(run: RunRecord) -> Iterable[str]:
    yield f"Grad-CAM of {arm_text(run.arm)} on test scans, carried back to the counts of each view."
    if run.synthetic:
        yield (
            "For positive phantoms, the share of the map inside lesions is set beside the share of the area that they"
            " cover, which is what a map without any idea would reach."
        )


def _software(run: RunRecord) -> Iterable[str]:
    environment = run.record.get("environment", {})
    versions, hardware = environment.get("versions", {}), environment.get("hardware", {})
    named = ", ".join(f"{name} {versions[name]}" for name in SOFTWARE if name in versions)
    yield f"bonescan-utils with {named or 'versions not on record'}."
    if hardware:
        memory = int(hardware.get("memory_bytes", 0)) / 2**30
        yield f"{hardware.get('processor', '?')}, {hardware.get('cores', '?')} cores, {memory:.0f} GiB of memory."
    revision = environment.get("git", {}).get("revision", "")
    if revision:
        changed = ", with local changes" if environment["git"].get("modified") else ""
        yield f"Revision {revision[:12]}{changed}. A rerun on the same machine gives the same predictions."


ANCHORS: dict[str, tuple[str, Callable[[RunRecord], Iterable[str]]]] = {
    "methods-design": ("Design", _design),
    "methods-data": ("Scans", _data),
    "methods-reference": ("Reference standard", _reference),
    "methods-partitions": ("Partitions", _partitions),
    "methods-preprocessing": ("Preprocessing", _preprocessing),
    "methods-model": ("Arms", _arms),
    "methods-training": ("Training and choice of model", _training),
    "methods-threshold": ("Operating point", _threshold),
    "methods-statistics": ("Statistics", _statistics),
    "methods-saliency": ("Explanations", _saliency),
    "methods-software": ("Software and hardware", _software),
}
"""Anchor -> title of a part, and what writes its sentences, in the order of a paper."""
