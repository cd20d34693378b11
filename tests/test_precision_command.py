"""The command `bonescan precision`: what it prints is what the tables hold, and bad numbers are refused in a line."""

import pytest

from bonescan_utils.cli import main
from bonescan_utils.files import read_csv
from bonescan_utils.sample_size import precision_table, scans_needed


def test_widths_of_a_test_part_on_screen_and_as_csv(capsys, tmp_path):
    path = tmp_path / "precision.csv"
    assert main(["precision", "--n", "200", "--prevalence", "0.5", "--auroc", "0.96", "--csv", str(path)]) == 0
    said = capsys.readouterr().out
    assert "0.96 (0.93\N{EN DASH}0.99)" in said and "Hanley" in said and "Wilson" in said
    expected = precision_table([200], auroc=0.96)
    assert read_csv(path)["width"].astype(float).tolist() == pytest.approx(expected["width"].tolist())


def test_scans_for_a_wanted_width_and_back_again(capsys):
    assert main(["precision", "--width", "0.06", "--auroc", "0.96"]) == 0
    needed = int(scans_needed([0.06], auroc=0.96).iloc[0]["n"])
    row = next(line for line in capsys.readouterr().out.splitlines() if "AUROC" in line)
    assert str(needed) in row
    table = precision_table([needed], auroc=0.96).iloc[0]
    assert 2 * (table["expected"] - table["ci_low"]) <= 0.06


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "1"], "must be at least 2, got [1]"),
        (["--n", "200", "--prevalence", "1.5"], "prevalence must be between 0 and 1, got 1.5"),
        (["--width", "2"], "width must be between 0 and 1, got 2.0"),
        (["--auroc", "0.3"], "expected AUROC must be at least 0.5"),
    ],
)
def test_what_is_out_of_range_is_told_in_one_line(options, message, capsys):
    assert main(["precision", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_the_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["precision", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Example: bonescan precision --width 0.06" in said and "only test scans count" in said.lower()
