"""Visible lesions and their bands."""

from __future__ import annotations

import pandas as pd

from bonescan_utils.lesions import BANDS, lesion_bands, visible_lesions


def test_only_visible_metastases_count() -> None:
    rows = [
        ("a", "metastasis", 0.1, 0.8), ("a", "metastasis", 0.79, 0.2), ("a", "dental", 3.0, 3.0),
        ("b", "metastasis", 2.0, 0.0), ("b", "metastasis", 1.0, 1.0),
    ]  # fmt: skip
    lesions = pd.DataFrame(rows, columns=["scan_id", "kind", "vis_anterior", "vis_posterior"])
    counts = visible_lesions(lesions, pd.Series(["c", "b", "a"]))
    assert counts.to_dict() == {"c": 0, "b": 2, "a": 1}
    none = visible_lesions(lesions.iloc[:0], pd.Series(["c"]))
    assert none.to_dict() == {"c": 0}


def test_bands_meet_without_gap() -> None:
    counts = pd.Series([0, 1, 2, 3, 6, 7, 40], index=list("abcdefg"))
    bands = lesion_bands(counts)
    assert bands.tolist() == ["0", "1-2", "1-2", "3-6", "3-6", "7 or more", "7 or more"]
    assert list(bands.cat.categories) == list(BANDS)
