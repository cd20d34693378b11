"""Forward: a model run over many rows in equal batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from bonescan_utils.devices import memory_explained, use_xla

Forward = Callable[[np.ndarray], np.ndarray]
Reader = Callable[[np.ndarray | slice], np.ndarray]


def compile_forward(model: keras.Model) -> Forward:
    """The model in inference mode as one compiled function, float32 in and out."""
    outputs = compile_outputs(model)
    return lambda x: outputs(x)[0]


def compile_outputs(model: keras.Model) -> Callable[[np.ndarray], list[np.ndarray]]:
    """As :func:`compile_forward`, for a model of one or several outputs: the list of them."""

    @tf.function(jit_compile=use_xla() or None)
    def forward(x: tf.Tensor) -> list[tf.Tensor]:
        found = model(tf.cast(x, model.inputs[0].dtype), training=False)
        return [tf.cast(output, tf.float32) for output in (found if isinstance(found, list | tuple) else [found])]

    # Traced once for any number of rows: TensorFlow warns of "retracing" when each model brings a function.
    traced = forward.get_concrete_function(tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32))
    return lambda x: [output.numpy() for output in traced(tf.constant(x, tf.float32))]


def run_in_batches(forward: Forward, read: Reader, n: int, *, batch: int, label: str = "") -> Iterator[np.ndarray]:
    """Yields what ``forward`` makes of rows 0..n-1, batch by batch, with a progress bar if there is a label.

    The last batch is filled up, so that a row's result does not depend on how many come with it.
    """
    for start in tqdm(range(0, n, batch), desc=label, disable=not label, unit="batch", leave=False):
        x = read(slice(start, min(start + batch, n)))
        filled = np.concatenate([x, np.repeat(x[-1:], batch - len(x), axis=0)]) if len(x) < batch else x
        with memory_explained(f"{batch} images at a time"):
            found = forward(filled)[: len(x)]
        yield found


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Grey images (n, h, w), 0-255, as float32 with three equal channels (n, h, w, 3)."""
    return np.repeat(np.asarray(images, np.float32)[..., None], 3, axis=-1)
