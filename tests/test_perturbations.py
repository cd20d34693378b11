"""Perturbations against what physics and geometry say they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_scan
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from test_landmarks import body

from bonescan_utils import landmarks
from bonescan_utils.perturbations import (
    ACQUISITION,
    CURVES,
    MISSING,
    PERTURBATIONS,
    PROBES,
    UNPERTURBED,
    Perturbation,
    perturb,
    perturbed_image,
)
from bonescan_utils.preprocessing import prepare
from bonescan_utils.scan import Scan, ScanError, View

SIZE = (64, 64)
IMAGE = {"layout": "side_by_side", "size": SIZE}


def scan_of(counts: np.ndarray, *, name: str = "s", pixel_mm: tuple[float, float] | None = (2.0, 2.0)) -> Scan:
    """Both views with these counts, the posterior as seen from behind."""
    views = [
        View("anterior", counts, pixel_mm, "file"),
        View("posterior", np.ascontiguousarray(counts[:, ::-1]), pixel_mm, "file"),
    ]
    return Scan(name, *views)


def both(scan: Scan) -> np.ndarray:
    return np.stack([view.counts.astype(int) for view in scan.views])


# ---------------------------------------------------------------------------------------------- thinning
@pytest.mark.parametrize("percent", CURVES["counts"].levels)
def test_thinned_counts_have_the_binomial_distribution(percent: float) -> None:
    """Frequencies of 6 counts thinned against the probability mass function, by a chi-square test."""
    n = 6
    scan = scan_of(np.full((400, 100), n, np.uint16))
    thinned = both(perturb(scan, Perturbation("counts", percent), seed=3))
    observed = np.bincount(thinned.ravel(), minlength=n + 1)
    assert len(observed) == n + 1, "more counts than there were"
    expected = stats.binom.pmf(np.arange(n + 1), n, percent / 100) * thinned.size
    few = expected < 5
    observed = np.append(observed[~few], observed[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    keep = expected > 0
    assert stats.chisquare(observed[keep], expected[keep]).pvalue > 1e-3
    mean, variance = n * percent / 100, n * percent / 100 * (1 - percent / 100)
    assert thinned.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / thinned.size))
    assert thinned.var() == pytest.approx(variance, rel=0.03)


def test_each_scan_level_and_view_is_thinned_by_draws_of_its_own() -> None:
    counts = np.full((60, 30), 20, np.uint16)
    half = Perturbation("counts", 50)
    once, again = both(perturb(scan_of(counts), half, seed=1)), both(perturb(scan_of(counts), half, seed=1))
    np.testing.assert_array_equal(once, again)
    for other in (
        both(perturb(scan_of(counts, name="t"), half, seed=1)),
        both(perturb(scan_of(counts), half, seed=2)),
        both(perturb(scan_of(counts), Perturbation("counts", 51), seed=1)),
        once[::-1],
    ):
        assert abs(np.corrcoef(once.ravel(), other.ravel())[0, 1]) < 0.1


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint16, (24, 16), elements=st.integers(0, 60_000)), st.floats(1, 100))
def test_thinning_never_adds_a_count_and_what_changes_nothing_changes_nothing(
    counts: np.ndarray, percent: float
) -> None:
    scan = scan_of(counts)
    assert (both(perturb(scan, Perturbation("counts", percent))) <= both(scan)).all()
    for name, curve in CURVES.items():
        np.testing.assert_array_equal(both(perturb(scan, Perturbation(name, curve.unchanged))), both(scan))
    flip = Perturbation("flip")
    flipped = perturb(scan, flip)
    np.testing.assert_array_equal(both(flipped), both(scan)[:, :, ::-1])
    np.testing.assert_array_equal(both(perturb(flipped, flip)), both(scan))


# -------------------------------------------------------------------------------------- blur and rotation
def test_a_blurred_point_has_the_width_asked_for_in_mm() -> None:
    counts = np.zeros((101, 61), np.int32)
    counts[50, 30] = 10_000_000
    view = View("anterior", counts, (2.0, 4.0), "file")
    spread = both(perturb(Scan("s", view, None), Perturbation("blur", 20)))[0]
    assert spread.sum() == pytest.approx(10_000_000, rel=1e-3)
    for axis, side_mm in enumerate((2.0, 4.0)):
        profile = spread.sum(axis=1 - axis)
        at = np.arange(len(profile)) * side_mm
        variance = np.average((at - np.average(at, weights=profile)) ** 2, weights=profile)
        assert 2.3548 * np.sqrt(variance) == pytest.approx(20, rel=0.02)


def test_a_blur_in_mm_needs_the_pixel_size() -> None:
    with pytest.raises(ScanError, match="pixel size is unknown"):
        perturb(scan_of(np.full((30, 10), 4, np.uint16), pixel_mm=None), Perturbation("blur", 5))


@pytest.mark.parametrize("degrees", [-10, 5])
def test_a_turn_moves_a_point_as_geometry_says_and_both_views_show_one_patient(degrees: float) -> None:
    counts = np.zeros((200, 80), np.uint16)
    counts[38:43, 38:43] = 1000
    turned = perturb(scan_of(counts), Perturbation("rotation", degrees))
    rows, columns = np.nonzero(both(turned)[0] > 500)
    up, angle = 100 - 40.5, np.deg2rad(degrees)  # a point above the centre, turned counter-clockwise
    assert rows.mean() + 0.5 == pytest.approx(100 - up * np.cos(angle), abs=0.7)
    assert columns.mean() + 0.5 == pytest.approx(40.5 - up * np.sin(angle), abs=0.7)
    assert abs(both(turned)[0] - both(turned)[1][:, ::-1]).max() <= 1


# ------------------------------------------------------------------------------------ masks, missing views
def hot_body() -> Scan:
    """A body of 50 counts with a bladder of 900 and an injection site of 700 (see `test_landmarks`)."""
    counts = body().counts.astype(np.int32)
    counts[106:112, 44:52] = 900
    counts[118:123, 20:25] = 700
    return scan_of(counts)


@pytest.mark.parametrize(
    "name, region, gone, kept",
    [
        ("bladder masked", landmarks.bladder, 900, 700),
        ("injection sites masked", landmarks.injection_sites, 700, 900),
    ],
)
def test_a_mask_masks_its_region_and_nothing_else(name: str, region, gone: int, kept: int) -> None:
    scan = hot_body()
    masked = perturb(scan, Perturbation(name))
    for before, after in zip(scan.views, masked.views, strict=True):
        inside = region(before)
        assert before.counts[inside].max() == gone and after.counts[inside].max() <= 50
        assert after.counts.max() == kept, "the other hot place is left"
        np.testing.assert_array_equal(after.counts[~inside], before.counts[~inside])
        assert (after.counts <= before.counts).all()


def test_a_missing_view_leaves_its_half_black() -> None:
    scan = make_scan()
    image = perturbed_image(scan, Perturbation("posterior missing"), **IMAGE)
    assert image[:, :32].any() and not image[:, 32:].any()
    image = perturbed_image(scan, Perturbation("anterior missing"), **IMAGE)
    assert image[:, 32:].any() and not image[:, :32].any()


def test_a_view_that_is_not_there_cannot_be_missing() -> None:
    anterior = replace(make_scan(), posterior=None)
    with pytest.raises(ScanError, match="no posterior view that could be missing"):
        perturbed_image(anterior, Perturbation("posterior missing"), **IMAGE)
    with pytest.raises(ScanError, match="neither an anterior nor a posterior"):
        perturbed_image(anterior, Perturbation("anterior missing"), **IMAGE)
    with pytest.raises(ScanError, match="layout 'anterior' shows no posterior view"):
        perturbed_image(make_scan(), Perturbation("posterior missing"), layout="anterior", size=SIZE)


def test_without_arms_in_the_picture_there_is_nothing_to_mask() -> None:
    counts = body().counts.copy()
    counts[:, abs(np.arange(counts.shape[1]) - 47.5) > 10] = 0
    counts[100, 90] = 3  # noise where an arm would be
    scan = scan_of(counts)
    np.testing.assert_array_equal(both(perturb(scan, Perturbation("injection sites masked"))), both(scan))


# ------------------------------------------------------------------------------------------------ probes
def test_a_probe_shows_its_part_of_the_unperturbed_image_and_black() -> None:
    scan = hot_body()
    whole = prepare(scan, layout="side_by_side", size=SIZE).image
    seen = {name: perturbed_image(scan, Perturbation(name), **IMAGE) for name in PROBES}
    for image in seen.values():
        assert ((image == whole) | (image == 0)).all() and (image == 0).mean() > 0.5
    assert seen["only bladder region"].max() == 255 and seen["only bladder region"][:20].max() == 0
    assert seen["only border"].max() == 0 and seen["only text corners"].max() == 0, "this background holds no count"


def test_text_in_a_corner_is_what_the_corner_probe_sees() -> None:
    counts = body().counts.astype(np.int32)
    counts[21:25, 19:22] = 400  # in the corner of the box around the body, far from it
    image = perturbed_image(scan_of(counts), Perturbation("only text corners"), **IMAGE)
    assert image.max() == 255 and not image[8:].any()
    assert perturbed_image(scan_of(counts), Perturbation("only border"), **IMAGE).max() == 255
    assert perturbed_image(scan_of(counts), Perturbation("only bladder region"), **IMAGE)[:20].max() == 0


# --------------------------------------------------------------------------------------------------- all
def test_the_conditions_are_those_of_the_study_each_once() -> None:
    assert PERTURBATIONS[0] == Perturbation(UNPERTURBED) and len({str(c) for c in PERTURBATIONS}) == len(PERTURBATIONS)
    assert {c.name for c in PERTURBATIONS} == {UNPERTURBED, *ACQUISITION, *MISSING, *PROBES}


@pytest.mark.parametrize("condition", PERTURBATIONS, ids=str)
def test_every_condition_gives_an_image_and_leaves_the_scan_alone(condition: Perturbation) -> None:
    scan = hot_body()
    before = both(scan)
    image = perturbed_image(scan, condition, seed=5, **IMAGE)
    assert image.shape == SIZE and image.dtype == np.uint8
    np.testing.assert_array_equal(both(scan), before)
    plain = prepare(scan, layout="side_by_side", size=SIZE).image
    assert np.array_equal(image, plain) == (condition.name == UNPERTURBED)
    np.testing.assert_array_equal(image, perturbed_image(scan, condition, seed=5, **IMAGE))


@pytest.mark.parametrize("wrong", [Perturbation("fog"), Perturbation("counts", 0), Perturbation("counts", 101)])
def test_what_is_no_perturbation_is_refused(wrong: Perturbation) -> None:
    with pytest.raises(ValueError, match=r"expected counts, blur|counts kept must be"):
        perturb(make_scan(), wrong)


def test_a_negative_blur_is_refused() -> None:
    with pytest.raises(ValueError, match="0 mm or more"):
        perturb(make_scan(), Perturbation("blur", -1))
