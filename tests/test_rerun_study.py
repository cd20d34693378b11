"""A whole run: sealed, verified, repeated from its record byte for byte, and what it says of its parent."""

from __future__ import annotations

import io

import pytest
from test_study import ONE, TWO, project, start, write_notebook

from bonescan_utils.files import sha256_file
from bonescan_utils.rerun import rerun_study
from bonescan_utils.run_record import read_record
from bonescan_utils.runner import Project
from bonescan_utils.screen import Screen
from bonescan_utils.verification import verify_run

__all__ = ["project"]

DRAW = (
    "import numpy as np\nrng = np.random.default_rng(seed)\n"
    'made = pd.DataFrame({"scan_id": ["s1", "s2"], "arm": "proposed", "partition": "test", "y_score": rng.random(2)})\n'
    'run.csv(made, "predictions.csv")'
)
PLOT = (
    "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.plot(made['y_score'])\n"
    "run.figure(figure, 'scores')"
)


@pytest.mark.slow  # four kernels
def test_p20_a_run_is_repeated_from_its_record_byte_for_byte(project: Project) -> None:
    write_notebook(project.notebooks / "01_one.ipynb", [*ONE[:2], DRAW, PLOT, *ONE[7:]])
    write_notebook(project.notebooks / "02_two.ipynb", TWO)
    folder, _ = start(project, seed=5)
    record = read_record(folder)
    assert verify_run(folder).differing.empty and record["parent"] is None
    assert {"predictions.csv", "figures/scores.png", "notebooks/01_one.ipynb", "index.html"} <= set(record["files"])
    said = io.StringIO()
    found = rerun_study(folder, project, screen=Screen(said, live=False), name="again")
    assert found.identical and found.same == found.drawn == 2
    assert "nothing that is on record differs now" in said.getvalue()
    again = read_record(project.reports / "again")
    assert again["parent"] == {"run": "quick", "record_sha256": sha256_file(folder / "run.json"), "differs": []}
    for name in ("predictions.csv", "figures/scores.png", "figures/scores.pdf"):
        assert again["files"][name] == record["files"][name]
    assert verify_run(project.reports / "again").differing.empty
