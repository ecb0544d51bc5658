"""`python -m analyze dashboard CONFIG.yaml [--out FILE] [key=value …]`: create or update a study's view in W&B."""

import os
from pathlib import Path

from configs.command import experiment_parser, parse
from configs.errors import UserError, first_line
from configs.schema import Experiment
from records.atomic import read_json, write_json
from records.layout import dashboard_file
from records.tracking.login import logged_in

PURPOSE = "Create or update the saved view of a study in W&B."
LOGIN = "a dashboard needs a W&B login: run  wandb login, or set WANDB_API_KEY; --out FILE needs no login"


def main(arguments: list[str]) -> None:
    parser = experiment_parser("python -m analyze dashboard", PURPOSE)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the definition as JSON and send nothing; needs no login"
    )
    experiment, options = parse(parser, arguments, lambda _: _dashboard().outline())
    if options.out is not None:
        _write(experiment, options.out)
    else:
        _save(experiment)


def _write(experiment: Experiment, file: Path) -> None:
    dashboard = _dashboard()
    write_json(file, dashboard.definition(dashboard.workspace(experiment, experiment.wandb.entity or "")))
    print(f"Definition: {file}")


def _save(experiment: Experiment) -> None:
    """Save the view in W&B. Raises UserError if nobody is logged in or W&B fails."""
    dashboard = _dashboard()
    if not logged_in():
        raise UserError(LOGIN)
    file = dashboard_file(experiment)
    existing = _address(file) if file.exists() else None
    os.environ["WANDB_SILENT"] = "true"
    import wandb

    try:
        entity = experiment.wandb.entity or wandb.Api().default_entity
        address = dashboard.save(dashboard.workspace(experiment, entity), existing)
    except Exception as error:  # W&B raises many types
        raise UserError(f"the dashboard cannot be saved: {first_line(error)}") from None
    write_json(file, {"address": address})
    print(f"Dashboard: {address}")


def _address(file: Path) -> str:
    """Return the address of the saved view. Raises UserError if the file is damaged."""
    try:
        return str(read_json(file)["address"])
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(f"{file} is damaged; remove it to create another dashboard") from None


def _dashboard():
    """Import the module that needs an extra. Raises UserError if it is not installed."""
    try:
        from analyze.report import wandb_dashboard
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("wandb_workspaces"):
            raise
        raise UserError("dashboards need wandb-workspaces: pip install -e '.[dashboard]' in the clone") from None
    return wandb_dashboard
