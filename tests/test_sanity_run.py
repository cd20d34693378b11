"""The sanity checks of a run: nothing is checked, and nothing fails, where there is no phantom to change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from bonescan_utils import burden, figures
from bonescan_utils.sanity_run import check_sanity

OPTIONS = {"arm": "a", "threshold": 0.5, "layout": "side_by_side", "method": "gradcam", "seed": 0}


@pytest.mark.parametrize(("synthetic", "n"), [(False, 20), (True, 0)])
def test_without_phantoms_all_tables_are_empty(synthetic: bool, n: int) -> None:
    run = SimpleNamespace(synthetic=synthetic)
    found = check_sanity(run, Path("absent.keras"), pd.DataFrame(), [], n=n, **OPTIONS)  # type: ignore[arg-type]
    tables = (found.verdicts, found.changed, found.randomised, found.deleted)
    assert all(table.empty and len(table.columns) > 3 for table in tables), "a file needs a header"
    assert figures.plot_counterfactuals(found.changed, threshold=0.5) is None
    assert figures.plot_randomisation(found.randomised) is None and figures.plot_deletion(found.deleted) is None


def test_without_truth_there_is_no_true_burden() -> None:
    true = burden.true_burden([], {}, None)
    assert true.empty and list(true.columns) == ["scan_id", *burden.TRUTHS]
