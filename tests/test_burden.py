"""Burden: foci counted on maps drawn by hand, and correlations against SciPy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from conftest import make_scan
from scipy.stats import spearmanr

from bonescan_utils.burden import BurdenError, burden_correlation, burden_table, choose_level, true_burden
from bonescan_utils.landmarks import frame_of
from bonescan_utils.scan import Scan

PIXEL_CM2 = 0.226**2


@dataclass
class Drawn:
    """What the burden is made of: a scan and its maps."""

    scan: Scan
    maps: dict[str, np.ndarray]
    raw_max: float = 10.0

    def by_view(self) -> dict[str, np.ndarray]:
        return self.maps


def drawn(scan_id: str, *spots: tuple[str, float, float], raw_max: float = 10.0) -> Drawn:
    """Returns a scan with square foci of nine pixels: view, rows below the head, distance from the midline."""
    scan = make_scan(scan_id)
    maps = {view.name: np.zeros(view.counts.shape) for view in scan.views}
    frame = frame_of(scan.views[0])
    for view, down, across in spots:
        row, column = int(frame.top + down * frame.height), int(frame.middle + across * frame.width)
        maps[view][row - 1 : row + 2, column - 1 : column + 2] = 1
    return Drawn(scan, maps, raw_max)


def foci(table: pd.DataFrame) -> dict[str, int]:
    return {row["region"]: row["foci"] for _, row in table.iterrows() if row["foci"]}


def test_foci_are_counted_by_region_and_not_twice() -> None:
    one = drawn("a", ("anterior", 0.35, 0), ("posterior", 0.35, 0), ("posterior", 0.2, 0), ("anterior", 0.7, 0.03))
    table = burden_table([one], 5.0)  # type: ignore[list-item]
    assert foci(table) == {"lumbar spine": 1, "thoracic spine and sternum": 1, "legs": 1, "all": 3}
    areas = table.set_index("region")["area_cm2"]
    assert areas["lumbar spine"] == pytest.approx(9 * PIXEL_CM2) and areas["all"] == pytest.approx(27 * PIXEL_CM2)
    assert areas["head"] == 0 and set(table["scan_id"]) == {"a"}


def test_nothing_below_the_level_counts_and_touching_pixels_are_one_focus() -> None:
    weak = drawn("a", ("anterior", 0.35, 0), raw_max=4.9)
    assert foci(burden_table([weak], 5.0)) == {}  # type: ignore[list-item]
    diagonal = drawn("b")
    diagonal.maps["anterior"][[50, 51], [15, 16]] = 1
    assert foci(burden_table([diagonal], 5.0))["all"] == 1  # type: ignore[list-item]
    assert burden_table([], 5.0).empty


def test_an_unknown_pixel_size_gives_counts_without_areas() -> None:
    one = drawn("a", ("anterior", 0.35, 0))
    views = {view.name: replace(view, pixel_mm=None) for view in one.scan.views}
    bare = replace(one, scan=Scan("a", views["anterior"], views["posterior"]))
    row = burden_table([bare], 5.0).set_index("region").loc["all"]  # type: ignore[list-item]
    assert row["foci"] == 1 and np.isnan(row["area_cm2"])


def test_the_level_lets_few_foci_into_scans_without_metastasis() -> None:
    negative = [drawn(f"n{i}", ("anterior", 0.3, 0), raw_max=2.0) for i in range(4)]
    positive = drawn("p", ("anterior", 0.3, 0), raw_max=10.0)
    level = choose_level([*negative, positive], [0, 0, 0, 0, 1])  # type: ignore[list-item]
    assert 2.0 < level <= 10.0
    assert choose_level([negative[0], *[drawn("e")] * 3, positive], [0, 0, 0, 0, 1]) == pytest.approx(0.1)  # type: ignore[list-item]
    with pytest.raises(BurdenError, match="no scan without metastasis"):
        choose_level([positive], [1])  # type: ignore[list-item]
    with pytest.raises(BurdenError, match="only empty maps"):
        choose_level([drawn("n", raw_max=0.0)], [0])  # type: ignore[list-item]


def test_the_true_burden_is_that_of_the_fuller_view() -> None:
    scan = make_scan("a")
    masks = {view.name: np.zeros(view.counts.shape, bool) for view in scan.views}
    masks["anterior"][:2, :5] = masks["posterior"][:1, :5] = True
    lesions = pd.DataFrame(
        {
            "scan_id": "a",
            "kind": ["metastasis"] * 3 + ["mimic"],
            "vis_anterior": [0.9, 0.1, 0.2, 2],
            "vis_posterior": [0, 0.8, 0, 2],
        }
    )
    found = true_burden([scan, make_scan("b")], {"a": masks, "b": None}, lesions)
    assert found["scan_id"].tolist() == ["a"] and found["visible_lesions"].tolist() == [2]
    assert found["lesion_area_cm2"].tolist() == pytest.approx([10 * PIXEL_CM2])


def test_rank_correlations_are_those_of_scipy_ties_included() -> None:
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(40)]
    true = pd.DataFrame({"scan_id": ids, "visible_lesions": rng.integers(0, 5, 40)})
    true["lesion_area_cm2"] = true["visible_lesions"] * rng.random(40)
    table = pd.DataFrame({"scan_id": ids, "region": "all", "foci": true["visible_lesions"] + rng.integers(0, 3, 40)})
    table["area_cm2"] = 1.0
    patients = pd.Series(ids, index=ids)
    found = burden_correlation(table, true, patients, n_boot=200).set_index(["scans", "proxy", "truth"])
    for name, chosen in (("all", true.index), ("with visible lesions", true.index[true["visible_lesions"] > 0])):
        for truth in ("visible_lesions", "lesion_area_cm2"):
            row = found.loc[(name, "foci", truth)]
            wanted = spearmanr(table["foci"][chosen], true[truth][chosen]).statistic
            assert row["estimate"] == pytest.approx(wanted) and row["n"] == len(chosen)
            assert row["ci_low"] < row["estimate"] < row["ci_high"]
    assert found.loc[("all", "area_cm2", "visible_lesions"), ["estimate", "ci_low"]].isna().all()
