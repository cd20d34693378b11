"""The same networks in PyTorch and in this package: images a second of a whole backbone, random weights, CPU.

    python tests/bench/bench_torch.py        # needs: pip install torch torchvision

Each side runs in a process of its own; the two libraries do not load into one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from record import record, seconds

SIZE, BATCH = (320, 160), 16
NETWORKS, PRECISIONS = ("vgg16", "resnet50"), ("float32", "bfloat16")


def torch_rate(name: str, precision: str) -> float:
    """Images a second of torchvision's network without its classifier."""
    import torch
    import torchvision

    parts = list(getattr(torchvision.models, name)(weights=None).eval().children())
    body = parts[0] if name == "vgg16" else torch.nn.Sequential(*parts[:-2])
    dtype = getattr(torch, precision)
    body = body.to(dtype).to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, 3, *SIZE).to(dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return BATCH / seconds(lambda: body(images))


def keras_rate(name: str, precision: str) -> float:
    """Images a second of this package's backbone."""
    from bonescan_utils.backbones import build_base
    from bonescan_utils.forward import as_rgb, compile_forward
    from bonescan_utils.precision import dtype_policy

    with dtype_policy("float32" if precision == "float32" else "mixed_bfloat16"):
        forward = compile_forward(build_base(name, input_shape=(*SIZE, 3)))
    batch = as_rgb(np.random.default_rng(0).integers(0, 256, (BATCH, *SIZE), np.uint8))
    return BATCH / seconds(lambda: forward(batch))


def apart(side: str, name: str, precision: str) -> float:
    done = subprocess.run(
        [sys.executable, __file__, side, name, precision], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{side} {name} {precision}: {done.stderr.strip().splitlines()[-1]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    if len(sys.argv) == 4:
        print(json.dumps({"torch": torch_rate, "keras": keras_rate}[sys.argv[1]](*sys.argv[2:])))
        return
    rows = []
    for name in NETWORKS:
        for precision in PRECISIONS:
            mine, theirs = (apart(side, name, precision) for side in ("keras", "torch"))
            rows += [(f"{name} whole, this package, {precision}", mine, "images/s"),
                     (f"{name} whole, PyTorch, {precision}", theirs, "images/s"),
                     (f"{name} this package / PyTorch, {precision}", mine / theirs, "ratio")]  # fmt: skip
    record("torch", rows)


if __name__ == "__main__":
    main()
