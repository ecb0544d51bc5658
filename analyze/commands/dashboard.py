"""python -m analyze dashboard CONFIG.yaml [--out FILE] [key=value …]: creates or updates the view of a study in W&B."""

import json
import os
from pathlib import Path

from configs.command import experiment_parser, parsed
from configs.errors import UserError, first_line
from configs.schema import Experiment
from records.atomic import write_json
from records.layout import dashboard_file
from records.tracking.runs import logged_in

PURPOSE = "Creates the saved view of a study in W&B, or updates it."
LOGIN = "a dashboard needs a W&B login: give the command  wandb login, or set WANDB_API_KEY; --out FILE works without"


def main(arguments: list[str]) -> None:
    parser = experiment_parser("python -m analyze dashboard", PURPOSE)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the definition there as JSON, and send nothing: no login needed"
    )
    experiment, asked = parsed(parser, arguments, lambda _: _outline())
    if asked.out is not None:
        _write(experiment, asked.out)
    else:
        _save(experiment)


def _write(experiment: Experiment, file: Path) -> None:
    dashboard = _dashboard()
    write_json(file, dashboard.definition(dashboard.workspace(experiment, experiment.wandb.entity or "")))
    print(f"Definition: {file}")


def _save(experiment: Experiment) -> None:
    """Raises UserError where nobody is logged in or W&B fails."""
    dashboard = _dashboard()
    if not logged_in():
        raise UserError(LOGIN)
    file = dashboard_file(experiment)
    before = json.loads(file.read_text(encoding="utf-8"))["address"] if file.exists() else None
    os.environ["WANDB_SILENT"] = "true"
    import wandb

    try:
        entity = experiment.wandb.entity or wandb.Api().default_entity
        address = dashboard.save(dashboard.workspace(experiment, entity), before)
    except Exception as error:  # whatever W&B fails with
        raise UserError(f"the dashboard cannot be saved: {first_line(error)}") from None
    write_json(file, {"address": address})
    print(f"Dashboard: {address}")


def _outline() -> str:
    return _dashboard().outline()


def _dashboard():
    """The module that needs the extra. Raises UserError where it is not installed."""
    try:
        from analyze.report import wandb_dashboard as dashboard
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("wandb_workspaces"):
            raise
        raise UserError("dashboards need wandb-workspaces: pip install 'noisemap[dashboard]'") from None
    return dashboard
