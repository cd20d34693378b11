"""Visible lesions and their bands."""

from __future__ import annotations

import pandas as pd

from bonescan_utils.lesions import (
    BANDS,
    SKELETON,
    VISIBILITY_BANDS,
    VISIBLE,
    lesion_bands,
    skeletal_region,
    visibility_bands,
    visible_lesions,
)


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


def test_every_bone_of_the_phantom_has_its_region() -> None:
    expected = {
        "head": ["calvarium", "jaw"], "cervical spine": ["C1", "C7"], "thoracic spine and sternum": ["T12"],
        "ribs and shoulder girdle": ["rib07_l", "clav_med_r", "scapula_r", "acj_l"], "lumbar spine": ["L5"],
        "pelvis and hips": ["crest_l", "femur_prox_r", "sacrum"], "arms": ["humerus_shaft_l", "fingers_r"],
        "legs": ["femur_shaft_l", "tibia_prox_r", "patella_l", "toes_r"],
    }  # fmt: skip
    assert list(expected) == list(SKELETON)
    for region, bones in expected.items():
        assert {skeletal_region(bone) for bone in bones} == {region}


def test_bands_of_visibility_begin_where_a_lesion_can_be_seen() -> None:
    bands = visibility_bands(pd.Series([VISIBLE, 1.49, 1.5, 2.5, 9.0]))
    assert [list(VISIBILITY_BANDS).index(band) for band in bands] == [0, 0, 1, 2, 2]
