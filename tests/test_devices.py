"""Devices: several of them train as one does; what is said when one cannot."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tensorflow as tf

from bonescan_utils import devices
from bonescan_utils.devices import DeviceError, memory_explained

TRAIN = """
import sys, json, numpy as np, tensorflow as tf, keras
n = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * n)
from bonescan_utils.arms import Arm
from bonescan_utils.descent import Descent
from bonescan_utils.devices import strategy
keras.utils.set_random_seed(1)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(11, 4, 3, 5)).astype("float32"), (np.arange(11) % 2).astype("float32")
arm = Arm(name="t", backbone="vgg16", cut="block4_pool", epochs=2, ema=0.9, weight_decay=0.01, learning_rate=0.01,
          schedule="cosine")
chosen = strategy()
with chosen.scope():
    image = keras.Input((4, 3, 5))
    hidden = keras.layers.Conv2D(6, 3, activation="relu")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(image, keras.layers.Dense(1, name="score")(pooled))
    descent = Descent(arm, model, steps_per_epoch=4)
losses = [descent.step(x[:size], y[:size]) for size in (11, 8, 7, 1)]
with descent.averaged():
    averaged = model.predict(x, verbose=0)[:, 0].tolist()
print(json.dumps([chosen.num_replicas_in_sync, losses, averaged, model.predict(x, verbose=0)[:, 0].tolist()]))
"""


def run_on(n: int) -> list:
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(n)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_take_the_steps_of_one() -> None:
    one, two = run_on(1), run_on(2)
    assert (one[0], two[0]) == (1, 2)
    for alone, shared in zip(one[1:], two[1:], strict=True):
        assert shared == pytest.approx(alone, abs=2e-5)
    assert one[1][0] != one[1][1] and one[2] != one[3], "no step was taken"


def test_a_device_without_memory_says_what_to_do() -> None:
    with (
        pytest.raises(DeviceError, match=r"16 images at a time: the device has not enough memory .*smaller images"),
        memory_explained("16 images at a time"),
    ):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[16,64,320,160]")


def test_xla_is_for_gpus_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(devices.XLA_VARIABLE, raising=False)
    for gpus, expected in (((), False), (("GPU:0",), True)):
        monkeypatch.setattr(devices, "prepare", lambda gpus=gpus: gpus)
        assert devices.use_xla() is expected
    monkeypatch.setenv(devices.XLA_VARIABLE, "0")
    assert not devices.use_xla()
    monkeypatch.setenv(devices.XLA_VARIABLE, "yes")
    with pytest.raises(ValueError, match="expected 0 or 1"):
        devices.use_xla()


def test_the_memory_of_every_gpu_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gpu:
        def __init__(self, name: str) -> None:
            self.name = name

    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [Gpu("GPU:0"), Gpu("GPU:1")])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu.name, on)))
    devices.prepare.cache_clear()
    try:
        assert devices.prepare() == ("GPU:0", "GPU:1") and grown == [("GPU:0", True), ("GPU:1", True)]
    finally:
        devices.prepare.cache_clear()


def test_compiled_by_xla_a_network_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras
    import numpy as np

    from bonescan_utils.forward import compile_forward

    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    found = []
    for asked in ("0", "1"):
        monkeypatch.setenv(devices.XLA_VARIABLE, asked)
        found.append(compile_forward(model)(x))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
