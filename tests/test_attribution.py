"""Attribution: each method against its definition on a network small enough to work it out otherwise."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from bonescan_utils.attribution import _gradient as gradient_of
from bonescan_utils.attribution import completed, integrated_gradients, score_cam, smooth_grad

SIZE = (12, 8)
IMAGES = np.random.default_rng(0).uniform(0, 255, (3, *SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")(x)
    x = keras.layers.Dense(1, activation="sigmoid", name="score")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


def logit(model: keras.Model, images: np.ndarray) -> np.ndarray:
    score = np.asarray(model(images), np.float64)[:, 0]
    return np.log(score / (1 - score))


def test_score_cam_weighs_a_channel_by_the_rise_of_the_logit(model: keras.Model) -> None:
    found = score_cam(model, "conv")(IMAGES)
    activation = keras.Model(model.input, model.get_layer("conv").output)(IMAGES)
    large = np.asarray(keras.ops.image.resize(activation, SIZE))
    black = logit(model, np.zeros_like(IMAGES[:1]))[0]
    for image, maps, mine in zip(IMAGES, large, found, strict=True):
        total = np.zeros(SIZE)
        for k in range(4):
            one = maps[..., k]
            if one.max() > one.min():
                mask = (one - one.min()) / (one.max() - one.min())
                total += (logit(model, (image * mask[..., None])[None])[0] - black) * one
        np.testing.assert_allclose(mine, np.maximum(total, 0), atol=1e-3)


def test_score_cam_depends_on_the_weights_of_the_head(model: keras.Model) -> None:
    before = score_cam(model, "conv")(IMAGES)
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    kernel, bias = other.get_layer("score").get_weights()
    other.get_layer("score").set_weights([-kernel, bias])
    assert not np.allclose(before, score_cam(other, "conv")(IMAGES))


def test_integrated_gradients_add_up_to_the_logit(model: keras.Model) -> None:
    shares = (np.arange(400, dtype=np.float32) + 0.5) / 400
    for image in IMAGES:
        signed = completed(gradient_of(model), image, shares)
        rise = logit(model, image[None])[0] - logit(model, np.zeros_like(image[None]))[0]
        assert signed.sum() == pytest.approx(rise, abs=0.01)
    assert (integrated_gradients(model, "conv")(IMAGES) >= 0).all()


def test_smooth_grad_of_a_linear_network_is_the_size_of_its_weights() -> None:
    image = keras.Input((*SIZE, 3))
    flat = keras.layers.Dense(1, activation="sigmoid", name="score", use_bias=True)(keras.layers.Flatten()(image))
    linear = keras.Model(image, flat)
    kernel = linear.get_layer("score").get_weights()[0].reshape(*SIZE, 3)
    found = smooth_grad(linear, "")(IMAGES)
    for one in found:
        np.testing.assert_allclose(one, np.abs(kernel).sum(-1), rtol=1e-4)


def test_one_image_at_a_time_gives_the_same(model: keras.Model) -> None:
    for method in (score_cam, integrated_gradients, smooth_grad):
        together = method(model, "conv")(IMAGES)
        alone = np.concatenate([method(model, "conv")(IMAGES[at : at + 1]) for at in range(len(IMAGES))])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
