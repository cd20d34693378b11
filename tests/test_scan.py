"""Scan and View: counts stay counts; what is unusable says why."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import make_counts, make_scan

from bonescan_utils.scan import (
    Scan,
    ScanError,
    View,
    as_counts,
    check_matrix,
    check_quality,
    require_quality,
)


def code_of(call: object, *args: object) -> str:
    with pytest.raises(ScanError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.code


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, ">u2"])
def test_counts_keep_their_values_whatever_the_type(dtype: str) -> None:
    array = np.arange(12, dtype=dtype).reshape(6, 2)
    counts = as_counts(array)
    assert counts.dtype == np.uint16 and counts.flags.c_contiguous
    np.testing.assert_array_equal(counts, array)


def test_counts_beyond_16_bits_are_int32() -> None:
    counts = as_counts(np.array([[0, 65_536]], np.int64))
    assert counts.dtype == np.int32 and counts[0, 1] == 65_536


def test_what_is_no_count_is_refused() -> None:
    assert code_of(as_counts, np.zeros((2, 2, 2), np.uint16)) == "matrix"
    assert code_of(as_counts, np.zeros((0, 2), np.uint16)) == "matrix"
    assert code_of(as_counts, np.ones((2, 2))) == "not_counts"
    assert code_of(as_counts, np.ones((2, 2), bool)) == "not_counts"
    assert code_of(as_counts, np.array([[2**31]])) == "not_counts"
    assert code_of(as_counts, np.array([[0, -1]])) == "negative"


def test_a_view_and_a_scan_check_their_words(small_scan: Scan) -> None:
    counts = make_counts(0)
    assert code_of(View, "front", counts, None, "file") == "view_unknown"
    assert code_of(View, "anterior", counts, None, "guess") == "view_unknown"
    assert code_of(Scan, "s", None, None) == "no_view"
    assert code_of(Scan, "s", small_scan.posterior, None) == "view_unknown"
    lone = Scan("s", None, small_scan.posterior)
    assert [view.name for view in lone.views] == ["posterior"]
    assert [view.name for view in small_scan.views] == ["anterior", "posterior"]
    assert small_scan.views[0].total == int(make_counts(2).sum())


def test_matrix_of_a_whole_body_view() -> None:
    check_matrix(1024, 256)
    check_matrix(128, 32)
    assert code_of(check_matrix, 128, 128) == "matrix"
    assert code_of(check_matrix, 256, 1024) == "matrix"
    assert code_of(check_matrix, 15, 4) == "matrix"
    assert code_of(check_matrix, 8192, 4096) == "too_large"


def test_an_error_is_one_short_line_and_survives_a_worker_process() -> None:
    error = ScanError("truncated", "x\n" * 999, path=Path("a/b.dcm"), hint="Copy it again.")
    text = str(error)
    assert len(text) <= 500 and "\n" not in text
    assert text.startswith("a/b.dcm:") and text.endswith("Copy it again. [truncated]")
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.code, back.path) == (text, "truncated", "a/b.dcm")
    assert ScanError("x", "y").at("p").path == "p"
    assert ScanError("x", "y", path="q").at("p").path == "q"


def findings(counts: np.ndarray) -> list[str]:
    return [code for code, _ in check_quality(View("anterior", counts, None, "file"))]


def test_a_good_view_has_no_findings() -> None:
    assert findings(make_counts(0, rows=256, columns=64)) == []


def test_unusable_views_are_found() -> None:
    good = make_counts(0, rows=256, columns=64)
    assert findings(np.zeros_like(good)) == ["all_zero"]
    assert findings(np.full_like(good, 7)) == ["constant"]
    assert findings(np.where(good > 80, 255, good).astype(np.uint8)) == ["saturated"]
    assert findings(np.where(np.arange(256)[:, None] < 128, 0, good)) == ["half_empty"]
    assert findings(np.where(np.arange(64) < 32, 0, good)) == ["half_empty"]
    assert findings(good.max() - good) == ["inverted"]


def test_doubtful_views_are_found() -> None:
    good = make_counts(0, rows=256, columns=64)
    clipped = good.copy()
    clipped.flat[np.argsort(good, axis=None)[-40:]] = 255  # 0.24 % of the pixels
    assert findings(clipped) == ["clipped"]
    assert findings(good // 40) == ["too_few_counts"]


def test_require_quality_raises_or_warns() -> None:
    scan = make_scan(rows=256, columns=64)
    assert require_quality(scan) == ()
    assert any("usual" in text for text in require_quality(make_scan(rows=64, columns=16)))
    zero = View("posterior", np.zeros((256, 64), np.uint16), None, "file")
    assert code_of(require_quality, Scan("s", scan.anterior, zero)) == "all_zero"
    same = View("posterior", scan.views[0].counts, None, "file")
    assert code_of(require_quality, Scan("s", scan.anterior, same)) == "same_views"
