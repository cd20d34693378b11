"""`bonescan label`: labels from the text of reports."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import OK, Commands, add_command


def add(commands: Commands) -> None:
    """Add the parser."""
    label = add_command(
        commands, "label", _label, "propose a label for each report from its text, by rules in English and Korean",
        "reports.csv --text-column text --lang auto --out labels.csv",
    )  # fmt: skip
    label.add_argument("reports", type=Path, help="CSV with one row per report")
    label.add_argument("--text-column", default="text", help="the column that holds the text (default: text)")
    label.add_argument("--lang", choices=("en", "ko", "auto"), default="auto", help="language (default: auto, both)")
    label.add_argument(
        "--lexicon", type=Path, action="append", default=[], help="YAML with your own phrases; repeatable"
    )
    label.add_argument("--explain", action="store_true", help="say for each report which phrases decided")
    label.add_argument("--out", required=True, type=Path, help="CSV to write; it holds the deciding sentences")


def _label(options: argparse.Namespace) -> int:
    from bonescan_utils.files import read_text_csv, write_csv
    from bonescan_utils.labelling.engine import LABELS
    from bonescan_utils.labelling.reports import LabelError, explain, label_table, load_lexicon

    if options.out.resolve() == options.reports.resolve():
        raise LabelError(f"--out {options.out}: it is the file of the reports; name another")
    lexicon = load_lexicon(options.lang, extra=options.lexicon)
    reports = read_text_csv(options.reports)
    labels = label_table(reports, lexicon, text_column=options.text_column)
    write_csv(options.out, labels)
    if options.explain:
        for at, text in enumerate(reports[options.text_column], 1):
            print(f"report {at}: " + "\n".join(explain(text, lexicon)))
    empty = int((reports[options.text_column].str.strip() == "").sum())
    counts = ", ".join(f"{int((labels['label'] == name).sum()):,} {name}" for name in LABELS)
    print(f"{len(labels):,} reports: {counts}" + (f" ({empty:,} of them empty)" if empty else ""))
    print(f"{options.out}: it holds sentences of the reports; keep it where you keep the reports.")
    return OK
