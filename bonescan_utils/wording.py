"""Wording: how numbers, arms, metrics and starting weights are written, by one rule each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from bonescan_utils.backbones import BACKBONES

MINUS = "\N{MINUS SIGN}"
"""A true minus sign: typographically right, and no spreadsheet takes the cell for a formula."""
NOTHING = "\N{EM DASH}"
"""Stands for a number that does not exist."""
P_VALUES = ("p", "p_holm")
"""Columns of P values, which are rounded by a rule of their own."""

WEIGHTS_TEXT = {
    "imagenet": "ImageNet",
    "imagenet-int8": "ImageNet (int8 copy)",
    "imagenet-unverified": "ImageNet (unverified file)",
    "random": "random init",
}
"""Kinds of starting weights (`weights.WeightsSource.kind`) in words; an unknown kind is shown as it is."""

PROTOCOL_TEXT = {"": "", "finetuned": " fine-tuned", "multilevel": " multi-level", "local": " local evidence"}
"""What follows a backbone's title in the name of an arm, by the ending of its name."""

METRIC_TEXT = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "Brier": "Brier score"} | {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "Youden": "Youden's J",
    "kappa": "Cohen's kappa",
}


def format_number(value: float, digits: int = 2) -> str:
    """Rounds half up on the shortest decimal form, as a reader would: 0.125 is `0.13`, -0.004 is `0.00`."""
    if not math.isfinite(value):
        return NOTHING
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
    return (MINUS if rounded < 0 else "") + str(abs(rounded))


def format_interval(estimate: float, low: float, high: float, *, digits: int = 2) -> str:
    """Returns `0.93 (0.90-0.96)`, with `to` between bounds where one is negative."""
    if not math.isfinite(estimate):
        return NOTHING
    bounds = [format_number(bound, digits) for bound in (low, high)]
    between = " to " if MINUS in "".join(bounds) else "-"
    return f"{format_number(estimate, digits)} ({between.join(bounds)})"


def format_p(p: float) -> str:
    """Returns `<0.001`, three digits below 0.1, two above, and `>0.99`."""
    if not math.isfinite(p):
        return NOTHING
    if p < 0.001:
        return "<0.001"
    return ">0.99" if p > 0.99 else format_number(p, 3 if p < 0.1 else 2)


def arm_text(arm: str) -> str:
    """Returns an arm's name as shown: `Proposed`, `VGG16`, `VGG16 fine-tuned`; other names as they are."""
    backbone, _, protocol = arm.partition("_")
    if backbone in BACKBONES and protocol in PROTOCOL_TEXT:
        return BACKBONES[backbone].title + PROTOCOL_TEXT[protocol]
    return "Proposed" if arm == "proposed" else arm


def metric_text(metric: str) -> str:
    """Returns a metric's name as shown."""
    return METRIC_TEXT.get(metric, metric)


def is_pretrained(arm: str, weights: Mapping[str, Any]) -> bool:
    """Whether an arm started from pretrained weights."""
    return weights_of(arm, weights) != "random"


def weights_of(arm: str, weights: Mapping[str, Any]) -> str:
    """Returns the kind of weights an arm started from.

    Raises:
        ValueError: `weights` does not say; a result without its starting weights is not shown.
    """
    kind = str(weights.get(arm, "") or "")
    if not kind:
        raise ValueError(f"starting weights of arm {arm!r} are not given; known arms: {sorted(weights)}")
    return kind


def weights_text(arm: str, weights: Mapping[str, Any]) -> str:
    """Returns the starting weights of an arm in words."""
    kind = weights_of(arm, weights)
    return WEIGHTS_TEXT.get(kind, kind)


def weights_sentence(arms: Sequence[str], weights: Mapping[str, Any]) -> str:
    """Returns one line that says what every arm started from, for the foot of a figure or table."""
    by_kind: dict[str, list[str]] = {}
    for arm in arms:
        by_kind.setdefault(weights_text(arm, weights), []).append(arm_text(arm))
    said = "; ".join(f"{', '.join(names)}: {kind}" for kind, names in by_kind.items())
    unranked = any(not is_pretrained(arm, weights) for arm in arms)
    return f"Starting weights. {said}." + (" Arms with random init are not ranked." if unranked else "")
