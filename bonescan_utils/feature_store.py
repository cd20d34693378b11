"""Feature store: activations on disk, in shards, memory-mapped when they are used. No TensorFlow here.

A shard holds the features of up to `SHARD` images in one ``.npy`` file, named by a hash of all it depends on:
the images, the backbone, its weights, the layer and the precision. Beside it a ``.json`` says what it is, of which
images, and holds the file's sha256: a shard that is cut short, damaged or of another version is computed again, and
that is said. A new shard takes the rows of images that an older one holds from there.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bonescan_utils.arms import Arm
from bonescan_utils.files import free_bytes, sha256_file, write_atomic
from bonescan_utils.seal import read_sealed, write_sealed
from bonescan_utils.weights import WeightsSource

SHARD = 256
"""Images a shard: a unit of work that is small enough to lose and large enough to be worth a file."""
FLOAT16_MAX = 65_504.0
_TARGET_MAX = 1024.0  # the first batch's maximum is stored near this: 64-fold headroom, few subnormals

Batches = Callable[[], Iterator[np.ndarray]]
Compute = Callable[[np.ndarray], Iterable[np.ndarray]]


class FeatureError(ValueError):
    """Images, copies and an arm that do not fit together; one readable line."""


@dataclass(frozen=True)
class Part:
    """Stored values times a scale (a power of two)."""

    values: np.ndarray
    scale: float = 1.0


@dataclass(frozen=True)
class Block:
    """Features of one set of images: the rows of its parts, one part after another."""

    parts: tuple[Part, ...]

    def __len__(self) -> int:
        """Number of rows."""
        return sum(len(part.values) for part in self.parts)

    def take(self, rows: np.ndarray | slice) -> np.ndarray:
        """Rows of the block as float32."""
        at = np.arange(len(self))[rows]
        ends = np.cumsum([len(part.values) for part in self.parts])
        owner = np.searchsorted(ends, at, side="right")
        result = np.empty((len(at), *self.parts[0].values.shape[1:]), np.float32)
        for number in np.unique(owner):
            part, mine = self.parts[number], owner == number
            first = ends[number] - len(part.values)
            result[mine] = np.asarray(part.values[at[mine] - first], np.float32) * np.float32(part.scale)
            _let_go(part.values)
        return result


def _let_go(values: np.ndarray) -> None:
    """Drops a mapped file's pages from this process (they stay in the system's cache), so that memory stays flat."""
    mapped = getattr(values, "_mmap", None)
    if mapped is not None and hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


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
        return len(self.original)

    def gather(self, rows: np.ndarray, drawn: np.ndarray | None = None) -> np.ndarray:
        """Features as float32, one per entry of ``rows``.

        Args:
            rows: scans, as rows of the store.
            drawn: for each of them 0 for the scan itself, k for its k-th augmented copy; None for all 0.

        Raises:
            FeatureError: a copy was drawn of a scan that has none.
        """
        rows = np.asarray(rows)
        if drawn is None:
            return self.original.take(rows)
        result = np.empty((len(rows), *self.original.parts[0].values.shape[1:]), np.float32)
        for number, block in enumerate((self.original, *self.copies)):
            at = np.flatnonzero(drawn == number)
            if at.size:
                result[at] = block.take(self.copy_index(rows[at]) if number else rows[at])
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


def row_digests(images: np.ndarray) -> list[str]:
    """Return a hash of each image (n, h, w) uint8, its size included."""
    size = repr(images.shape[1:]).encode()
    return [hashlib.sha256(size + np.ascontiguousarray(row, np.uint8).tobytes()).hexdigest()[:32] for row in images]


class Shelf:
    """All shards of one folder that were computed in one way: by one network, up to one layer, in one precision.

    Args:
        folder: Where the shards are.
        backbone: Begins their names.
        key: What they depend on beside the images.
        say: Called with a line for each shard that is damaged.
    """

    def __init__(
        self, folder: Path, backbone: str, key: Mapping[str, Any], *, say: Callable[[str], object] = print
    ) -> None:
        self.folder, self.key, self._say = folder, dict(key), say
        self.name = f"{backbone}-{_digest(self.key)[:12]}"
        self._known: dict[str, tuple[Path, int]] | None = None

    def path(self, rows: Sequence[str]) -> Path:
        """The file of the shard of some images (from `row_digests`)."""
        return self.folder / f"{self.name}-{_digest(list(rows))[:16]}.npy"

    def open(self, rows: Sequence[str]) -> Part | None:
        """Opens the shard of some images; None if it is not there whole and unchanged."""
        return self._opened(self.path(rows))

    def write(self, rows: Sequence[str], compute: Compute, shape: Sequence[int]) -> Part:
        """Writes the shard of some images, whole or not at all, its record last; returns it opened.

        Args:
            rows: The images, from `row_digests`.
            compute: Gives the values of the images at some positions batch by batch; called with those that no
                shard holds, and again if they do not fit at the first batch's scale.
            shape: Of the values of one image.

        Raises:
            OSError: Not enough room on the disk; earlier files are intact.
            FeatureError: Values are not finite.
        """
        path, held = self.path(rows), self._held(rows)
        missing = np.array([at for at, row in enumerate(rows) if row not in held], np.int64)

        def batches() -> Iterator[np.ndarray]:
            if not held:
                yield from compute(missing)
                return
            fresh = _rows_of(compute(missing))
            for row in rows:
                part, at = held.get(row, (None, 0))
                yield next(fresh) if part is None else np.float32(part.scale) * part.values[at : at + 1].astype("f4")

        path.with_suffix(".json").unlink(missing_ok=True)  # never an old record beside a new shard
        scale = write_array(path, batches, (len(rows), *shape))
        record = {**self.key, "rows": list(rows), "scale": scale, "sha256": sha256_file(path)}
        write_sealed(path.with_suffix(".json"), record)
        return Part(np.load(path, mmap_mode="r", allow_pickle=False), scale)

    def _held(self, rows: Sequence[str]) -> dict[str, tuple[Part, int]]:
        """Those of the images that other shards of the shelf hold: the shard and the row in it."""
        if self._known is None:
            self._known = dict(self._look())
        there = {row: self._known[row] for row in rows if row in self._known}
        parts = {path: self._opened(path) for path in {path for path, _ in there.values()}}
        return {row: (part, at) for row, (path, at) in there.items() if (part := parts[path]) is not None}

    def _look(self) -> Iterator[tuple[str, tuple[Path, int]]]:
        for about in sorted(self.folder.glob(f"{self.name}-*.json")):
            try:
                rows = read_sealed(about)["rows"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # what it described is computed again
            yield from ((row, (about.with_suffix(".npy"), at)) for at, row in enumerate(rows))

    def _opened(self, path: Path) -> Part | None:
        if not (path.is_file() or path.with_suffix(".json").is_file()):
            return None
        try:
            record = read_sealed(path.with_suffix(".json"))
            if record["sha256"] != sha256_file(path):
                raise ValueError("its hash is another")
            return Part(np.load(path, mmap_mode="r", allow_pickle=False), float(record["scale"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0].replace(str(self.folder), self.folder.name)
            self._say(f"{path.name} is cut short or damaged ({reason[:160]}); its features are computed again")
            return None


def _digest(what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _rows_of(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows of batches one by one, each (1, ...)."""
    for batch in batches:
        for at in range(len(batch)):
            yield batch[at : at + 1]


def evict(folder: Path) -> int:
    """Removes the activations at a cut, which are large, and keeps pooled features; returns the bytes freed."""
    freed = 0
    for about in sorted(folder.glob("*.json")):
        if not _is_pooled(about):
            path = about.with_suffix(".npy")
            freed += path.stat().st_size if path.exists() else 0
            about.unlink()
            path.unlink(missing_ok=True)
    return freed


def _is_pooled(about: Path) -> bool:
    """Whether a record is one of pooled features; not if it cannot be read."""
    try:
        return "pooled" in read_sealed(about)
    except (OSError, ValueError):
        return False


class _Overflow(Exception):
    """A batch does not fit float16 at the scale that the first batch set."""


def write_array(path: Path, batches: Batches, shape: tuple[int, ...]) -> float:
    """Writes values to a ``.npy`` file, activations as float16 and vectors as float32; returns their scale."""
    dtype = np.dtype("<f2" if len(shape) > 2 else "<f4")
    needed, free = int(np.prod(shape)) * dtype.itemsize, free_bytes(path.parent)
    if needed > free:
        raise OSError(f"{path}: needs {needed:,} bytes, {free:,} are free; make room on that disk")
    scale = None if dtype.itemsize == 2 else 1.0
    while True:
        try:
            return _write_scaled(path, batches(), shape, dtype, scale)
        except _Overflow as overflow:
            scale = _scale(overflow.args[0])


def _write_scaled(
    path: Path, outputs: Iterator[np.ndarray], shape: tuple[int, ...], dtype: np.dtype, scale: float | None
) -> float:
    with write_atomic(path) as part, part.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": dtype.str, "fortran_order": False, "shape": shape})
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
