"""The phantom: its physics against closed forms, its promises about seeds, labels and truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi

from bonescan_utils import phantom
from bonescan_utils.dicom import read_dicom
from bonescan_utils.manifest import read_manifest
from bonescan_utils.phantom import camera
from bonescan_utils.phantom.body import GRID_MM, MU_SOFT, TABLE_NEPERS, build_body
from bonescan_utils.phantom.findings import NUMBER_CHANCE, SITES, draw_mimics, focus
from bonescan_utils.phantom.projection import FWHM_PER_SIGMA, PIXEL_MM, interpolation, sigma_pixels, splat
from bonescan_utils.phantom.skeleton import load_skeleton
from bonescan_utils.phantom.template import load_template
from bonescan_utils.phantom.uptake import PLACES, UPTAKE, stem
from bonescan_utils.scan import VIEWS


@pytest.fixture(scope="module")
def positive() -> phantom.PhantomScan:
    index = next(i for i in range(2) if phantom.draw_patient(11, i).metastasis)
    return phantom.make_scan(11, index)


def test_skeleton_has_132_bones_and_126_regions_without_logo() -> None:
    skeleton = load_skeleton()
    assert len(skeleton.bones) == 132 and len(set(skeleton.bones)) == 132
    assert len(skeleton.regions) == 126
    points = skeleton.points(0)
    sternum = points[skeleton.of("sternum")]
    in_front = points[(points[:, 2] > sternum[:, 2].min()) & (points[:, 2] < sternum[:, 2].max()), 1].min()
    assert in_front > sternum[:, 1].min() - 12  # the logo stood in front of the breastbone


def test_left_and_right_have_the_same_regions() -> None:
    regions = set(load_skeleton().regions)
    assert {r[:-2] for r in regions if r.endswith("_l")} == {r[:-2] for r in regions if r.endswith("_r")}


def test_every_region_has_an_uptake_and_every_site_a_region() -> None:
    stems = {stem(region) for region in load_skeleton().regions}
    assert stems == set(UPTAKE)
    assert all(set(sites) <= stems for sites in SITES.values())
    assert sum(NUMBER_CHANCE) == pytest.approx(1)


@pytest.mark.parametrize(("distance_mm", "fwhm_mm"), [(0, 4.1), (100, 7.4), (200, 11.9)])
def test_resolution_is_that_of_the_collimator(distance_mm: float, fwhm_mm: float) -> None:
    got = sigma_pixels(np.array(distance_mm)) * FWHM_PER_SIGMA * PIXEL_MM
    assert got == pytest.approx(fwhm_mm, abs=0.06)


def test_splat_keeps_the_activity_and_its_centre() -> None:
    row, column, image = splat(np.array([[400.3, 100.6]]), np.array([5.0]), np.array([2.0]))
    rows, columns = np.mgrid[row : row + image.shape[0], column : column + image.shape[1]]
    assert image.sum() == pytest.approx(5.0, rel=1e-3)
    assert (image * rows).sum() / image.sum() == pytest.approx(400.3, abs=0.01)
    assert (image * columns).sum() / image.sum() == pytest.approx(100.6, abs=0.01)


def test_splat_off_the_detector_is_empty() -> None:
    _, _, image = splat(np.array([[-300.0, 5.0]]), np.array([1.0]), np.array([1.0]))
    assert image.size == 0


def test_interpolation_is_linear() -> None:
    at = np.array([0.25, 1.0, 2.5, 9.0])
    np.testing.assert_allclose(interpolation(at, 4) @ np.array([0.0, 10, 20, 40]), [2.5, 10, 30, 0])


def test_transmission_is_exponential_in_depth() -> None:
    skeleton = load_skeleton()
    body = build_body(skeleton, skeleton.points(0), fat_mm=24)
    at = np.round((body.landmarks["femur_dist_l"] - body.origin_mm) / GRID_MM).astype(int)
    column = body.organs["body"][at[0], :, at[2]]  # a leg: soft tissue only
    depths = np.cumsum(column) * GRID_MM / 10 - GRID_MM / 20  # cm of tissue in front of each voxel's middle
    inside = np.flatnonzero(column)
    np.testing.assert_allclose(body.anterior[at[0], inside, at[2]], np.exp(-MU_SOFT * depths[inside]), rtol=1e-5)
    behind = column.sum() * GRID_MM / 10 - depths[inside]
    expected = np.exp(-MU_SOFT * behind - TABLE_NEPERS)
    np.testing.assert_allclose(body.posterior[at[0], inside, at[2]], expected, rtol=1e-5)


def test_spine_is_brighter_from_behind_and_sternum_from_the_front() -> None:
    template, skeleton = load_template(0), load_skeleton()
    region = skeleton.regions.index
    total = [[box.sum(dtype=float) for _, _, box in template.boxes[v]] for v in range(2)]
    assert total[1][region("L3")] > 1.5 * total[0][region("L3")]
    assert total[0][region("sternum_body")] > 1.5 * total[1][region("sternum_body")]


def test_focus_stays_in_its_bone_and_radius() -> None:
    template, skeleton = load_template(1), load_skeleton()
    centre = int(skeleton.points_of_region["rib07_l"][100])
    finding = focus(template, centre, kind="metastasis", radius=15, contrast=3)
    far = np.linalg.norm(template.points_mm[finding.points] - template.points_mm[centre], axis=1)
    assert set(skeleton.bone[finding.points]) == {skeleton.bone[centre]}
    np.testing.assert_allclose(finding.share, np.clip(1.25 - far**2 / 15**2, 0, 1), atol=1e-6)


def test_same_seed_same_scan_in_any_order(positive: phantom.PhantomScan) -> None:
    phantom.make_scan(11, 5)
    again = phantom.make_scan(11, int(positive.patient.scan_id[-4:]))
    assert positive.scan.anterior is not None and again.scan.anterior is not None
    np.testing.assert_array_equal(again.scan.anterior.counts, positive.scan.anterior.counts)
    pd.testing.assert_frame_equal(again.lesions, positive.lesions)


def test_two_neighbours_are_one_of_each_class() -> None:
    labels = [phantom.draw_patient(3, i).metastasis for i in range(40)]
    assert all(a + b == 1 for a, b in zip(labels[::2], labels[1::2], strict=True))
    assert 5 < sum(labels[::2]) < 15  # which of the two is random


def test_sex_and_age_follow_the_primary() -> None:
    patients = [phantom.draw_patient(3, i) for i in range(400)]
    assert {p.sex for p in patients if p.primary_cancer == "prostate"} == {"M"}
    ages = {c: np.mean([p.age for p in patients if p.primary_cancer == c]) for c in ("prostate", "breast")}
    assert ages["prostate"] == pytest.approx(71, abs=3) and ages["breast"] == pytest.approx(57, abs=3.5)


def test_truth_is_where_the_lesions_are(positive: phantom.PhantomScan) -> None:
    metastases = positive.lesions[positive.lesions["kind"] == "metastasis"]
    assert len(metastases) and positive.masks["anterior"].any()
    assert metastases[["vis_anterior", "vis_posterior"]].to_numpy().max() >= 0.8
    assert all(view.counts.shape == (1024, 256) and view.counts.dtype == np.uint16 for view in positive.scan.views)


def test_labels_name_the_lesion_that_lies_there(positive: phantom.PhantomScan) -> None:
    seen = positive.lesions[positive.lesions["kind"] == "metastasis"]
    for view in VIEWS:
        found = set(np.unique(positive.labels[view])) - {0}
        assert found <= set(seen["lesion"] + 1)
        strong = seen[seen[f"vis_{view}"] >= 1.5]
        assert set(strong["lesion"] + 1) <= found, "a lesion that can be seen well has pixels of its own"


def test_places_are_hotter_than_what_surrounds_them(positive: phantom.PhantomScan) -> None:
    for view in positive.scan.views:
        places = positive.places[view.name]
        bladder = places == 1 + PLACES.index("bladder")
        assert bladder.any() and view.counts[bladder].mean() > 3 * view.counts[view.counts > 0].mean()
        assert 380 < np.flatnonzero(bladder.any(axis=1)).mean() < 600  # in the pelvis, about half-way down


def test_removing_the_metastases_leaves_the_patient_as_it_was(positive: phantom.PhantomScan) -> None:
    index = int(positive.patient.scan_id[-4:])
    removed = phantom.make_scan(11, index, change="removed")
    assert "metastasis" not in set(removed.lesions["kind"]) and not any(m.any() for m in removed.masks.values())
    for before, after in zip(positive.scan.views, removed.scan.views, strict=True):
        lost = before.counts.astype(float) - after.counts
        mask = positive.masks[before.name]
        assert lost[mask].mean() > 1
        far = ~ndi.binary_dilation(mask, iterations=40) & (before.counts > 5)
        assert abs(lost[far].mean()) < 0.1 * before.counts[far].mean()  # no more than scatter
    columns = ["kind", "region", "x_mm", "y_mm", "z_mm", "contrast"]
    mimics = positive.lesions[positive.lesions["kind"] != "metastasis"]
    pd.testing.assert_frame_equal(
        removed.lesions[columns].reset_index(drop=True), mimics[columns].reset_index(drop=True)
    )


def test_metastases_can_be_put_into_a_patient_without_any() -> None:
    index = next(i for i in range(2) if not phantom.draw_patient(11, i).metastasis)
    plain, inserted = phantom.make_scan(11, index), phantom.make_scan(11, index, change="inserted")
    assert "metastasis" in set(inserted.lesions["kind"]) and inserted.masks["anterior"].any()
    assert inserted.patient == plain.patient
    assert inserted.scan.anterior is not None and plain.scan.anterior is not None
    assert inserted.scan.anterior.counts.sum() > plain.scan.anterior.counts.sum()
    with pytest.raises(ValueError, match="change must be"):
        phantom.make_scan(11, index, change="moved")


def test_scan_without_metastasis_has_empty_masks() -> None:
    index = next(i for i in range(2) if not phantom.draw_patient(11, i).metastasis)
    negative = phantom.make_scan(11, index)
    assert not any(mask.any() for mask in negative.masks.values())
    assert "metastasis" not in set(negative.lesions["kind"])


def test_mimics_do_not_depend_on_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_label(seed: int, index: int) -> phantom.Patient:
        patient = phantom.draw_patient(seed, index)
        return replace(patient, metastasis=1 - patient.metastasis)

    columns = ["kind", "region", "x_mm", "y_mm", "z_mm", "radius_mm", "contrast"]
    plain = [phantom.make_scan(11, i).lesions for i in range(4)]
    monkeypatch.setattr("bonescan_utils.phantom.patient.draw_patient", other_label)
    swapped = [phantom.make_scan(11, i).lesions for i in range(4)]
    mimics = [[t.loc[t["kind"] != "metastasis", columns].reset_index(drop=True) for t in s] for s in (plain, swapped)]
    assert sum(map(len, mimics[0])) > 0
    for one, two in zip(*mimics, strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_masks_and_counts_share_the_flip_of_the_posterior() -> None:
    exposure = camera.draw_exposure(np.random.default_rng(1))
    mask = np.zeros((1024, 256), bool)
    mask[500:520, 180:200] = True
    hot = camera.expose(np.random.default_rng(1), mask * 1000.0, exposure, view=1) > 500
    flipped = camera.expose_mask(mask, exposure, view=1)
    assert (hot & flipped).sum() > 0.8 * flipped.sum()
    assert np.flatnonzero(flipped.any(axis=0)).mean() < 128  # high columns of the template end up on the left


def test_counts_are_poisson_about_the_expected_image() -> None:
    exposure = camera.Exposure(1e6, 0.3, 0.0, np.stack(np.mgrid[:1024, :256]).astype(float))
    counts = camera.expose(np.random.default_rng(0), np.full((1024, 256), 4.0), exposure, view=0).astype(float)
    assert counts.mean() == pytest.approx(4.0, abs=0.02) and counts.var() == pytest.approx(4.0, rel=0.02)


def test_mimics_come_at_a_rate_that_grows_with_age() -> None:
    template = load_template(0)
    rng = np.random.default_rng(0)
    young = sum(len(draw_mimics(rng, template, age=30, sex="M")) for _ in range(60))
    old = sum(len(draw_mimics(rng, template, age=85, sex="M")) for _ in range(60))
    assert old > 2 * young


def test_cohort_is_written_read_back_and_made_again(tmp_path) -> None:
    manifest = phantom.write_cohort(tmp_path, n=4, seed=9, n_jobs=1, progress=False)
    df = read_manifest(manifest)
    assert df["metastasis"].sum() == 2 and len(df) == 4
    first = tmp_path / df["anterior"][0]
    made = phantom.make_scan(9, 0)
    for view in read_dicom(first).views.values():
        np.testing.assert_array_equal(view.counts, getattr(made.scan, view.name).counts)
        np.testing.assert_array_equal(phantom.read_truth(first)[view.name], made.masks[view.name])
    truth = tmp_path / "truth" / f"{first.stem}.npz"
    np.savez(truth, masks=np.zeros(3))  # as an earlier version left it
    assert phantom.restore(df, tmp_path, n_jobs=1, progress=False).empty
    np.testing.assert_array_equal(phantom.read_labels(first)["anterior"], made.labels["anterior"])
    np.testing.assert_array_equal(phantom.read_labels(first, of="places")["posterior"], made.places["posterior"])
    before = first.read_bytes()
    first.unlink()
    assert phantom.restore(df, tmp_path, n_jobs=1, progress=False).empty
    assert first.read_bytes() == before
    assert len(phantom.read_lesions(tmp_path / name for name in df["anterior"])) > 0


def test_restore_reports_a_scan_that_differs(tmp_path) -> None:
    manifest = phantom.write_cohort(tmp_path, n=2, seed=9, n_jobs=1, progress=False)
    df = read_manifest(manifest)
    (tmp_path / df["anterior"][1]).unlink()
    df.loc[1, "sha256_anterior"] = "0" * 64
    df.loc[1, "counts_anterior"] = str(int(df["counts_anterior"][1]) + 1000)
    report = phantom.restore(df, tmp_path, n_jobs=1, progress=False)
    assert report["scan_id"].tolist() == [df["scan_id"][1]]
    assert report["counts_expected"][0] - report["counts_found"][0] == 1000
    assert report["difference_percent"][0] < 0


@pytest.mark.parametrize(("n", "seed"), [(3, 1), (0, 1), (2, -1)])
def test_bad_numbers_are_refused(tmp_path, n: int, seed: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        phantom.write_cohort(tmp_path, n=n, seed=seed)
    assert not list(tmp_path.iterdir())


def test_views_are_named_as_in_the_scan(positive: phantom.PhantomScan) -> None:
    assert tuple(positive.masks) == VIEWS and tuple(v.name for v in positive.scan.views) == VIEWS
