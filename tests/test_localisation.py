"""Localisation: measures of a map against cases small enough to work out by hand or by loops."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonescan_utils.localisation import (
    FALSE_FOCI,
    MEASURES,
    Truth,
    best_threshold,
    difference_table,
    foci,
    froc_table,
    lesion_marks,
    measures,
    reference_maps,
    summary_table,
    truth_of,
)
from bonescan_utils.phantom.uptake import PLACES
from bonescan_utils.preprocessing import Placement, Prepared

SHAPE = (40, 30)


def make_truth() -> Truth:
    """Lesions 1 and 2, a lesion that cannot be seen, and a bladder, in a body that fills all but a margin."""
    lesions, ignored, places = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool), np.zeros(SHAPE, np.uint8)
    lesions[10:14, 5:9], lesions[20:23, 20:23] = 1, 2
    ignored[30:33, 5:8] = True
    places[25:29, 12:18] = 1 + PLACES.index("bladder")
    body = np.zeros(SHAPE, bool)
    body[2:-2, 2:-2] = True
    return Truth(lesions, ignored, places, body)


TRUTH = make_truth()


def test_shares_are_sums_over_pixels() -> None:
    saliency = np.random.default_rng(0).random(SHAPE)
    found = measures(saliency, TRUTH, threshold=0.9)
    total = inside = bladder = outside = 0.0
    for r in range(SHAPE[0]):
        for c in range(SHAPE[1]):
            if TRUTH.ignored[r, c]:
                continue
            total += saliency[r, c]
            inside += saliency[r, c] * bool(TRUTH.lesions[r, c])
            bladder += saliency[r, c] * (TRUTH.places[r, c] == 1)
            outside += saliency[r, c] * (not TRUTH.body[r, c])
    assert found["energy"] == pytest.approx(inside / total) and found["in_bladder"] == pytest.approx(bladder / total)
    assert found["outside_body"] == pytest.approx(outside / total)
    assert found["area"] == pytest.approx(25 / (40 * 30 - 9)) and found["ratio"] == pytest.approx(
        found["energy"] / found["area"]
    )
    marked = {tuple(at) for at in np.argwhere((saliency >= 0.9 * saliency[~TRUTH.ignored].max()) & ~TRUTH.ignored)}
    lesion = {tuple(at) for at in np.argwhere(TRUTH.lesions > 0)}
    assert found["dice"] == pytest.approx(2 * len(marked & lesion) / (len(marked) + len(lesion)))
    assert found["iou"] == pytest.approx(len(marked & lesion) / len(marked | lesion))


def test_a_perfect_map_is_perfect_and_an_empty_one_is_nothing() -> None:
    perfect = measures((TRUTH.lesions > 0).astype(float), TRUTH, threshold=0.5)
    assert all(perfect[name] == pytest.approx(1) for name in ("pointing", "energy", "auprc", "dice", "iou"))
    empty = measures(np.zeros(SHAPE), TRUTH, threshold=0.5)
    assert [empty[name] for name in ("pointing", "energy", "dice", "iou")] == [0, 0, 0, 0]
    assert empty["auprc"] == empty["area"], "what chance gives"
    assert math.isnan(measures(np.ones(SHAPE), TRUTH)["dice"]), "no threshold, no Dice"


def test_a_lesion_that_cannot_be_seen_is_neither_hit_nor_false_alarm() -> None:
    saliency = np.zeros(SHAPE)
    saliency[31, 6], saliency[11, 6] = 1.0, 0.5
    found = measures(saliency, TRUTH)
    assert found["pointing"] == 1 and found["energy"] == 1
    assert foci(saliency, TRUTH)["lesion"].tolist() == [1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_measures_do_not_depend_on_the_scale_of_a_map(seed: int, scale: float) -> None:
    saliency = np.random.default_rng(seed).random(SHAPE)
    one, two = measures(saliency, TRUTH, threshold=0.6), measures(scale * saliency, TRUTH, threshold=0.6)
    for name in one:
        assert two[name] == pytest.approx(one[name], rel=1e-6, abs=1e-9)
    assert 0 <= one["energy"] <= 1 and 0 <= one["auprc"] <= 1


def test_the_threshold_is_the_one_with_the_best_dice() -> None:
    saliency = np.where(TRUTH.lesions > 0, 0.6, 0.0)
    saliency[0, 0], saliency[35:38, 20:28] = 1.0, 0.32  # cuts of 0.35 to 0.6 mark the lesions and one pixel more
    assert 0.32 < best_threshold([saliency], [TRUTH]) <= 0.6
    assert math.isnan(best_threshold([], []))


def test_foci_are_local_maxima_with_the_lesion_they_mark() -> None:
    saliency = np.zeros(SHAPE)
    saliency[12, 9] = 0.9  # one pixel beside lesion 1
    saliency[21, 21], saliency[5, 25] = 0.5, 0.7
    found = foci(saliency, TRUTH, scale=2.0)
    assert found["strength"].tolist() == [1.8, 1.4, 1.0] and found["lesion"].tolist() == [1, 0, 2]


def test_froc_against_counting() -> None:
    rng = np.random.default_rng(3)
    scans = []
    for n in range(6):
        lesion = rng.integers(0, 3, 12)
        table = pd.DataFrame({"strength": rng.random(12), "lesion": lesion})
        scans.append((f"s{n}", table.sort_values("strength", ascending=False, ignore_index=True), 2 if n % 2 else 3))
    lesions = {2: np.array([[1, 2]], np.uint8), 3: np.array([[1, 2, 3]], np.uint8)}
    marks = [
        lesion_marks(table, Truth(lesions[number], *[np.zeros((1, number), bool)] * 3)).assign(map="map", scan_id=scan)
        for scan, table, number in scans
    ]
    found = froc_table(pd.concat(marks)).set_index("false_foci")["sensitivity"]
    for rate in FALSE_FOCI:
        best = 0.0
        for cut in {0.0, *(s for _, t, _ in scans for s in t["strength"])}:
            false = sum(int(((t["strength"] > cut) & (t["lesion"] == 0)).sum()) for _, t, _ in scans)
            hits = sum(t.loc[(t["strength"] > cut) & (t["lesion"] > 0), "lesion"].nunique() for _, t, _ in scans)
            if false <= rate * len(scans):
                best = max(best, hits / 15)
        assert found[rate] == pytest.approx(best)
    assert found.is_monotonic_increasing


def test_truth_keeps_visible_metastases_only() -> None:
    place = Placement((80, 60), (0.0, 0.0, 80.0, 60.0), (0, 0, 40, 30))
    labels, places = np.zeros((80, 60), np.uint8), np.zeros((80, 60), np.uint8)
    labels[20:26, 10:16], labels[40:46, 30:36], places[60:66, 20:30] = 1, 2, 1
    lesions = pd.DataFrame({"lesion": [0, 1, 2], "kind": ["metastasis", "metastasis", "dental"],
                            "vis_anterior": [0.9, 0.1, 3.0], "vis_posterior": [0.0, 0.7, 3.0]})  # fmt: skip
    prepared = Prepared(np.full((40, 30), 100, np.uint8), {"anterior": place})
    truth = truth_of(prepared, {"anterior": labels}, {"anterior": places}, lesions)
    assert set(np.unique(truth.lesions)) == {0, 1} and truth.lesions[10:13, 5:8].all()
    assert truth.ignored[20:23, 15:18].all() and truth.ignored.sum() == 9
    assert (truth.places > 0).sum() == 15 and truth.body[3:-3, 3:-3].all()
    everything = truth_of(prepared, {"anterior": labels}, {"anterior": places}, lesions, visible=0.0)
    assert set(np.unique(everything.lesions)) == {0, 1, 2} and not everything.ignored.any()


def test_reference_maps_know_the_image_and_nothing_else() -> None:
    image = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    found = reference_maps(Prepared(image, {}), TRUTH, contrast=np.ones(SHAPE), seed=1)
    assert list(found) == ["random", "body", "counts", "contrast"]
    np.testing.assert_array_equal(found["counts"], image)
    assert not found["random"][~TRUTH.body].any() and found["random"].std() > 0
    even = measures(found["body"], TRUTH)
    assert even["energy"] == pytest.approx(25 / (TRUTH.body & ~TRUTH.ignored).sum())


def test_summary_and_difference_are_means_with_intervals() -> None:
    rng = np.random.default_rng(0)
    columns = [*MEASURES, "in_bladder", "in_kidneys", "in_injection_site", "outside_body"]
    rows = [
        {"scan_id": f"s{n}", "map": name, **{c: float(rng.random() + bonus) for c in columns}}
        for n in range(30)
        for name, bonus in (("gradcam", 0.5), ("counts", 0.0))
    ]
    scores, patients = pd.DataFrame(rows), pd.Series({f"s{n}": f"p{n}" for n in range(30)})
    table = summary_table(scores, patients, n_boot=200).set_index(["map", "measure"])
    wanted = scores[scores["map"] == "gradcam"]["energy"].mean()
    row = table.loc[("gradcam", "energy")]
    assert row["estimate"] == pytest.approx(wanted) and row["ci_low"] < wanted < row["ci_high"] and row["n"] == 30
    apart = difference_table(scores, patients, reference="counts", n_boot=200).set_index("measure").loc["energy"]
    assert apart["estimate"] == pytest.approx(wanted - scores[scores["map"] == "counts"]["energy"].mean())
    assert apart["ci_low"] > 0
