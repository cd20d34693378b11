"""A tiny saved model that finds bright spots, for tests of what is done with models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bonescan_utils.files import sha256_file, write_json

SIZE = (128, 64)


def save_spot_model(path: Path) -> Path:
    """Saves a model whose logit grows with what is brighter than a third of white; its map is that brightness."""
    import keras

    image = keras.Input((*SIZE, 3))
    share = keras.layers.Conv2D(1, 1, activation="relu", name="first")(image)
    hidden = keras.layers.Conv2D(2, 1, activation="relu", name="hidden")(share)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization(name="standardise")(hidden))
    model = keras.Model(image, keras.layers.Dense(1, "sigmoid", name="score")(pooled))
    model.get_layer("first").set_weights([np.full((1, 1, 3, 1), 1 / 765), np.array([-0.33])])
    model.get_layer("hidden").set_weights([np.array([1.0, 0.5]).reshape(1, 1, 1, 2), np.zeros(2)])
    model.get_layer("score").set_weights([np.array([[400.0], [0.0]]), np.array([-2.0])])
    model.save(path)
    about = {"sha256": sha256_file(path), "backbone": "vgg16", "explained_layers": ["hidden"]}
    write_json(path.with_suffix(".json"), about | {"input_shape": [*SIZE, 3], "arm": {"name": "spot"}})
    return path
