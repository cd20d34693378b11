"""Backbones: the table agrees with Keras, preprocessing is inside, and cuts split a base exactly."""

import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest

from bonescan_utils.backbones import BACKBONES, BackboneError, build_base, split_base, truncate

SHAPE = (96, 80, 3)
rng = np.random.default_rng(0)
IMAGES = np.repeat(rng.uniform(0, 255, (2, *SHAPE[:2], 1)), 3, axis=-1).astype(np.float32)


@pytest.fixture(scope="module", params=list(BACKBONES))
def base(request):
    return build_base(request.param, input_shape=SHAPE)


def test_base_has_the_parameters_layers_and_channels_of_its_row(base):
    row = BACKBONES[base.name]
    assert base.count_params() == row.params
    assert base.get_layer(row.last_conv).output.shape[-1] == row.channels
    assert base.output is base.get_layer(row.output).output
    assert row.last_stage_cut in row.cuts


def test_base_equals_keras_own_network_after_keras_own_preprocessing(base):
    row = BACKBONES[base.name]
    module = importlib.import_module(f"keras.applications.{row.module}")
    plain = getattr(module, row.builder)(include_top=False, weights=None, input_shape=SHAPE)
    plain.set_weights(base.get_weights())
    expected = plain(module.preprocess_input(IMAGES.copy()), training=False)
    np.testing.assert_allclose(base(IMAGES, training=False), expected, rtol=1e-4, atol=1e-5)


def test_every_cut_splits_the_base_exactly(base):
    whole = np.asarray(base(IMAGES, training=False))
    for cut in BACKBONES[base.name].cuts:
        prefix, suffix = split_base(base, cut)
        again = np.asarray(suffix(prefix(IMAGES, training=False), training=False))
        np.testing.assert_allclose(again, whole, rtol=1e-5, atol=1e-6, err_msg=cut)
        shared = {id(v) for v in prefix.weights} | {id(v) for v in suffix.weights}
        assert shared == {id(v) for v in base.weights}


@pytest.mark.parametrize("row", BACKBONES.values(), ids=list(BACKBONES))
def test_md5_sums_and_addresses_are_those_of_keras(row):
    module = importlib.import_module(f"keras.applications.{row.module}")
    source = inspect.getsource(inspect.getmodule(getattr(module, row.builder)))
    assert row.weights_md5 in source
    assert f"{row.weights_folder}/" in source and "storage.googleapis.com/tensorflow/" in source
    assert row.weights_url.endswith(f"{row.weights_folder}/{row.weights_file}")


def test_a_base_can_end_at_a_shallower_layer():
    base = build_base("vgg16", input_shape=SHAPE, output="block4_pool")
    assert base.output.shape[1:] == (6, 5, 512)
    assert truncate(base, "block3_pool").output.shape[1:] == (12, 10, 256)


def test_unusable_requests_are_named():
    with pytest.raises(BackboneError, match=r"vgg61.*expected one of vgg16"):
        build_base("vgg61", input_shape=SHAPE)
    with pytest.raises(BackboneError, match=r"Xception needs .* 71 x 71 .* got 96 x 64"):
        build_base("xception", input_shape=(96, 64, 3))
    with pytest.raises(BackboneError, match="height, width, 3"):
        build_base("vgg16", input_shape=(96, 96, 1))
    with pytest.raises(BackboneError, match="no layer 'block6_pool'"):
        split_base(build_base("vgg16", input_shape=SHAPE), "block6_pool")


def test_a_cut_with_a_branch_round_it_is_refused_with_the_cuts_that_work():
    base = build_base("xception", input_shape=SHAPE)
    with pytest.raises(BackboneError, match=r"branch goes round it.*before:block14_sepconv1"):
        split_base(base, "block13_pool")


def test_the_tables_are_read_without_tensorflow():
    rooms = "bonescan_utils.arms, bonescan_utils.weights, bonescan_utils.precision"
    code = f"import sys, {rooms}; print({{'keras', 'tensorflow'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
