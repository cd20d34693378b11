"""Features: the frozen part of a backbone, run once per image and kept on disk.

The frozen part is a pure function of an image. Its output is written as float16 (pooled vectors as float32)
to one ``.npy`` file for the scans and one for each set of augmented copies, named by a hash of all it depends
on, and memory-mapped when it is used. A file that is there is not computed again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from bonescan_utils.arms import Arm
from bonescan_utils.backbones import build_base, split_base
from bonescan_utils.files import free_bytes, read_json, write_atomic, write_json
from bonescan_utils.forward import Forward, Reader, as_rgb, compile_forward, run_in_batches
from bonescan_utils.heads import pool_levels
from bonescan_utils.precision import dtype_policy, precision_policy
from bonescan_utils.weights import WeightsSource

FORMAT = 1  # raise when the meaning of a feature file changes
FLOAT16_MAX = 65_504.0
_TARGET_MAX = 1024.0  # the first batch's maximum is stored near this: 64-fold headroom, few subnormals


class FeatureError(ValueError):
    """Images, copies and an arm that do not fit together; one readable line."""


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


@dataclass(frozen=True)
class Block:
    """Features of one set of images: stored values times a scale (a power of two)."""

    values: np.ndarray
    scale: float = 1.0

    def take(self, rows: np.ndarray | slice) -> np.ndarray:
        """Rows of the block as float32."""
        return np.asarray(self.values[rows], np.float32) * np.float32(self.scale)


@dataclass(frozen=True)
class FeatureStore:
    """Features of a run's images for one arm.

    Attributes:
        arm: the arm they are for.
        source: the weights they were computed with.
        input_shape: (h, w, 3) of the images.
        original: one row per scan.
        copies: one block per augmented copy, one row per entry of ``copy_rows``.
        copy_rows: row in ``original`` of each row of the copies.
        seconds: time spent computing (0 when all was there).
    """

    arm: Arm
    source: WeightsSource
    input_shape: tuple[int, int, int]
    original: Block
    copies: tuple[Block, ...] = ()
    copy_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    seconds: float = 0.0

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.original.values)

    def gather(self, rows: np.ndarray, drawn: np.ndarray | None = None) -> np.ndarray:
        """Features as float32, one per entry of ``rows``.

        Args:
            rows: scans, as rows of the store.
            drawn: for each of them 0 for the scan itself, k for its k-th augmented copy; None for all 0.

        Raises:
            FeatureError: a copy was drawn of a scan that has none.
        """
        rows = np.asarray(rows)
        result = self.original.take(rows)
        if drawn is None:
            return result
        for number, block in enumerate(self.copies, start=1):
            at = np.flatnonzero(drawn == number)
            if at.size:
                result[at] = block.take(self.copy_index(rows[at]))
        return result

    def copy_index(self, rows: np.ndarray) -> np.ndarray:
        """Row in the copies of each scan.

        Raises:
            FeatureError: a scan has no copies.
        """
        where = np.full(len(self), -1)
        where[self.copy_rows] = np.arange(len(self.copy_rows))
        index = where[rows]
        if (index < 0).any():
            raise FeatureError(
                f"{int((index < 0).sum())} of {len(rows)} training scans have no augmented copies; "
                "build the image store with copies of every scan that is trained on"
            )
        return index


def features(
    store: Images,
    arm: Arm,
    *,
    source: WeightsSource,
    out_dir: Path | str,
    batch: int = 16,
    progress: bool = True,
) -> FeatureStore:
    """Computes, or finds on disk, all features that an arm is trained from.

    Args:
        store: the images of the run, 8-bit grey.
        arm: which backbone, cut and number of copies; a frozen arm gets pooled vectors (n, channels).
        source: the weights of the backbone.
        out_dir: folder of the feature files.
        batch: images per forward pass.
        progress: show a progress bar.

    Raises:
        FeatureError: the store has fewer copies than the arm asks for, or weights are of another backbone.
        OSError: not enough room on the disk; earlier files are intact.
    """
    if source.backbone != arm.backbone:
        raise FeatureError(f"arm {arm.name} needs weights of {arm.backbone}, got {source.backbone}")
    began = time.perf_counter()
    shape = (int(store.images.shape[1]), int(store.images.shape[2]), 3)
    work = _Work(arm, source, shape, Path(out_dir), batch, progress)
    found = [work.compute(images, label) for label, images in _image_sets(store, arm)]
    return FeatureStore(
        arm,
        source,
        shape,
        found[0],
        tuple(found[1:]),
        np.asarray(store.copy_rows, np.int64) if arm.copies else np.empty(0, np.int64),
        time.perf_counter() - began if work.ran else 0.0,
    )


def _image_sets(store: Images, arm: Arm) -> list[tuple[str, np.ndarray]]:
    sets = [("scans", store.images)]
    if not arm.copies:
        return sets
    available = 0 if store.copies is None else store.copies.shape[1]
    if store.copies is None or available < arm.copies:
        raise FeatureError(f"arm {arm.name} draws from {arm.copies} copies, the image store has {available}")
    return sets + [(f"copy {k + 1}", store.copies[:, k]) for k in range(arm.copies)]


class _Work:
    """Computes feature blocks of one arm, building each model only when it is needed."""

    def __init__(
        self,
        arm: Arm,
        source: WeightsSource,
        shape: tuple[int, int, int],
        folder: Path,
        batch: int,
        progress: bool,
    ) -> None:
        self.arm, self.source, self.shape, self.folder = arm, source, shape, folder
        self.batch, self.progress = batch, progress
        self.policy = precision_policy()
        self.ran = False
        self._models: dict[str, tuple[Forward, tuple[int, ...]]] = {}

    def compute(self, images: np.ndarray, label: str) -> Block:
        """Features of one set of images (n, h, w) uint8."""
        key = {
            "format": FORMAT, "images": _hash(images), "weights": self.source.identity, "policy": self.policy,
            "shape": self.shape, "batch": self.batch, "keras": keras.__version__,
        }  # fmt: skip
        cut = self.arm.cut or self.arm.via
        block = Block(images)
        if cut is not None:
            key |= {"cut": cut}
            block = self._stored(key, "prefix", lambda rows: as_rgb(images[rows]), len(images), label)
        if self.arm.cut is None:
            key |= {"pooled": self.arm.pooling, "output": self.arm.output}
            if self.arm.taps:
                key |= {"taps": self.arm.taps}
            name, read = ("suffix", block.take) if cut else ("whole", lambda rows: as_rgb(images[rows]))
            block = self._stored(key, name, read, len(images), label)
        return block

    def _stored(self, key: dict[str, Any], name: str, read: Reader, n: int, label: str) -> Block:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
        path = self.folder / f"{self.arm.backbone}-{digest}.npy"
        about = path.with_suffix(".json")
        if not (path.is_file() and about.is_file()):
            self.ran = True
            forward, shape = self._model(name)
            text = f"{self.arm.backbone} {label}" if self.progress else ""

            def outputs() -> Iterator[np.ndarray]:
                return run_in_batches(forward, read, n, batch=self.batch, label=text)

            write_json(about, {**key, "scale": _write(path, outputs, (n, *shape))})
        return Block(np.load(path, mmap_mode="r", allow_pickle=False), float(read_json(about)["scale"]))

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


class _Overflow(Exception):
    """A batch does not fit float16 at the scale that the first batch set."""


def _write(path: Path, outputs: Callable[[], Iterator[np.ndarray]], shape: tuple[int, ...]) -> float:
    """Writes outputs to ``path``, whole or not at all; returns the scale to multiply them with."""
    dtype = np.dtype("<f2" if len(shape) > 2 else "<f4")
    needed, free = int(np.prod(shape)) * dtype.itemsize, free_bytes(path.parent)
    if needed > free:
        raise OSError(f"{path}: needs {needed:,} bytes, {free:,} are free; make room on that disk")
    scale = None if dtype.itemsize == 2 else 1.0
    while True:
        try:
            return _write_scaled(path, outputs(), shape, dtype, scale)
        except _Overflow as overflow:
            scale = _scale(overflow.args[0])


def _write_scaled(
    path: Path, outputs: Iterator[np.ndarray], shape: tuple[int, ...], dtype: np.dtype, scale: float | None
) -> float:
    with write_atomic(path) as part, part.open("wb") as stream:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for values in outputs:
            largest = float(np.abs(values).max())
            if not np.isfinite(largest):
                raise FeatureError(f"{path.name}: the backbone gives values that are not finite")
            scale = scale or _scale(largest)
            if dtype.itemsize == 2 and largest / scale > FLOAT16_MAX:
                raise _Overflow(largest)
            stream.write((values / np.float32(scale)).astype(dtype).tobytes())
    return scale or 1.0


def _scale(largest: float) -> float:
    """A power of two that brings ``largest`` near the target: float16 then holds bfloat16 without loss."""
    return float(2.0 ** np.round(np.log2(largest / _TARGET_MAX))) if largest > 0 else 1.0


def _hash(images: np.ndarray) -> str:
    digest = hashlib.sha256(repr(images.shape).encode())
    for start in range(0, len(images), 64):
        digest.update(np.ascontiguousarray(images[start : start + 64], np.uint8).data)
    return digest.hexdigest()
