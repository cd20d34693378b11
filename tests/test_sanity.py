"""Sanity: verdicts on tables made by hand, and the correlation of maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from bonescan_utils.sanity import (
    ALL_CHECKS,
    FAILS,
    PASSES,
    TABLE,
    TOO_FEW,
    SanityError,
    deletion_curve,
    map_correlation,
    randomisation_curve,
    sanity_table,
)

IDS = [f"s{i:02d}" for i in range(40)]
PATIENTS = pd.Series([f"p{i:02d}" for i in range(40)], index=IDS)
RULES = {"arm": "a", "method": "gradcam", "score_threshold": 0.5, "n_boot": 200}


@dataclass
class Maps:
    anterior: np.ndarray

    def by_view(self) -> dict[str, np.ndarray]:
        return {"anterior": self.anterior}


def removed(below: int, n: int) -> pd.DataFrame:
    after = np.where(np.arange(n) < below, 0.1, 0.9)
    return pd.DataFrame({"scan_id": IDS[:n], "score_after": after, "energy_before": 1.0, "energy_after": 0.0})


def row(table: pd.DataFrame, check: str) -> pd.Series:
    (found,) = [r for _, r in table.iterrows() if r["check"].startswith(check)]
    return found


def test_maps_of_one_order_correlate_fully() -> None:
    one = np.random.default_rng(0).random((64, 16))
    assert map_correlation(Maps(one), Maps(one**3)) == pytest.approx(1)  # type: ignore[arg-type]
    assert map_correlation(Maps(one), Maps(1 - one)) == pytest.approx(-1)  # type: ignore[arg-type]
    other = np.random.default_rng(1).random((64, 16))
    ranks = [m[::4, ::4].ravel().argsort().argsort() for m in (one, other)]
    wanted = np.corrcoef(*ranks)[0, 1]
    assert map_correlation(Maps(one), Maps(other)) == pytest.approx(wanted)  # type: ignore[arg-type]
    assert np.isnan(map_correlation(Maps(one), Maps(0 * one)))  # type: ignore[arg-type]


def test_a_share_has_wilsons_interval_and_a_verdict() -> None:
    table = sanity_table({"removed": removed(38, 40)}, PATIENTS, **RULES)
    assert list(table.columns) == TABLE
    found = row(table, "Lesions removed: score")
    z, p, n = 1.959964, 38 / 40, 40
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert found["ci_low"] == pytest.approx((middle - half) / (1 + z * z / n), abs=1e-5)
    assert found["ci_high"] == pytest.approx((middle + half) / (1 + z * z / n), abs=1e-5)
    assert (found["estimate"], found["n"], found["verdict"]) == (0.95, 40, PASSES)
    assert table.iloc[-1]["check"] == ALL_CHECKS and table.iloc[-1]["verdict"] == PASSES


@pytest.mark.parametrize(
    ("below", "n", "verdict"), [(10, 40, FAILS), (32, 40, TOO_FEW), (9, 9, TOO_FEW), (0, 0, TOO_FEW)]
)
def test_a_verdict_needs_an_interval_on_one_side(below: int, n: int, verdict: str) -> None:
    table = sanity_table({"removed": removed(below, n)}, PATIENTS, **RULES)
    assert row(table, "Lesions removed: score")["verdict"] == verdict
    assert table.iloc[-1]["verdict"] == verdict


def test_lost_pointing_is_paired_and_an_empty_map_counts_as_changed() -> None:
    layers = np.repeat([0, 1, 2], 20)
    scores = pd.DataFrame({"scan_id": IDS[:20] * 3, "layers": layers, "depth": layers.astype(str)})
    scores["peak_inside"] = np.r_[np.ones(18), np.zeros(2), np.ones(20), np.zeros(20)]
    scores["correlation"] = np.r_[np.ones(40), np.full(20, np.nan)]
    table = sanity_table({"randomisation": scores}, PATIENTS, **RULES)
    assert row(table, "Random weights: pointing")["estimate"] == pytest.approx(0.9)
    assert row(table, "Random weights: 1 -")["estimate"] == 1
    curve = randomisation_curve(scores, PATIENTS, n_boot=200)
    assert curve.groupby("quantity", sort=False)["estimate"].apply(list).tolist() == [[1, 1, 0], [0.9, 1, 0]]


def test_noise_is_averaged_over_draws_and_gains_are_by_test() -> None:
    noise = pd.DataFrame({"scan_id": IDS[:12] * 2, "correlation": [0.9] * 12 + [0.7] * 12, "score_before": 0.5})
    noise["score_after"] = [0.55] * 12 + [0.7] * 12
    gains = pd.DataFrame({"scan_id": IDS[:12] * 2, "test": ["deletion"] * 12 + ["insertion"] * 12})
    gains["gain"] = [0.0] * 12 + list(np.linspace(0.1, 0.3, 12))
    table = sanity_table({"count_noise": noise, "deletion": gains}, PATIENTS, **RULES)
    assert row(table, "Half the counts: rank")["estimate"] == pytest.approx(0.8)
    assert row(table, "Half the counts: score")["estimate"] == pytest.approx(0.5)
    assert row(table, "Deletion")["verdict"] == FAILS, "no gain at all is no pass"
    assert row(table, "Insertion")["verdict"] == PASSES


def test_a_curve_is_the_mean_of_its_scans() -> None:
    curves = pd.DataFrame({"scan_id": IDS[:4] * 2, "test": "deletion", "order": "map", "share": [0.0] * 4 + [1.0] * 4})
    curves["y_score"] = [0.8, 1.0, 0.6, 0.8, 0.1, 0.2, 0.3, 0.4]
    curve = deletion_curve(curves, PATIENTS, n_boot=200)
    assert curve["estimate"].tolist() == pytest.approx([0.8, 0.25]) and curve["n"].tolist() == [4, 4]
    assert (curve["ci_low"] <= curve["estimate"]).all() and (curve["estimate"] <= curve["ci_high"]).all()


def test_a_result_of_another_name_is_refused() -> None:
    with pytest.raises(SanityError, match=r"removd.*expected some of randomisation, shuffled, removed"):
        sanity_table({"removd": removed(1, 2)}, PATIENTS, **RULES)
    with pytest.raises(SanityError, match="nothing"):
        sanity_table({}, PATIENTS, **RULES)
