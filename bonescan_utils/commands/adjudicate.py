"""`bonescan adjudicate`: report labels and readings -> a labelled manifest."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import OK, Commands, add_command, seed


def add(commands: Commands) -> None:
    """Add the parser."""
    parser = add_command(
        commands, "adjudicate", _adjudicate, "settle labels from reports and readings, and write a labelled manifest",
        "cohort/data_manifest.csv --out cohort/labelled.csv",
    )  # fmt: skip
    parser.add_argument("manifest", type=Path, help="as `bonescan ingest --reports LABELS.csv` made it")
    parser.add_argument("--out", type=Path, required=True, metavar="LABELLED.csv", help="a file beside the manifest")
    parser.add_argument("--review", type=Path, help="folder of the readings (default: `review` beside the manifest)")
    parser.add_argument(
        "--lang", choices=("en", "ko", "auto"), default="auto", help="as for `bonescan label` (default: auto)"
    )
    parser.add_argument("--lexicon", type=Path, action="append", default=[], help="as for `bonescan label`")
    parser.add_argument("--seed", type=seed, default=2022, help="seed of the intervals of agreement (default: 2022)")


def _adjudicate(options: argparse.Namespace) -> int:
    from bonescan_utils.labelling.labelled import label_manifest
    from bonescan_utils.labelling.lexicon import load_lexicon

    review = options.review or options.manifest.parent / "review"
    lexicon = load_lexicon(options.lang, extra=options.lexicon)
    print(label_manifest(options.manifest, options.out, review=review, lexicon=lexicon, seed=options.seed))
    return OK
