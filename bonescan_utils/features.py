"""Features: the frozen part of a backbone, run once per image and kept on disk.

The frozen part is a pure function of an image. Its output is written shard by shard (see `feature_store`), for the
scans and for each set of augmented copies; an image whose features are in any shard is not computed again. So a run
that was cut short, another fold, another seed and another arm of the same backbone compute only what is new.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from tqdm import tqdm

from bonescan_utils.arms import Arm
from bonescan_utils.backbones import build_base, split_base
from bonescan_utils.feature_store import (
    SHARD,
    Block,
    FeatureError,
    FeatureStore,
    Part,
    Shelf,
    row_digests,
)
from bonescan_utils.forward import Forward, Reader, as_rgb, compile_forward, run_in_batches
from bonescan_utils.heads import pool_levels
from bonescan_utils.precision import dtype_policy, precision_policy
from bonescan_utils.weights import WeightsSource

__all__ = ["FeatureError", "FeatureStore", "Images", "features", "shard_count"]

FORMAT = 3  # raise when the meaning of a feature file changes


class Images(Protocol):
    """What this room needs of the image store of a run."""

    @property
    def images(self) -> np.ndarray:
        """Scans (n, h, w) uint8."""

    @property
    def copies(self) -> np.ndarray | None:
        """Augmented copies (m, K, h, w) uint8, or None."""

    @property
    def copy_rows(self) -> np.ndarray:
        """Row in ``images`` of each of the m scans that have copies (m,)."""


def features(
    store: Images,
    arm: Arm,
    *,
    source: WeightsSource,
    out_dir: Path | str,
    batch: int = 16,
    progress: bool = True,
    only: int | None = None,
) -> FeatureStore:
    """Computes, or finds on disk, all features that an arm is trained from.

    Args:
        store: the images of the run, 8-bit grey.
        arm: which backbone, cut and number of copies; a frozen arm gets pooled vectors (n, channels).
        source: the weights of the backbone.
        out_dir: folder of the feature files.
        batch: images per forward pass.
        progress: show a progress bar.
        only: compute the shard of this number (below :func:`shard_count`) and no other: one worker's share. What is
            returned then holds that shard only.

    Raises:
        FeatureError: the store has fewer copies than the arm asks for, or weights are of another backbone.
        OSError: not enough room on the disk; earlier files are intact.
    """
    if source.backbone != arm.backbone:
        raise FeatureError(f"arm {arm.name} needs weights of {arm.backbone}, got {source.backbone}")
    began = time.perf_counter()
    shape = (int(store.images.shape[1]), int(store.images.shape[2]), 3)
    shards = _shards(store, arm)
    shards = shards if only is None else [shards[only]]
    found: dict[int, list[Part]] = {}
    total = sum(len(images) for _, images in shards)
    with tqdm(total=total, desc=f"features {arm.name}", unit="image", disable=not progress, leave=False) as bar:
        work, done = _Work(arm, source, shape, Path(out_dir), batch, bar), 0
        for which, images in shards:
            found.setdefault(which, []).append(work.compute(images))
            done += len(images)
            bar.update(done - bar.n)
    blocks = {which: Block(tuple(parts)) for which, parts in found.items()}
    return FeatureStore(
        arm,
        source,
        shape,
        blocks.get(0, Block(())),
        tuple(block for which, block in sorted(blocks.items()) if which),
        np.asarray(store.copy_rows, np.int64) if arm.copies else np.empty(0, np.int64),
        time.perf_counter() - began if work.ran else 0.0,
    )


def shard_count(store: Images, arm: Arm) -> int:
    """How many shards the features of an arm have."""
    return len(_shards(store, arm))


def _shards(store: Images, arm: Arm) -> list[tuple[int, np.ndarray]]:
    """The images of each shard, with 0 for scans and k for their k-th copies; nothing is read yet."""
    available = 0 if store.copies is None else store.copies.shape[1]
    if arm.copies > available:
        raise FeatureError(f"arm {arm.name} draws from {arm.copies} copies, the image store has {available}")
    sets = [store.images]
    if store.copies is not None:
        sets += [store.copies[:, k] for k in range(arm.copies)]
    return [(which, x[at : at + SHARD]) for which, x in enumerate(sets) for at in range(0, len(x), SHARD)]


class _Work:
    """Computes the shards of one arm, building each model only when it is needed."""

    def __init__(
        self, arm: Arm, source: WeightsSource, shape: tuple[int, int, int], folder: Path, batch: int, bar: tqdm
    ) -> None:
        self.arm, self.source, self.shape, self.folder, self.batch, self.bar = arm, source, shape, folder, batch, bar
        self.policy = precision_policy()
        self.ran = False
        self._models: dict[str, tuple[Forward, tuple[int, ...]]] = {}
        self._shelves: dict[str, Shelf] = {}

    def compute(self, images: np.ndarray) -> Part:
        """Features of the images (n, h, w) uint8 of one shard."""
        rows = row_digests(images)
        key: dict[str, Any] = {
            "format": FORMAT, "weights": self.source.identity, "policy": self.policy, "shape": self.shape,
            "batch": self.batch, "keras": keras.__version__,
        }  # fmt: skip
        cut = self.arm.cut or self.arm.via
        if self.arm.cut is not None:
            return self._stored(key | {"cut": cut}, "prefix", rows, _reader(images))
        end = {"pooled": self.arm.pooling, "output": self.arm.output}
        key |= {"cut": cut} if cut else {}
        key |= {"taps": self.arm.taps} if self.arm.taps else {}
        pooled = self._shelf(key | end).open(rows)
        if pooled is not None:
            return pooled  # without a look at the activations it came from: they may be gone
        if cut is None:
            return self._stored(key | end, "whole", rows, _reader(images))
        block = Block((self._stored(key, "prefix", rows, _reader(images)),))
        return self._stored(key | end, "suffix", rows, block.take)

    def _stored(self, key: dict[str, Any], name: str, rows: list[str], read: Reader) -> Part:
        """The features of some images from the shelf, those that it lacks computed."""
        shelf = self._shelf(key)
        found = shelf.open(rows)
        if found is not None:
            return found
        forward, shape = self._model(name)

        def outputs(missing: np.ndarray) -> Iterator[np.ndarray]:
            self.ran = self.ran or len(missing) > 0
            for values in run_in_batches(forward, lambda at: read(missing[at]), len(missing), batch=self.batch):
                self.bar.update(len(values) if name != "suffix" else 0)
                yield values

        return shelf.write(rows, outputs, shape)

    def _shelf(self, key: dict[str, Any]) -> Shelf:
        """The shelf of a key, with what it found on the disk so far."""
        made = Shelf(self.folder, self.arm.backbone, key, say=self.bar.write)
        return self._shelves.setdefault(made.name, made)

    def _model(self, name: str) -> tuple[Forward, tuple[int, ...]]:
        """Function and output shape of image -> cut (``prefix``), cut -> end (``suffix``), or ``whole``."""
        if not self._models:
            arm = self.arm
            with dtype_policy(self.policy):
                base = build_base(arm.backbone, input_shape=self.shape, weights=self.source, output=arm.output)
            parts, cut = {"whole": base}, arm.cut or arm.via
            if cut:
                parts["prefix"], parts["suffix"] = split_base(base, cut)
            if arm.frozen:
                last = parts["suffix" if cut else "whole"]
                parts["suffix" if cut else "whole"] = keras.Model(last.input, pool_levels(last, arm))
            self._models = {key: (compile_forward(m), m.output_shape[1:]) for key, m in parts.items()}
        return self._models[name]


def _reader(images: np.ndarray) -> Reader:
    return lambda rows: as_rgb(images[rows])
