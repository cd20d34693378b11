"""Devices: the hardware that TensorFlow works on, set up once before the first model is built.

One process works on one GPU, or on several of one machine together when they train one arm (`strategy`). Which ones a
process sees is set from outside, by CUDA_VISIBLE_DEVICES. Nothing here falls back to the CPU in silence: `bonescan
doctor` says what is used, and why not a GPU that is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import tensorflow as tf

from bonescan_utils.screen import quiet_stderr

XLA_VARIABLE = "BONESCAN_XLA"


class DeviceError(RuntimeError):
    """A device without enough memory for the work; says what to change."""


@lru_cache(maxsize=1)
def prepare() -> tuple[str, ...]:
    """Let every GPU's memory grow as it is needed, so that several processes can share one; return the GPUs' names.

    Once per process, before anything runs on a GPU: after that TensorFlow takes no such setting (and the memory is
    taken already).
    """
    with quiet_stderr():  # where there is no GPU, looking for one is logged at length; `bonescan doctor` says why
        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            break
    return tuple(gpu.name for gpu in gpus)


def use_xla() -> bool:
    """Whether forward passes are compiled by XLA: on a GPU, unless BONESCAN_XLA=0; on a CPU only with BONESCAN_XLA=1.

    Raises:
        ValueError: BONESCAN_XLA is neither 0, 1 nor empty.
    """
    asked = os.environ.get(XLA_VARIABLE, "")
    if asked not in ("", "0", "1"):
        raise ValueError(f"{XLA_VARIABLE}={asked!r}; expected 0 or 1")
    return bool(prepare()) if not asked else asked == "1"


def strategy() -> tf.distribute.Strategy:
    """How one arm is trained: on all GPUs that this process sees, each batch shared out among them; else as is.

    On a CPU that was divided into logical devices these stand for GPUs, which is how this is tested.
    """
    prepare()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in devices], _reduction(devices))


def _reduction(devices: list[Any]) -> tf.distribute.CrossDeviceOps:
    """NCCL is for GPUs; without it gradients are summed on one device."""
    on_gpu = devices[0].device_type == "GPU"
    return tf.distribute.NcclAllReduce() if on_gpu else tf.distribute.ReductionToOneDevice()


@contextmanager
def memory_explained(what: str) -> Iterator[None]:
    """Turn a device's lack of memory into an error that says what to do.

    Args:
        what: What was being done, such as `features of vgg16, 16 images at a time`.

    Raises:
        DeviceError: The device has not enough memory.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        first = str(error).splitlines()[0][:160]
        raise DeviceError(
            f"{what}: the device has not enough memory ({first}). Is another program using it? Take smaller images"
            " (-p image_height=224 -p image_width=112), or the CPU: CUDA_VISIBLE_DEVICES=-1"
        ) from None
