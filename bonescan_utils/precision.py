"""Precision: which number format the hardware computes fastest without harm.

The names are Keras's dtype policies. Weights, the final layer and all statistics stay in float32 or better
under each of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
PRECISION_VARIABLE = "BONESCAN_PRECISION"
_CPU_FLAGS = ("avx512_bf16", "amx_bf16")


def precision_policy() -> str:
    """The dtype policy for this machine.

    ``mixed_bfloat16`` on a GPU of compute capability 8.0 or a CPU with AVX512_BF16 or AMX, ``mixed_float16``
    on a GPU of 7.0, ``float32`` on all else. ``BONESCAN_PRECISION`` overrides it.

    Raises:
        ValueError: ``BONESCAN_PRECISION`` is none of the three.
    """
    asked = os.environ.get(PRECISION_VARIABLE, "")
    if asked:
        if asked not in POLICIES:
            raise ValueError(f"{PRECISION_VARIABLE}={asked!r}; expected one of {', '.join(POLICIES)}")
        return asked
    capability = _gpu_capability()
    if capability is None:
        return "mixed_bfloat16" if set(_CPU_FLAGS) & _cpu_flags() else "float32"
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Makes ``name`` Keras's dtype policy for the layers built inside the block."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _gpu_capability() -> tuple[int, int] | None:
    """Lowest compute capability among the GPUs TensorFlow sees; None without a GPU."""
    import tensorflow as tf

    from bonescan_utils.devices import prepare

    prepare()
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return min((d.get("compute_capability", (0, 0)) for d in details), default=None)


def _cpu_flags() -> set[str]:
    """Feature flags of the CPU as Linux names them; empty on other systems."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return set()
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return set(flags.partition(":")[2].split())
