"""Count statistics: right numbers, and a baseline that learns from train alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from bonescan_utils.count_statistics import count_statistics, trivial_baseline
from bonescan_utils.scan import Scan, View


def table(*, leak: float, n: int = 200, seed: int = 0) -> pd.DataFrame:
    """A cohort whose totals differ between the labels by `leak` standard deviations."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    return pd.DataFrame(
        {
            "scan_id": [f"s{i}" for i in range(n)],
            "patient_id": [f"p{i}" for i in range(n)],
            "partition": np.where(np.arange(n) % 10 < 6, "train", "test"),
            "metastasis": label,
            "anterior_total": np.exp(rng.normal(0, 1, n) + leak * label) * 1e6,
            "anterior_maximum": rng.uniform(50, 400, n),
        }
    )


def test_statistics_of_a_known_view() -> None:
    counts = np.zeros((100, 20), np.uint16)
    counts[:50] = 4
    counts[0, 0] = 900
    found = count_statistics(Scan("s", View("anterior", counts, None, "file"), None))
    assert found["anterior_total"] == 4 * 999 + 900 and found["anterior_maximum"] == 900
    assert found["anterior_median"] == 4 and found["anterior_p99"] == 4
    assert not any(name.startswith("posterior") for name in found)


def test_baseline_finds_a_leak_and_no_more() -> None:
    for leak, low, high in ((2.0, 0.85, 1.0), (0.0, 0.35, 0.65)):
        scores = trivial_baseline(table(leak=leak), seed=0)
        test = scores[scores["partition"] == "test"]
        assert low < roc_auc_score(test["y_true"], test["y_score"]) < high


def test_baseline_never_sees_labels_of_the_test_partition() -> None:
    plain, scrambled = table(leak=1.0), table(leak=1.0)
    test = scrambled["partition"] == "test"
    scrambled.loc[test, "metastasis"] = 1 - scrambled.loc[test, "metastasis"]
    one, two = trivial_baseline(plain, seed=0), trivial_baseline(scrambled, seed=0)
    np.testing.assert_array_equal(one["y_score"], two["y_score"])


def test_a_missing_view_does_not_stop_it() -> None:
    statistics = table(leak=1.0)
    statistics.loc[::7, "anterior_maximum"] = np.nan
    assert trivial_baseline(statistics, seed=0)["y_score"].notna().all()
