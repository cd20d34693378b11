"""Templates of the phantom: built once, kept in the cache, built again where the kept file is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bonescan_utils.phantom import template as module
from bonescan_utils.phantom.template import N_TEMPLATES, load_template


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setattr(module.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path


def test_a_template_is_the_same_built_read_and_built_again(cache: Path) -> None:
    weights = np.ones(len(load_template(0).boxes[0]))
    fresh = load_template.__wrapped__
    built = [fresh(0).bone_image(view, weights) for view in (0, 1)]
    (kept,) = cache.rglob("*.npz")
    read = [fresh(0).bone_image(view, weights) for view in (0, 1)]
    kept.write_bytes(kept.read_bytes()[:1000])
    again = [fresh(0).bone_image(view, weights) for view in (0, 1)]
    for view in (0, 1):
        assert built[view].sum() > 0 and (built[view] == read[view]).all() and (built[view] == again[view]).all()
    assert len(list(cache.rglob("*"))) == 2, "the folder and the file, no temporary"


def test_habitus_differs_between_templates_and_stays_within_people(cache: Path) -> None:
    found = [module._habitus(index) for index in range(N_TEMPLATES)]
    scales, fats, heads = (np.array(part) for part in zip(*found, strict=True))
    assert len(set(fats)) == N_TEMPLATES and ((scales > 0.85) & (scales < 1.15)).all()
    assert ((fats >= 9) & (fats <= 62)).all() and ((heads >= 45) & (heads <= 110)).all()
