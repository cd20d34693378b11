"""Weights: where the pretrained weights of a backbone come from, and what was really loaded.

Nothing here falls back in silence: a :class:`WeightsSource` says what a base starts from, and travels with
everything made from it (``run.json``, tables, figures).
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import warnings
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bonescan_utils.backbones import Backbone, get_backbone
from bonescan_utils.files import write_atomic

Kind = Literal["imagenet", "imagenet-unverified", "imagenet-int8", "random"]
WEIGHTS_MODES = ("imagenet", "auto", "random")
WEIGHTS_DIR_VARIABLE = "BONESCAN_WEIGHTS_DIR"
OFFLINE_VARIABLE = "BONESCAN_OFFLINE"
DOWNLOAD_TIMEOUT_S = 10.0
EMBEDDED = {"vgg16": "vgg16_base_int8.npz"}
"""Backbones with an embedded, quantised copy of their ImageNet base in ``bonescan_utils/assets``."""


class WeightsError(RuntimeError):
    """Weights that are missing, damaged or of another network; says which file goes where."""


@dataclass(frozen=True)
class WeightsSource:
    """What a base starts from.

    Attributes:
        backbone: key of the BACKBONES table.
        kind: ``imagenet`` (official file, md5 checked), ``imagenet-unverified`` (a file without an official
            md5), ``imagenet-int8`` (the embedded, quantised copy) or ``random``.
        path: the file, None for random initialisation.
        md5: md5 sum of the file, '' for random initialisation.
        note: one sentence for reports.
        seed: seed of a random initialisation.
    """

    backbone: str
    kind: Kind
    path: Path | None = None
    md5: str = ""
    note: str = ""
    seed: int = 0

    @property
    def pretrained(self) -> bool:
        """Whether the base was trained on ImageNet."""
        return self.kind != "random"

    @property
    def identity(self) -> str:
        """Text that is equal for equal weights, wherever the file lies."""
        return f"{self.backbone}/{self.kind}/{self.md5 or self.seed}"

    def load_into(self, base: Any) -> None:
        """Set the weights of ``base`` (see :func:`load_into`)."""
        load_into(base, self)

    def to_dict(self) -> dict[str, str]:
        """The source as plain text for ``run.json`` (the file's name only, never a path of this machine)."""
        return {
            "backbone": self.backbone,
            "weights": self.kind,
            "file": self.path.name if self.path else "",
            "md5": self.md5,
            "note": self.note,
        }


def resolve_weights(
    name: str, *, weights: str = "imagenet", weights_dir: Path | str | None = None, seed: int = 0
) -> WeightsSource:
    """Find the weights of one backbone; nothing is loaded yet.

    Looked for in order: ``weights_dir``, the folder in ``BONESCAN_WEIGHTS_DIR``, Keras's cache, a download
    (10 s timeout; not tried when ``BONESCAN_OFFLINE`` is set or an earlier download found no network).

    Args:
        name: a key of the BACKBONES table.
        weights: ``imagenet`` (or an error), ``auto`` (else the embedded copy, else random) or ``random``.
        weights_dir: folder with the official files, or with ``<name>_notop.weights.h5`` (not verified).
        seed: seed of a random initialisation.

    Raises:
        WeightsError: a file is damaged, or ``imagenet`` was asked for and not found.
    """
    row = get_backbone(name)
    if weights not in WEIGHTS_MODES:
        raise WeightsError(f"weights={weights!r} is unknown; expected one of {', '.join(WEIGHTS_MODES)}")
    if weights == "random":
        return _random(name, seed, "asked for")
    given = given_folders(weights_dir)
    found = _find(row, given) or _find(row, [keras_cache()], unverified=False)
    if found is not None:
        return found
    reason = _download(row, keras_cache())
    if not reason:
        return _verified(row, keras_cache() / row.weights_file)
    if weights == "imagenet":
        raise WeightsError(_missing(row, given, reason))
    if name in EMBEDDED:
        return _embedded(name)
    return _random(name, seed, f"ImageNet weights not found: {reason}")


def load_into(base: Any, source: WeightsSource) -> None:
    """Set the weights of a freshly built, whole base in place.

    Args:
        base: a Keras model of the backbone ``source.backbone`` (not cut, no head).
        source: what :func:`resolve_weights` found.

    Raises:
        WeightsError: the file does not fit the network.
    """
    if source.kind == "random":
        _randomise(base, source.seed)
        return
    if source.path is None:
        raise WeightsError(f"{source.backbone}: source {source.kind} names no file")
    try:
        if source.kind == "imagenet-int8":
            _load_int8(base, source.path)
        else:
            _load_h5(base, source.path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(
            f"{source.path}: not the weights of a {source.backbone} base ({reason}); copy the file again"
        ) from error


def dequantise(codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Float32 kernel (h, w, in, out) from int8 codes and one float32 scale per output channel."""
    return codes.astype(np.float32) * scale.astype(np.float32)


def quantise(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 codes and float32 scale per output channel of a kernel (h, w, in, out).

    ``kernel`` is within half a scale of ``dequantise(codes, scale)`` everywhere.
    """
    largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
    scale = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    return np.rint(kernel / scale).astype(np.int8), scale


def given_folders(weights_dir: Path | str | None = None) -> list[Path]:
    """The folders a user named for weights: the argument, then ``BONESCAN_WEIGHTS_DIR``."""
    named = [weights_dir, os.environ.get(WEIGHTS_DIR_VARIABLE)]
    return [Path(folder).expanduser() for folder in named if folder]


def keras_cache() -> Path:
    """Folder in which Keras keeps downloaded weights (``$KERAS_HOME/models`` or ``~/.keras/models``)."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "models"


def embedded_path(name: str) -> Path:
    """Path of the embedded copy of a backbone's base."""
    return Path(str(package_files("bonescan_utils") / "assets" / EMBEDDED[name]))


def _find(row: Backbone, folders: list[Path], *, unverified: bool = True) -> WeightsSource | None:
    for folder in folders:
        official = folder / row.weights_file
        if official.is_file():
            return _verified(row, official)
        other = folder / f"{row.name}_notop.weights.h5"
        if unverified and other.is_file():
            note = f"ImageNet weights from {other.name}, a file without an official md5 sum"
            return WeightsSource(row.name, "imagenet-unverified", other, _md5(other), note)
    return None


def _verified(row: Backbone, path: Path) -> WeightsSource:
    found = _md5(path)
    if found != row.weights_md5:
        raise WeightsError(
            f"{path}: md5 {found} ({path.stat().st_size:,} bytes), expected {row.weights_md5} "
            f"({row.weights_bytes:,} bytes); the file is damaged: delete it or copy it again"
        )
    return WeightsSource(row.name, "imagenet", path, found, "ImageNet, official file, md5 checked")


def _embedded(name: str) -> WeightsSource:
    path = embedded_path(name)
    if not path.is_file():
        raise WeightsError(f"{path}: the embedded weights are missing; install the package again")
    note = "ImageNet, embedded int8 copy (one scale per output channel)"
    return WeightsSource(name, "imagenet-int8", path, _md5(path), note)


def _random(name: str, seed: int, why: str) -> WeightsSource:
    return WeightsSource(name, "random", None, "", f"random initialisation, not pretrained ({why})", seed)


def _missing(row: Backbone, folders: list[Path], reason: str) -> str:
    looked = ", ".join(str(folder) for folder in [*folders, keras_cache()])
    return (
        f"{row.title}: ImageNet weights not found in {looked}, and the download failed ({reason}). "
        f"Expected file {row.weights_file} ({row.weights_bytes:,} bytes, md5 {row.weights_md5}). "
        f"Fetch it from {row.weights_url} on a machine with internet, put it into one folder with the "
        f"others, and set {WEIGHTS_DIR_VARIABLE} or weights_dir to that folder; "
        "or use weights=auto to go on without it"
    )


@lru_cache(maxsize=64)
def _md5_of(path: str, size: int, mtime_ns: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with Path(path).open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _md5(path: Path) -> str:
    stat = path.stat()
    return _md5_of(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


_unreachable: dict[str, str] = {}  # reason of the first failed download, so that five backbones wait once


def _download(row: Backbone, folder: Path) -> str:
    """Download the official file into ``folder``; returns '' or the reason why not."""
    if os.environ.get(OFFLINE_VARIABLE):
        return f"{OFFLINE_VARIABLE} is set, no download tried"
    if "reason" in _unreachable:
        return _unreachable["reason"]
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with (
            urllib.request.urlopen(row.weights_url, timeout=DOWNLOAD_TIMEOUT_S) as reply,
            write_atomic(folder / row.weights_file) as part,
            part.open("wb") as stream,
        ):
            while chunk := reply.read(1 << 20):
                digest.update(chunk)
                stream.write(chunk)
            if digest.hexdigest() != row.weights_md5:
                raise OSError(f"the downloaded file has md5 {digest.hexdigest()}")
    except (OSError, urllib.error.URLError) as error:
        _unreachable["reason"] = str(error)[:200] or type(error).__name__
        return _unreachable["reason"]
    return ""


def _randomise(base: Any, seed: int) -> None:
    """Draw every kernel anew, Glorot uniform as Keras's default, under ``seed``, so that runs repeat."""
    import keras

    kernels = [variable for variable in base.trainable_variables if len(variable.shape) > 1]
    states = np.random.SeedSequence(seed).generate_state(len(kernels))
    for variable, state in zip(kernels, states, strict=True):
        variable.assign(keras.initializers.GlorotUniform(seed=int(state))(variable.shape))


def _load_h5(base: Any, path: Path) -> None:
    """Loads a Keras ``.h5`` file; a layer that the file lacks, which Keras only warns of, is an error."""
    base.set_weights([np.full(w.shape, np.nan, np.float32) for w in base.weights])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it warns of is checked below
        base.load_weights(str(path))
    missing = sum(bool(np.isnan(w).any()) for w in base.get_weights())
    if missing:
        raise ValueError(f"{missing} of {len(base.weights)} arrays are not in the file")


def _load_int8(base: Any, path: Path) -> None:
    with np.load(path, allow_pickle=False) as asset:
        for layer in (layer for layer in base.layers if layer.weights):
            kernel = dequantise(asset[f"{layer.name}/kernel"], asset[f"{layer.name}/scale"])
            layer.set_weights([kernel, asset[f"{layer.name}/bias"]])
