"""LaTeX: what a table says survives, nothing is shrunk below seven points, and broad tables are wrapped or turned."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonescan_utils.latex import SIDEWAYS_MM, SMALLEST, UPRIGHT_MM, latex_text, to_latex


def table_of(columns, *, cell="0.92 (0.88-0.96)", rows=3):
    """Estimates of so many arms, as the comparison of a paper has them."""
    names = ["Metric", *(f"DenseNet{k} (random init, not ranked)" for k in range(columns))]
    return pd.DataFrame([["Balanced accuracy", *[cell] * columns]] * rows, columns=names)


def widths_of(latex):
    return [float(width) for width in re.findall(r"p\{([\d.]+)mm\}", latex)]


def test_a_narrow_table_keeps_the_size_of_the_text():
    latex = to_latex(pd.DataFrame({"Sex": ["F"], "Scans": ["1,000"]}))
    assert r"\begin{table}[ht]" in latex and r"\begin{tabular}{lr}" in latex
    assert "scriptsize" not in latex and "resizebox" not in latex


@pytest.mark.parametrize(("arms", "kind"), [(3, "table*"), (6, "table*"), (11, "sidewaystable")])
def test_a_broad_table_is_wrapped_or_turned_and_never_shrunk(arms, kind):
    latex = to_latex(table_of(arms))
    assert rf"\begin{{{kind}}}" in latex and rf"\end{{{kind}}}" in latex
    room = SIDEWAYS_MM if kind == "sidewaystable" else UPRIGHT_MM
    widths = widths_of(latex)
    if widths:
        assert len(widths) == arms + 1 and sum(widths) + len(widths) * SMALLEST.gap_mm <= room + 1
        assert min(widths) >= SMALLEST.of("(0.88-0.96)") - 0.1  # an interval in two lines at most
    assert "tiny" not in latex and "resizebox" not in latex


def test_a_long_table_goes_over_pages_with_its_head_on_each():
    latex = to_latex(table_of(2, rows=60), caption="Long")
    assert r"\begin{longtable}" in latex and latex.count(r"\endhead") == 1 and r"\begin{table" not in latex
    assert latex.count("Balanced accuracy") == 60 and latex.count("DenseNet0") == 2


def test_p_values_have_their_rule_and_numbers_stand_to_the_right():
    latex = to_latex(pd.DataFrame({"arm": ["a"], "estimate": [0.12345], "p": [0.0004], "p_holm": [0.25], "n": [12]}))
    assert r"a & 0.123 & $<$0.001 & 0.25 & 12 \\" in latex
    assert r"\begin{tabular}{lrrrr}" in latex


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=9))
def test_no_sign_of_a_cell_is_markup(cells):
    latex = to_latex(pd.DataFrame([cells], columns=[f"c{k}" for k in range(len(cells))]))
    assert latex.count(r" \\" + "\n") == 2 + latex.count(r"\textbackslash{}\\")
    plain = re.sub(r"\\[\\&%$#_{}]", "", "".join(map(latex_text, cells)))
    assert not re.search(r"(?<!\\)[&%#_]", plain)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
@pytest.mark.parametrize(("arms", "rows"), [(2, 3), (6, 15), (11, 15), (6, 60)])
def test_tables_compile_without_a_box_that_is_too_wide(arms, rows, tmp_path):
    packages = (
        r"\usepackage[margin=25mm]{geometry}\usepackage{booktabs,array,rotating,longtable}\usepackage[T1]{fontenc}"
    )
    body = to_latex(
        table_of(arms, rows=rows), caption="Arms & more", label="tab:arms", note="50 % of scans, \N{EM DASH} none."
    )
    source = rf"\documentclass[a4paper]{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "t.tex").write_text(source, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-800:]
    assert not re.search(r"Overfull \\hbox \((?:[5-9]|\d\d)", done.stdout), done.stdout
