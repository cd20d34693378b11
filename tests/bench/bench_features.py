"""Features: this engine against a bare loop of the same convolutions.

    python tests/bench/bench_features.py

The bare loop calls the compiled prefix on images that lie in memory and throws the result away. The engine reads the image
store, hashes it, makes three channels, runs the same prefix, and writes float16 shards.
"""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from record import record, seconds

from bonescan_utils.arms import get_arm
from bonescan_utils.backbones import BACKBONES, build_base, split_base
from bonescan_utils.features import features
from bonescan_utils.forward import as_rgb, compile_forward
from bonescan_utils.plan import Images
from bonescan_utils.precision import dtype_policy, precision_policy
from bonescan_utils.weights import resolve_weights

SIZE, N, BATCH = (320, 160), 256, 16


def bare_rate(name: str, policy: str) -> float:
    """Images a second of the prefix of a backbone in a loop without anything else."""
    arm = get_arm(f"{name}_finetuned")
    with dtype_policy(policy):
        prefix, _ = split_base(build_base(name, input_shape=(*SIZE, 3)), str(arm.cut))
    forward = compile_forward(prefix)
    batch = as_rgb(np.random.default_rng(0).integers(0, 256, (BATCH, *SIZE), np.uint8))
    return 4 * BATCH / seconds(lambda: [forward(batch) for _ in range(4)])


def engine_rate(name: str) -> float:
    """Images a second of the engine, from the image store to shards on disk, building the model aside."""
    from dataclasses import replace

    arm = replace(get_arm(f"{name}_finetuned"), copies=0)
    source = resolve_weights(name, weights="random")
    images = np.random.default_rng(0).integers(0, 256, (N, *SIZE), np.uint8)
    spent = []
    for count in (BATCH, N):
        with tempfile.TemporaryDirectory() as folder:
            store = Images(images[:count], None, np.empty(0, np.int64))
            spent.append(features(store, arm, source=source, out_dir=folder, progress=False).seconds)
    return (N - BATCH) / (spent[1] - spent[0])


def input_rate() -> float:
    """Images a second that the input pipeline alone delivers: read, hash, three channels."""
    import hashlib

    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, np.random.default_rng(0).integers(0, 256, (N, *SIZE), np.uint8))
        images = np.load(file.name, mmap_mode="r")

        def work() -> None:
            for at in range(0, N, BATCH):
                hashlib.sha256(np.ascontiguousarray(images[at : at + BATCH]).data)
                as_rgb(images[at : at + BATCH])

        return N / seconds(work)


def main() -> None:
    policy, rows = precision_policy(), [("input pipeline alone", input_rate(), "images/s")]
    for name in BACKBONES:
        bare, engine = bare_rate(name, policy), engine_rate(name)
        rows += [(f"{name} prefix, bare loop, {policy}", bare, "images/s"),
                 (f"{name} prefix, engine, {policy}", engine, "images/s"),
                 (f"{name} engine / bare loop", engine / bare, "ratio")]  # fmt: skip
        keras.backend.clear_session()
    record("features", rows)


if __name__ == "__main__":
    main()
