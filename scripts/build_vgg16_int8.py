"""Build the embedded int8 copy of VGG16's ImageNet base.

    python scripts/build_vgg16_int8.py SRC.h5 [--out bonescan_utils/assets/vgg16_base_int8.npz]

SRC.h5 is the official ``vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5`` or a Keras 3 ``.weights.h5`` file
of ``keras.applications.VGG16(include_top=False)``. Every kernel becomes int8 codes with one float32 scale per
output channel (symmetric, largest magnitude = 127); biases stay float32. The script then compares the
features of the quantised base with those of the source on noise and blob images, and fails below a
correlation of 0.999.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from bonescan_utils.backbones import build_base, truncate
from bonescan_utils.files import sha256_file, write_atomic
from bonescan_utils.weights import WeightsSource, quantise

MAX_BYTES = 15_000_000
MIN_CORRELATION = 0.999
SHAPE = (320, 160, 3)


def main(argv: list[str] | None = None) -> int:
    """Writes the asset and prints how well it stands for its source; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path, help="float32 weights of the VGG16 base (.h5)")
    parser.add_argument("--out", type=Path, default=Path("bonescan_utils/assets/vgg16_base_int8.npz"))
    args = parser.parse_args(argv)

    given = WeightsSource("vgg16", "imagenet-unverified", args.source)
    exact = build_base("vgg16", input_shape=SHAPE, weights=given)
    _write(args.out, _arrays(exact), source=args.source)
    coded = build_base("vgg16", input_shape=SHAPE, weights=WeightsSource("vgg16", "imagenet-int8", args.out))

    size = args.out.stat().st_size
    print(f"{args.out}: {size:,} bytes (limit {MAX_BYTES:,}), sha256 {sha256_file(args.out)}")
    worst = min(_compare(exact, coded, layer) for layer in ("block4_pool", "block5_pool"))
    return 0 if worst >= MIN_CORRELATION and size <= MAX_BYTES else 1


def _arrays(base) -> dict[str, np.ndarray]:
    arrays = {}
    for layer in (layer for layer in base.layers if layer.weights):
        kernel, bias = layer.get_weights()
        codes, scale = quantise(kernel)
        arrays |= {f"{layer.name}/kernel": codes, f"{layer.name}/scale": scale, f"{layer.name}/bias": bias}
    return arrays


def _write(out: Path, arrays: dict[str, np.ndarray], *, source: Path) -> None:
    about = {
        "what": "VGG16 convolutional base, ImageNet, int8 per output channel (modified: quantised)",
        "authors": "K. Simonyan, A. Zisserman, Visual Geometry Group, University of Oxford",
        "licence": "CC BY 4.0",
        "source_sha256": sha256_file(source),
    }
    with write_atomic(out) as part, part.open("wb") as stream:
        np.savez_compressed(stream, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def _compare(exact, coded, layer: str) -> float:
    images = _images()
    a, b = (truncate(base, layer).predict(images, batch_size=4, verbose=0) for base in (exact, coded))
    whole = float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    pooled = float(np.corrcoef(a.mean((1, 2)).ravel(), b.mean((1, 2)).ravel())[0, 1])
    print(f"{layer}: correlation {whole:.6f} (every activation), {pooled:.6f} (average-pooled)")
    return min(whole, pooled)


def _images() -> np.ndarray:
    """Eight test images, 0-255: sparse blobs with Poisson noise, as in a bone scan, and plain noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    images = rng.uniform(0, 255, (8, *SHAPE[:2]))
    for image in images[:6]:
        image[:] = 0
        for _ in range(60):
            y, x, r = rng.uniform(0, SHAPE[0]), rng.uniform(0, SHAPE[1]), rng.uniform(1.5, 12)
            image += rng.uniform(5, 60) * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * r**2))
        image[:] = np.clip(rng.poisson(image) * 2.0, 0, 255)
    return np.repeat(images[..., None], 3, axis=-1).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
