"""Profiles: the settings of a study, where they come from, and what is wrong with them.

A setting has one name everywhere: here, as `-p name=value` on the command line, and in the `parameters` cell
of each notebook that uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bonescan_utils.arms import ARMS, Arm, get_arm, protocol
from bonescan_utils.backbones import BACKBONES
from bonescan_utils.saliency_methods import SALIENCY_METHODS
from bonescan_utils.whereabouts import PATHS, relative

SIX_ARMS = ["proposed", *BACKBONES]
"""The arms of the paper's comparison: the proposed one and five frozen backbones."""
EQUAL_ARMS = [name for name in ARMS if protocol(name) == "finetuned"]
"""Every backbone fine-tuned by one protocol."""


class StudyError(Exception):
    """A study that cannot begin or go on as asked; the text says what to do."""


def _listed(value: Any) -> Any:
    """Take `a,b` from the command line for a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _known_arm(name: str) -> str:
    """Raise a ValueError for an arm that is not in the table."""
    return get_arm(name).name


def _no_single_fold(folds: int) -> int:
    """Raise a ValueError for one fold, which leaves nothing to train on."""
    if folds == 1:
        raise ValueError("expected 0 (none) or 2 and more")
    return folds


def _known_rules(rules: list[str]) -> list[str]:
    """Raise a ValueError for a rule that is unknown."""
    if rules:
        from bonescan_utils.cohort_rules import parse_rules

        parse_rules(rules)
    return rules


def _known_sampling(text: str) -> str:
    """Raise a ValueError for a sampling that is none."""
    if text != "none":
        from bonescan_utils.sampling import Sample

        Sample.parse(text, seed=0)
    return text


def _known_method(name: str) -> str:
    """Raise a ValueError for a saliency method that there is not."""
    if name not in SALIENCY_METHODS:
        raise ValueError(f"saliency method {name!r} is unknown; expected one of {', '.join(SALIENCY_METHODS)}")
    return name


MethodName = Annotated[str, AfterValidator(_known_method)]
ArmName = Annotated[str, AfterValidator(_known_arm)]


class StudyConfig(BaseModel):
    """All settings of one run. The names are those of the notebooks' parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    profile: str = "study"
    run: str = Field("study", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="name of the run's folder")
    manifest: Path = Field(Path("data_manifest.csv"), description="CSV with one row per scan")
    seed: int = Field(2022, ge=0, lt=2**32, description="one seed for partitions, copies, training, bootstrap")
    n_scans: int = Field(0, ge=0, description="use this many scans, whole patients; 0 for all")
    rules: Annotated[list[str], BeforeValidator(_listed), AfterValidator(_known_rules)] = Field(
        [], description="rules that a scan must meet, in their order, such as adult:18"
    )
    sampling: Annotated[str, AfterValidator(_known_sampling)] = Field(
        "none", description="none, random:500 or matched:500 scans of each label"
    )
    reader: str = Field("", pattern=r"^[A-Za-z0-9_-]{0,32}$", description="code name of who reads scans; '' for nobody")
    n_review: int = Field(100, ge=1, le=100_000, description="scans drawn for image review")
    layout: Literal["side_by_side", "anterior", "posterior", "squash224"] = Field(
        "side_by_side", description="how the two views become one image"
    )
    image_height: int = Field(320, ge=32, le=2048, description="rows of the image, in pixels")
    image_width: int = Field(160, ge=32, le=2048, description="columns of the image, in pixels")
    copies: int = Field(-1, ge=-1, le=50, description="augmented copies a training scan; -1 as the arms say")
    epochs: int = Field(-1, ge=-1, le=1000, description="most epochs of training; -1 as the arm says")
    arm: ArmName = Field("proposed", description="the arm that notebooks 03 and 05 are about")
    arms: Annotated[list[ArmName], BeforeValidator(_listed)] = Field(SIX_ARMS, description="arms to compare")
    weights: Literal["imagenet", "auto", "random"] = Field("auto", description="what the backbones start from")
    weights_dir: str = Field("", description="folder with the official weights files")
    folds: Annotated[int, AfterValidator(_no_single_fold)] = Field(
        0, ge=0, le=50, description="folds of a cross-validation beside the held-out test scans; 0 for none"
    )
    seeds: int = Field(1, ge=1, le=50, description="repetitions of each fit of the cross-validation")
    keep_features: bool = Field(False, description="keep activations at the cut, which are large, after the run")
    scheduler: str = Field("", description="address of a Dask scheduler; '' to work on this machine only")
    n_boot: int = Field(2000, ge=100, le=100_000, description="bootstrap samples for intervals")
    n_examples: int = Field(3, ge=1, le=12, description="scans a row of the Grad-CAM figures")
    n_robustness: int = Field(60, ge=0, description="test scans of the robustness check; 0 for none")
    methods: Annotated[list[MethodName], BeforeValidator(_listed)] = Field(
        ["focused_gradcam", "gradcam", "layercam"], description="saliency methods to score against lesion truth"
    )
    n_sanity: int = Field(
        20, ge=0, le=1000, description="test phantoms for each of the sanity checks of saliency maps; 0 for none"
    )
    compare_with: str = Field(
        "vgg16", description="arm whose saliency maps are compared with those of arm; '' for none"
    )
    shuffled_labels: bool = Field(False, description="train the arm once more on shuffled labels and check its maps")
    boxes: str = Field("", description="CSV or folder of Pascal VOC XML with lesions boxed by readers; '' for none")
    n_jobs: int = Field(-1, description="processes for reading scans; -1 for one a core")


PROFILES: dict[str, dict[str, Any]] = {
    "quick": {
        "n_scans": 200,
        "image_height": 192,
        "image_width": 96,
        "copies": 1,
        "epochs": 4,
        "n_boot": 200,
        "n_robustness": 20,
        "n_sanity": 4,
    },
    "study": {},
    "full": {"arms": [*SIX_ARMS, *EQUAL_ARMS]},
}
"""What each profile sets; all else is the default of StudyConfig."""

NEVER_STALE = frozenset({"run_dir", "manifest", "n_jobs", "weights_dir", "scheduler", "reader"})
"""Parameters of which a new value does not by itself make a result stale (what they point to may)."""


def make_config(profile: str, settings: Mapping[str, Any] | None = None) -> StudyConfig:
    """Return the settings of a profile, with some of them set otherwise.

    Args:
        profile: A key of PROFILES.
        settings: Values by name; text is turned into the type of the setting.

    Raises:
        StudyError: An unknown profile or name, or values that cannot be; all of them in one text.
    """
    if profile not in PROFILES:
        raise StudyError(f"profile {profile!r} is unknown; expected one of {', '.join(PROFILES)}")
    values = {"profile": profile, "run": profile, **PROFILES[profile], **(settings or {})}
    unknown = sorted(set(values) - set(StudyConfig.model_fields))
    if unknown:
        raise StudyError(f"unknown parameter: {', '.join(unknown)}; known: {', '.join(parameters())}")
    try:
        return StudyConfig(**values)
    except ValidationError as error:
        raise StudyError("\n".join(_explain(problem) for problem in error.errors())) from None


def study_arm(name: str, *, copies: int = -1, epochs: int = -1) -> Arm:
    """Return an arm as this study trains it: with at most so many copies and epochs.

    Args:
        name: The arm.
        copies: Most augmented copies a scan; -1 as the arm says.
        epochs: Most epochs; -1 as the arm says. A frozen arm has none.
    """
    arm = get_arm(name)
    limits = {"copies": copies, "epochs": epochs}
    lowered = {key: min(limit, getattr(arm, key)) for key, limit in limits.items() if limit >= 0}
    return replace(arm, **lowered)


def copies_needed(names: Sequence[str], *, copies: int = -1) -> int:
    """Return how many augmented copies of a training scan the image store must hold for these arms."""
    return max(study_arm(name, copies=copies).copies for name in names)


def parse_settings(assignments: Sequence[str]) -> dict[str, str]:
    """Return `name=value` texts as a mapping.

    Raises:
        StudyError: A text without `=`, or a name given twice.
    """
    settings: dict[str, str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise StudyError(f"-p {text!r}: expected name=value, for example -p seed=7")
        if name in settings:
            raise StudyError(f"-p {name} is given twice")
        settings[name] = value.strip()
    return settings


def parameters() -> list[str]:
    """Return the names that `-p` takes."""
    return [name for name in StudyConfig.model_fields if name not in ("profile",)]


def notebook_parameters(notebook: Path, config: StudyConfig, *, run_dir: Path) -> dict[str, Any]:
    """Return what is passed to a notebook: the settings that its `parameters` cell names.

    papermill only logs a name that a notebook does not have, and passes a value of any type; so both are
    checked here, before a kernel starts. Paths are given relative to the notebook's folder, so that no folder
    of this machine shows in an executed copy.

    Args:
        notebook: The clean notebook.
        config: The settings.
        run_dir: The run folder.

    Raises:
        StudyError: The notebook has no such cell, or a parameter without a type or of another type than the
            setting.
    """
    import papermill

    here = notebook.parent
    values = config.model_dump() | {"run_dir": relative(run_dir, here)}
    values |= {name: relative(Path(values[name]), here) for name in PATHS if str(values[name])}
    found = papermill.inspect_notebook(str(notebook))
    if "run_dir" not in found:
        raise StudyError(f"{notebook.name}: no cell tagged 'parameters' that sets run_dir")
    wrong = [
        _mismatch(name, values[name], about["inferred_type_name"]) for name, about in found.items() if name in values
    ]
    if any(wrong):
        raise StudyError("\n".join(f"{notebook.name}, parameters cell: {line}" for line in wrong if line))
    return {name: values[name] for name in found if name in values}


def _mismatch(name: str, value: Any, annotation: str) -> str:
    """Return what is wrong with the type of a notebook's parameter; '' if nothing."""
    expected = annotation.split("[")[0].strip()
    if expected == "None":
        return f"{name} has no type; write it as {name}: {type(value).__name__} = ..."
    actual = type(value).__name__
    return (
        ""
        if expected == actual or (expected, actual) == ("float", "int")
        else (f"{name} is of type {annotation}, the setting {value!r} of type {actual}")
    )


def _explain(problem: Any) -> str:
    """Return one line for one pydantic problem: name, value, what was expected."""
    name = ".".join(str(part) for part in problem["loc"])
    field = StudyConfig.model_fields.get(name)
    about = f" ({field.description})" if field is not None and field.description else ""
    message = problem["msg"].removeprefix("Value error, ")
    return f"parameter {name}{about}: {message[:1].lower() + message[1:]}, got {problem['input']!r}"
