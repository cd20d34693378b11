"""`bonescan plan`: what a study of so many scans takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from bonescan_utils.commands import OK, Commands, add_command, add_parameters, positive


def add(commands: Commands) -> None:
    """Add the parser."""
    plan = add_command(
        commands, "plan", _plan, "say what a study of so many scans takes, by what this machine was measured to do",
        "--n 100000 --arms 6 --folds 5 --workers 100",
    )  # fmt: skip
    plan.add_argument("--n", type=positive, default=1000, help="number of scans (default: 1000)")
    plan.add_argument("--arms", default="6", help="how many of the study's arms, or their names (default: 6)")
    plan.add_argument("--folds", default="0", help="folds of a cross-validation (default: 0)")
    plan.add_argument("--seeds", default="1", help="repetitions of each of its fits (default: 1)")
    plan.add_argument("--workers", type=positive, default=1, help="machines that share the work (default: 1)")
    plan.add_argument("--csv", type=Path, help="also write the table to this file")
    add_parameters(plan)


def _plan(options: argparse.Namespace) -> int:
    from bonescan_utils.plan import first_arms, measured_costs, plan_table
    from bonescan_utils.profiles import make_config, parse_settings
    from bonescan_utils.runner import find_project

    settings: dict[str, object] = dict(parse_settings(options.parameters))
    config = make_config("study", settings | {"folds": options.folds, "seeds": options.seeds})
    arms = first_arms(options.arms)
    costs = measured_costs(config, arms, kept=find_project().reports / "calibration.json")
    table = plan_table(costs, config, arms, n=options.n, workers=options.workers)
    shown = table.assign(units=table["units"].round().astype(int))
    print(f"{options.n:,} scans, {len(arms)} arms, {config.folds} folds, {config.seeds} seed(s).")
    print(f"One machine like this one, {costs.cores} cores; shared: by {options.workers} of them.\n")
    print(shown.to_string(index=False, float_format=lambda value: f"{value:,.3g}", na_rep=""))
    if options.csv:
        from bonescan_utils.files import write_csv

        write_csv(options.csv, table)
    return OK
