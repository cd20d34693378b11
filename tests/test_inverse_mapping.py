"""A dot on the detector, through preprocessing, model and saliency map, and back: within two counts pixels."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_counts

from bonescan_utils.explanation import explain_by
from bonescan_utils.files import sha256_file, write_json
from bonescan_utils.preprocessing import LAYOUTS
from bonescan_utils.saliency import METHODS
from bonescan_utils.scan import Scan, View

ROWS, COLUMNS, REACH = 256, 64, 2.0
SIZE = {"side_by_side": (256, 128), "anterior": (256, 128), "posterior": (256, 128), "squash224": (224, 224)}


def save_dot_model(path: Path, size: tuple[int, int]) -> Path:
    """Saves a model whose logit is the evidence, at the image's own resolution, of what is nearly white."""
    image = keras.Input((*size, 3))
    hidden = keras.layers.Conv2D(1, 1, activation="relu", name="hidden")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(image, keras.layers.Dense(1, "sigmoid", name="score")(pooled))
    model.get_layer("hidden").set_weights([np.full((1, 1, 3, 1), 1 / 765), np.array([-0.8])])
    model.get_layer("score").set_weights([np.array([[400.0]]), np.array([-1.0])])
    model.save(path)
    about = {"sha256": sha256_file(path), "backbone": "vgg16", "explained_layers": ["hidden"]}
    write_json(path.with_suffix(".json"), about | {"input_shape": [*size, 3], "arm": {"name": "dot"}})
    return path


def scan_with_dot(at: tuple[int, int]) -> Scan:
    """A body with one hot dot of nine pixels, at the same place of either view."""
    views = []
    for seed, name in enumerate(("anterior", "posterior")):
        counts = np.minimum(make_counts(seed, rows=ROWS, columns=COLUMNS), 70)
        counts[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2] = 4000
        views.append(View(name, counts, (2.26, 2.26), "file"))
    return Scan("dot", *views)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_dot_comes_back_to_its_place_by_every_method(layout: str, tmp_path: Path) -> None:
    model = save_dot_model(tmp_path / "dot.keras", SIZE[layout])
    places = [(60, 30), (150, 40)]
    found = explain_by(METHODS, model, [scan_with_dot(at) for at in places], layout=layout)
    assert set(found) == set(METHODS)
    for method, items in found.items():
        for item, (row, column) in zip(items, places, strict=True):
            maps = item.by_view()
            assert set(maps) == set(LAYOUTS[layout])
            for view, saliency in maps.items():
                assert saliency.shape == (ROWS, COLUMNS)
                strong = np.argwhere(saliency > 0.5 * saliency.max())
                error = np.hypot(*(strong.mean(axis=0) - (row, column)))
                assert saliency.max() > 0 and error <= REACH, f"{method}, {view}: {error:.2f} pixels"


@pytest.mark.parametrize("missing", ["anterior", "posterior"])
def test_a_scan_of_one_view_has_a_map_of_that_view_only(missing: str, tmp_path: Path) -> None:
    model = save_dot_model(tmp_path / "dot.keras", SIZE["side_by_side"])
    both = scan_with_dot((60, 30))
    one = Scan("one", *[None if view.name == missing else view for view in both.views])
    (item,) = explain_by(["gradcam"], model, [one], layout="side_by_side")["gradcam"]
    (view,) = item.by_view()
    assert view != missing and item.saliency.max() == 1
    assert np.hypot(*(np.argwhere(item.by_view()[view] > 0.5).mean(axis=0) - (60, 30))) <= REACH
