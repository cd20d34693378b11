"""Count noise: is a map the same in another acquisition of the same patient with fewer counts?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from bonescan_utils.explanation import Explained, explain
from bonescan_utils.perturbations import Perturbation, perturb
from bonescan_utils.saliency_methods import DEFAULT_METHOD
from bonescan_utils.sanity import map_correlation


def count_noise_scores(
    model: Path,
    explained: Sequence[Explained],
    *,
    layout: str,
    method: str = DEFAULT_METHOD,
    percent: float = 50,
    draws: int = 3,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Explain scans again with part of their counts, drawn several times (binomial thinning: a shorter acquisition).

    Args:
        model: The saved model that the scans were explained by.
        explained: The explained scans, by the same method.
        layout: The layout that the model was trained with.
        method: A method of `explanation.explain`.
        percent: Counts kept.
        draws: Draws per scan.
        seed: Seed of the first draw; those of the others follow.
        progress: Show a progress bar.

    Returns:
        One row per scan and draw: scan_id, percent, draw, score_before, score_after, correlation (rank correlation of
        the maps; NaN for an empty one).
    """
    kept, rows = Perturbation("counts", percent), list[dict[str, Any]]()
    for draw in tqdm(range(draws), f"{percent:g} % of the counts", disable=not progress, unit="draw"):
        thinned = [perturb(one.scan, kept, seed=seed + draw) for one in explained]
        for before, after in zip(explained, explain(model, thinned, layout=layout, method=method), strict=True):
            rows.append(
                {"scan_id": before.scan.scan_id, "percent": percent, "draw": draw}
                | {"score_before": before.y_score, "score_after": after.y_score}
                | {"correlation": map_correlation(before, after)}
            )
    columns = ["scan_id", "percent", "draw", "score_before", "score_after", "correlation"]
    return pd.DataFrame(rows, columns=columns)
