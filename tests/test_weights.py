"""Weights: found in the promised order, checked, and never replaced in silence."""

import hashlib
import io
import urllib.error
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bonescan_utils import weights as room
from bonescan_utils.backbones import BACKBONES, build_base
from bonescan_utils.weights import WeightsError, WeightsSource, dequantise, quantise, resolve_weights

SHAPE = (64, 48, 3)
ROW = BACKBONES["vgg16"]


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network, no cache and no folder of this machine."""
    monkeypatch.setenv("BONESCAN_OFFLINE", "1")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("BONESCAN_WEIGHTS_DIR", raising=False)
    monkeypatch.setattr(room, "_unreachable", {})


def official(monkeypatch, folder: Path, content: bytes = b"weights") -> Path:
    """Writes ``content`` under the official name and makes it the right file."""
    row = replace(ROW, weights_md5=hashlib.md5(b"weights").hexdigest())
    monkeypatch.setitem(BACKBONES, "vgg16", row)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ROW.weights_file
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------------- embedded copy
def test_quantisation_errs_by_half_a_scale_at_most():
    kernel = np.random.default_rng(0).normal(0, 0.05, (3, 3, 8, 5)).astype(np.float32)
    kernel[..., 2] = 0
    codes, scale = quantise(kernel)
    assert codes.dtype == np.int8 and scale.shape == (5,)
    assert (np.abs(dequantise(codes, scale) - kernel) <= scale / 2 + 1e-7).all()
    assert not dequantise(codes, scale)[..., 2].any()


def test_the_embedded_asset_is_a_whole_vgg16_base():
    path = room.embedded_path("vgg16")
    base = build_base("vgg16", input_shape=SHAPE)
    layers = [layer for layer in base.layers if layer.weights]
    assert path.stat().st_size <= 15_000_000 and len(layers) == 13
    with np.load(path, allow_pickle=False) as asset:
        assert "CC BY 4.0" in str(asset["about"])
        assert len(asset.files) == 1 + 3 * 13
        for layer in layers:
            codes, scale = asset[f"{layer.name}/kernel"], asset[f"{layer.name}/scale"]
            assert (codes.dtype, codes.shape) == (np.int8, layer.kernel.shape)
            assert (np.abs(codes.astype(int)).max((0, 1, 2)) == 127).all()  # every channel uses its range
            assert scale.shape == asset[f"{layer.name}/bias"].shape == layer.bias.shape


def test_auto_loads_the_embedded_copy_for_vgg16():
    source = resolve_weights("vgg16", weights="auto")
    assert source.kind == "imagenet-int8" and source.pretrained and "int8" in source.note
    base = build_base("vgg16", input_shape=SHAPE, weights=source)
    kernel = base.get_layer("block1_conv1").get_weights()[0]
    # First kernel values of the published Keras weights, to the asset's precision.
    published = [0.42947057, 0.11727387, 0.03401296, 0.35422093]
    np.testing.assert_allclose(kernel[0, 0, 0, :4], published, atol=0.004)


# ------------------------------------------------------------------------------------------- the order
def test_folder_then_variable_then_cache(monkeypatch, tmp_path):
    for name in ("given", "variable", "keras/models"):
        official(monkeypatch, tmp_path / name)
    monkeypatch.setenv("BONESCAN_WEIGHTS_DIR", str(tmp_path / "variable"))
    assert resolve_weights("vgg16", weights_dir=tmp_path / "given").path.parent.name == "given"
    source = resolve_weights("vgg16")
    assert source.path.parent.name == "variable" and source.kind == "imagenet"
    monkeypatch.delenv("BONESCAN_WEIGHTS_DIR")
    assert resolve_weights("vgg16", weights="auto").path.parent.name == "models"


def test_a_damaged_official_file_is_an_error_in_every_mode(monkeypatch, tmp_path):
    path = official(monkeypatch, tmp_path, b"weight")
    for mode in ("imagenet", "auto"):
        with pytest.raises(WeightsError, match=r"md5 .* expected .* damaged") as error:
            resolve_weights("vgg16", weights=mode, weights_dir=tmp_path)
        assert str(path) in str(error.value)


def test_an_unofficial_file_is_marked(tmp_path):
    exact = build_base("vgg16", input_shape=SHAPE, weights=WeightsSource("vgg16", "random", seed=3))
    exact.save_weights(tmp_path / "vgg16_notop.weights.h5")
    source = resolve_weights("vgg16", weights_dir=tmp_path)
    assert source.kind == "imagenet-unverified" and len(source.md5) == 32
    loaded = build_base("vgg16", input_shape=SHAPE, weights=source)
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), exact.get_weights(), strict=True))


def test_missing_weights_say_which_file_from_where_and_what_to_do(tmp_path):
    with pytest.raises(WeightsError) as error:
        resolve_weights("xception", weights_dir=tmp_path)
    row = BACKBONES["xception"]
    facts = (row.weights_file, row.weights_md5, row.weights_url, f"{row.weights_bytes:,}")
    for needed in (*facts, str(tmp_path), "weights=auto"):
        assert needed in str(error.value)


def test_auto_falls_back_to_random_and_says_so():
    source = resolve_weights("resnet50", weights="auto", seed=5)
    assert (source.kind, source.pretrained, source.path) == ("random", False, None)
    assert "not pretrained" in source.note and source.to_dict()["weights"] == "random"


def test_unknown_mode_is_named():
    with pytest.raises(WeightsError, match=r"'image-net'.*imagenet, auto, random"):
        resolve_weights("vgg16", weights="image-net")


# ------------------------------------------------------------------------------------------- loading
def test_random_weights_repeat_with_their_seed():
    def kernels(seed):
        source = resolve_weights("vgg16", weights="random", seed=seed)
        return build_base("vgg16", input_shape=SHAPE, weights=source).get_weights()[2]

    assert np.array_equal(kernels(1), kernels(1))
    assert not np.array_equal(kernels(1), kernels(2))


@pytest.mark.parametrize("kind", ["imagenet-unverified", "imagenet-int8"])
def test_a_truncated_file_is_one_readable_line(tmp_path, kind):
    path = tmp_path / "vgg16_notop.weights.h5"
    path.write_bytes(room.embedded_path("vgg16").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="not the weights of a vgg16 base") as error:
        build_base("vgg16", input_shape=SHAPE, weights=WeightsSource("vgg16", kind, path))
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "vgg16_notop.weights.h5"
    build_base("densenet121", input_shape=SHAPE).save_weights(path)
    with pytest.raises(WeightsError, match="not the weights of a vgg16 base"):
        build_base("vgg16", input_shape=SHAPE, weights=resolve_weights("vgg16", weights_dir=tmp_path))


# ------------------------------------------------------------------------------------------- the download
def test_a_download_is_checked_and_kept(monkeypatch, tmp_path):
    official(monkeypatch, tmp_path / "elsewhere")
    monkeypatch.delenv("BONESCAN_OFFLINE")
    monkeypatch.setattr(room.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(b"weights"))
    source = resolve_weights("vgg16")
    assert source.kind == "imagenet" and source.path == tmp_path / "keras/models" / ROW.weights_file
    assert source.path.read_bytes() == b"weights"


def test_a_bad_download_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.delenv("BONESCAN_OFFLINE")
    page = io.BytesIO(b"<html>log in</html>")
    monkeypatch.setattr(room.urllib.request, "urlopen", lambda url, timeout: page)
    with pytest.raises(WeightsError, match="the downloaded file has md5"):
        resolve_weights("vgg16")
    assert not list((tmp_path / "keras/models").iterdir())


def test_no_network_is_noticed_once(monkeypatch):
    asked = []

    def refuse(url, timeout):
        asked.append(url)
        raise urllib.error.URLError("no route to host")

    monkeypatch.delenv("BONESCAN_OFFLINE")
    monkeypatch.setattr(room.urllib.request, "urlopen", refuse)
    sources = [resolve_weights(name, weights="auto") for name in BACKBONES]
    assert [s.kind for s in sources] == ["imagenet-int8", *["random"] * 4]
    assert len(asked) == 1 and "no route to host" in sources[1].note
