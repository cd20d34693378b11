"""Preprocessing: crop, aspect, level, augmentation, and the way back to counts space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonescan_utils.preprocessing import LAYOUTS, Jitter, body_mask, draw_jitter, prepare
from bonescan_utils.scan import Scan, ScanError, View


def body(*, rows: int = 256, columns: int = 64, level: float = 20.0, seed: int = 0) -> np.ndarray:
    """An upright block of counts 200 x 40 in a field with little background."""
    expected = np.full((rows, columns), 0.05)
    expected[30:230, 12:52] = level
    expected[60:70, 26:36] = 4 * level
    return np.random.default_rng(seed).poisson(expected).astype(np.uint16)


def scan_of(*, anterior: np.ndarray | None = None, posterior: np.ndarray | None = None) -> Scan:
    def view(name: str, counts: np.ndarray | None) -> View | None:
        return None if counts is None else View(name, counts, (2.0, 2.0), "file")

    return Scan("s1", view("anterior", anterior), view("posterior", posterior))


BOTH = scan_of(anterior=body(), posterior=body(seed=1))


def test_body_mask_finds_the_block() -> None:
    rows, columns = np.nonzero(body_mask(body()))
    assert abs(rows.min() - 30) <= 2 and abs(rows.max() - 229) <= 2
    assert abs(columns.min() - 12) <= 2 and abs(columns.max() - 51) <= 2


def test_body_mask_of_an_empty_view_says_so() -> None:
    with pytest.raises(ScanError, match="no body"):
        body_mask(np.zeros((256, 64), np.uint16))


def test_anterior_is_on_the_left_and_aspect_is_kept() -> None:
    hot = body()
    hot[100:110, 30:34] = 500
    prepared = prepare(scan_of(anterior=hot, posterior=body(seed=1)), size=(320, 160))
    assert prepared.image.shape == (320, 160) and prepared.image.dtype == np.uint8
    _, left, height, width = prepared.placements["anterior"].panel
    assert left + width <= 80 <= prepared.placements["posterior"].panel[1]
    assert height / width == pytest.approx(200 / 40, rel=0.08)


def test_a_full_bladder_does_not_darken_the_rest_nor_is_a_lesion_cut_off() -> None:
    lesion, full = body(), body()
    lesion[100:106, 20:26] = 50  # 2.5 times the level around it
    full[100:106, 20:26] = 50
    full[200:220, 24:40] = 2000
    plain, beside = (prepare(scan_of(anterior=each), layout="anterior", size=(320, 160)) for each in (lesion, full))
    upper = slice(0, 200)
    assert beside.image[upper].mean() == pytest.approx(plain.image[upper].mean(), rel=0.1)  # with P99.8: a tenth of it
    levels = plain.image[upper][plain.image[upper] > 20]
    assert 1.7 * np.median(levels) < levels.max() < 255
    assert beside.image.max() == 255


def test_pixel_size_decides_the_aspect() -> None:
    wide = Scan("s1", View("anterior", body(), (1.0, 2.0), "file"), None)
    _, _, height, width = prepare(wide, layout="anterior", size=(320, 160)).placements["anterior"].panel
    assert height / width == pytest.approx(200 / 80, rel=0.08)


def test_squash_fills_the_panel() -> None:
    panel = prepare(BOTH, layout="squash224", size=(224, 224)).placements["posterior"].panel
    assert panel == (0, 112, 224, 112)


def test_twice_the_counts_is_the_same_image() -> None:
    twice = scan_of(anterior=(2 * body()).astype(np.uint16), posterior=body(seed=1))
    np.testing.assert_array_equal(prepare(twice).image, prepare(BOTH).image)


def test_a_missing_view_is_black() -> None:
    image = prepare(scan_of(anterior=body()), size=(320, 160)).image
    assert image[:, :80].max() > 100 and image[:, 80:].max() == 0


def test_layout_without_a_view_of_the_scan_is_an_error() -> None:
    with pytest.raises(ScanError, match="posterior"):
        prepare(scan_of(anterior=body()), layout="posterior")
    with pytest.raises(ValueError, match="layout must be one of"):
        prepare(BOTH, layout="front")


@pytest.mark.parametrize("layout", list(LAYOUTS))
@settings(max_examples=15, deadline=None)
@given(row=st.integers(45, 210), column=st.integers(18, 45))
def test_a_dot_comes_back_to_its_place(layout: str, row: int, column: int) -> None:
    name = LAYOUTS[layout][0]
    prepared = prepare(BOTH, layout=layout, size=(320, 160))
    place = prepared.placements[name]
    dot = np.zeros((256, 64), bool)
    dot[row - 2 : row + 3, column - 2 : column + 3] = True
    there = place.to_model_space(dot, (320, 160))
    back = place.to_counts_space(there.astype(np.float32))
    rows, columns = np.nonzero(back > 0.5)
    assert abs(rows.mean() - row) <= 1 and abs(columns.mean() - column) <= 1


def test_map_outside_the_crop_is_zero() -> None:
    place = prepare(BOTH).placements["anterior"]
    full = place.to_counts_space(np.ones((320, 160), np.float32))
    assert full[:20].max() == 0 and full[100, 30] == 1


def test_flip_mirrors_both_views() -> None:
    left = body()
    left[100:120, 14:20] = 200
    prepared = prepare(scan_of(anterior=left, posterior=left), jitter=Jitter(flip=True))
    for half in (prepared.image[:, :80], prepared.image[:, 80:]):
        columns = np.nonzero(half[120:170] > 200)[1]
        assert columns.mean() > 40


def test_the_two_views_turn_in_opposite_senses() -> None:
    turned = prepare(BOTH, jitter=Jitter(degrees=4), size=(320, 160)).image.astype(float)
    lean = []
    for half in (turned[:, :80], turned[:, 80:]):
        rows, columns = np.nonzero(half > 30)
        lean.append(np.polyfit(rows, columns, 1)[0])
    assert lean[0] * lean[1] < 0 and lean[0] == pytest.approx(-lean[1], rel=0.3)


def test_thinning_keeps_the_share_of_counts() -> None:
    from bonescan_utils.preprocessing import jittered

    view = BOTH.views[0]
    thinned = jittered(view, Jitter(thinning=0.6, seed=3))
    assert thinned.total == pytest.approx(0.6 * view.total, rel=0.02)


def test_the_same_jitter_gives_the_same_image() -> None:
    jitter = draw_jitter(np.random.default_rng(5))
    np.testing.assert_array_equal(prepare(BOTH, jitter=jitter).image, prepare(BOTH, jitter=jitter).image)
