"""Arms: one model as trained by one protocol, as data.

An arm is frozen (``cut`` is None: a logistic head on the pooled features of the whole backbone) or fine-tuned
from ``cut`` on (the layers after it and the head are trained by gradient descent). Imports no TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from bonescan_utils.backbones import BACKBONES, get_backbone

PLACES_SHARE = 0.01
"""Share of an image's places that the score of a local head rests on: the highest hundredth (assumption)."""
POOLINGS = ("avg", "max", "avg_max", "lse")
SCHEDULES = ("constant", "cosine")
SELECTIONS = ("best", "last")


class ArmError(ValueError):
    """An arm whose settings contradict each other, or an unknown arm; one readable line."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Settings of one arm.

    Attributes:
        name: the arm's name in every table.
        backbone: key of BACKBONES.
        cut: last frozen layer (or ``before:<layer>``); None freezes the whole backbone.
        output: layer whose activation is pooled; None for the backbone's own last layer.
        pooling: ``avg``, ``max``, ``avg_max`` (both, joined) or ``lse`` (log-mean-exp, between the two).
        dense_units: units of the hidden ReLU layer of the head; 0 for none.
        dropout: share of hidden units (or pooled channels) dropped in training, 0-1.
        copies: augmented copies per training scan to draw from, next to the scan itself.
        epochs: passes over the training scans, at most.
        batch_size: scans per gradient step.
        learning_rate: peak step size of AdamW.
        head_learning_rate: peak step size of the head; None for the same.
        weight_decay: decoupled weight decay of AdamW (kernels only).
        schedule: ``constant``, or ``cosine`` (one warm-up epoch, then cosine decay to zero at ``epochs``).
        ema: momentum of the weight averaging per step, 0-1; 0 for none.
        label_smoothing: labels become ``y (1 - s) + s / 2``.
        select: keep the epoch with the ``best`` tuning AUROC, or the ``last``.
        patience: epochs without a better tuning AUROC after which training stops; 0 never stops early.
        via: frozen arms only: layer whose cached activation the pooled features are computed from, so that an
            arm cut there shares the work; changes nothing but rounding.
        local_units: units of a hidden 3 x 3 convolution on the output; above 0, a head judges each place of the image
            by itself and the score rests on the places with the most evidence (see `heads.attach_local_head`).
        taps: frozen arms only: earlier layers whose pooled activations are joined with those of ``output``; a small
            focus that deeper layers average away still shows there.
    """

    name: str
    backbone: str
    cut: str | None = None
    output: str | None = None
    pooling: str = "avg"
    dense_units: int = 0
    dropout: float = 0.0
    copies: int = 0
    epochs: int = 0
    batch_size: int = 16
    learning_rate: float = 5e-5
    head_learning_rate: float | None = None
    weight_decay: float = 0.0
    schedule: str = "constant"
    ema: float = 0.0
    label_smoothing: float = 0.0
    select: str = "best"
    patience: int = 0
    local_units: int = 0
    via: str | None = None
    taps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ArmError: a value is out of range, or two contradict each other.
        """
        get_backbone(self.backbone)
        self._one_of("pooling", POOLINGS)
        self._one_of("schedule", SCHEDULES)
        self._one_of("select", SELECTIONS)
        for field, low, high in _RANGES:
            value = getattr(self, field)
            if not low <= value <= high:
                raise ArmError(f"arm {self.name}: {field}={value!r} is not within {low}-{high}")
        if self.frozen and (self.dense_units or self.epochs or self.dropout or self.ema):
            raise ArmError(f"arm {self.name}: a frozen arm (cut=None) has a logistic head and no epochs")
        if self.taps and (self.via or not self.frozen):
            raise ArmError(f"arm {self.name}: taps need a frozen arm (cut=None) without via")
        if not self.frozen and (self.epochs < 1 or self.via):
            raise ArmError(f"arm {self.name}: an arm cut at {self.cut} needs epochs >= 1 and no via")
        if self.local_units and (self.frozen or self.dense_units or self.pooling != "avg"):
            raise ArmError(f"arm {self.name}: local_units need a cut, and no dense_units or other pooling")
        if self.select == "last" and self.patience:
            raise ArmError(f"arm {self.name}: patience={self.patience} has no meaning with select='last'")

    @property
    def frozen(self) -> bool:
        """Whether the whole backbone is frozen."""
        return self.cut is None

    @property
    def explained_layers(self) -> tuple[str, ...]:
        """Layers whose activations a saliency map explains; empty for the backbone's own last one."""
        if self.local_units:
            return ("hidden",)
        return (*self.taps, self.output) if self.output else ()

    @property
    def fingerprint(self) -> str:
        """Short hash of all settings, equal for equal arms."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _one_of(self, field: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, field) not in allowed:
            raise ArmError(f"arm {self.name}: {field}={getattr(self, field)!r}; expected one of {', '.join(allowed)}")


_RANGES = (
    ("dense_units", 0, 65_536), ("local_units", 0, 4096), ("dropout", 0.0, 0.95), ("copies", 0, 1000),
    ("epochs", 0, 10_000), ("batch_size", 1, 4096), ("learning_rate", 1e-9, 1.0), ("weight_decay", 0.0, 1.0),
    ("ema", 0.0, 0.99999), ("label_smoothing", 0.0, 0.5), ("patience", 0, 10_000),
)  # fmt: skip


def _finetuned(name: str, backbone: str) -> Arm:
    """The last stage of a backbone fine-tuned with a new head: the same protocol for every backbone."""
    return Arm(
        name=name, backbone=backbone, cut=BACKBONES[backbone].last_stage_cut, pooling="avg",
        dense_units=256, dropout=0.5, copies=3, epochs=10, batch_size=16, learning_rate=1e-4,
        head_learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", ema=0.98,
    )  # fmt: skip


def _frozen(backbone: str, via: str | None = None) -> Arm:
    return Arm(name=backbone, backbone=backbone, via=via)


def _multilevel(name: str, backbone: str) -> Arm:
    """Frozen: a logistic head on the pooled activations of four layers of one backbone, joined."""
    *taps, output = BACKBONES[backbone].levels
    return Arm(name=name, backbone=backbone, output=output, taps=tuple(taps), copies=1)


def _local(name: str, backbone: str) -> Arm:
    """Early layers frozen, whose cells see little of the body; a head that judges place by place, trained."""
    layer = BACKBONES[backbone].levels[0]
    return Arm(
        name=name, backbone=backbone, cut=layer, output=layer, local_units=64, dropout=0.2, copies=1, epochs=12,
        learning_rate=1e-3, weight_decay=1e-3, schedule="cosine",
    )  # fmt: skip


def _study_arms() -> list[Arm]:
    others = [backbone for backbone in BACKBONES if backbone != "vgg16"]
    return [
        _local("proposed", "vgg16"),
        _frozen("vgg16", via="block4_pool"),
        *(_frozen(backbone) for backbone in others),
        *(_finetuned(f"{backbone}_finetuned", backbone) for backbone in BACKBONES),
        *(_multilevel(f"{backbone}_multilevel", backbone) for backbone in BACKBONES),
        *(_local(f"{backbone}_local", backbone) for backbone in others),
    ]


ARMS: dict[str, Arm] = {arm.name: arm for arm in _study_arms()}
"""The arms of the study, by four protocols: frozen (named as the backbone), last stage fine-tuned
(``<backbone>_finetuned``), multi-level (``<backbone>_multilevel``), and local evidence (``proposed`` of VGG16,
``<backbone>_local`` of the others)."""


def protocol(name: str) -> str:
    """How an arm is trained: ``frozen``, ``finetuned``, ``multilevel`` or ``local``.

    Raises:
        ArmError: there is no such arm.
    """
    arm = get_arm(name)
    if arm.local_units:
        return "local"
    return ("multilevel" if arm.taps else "frozen") if arm.frozen else "finetuned"


def get_arm(name: str) -> Arm:
    """The settings of one arm.

    Raises:
        ArmError: there is no such arm.
    """
    try:
        return ARMS[name]
    except KeyError:
        raise ArmError(f"arm {name!r} is unknown; expected one of {', '.join(ARMS)}") from None
