"""Landmarks against places that are known: in a fabricated body, and in phantoms (slow)."""

from __future__ import annotations

import numpy as np
import pytest

from bonescan_utils import landmarks
from bonescan_utils.scan import ScanError, View

ROWS, COLUMNS = 256, 96


def body(*, pixel_mm: tuple[float, float] | None = None) -> View:
    """A head, a trunk and two arms between rows 20 and 220 around column 48."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    trunk = (abs(columns - 47.5) < 15) & (rows >= 40) & (rows < 220)
    head = (abs(columns - 47.5) < 8) & (rows >= 20) & (rows < 40)
    arms = (abs(abs(columns - 47.5) - 25) < 4) & (rows >= 45) & (rows < 130)
    shoulders = (abs(columns - 47.5) < 29) & (rows >= 45) & (rows < 55)
    counts = np.where(trunk | head | arms | shoulders, 50, 0)
    return View("anterior", counts, pixel_mm, "file")


def test_the_frame_is_the_body() -> None:
    frame = landmarks.frame_of(body())
    assert frame.top == pytest.approx(20, abs=3) and frame.height == pytest.approx(200, abs=5)
    assert frame.middle == pytest.approx(48, abs=1.5) and frame.width == frame.height


def test_pixels_that_are_not_square_change_the_width_only() -> None:
    assert landmarks.frame_of(body(pixel_mm=(2.0, 1.0))).width == 2 * landmarks.frame_of(body()).height


def test_the_bladder_lies_on_the_midline_below_the_middle_of_the_trunk() -> None:
    rows, columns = np.nonzero(landmarks.bladder(body()))
    assert rows.mean() == pytest.approx(20 + 0.45 * 200, abs=4) and columns.mean() == pytest.approx(47.5, abs=1.5)
    area = np.pi * landmarks.BLADDER_HALF[0] * landmarks.BLADDER_HALF[1] * 200**2
    assert len(rows) == pytest.approx(area, rel=0.1)


def test_injection_sites_are_both_arms_from_the_elbow_down_and_no_trunk() -> None:
    sites = landmarks.injection_sites(body())
    arms = (body().counts > 0) & (abs(np.arange(COLUMNS) - 47.5) > 20)
    assert sites[80:125][arms[80:125]].all() and not sites[:65].any() and not sites[140:].any()
    assert not sites[:, 33:63].any()


def test_the_background_keeps_its_distance_from_the_body() -> None:
    view = body()
    found = landmarks.background(view)
    assert found[:10].all() and found[:, :5].all() and not found[view.counts > 0].any()
    assert not found[60, 48 + 31] and found[60, 48 + 40]


def test_without_a_body_there_is_no_landmark() -> None:
    with pytest.raises(ScanError, match="no body"):
        landmarks.bladder(View("anterior", np.zeros((100, 40), np.uint16), None, "file"))


@pytest.mark.slow
def test_bladder_and_injection_site_of_phantoms_are_found() -> None:
    """Middle of every bladder and of every injection site that the detector sees, in the region's rows and columns."""
    from bonescan_utils.phantom import camera, make_scan, patient
    from bonescan_utils.phantom.template import N_TEMPLATES, load_template

    found = []
    for index in range(24):
        rng = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(index,)))
        template = load_template(int(rng.integers(N_TEMPLATES)))
        activity, _ = patient._draw_background(rng, template, patient.draw_patient(7, index))
        warp = camera.draw_exposure(rng).warp

        def seen(place: np.ndarray, template=template, warp=warp) -> tuple[int, int]:
            gap = ((warp - template.to_pixel(place[None])[0][:, None, None]) ** 2).sum(axis=0)
            row, column = np.unravel_index(gap.argmin(), gap.shape)
            return int(row), int(column)

        anterior = make_scan(7, index).scan.anterior
        assert anterior is not None and landmarks.bladder(anterior)[seen(activity.bladder.centre_mm)], index
        arms = [template.landmarks[f"{name}_{side}"] for name in ("humerus_dist", "metacarpus") for side in "lr"]
        for pool in activity.pools:
            row, column = seen(pool.centre_mm)
            on_detector = 3 < column < 252
            if on_detector and min(abs(pool.centre_mm - at).max() for at in arms) < 40:
                found.append(landmarks.injection_sites(anterior)[row, column])
    assert len(found) > 8 and all(found), found
