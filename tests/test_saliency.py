"""Saliency: tf-keras-vis against a plain gradient tape, and the geometry of the maps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bonescan_utils.arms import Arm
from bonescan_utils.backbones import BACKBONES, BackboneError, build_base
from bonescan_utils.heads import attach_head, head_of, pool, pool_levels
from bonescan_utils.models import predict
from bonescan_utils.saliency import METHODS, SaliencyError, contrast, enlarge, saliency_map, saliency_maps
from bonescan_utils.saliency_methods import DEFAULT_METHOD, SALIENCY_METHODS
from bonescan_utils.weights import WeightsSource

SHAPE = (96, 80, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SHAPE[:2])).astype(np.uint8)


def model_of(backbone: str, *, bias: float = 0.0, output: str | None = None) -> keras.Model:
    source = WeightsSource(backbone, "random", seed=1)
    base = build_base(backbone, input_shape=SHAPE, weights=source, output=output)
    arm = Arm(name="a", backbone=backbone, cut="any", epochs=1, dense_units=8, dropout=0.5)
    model = keras.Model(base.input, attach_head(pool(base.output, "avg"), arm, activation_function="sigmoid", seed=7))
    score = model.get_layer("score")
    score.set_weights([np.abs(score.get_weights()[0]), np.array([bias])])  # some evidence in each
    return model


def plain_gradcam(model: keras.Model, layer: str) -> np.ndarray:
    """Grad-CAM by its definition (Selvaraju et al. 2017, eq. 1-2) with one tape; raw, at the layer's size."""
    score = model.get_layer("score")
    both = keras.Model(model.input, [model.get_layer(layer).output, score.input])
    rgb = tf.repeat(tf.cast(IMAGES[..., None], tf.float32), 3, axis=-1)
    with tf.GradientTape() as tape:
        activation, hidden = both(rgb, training=False)
        logit = hidden @ score.kernel + score.bias
    weights = tf.reduce_mean(tape.gradient(logit, activation), axis=(1, 2), keepdims=True)
    cells = activation.shape[1] * activation.shape[2]
    return tf.nn.relu(cells * tf.reduce_sum(weights * activation, axis=-1)).numpy()


def local_model() -> keras.Model:
    arm = Arm(name="t", backbone="vgg16", cut="block3_conv3", output="block3_conv3", local_units=4, epochs=1)
    base = build_base("vgg16", input_shape=SHAPE, output="block3_conv3")
    return keras.Model(base.input, head_of(base.output, arm, activation_function="sigmoid"))


def multilevel_model(backbone: str) -> tuple[keras.Model, tuple[str, ...]]:
    row = BACKBONES[backbone]
    *taps, output = row.levels
    arm = Arm(name="m", backbone=backbone, output=output, taps=tuple(taps))
    base = build_base(backbone, input_shape=SHAPE, weights=WeightsSource(backbone, "random", seed=1), output=output)
    pooled = pool_levels(base, arm)
    return keras.Model(base.input, attach_head(pooled, arm, activation_function="sigmoid", seed=7)), row.levels


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradcam_equals_a_plain_gradient_tape(backbone):
    model = model_of(backbone)
    row = BACKBONES[backbone]
    expected = plain_gradcam(model, row.last_conv)
    found = saliency_map(model, IMAGES, backbone=backbone)
    assert found.layers == (row.last_conv,)
    assert found.maps.shape == IMAGES.shape and found.maps.dtype == np.float32
    rebuilt = found.maps * found.raw_max[:, None, None]
    wanted = enlarge(expected, SHAPE[:2])
    np.testing.assert_allclose(rebuilt, wanted, rtol=1e-3, atol=1e-3 * wanted.max())
    assert wanted.max() > 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_multilevel_map_adds_up_to_the_logit(backbone):
    """Class activation mapping by its definition: every level's cells times the head's weights, and nothing lost."""
    model, layers = multilevel_model(backbone)
    rgb = np.repeat(IMAGES[..., None], 3, -1).astype(np.float32)
    outputs = keras.Model(model.input, [model.get_layer(layer).output for layer in layers])(rgb, training=False)
    outputs = [np.asarray(output) for output in outputs]
    kernels = np.split(
        np.asarray(model.get_layer("score").kernel)[:, 0], np.cumsum([o.shape[-1] for o in outputs])[:-1]
    )
    levels = [np.tensordot(output, kernel, 1) for output, kernel in zip(outputs, kernels, strict=True)]
    logit = sum(level.mean((1, 2)) for level in levels) + float(model.get_layer("score").bias[0])
    scores = np.asarray(model(rgb, training=False))[:, 0]
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), scores, rtol=1e-3)
    wanted = np.maximum(sum(enlarge(level, SHAPE[:2]) for level in levels), 0)
    found = saliency_map(model, IMAGES, backbone=backbone, layers=layers)
    assert found.layers == layers and wanted.max() > 0
    np.testing.assert_allclose(found.maps * found.raw_max[:, None, None], wanted, atol=2e-3 * wanted.max())


def test_layers_that_a_model_does_not_join_are_refused():
    with pytest.raises(SaliencyError, match="does not join the 2 layers"):
        saliency_map(model_of("vgg16"), IMAGES, backbone="vgg16", layers=["block4_conv3", "block5_conv3"])
    model, layers = multilevel_model("vgg16")
    with pytest.raises(SaliencyError, match="does not join the 3 layers"):
        saliency_map(model, IMAGES, backbone="vgg16", layers=layers[1:])


def test_maps_are_scaled_one_by_one_and_the_strength_is_kept():
    model = model_of("vgg16")
    both = saliency_map(model, IMAGES, backbone="vgg16")
    alone = saliency_map(model, IMAGES[1:], backbone="vgg16")
    assert both.maps.max(axis=(1, 2)) == pytest.approx(1.0) and both.maps.min() >= 0
    np.testing.assert_allclose(both.maps[1:], alone.maps, atol=1e-3)
    assert both.raw_max[1] == pytest.approx(alone.raw_max[0], rel=1e-3)


def test_a_batch_gives_what_its_images_give_one_by_one():
    images = np.random.default_rng(1).integers(0, 256, (5, *SHAPE[:2])).astype(np.uint8)
    model, methods = local_model(), ["gradcam", "layercam", "focused_gradcam"]
    together = saliency_maps(model, images, backbone="vgg16", methods=methods, layers=["hidden"], batch=2)
    assert list(together) == methods
    for n in range(len(images)):
        one = saliency_maps(model, images[n : n + 1], backbone="vgg16", methods=methods, layers=["hidden"], batch=2)
        for name in methods:
            np.testing.assert_allclose(one[name].maps[0], together[name].maps[n], atol=1e-5)
            assert one[name].raw_max[0] == pytest.approx(together[name].raw_max[n], rel=1e-4)
            assert one[name].y_score[0] == pytest.approx(together[name].y_score[n], rel=1e-5)
    np.testing.assert_allclose(together["gradcam"].y_score, predict(model, images), atol=1e-5)


def test_a_sure_model_is_explained_as_well_and_is_left_as_it_was():
    rgb = np.repeat(IMAGES[..., None], 3, -1).astype(np.float32)
    model = model_of("vgg16", bias=60.0)  # score 1.0: the gradient of the sigmoid is 0
    found = saliency_map(model, IMAGES, backbone="vgg16")
    assert (found.raw_max > 0).all()
    assert model.get_layer("score").activation is keras.activations.sigmoid
    np.testing.assert_allclose(model(rgb), 1.0)
    unsure = saliency_map(model_of("vgg16"), IMAGES, backbone="vgg16")
    np.testing.assert_allclose(found.maps, unsure.maps, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_maps_of_the_image(method):
    rgb = np.repeat(IMAGES[..., None], 3, -1)
    found = saliency_map(local_model(), rgb, backbone="vgg16", method=method, layers=["hidden"])
    assert found.maps.shape == IMAGES.shape and np.isfinite(found.maps).all() and found.maps.min() >= 0


def test_a_focused_map_is_the_map_times_the_contrast():
    plain = saliency_map(model_of("vgg16"), IMAGES, backbone="vgg16")
    focused = saliency_map(model_of("vgg16"), IMAGES, backbone="vgg16", method="focused_gradcam")
    expected = plain.maps * plain.raw_max[:, None, None] * contrast(IMAGES)
    np.testing.assert_allclose(focused.maps * focused.raw_max[:, None, None], expected, rtol=1e-4, atol=1e-6)


def test_the_names_of_the_methods_are_those_that_there_are():
    assert set(METHODS) == set(SALIENCY_METHODS) and DEFAULT_METHOD in METHODS


def test_contrast_is_of_spots_and_not_of_plains():
    image = np.full((1, 40, 40), 100.0)
    assert contrast(image).max() == 0
    image[0, 20, 20] = 255
    assert contrast(image)[0].argmax() == 20 * 40 + 20


def test_the_evidence_of_a_local_head_is_what_grad_cam_shows():
    model = local_model()
    evidence = keras.Model(model.input, model.get_layer("evidence").output)(np.repeat(IMAGES[..., None], 3, -1))
    bias = model.get_layer("evidence").get_weights()[1]
    found = saliency_map(model, IMAGES, backbone="vgg16", layers=["hidden"])
    expected = enlarge(np.maximum(evidence[..., 0] - bias, 0), IMAGES.shape[1:])
    np.testing.assert_allclose(found.maps * found.raw_max[:, None, None], expected, rtol=1e-3, atol=1e-4)


def test_a_model_without_evidence_gives_an_empty_map():
    model = model_of("vgg16")
    score = model.get_layer("score")
    score.set_weights([np.zeros_like(w) for w in score.get_weights()])
    found = saliency_map(model, IMAGES, backbone="vgg16")
    assert not found.maps.any() and not found.raw_max.any()


def test_a_wrong_layer_model_size_or_method_is_named():
    model = model_of("vgg16", output="block4_pool")
    with pytest.raises(SaliencyError, match=r"block5_conv3.*name a layer"):
        saliency_map(model, IMAGES, backbone="vgg16")
    assert saliency_map(model, IMAGES, backbone="vgg16", layers=["block4_pool"]).layers == ("block4_pool",)
    with pytest.raises(SaliencyError, match="not a flat DenseNet121"):
        saliency_map(model, IMAGES, backbone="densenet121")
    with pytest.raises(SaliencyError, match=r"'occlusion'.*gradcam"):
        saliency_map(model, IMAGES, backbone="vgg16", method="occlusion")
    with pytest.raises(BackboneError, match="block9_conv9"):
        saliency_map(model, IMAGES, backbone="vgg16", layers=["block9_conv9"])
    with pytest.raises(BackboneError, match=r"\(80, 96\).*takes \(96, 80\)"):
        saliency_map(model, np.zeros((1, 80, 96)), backbone="vgg16", layers=["block4_pool"])


def test_enlargement_keeps_cells_where_they_are():
    cells = np.zeros((1, 10, 5))
    cells[0, 2, 1] = 1.0
    large = enlarge(cells, (320, 160))[0]
    rows, columns = np.mgrid[:320, :160]
    centre = (rows * large).sum() / large.sum(), (columns * large).sum() / large.sum()
    np.testing.assert_allclose(centre, (2.5 * 32 - 0.5, 1.5 * 32 - 0.5), atol=1e-3)
