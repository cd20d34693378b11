"""Limits: what a reader must bear in mind, whatever the numbers are."""

from __future__ import annotations

from bonescan_utils.reporting.records import RunRecord
from bonescan_utils.wording import arm_text, is_pretrained

OF_PHANTOMS = (
    "The scans are synthetic. A result on them says that the method can work, not that it works on patients; no"
    " number here is a clinical result.",
    "The phantom's anatomy, uptake, lesions, mimics and case mix are priors of this package. Cold and lytic lesions,"
    " soft-tissue uptake, motion and camera faults are not modelled, and no reader has compared the phantoms"
    " with scans.",
)
OF_COHORTS = (
    "One cohort. Nothing here was tested on scans of another hospital, camera or period unless the tables say so.",
    "The reference labels are as good as their source; the software cannot check them.",
)
ALWAYS = (
    "Half of the default cohort's scans have metastases, fewer do in most clinics. PPV and NPV hold for the"
    " cohort's own prevalence, and a score is not a probability of metastasis elsewhere.",
    "One label per scan. Lesions are not located for training, and a saliency map locates nothing by itself.",
    "Intervals say what chance does with this number of scans, not what another cohort would show.",
    "Research use only: this is no medical device.",
)
ASSUMPTIONS = (
    "Of the paper this study follows, only the abstract was at hand. These are choices of this project and not of the"
    " paper: partitions 70 / 10 / 20 % by patient; both views side by side, cropped to the body, scaled by each"
    " scan's own counts; which layers are frozen and what head follows; augmentation; optimiser and stopping;"
    " the threshold (Youden, on tuning scans); baselines as frozen backbones with a logistic head."
)


def limitations(run: RunRecord) -> list[str]:
    """Returns the limitations that hold for this run."""
    found = [*(OF_PHANTOMS if run.synthetic else OF_COHORTS), ASSUMPTIONS, *ALWAYS]
    random = [arm_text(arm) for arm in run.weights if not is_pretrained(arm, run.weights)]
    if random:
        found.append(
            f"{', '.join(random)} started from random numbers, as no pretrained weights were at hand. They say"
            " nothing about what these backbones are worth with them."
        )
    copies = [arm_text(arm) for arm, kind in run.weights.items() if kind == "imagenet-int8"]
    if copies:
        found.append(
            f"{', '.join(copies)} started from an 8-bit copy of the ImageNet weights, not from the official file."
        )
    return found
