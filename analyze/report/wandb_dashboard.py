"""The saved view of a study in W&B: sections of curves, pictures and tables.

A line is the mean over seeds with a band of ± one standard deviation: runs that differ only in their seed form a group.
Superseded runs are filtered out by their tag.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from analyze.report.figures.curves import (
    ANGLES,
    CORRELATION,
    DISTANCES,
    EARLY_INVERTER_FIGURES,
    NORMALITY,
    PLAIN_FIGURES,
    TRANSPORT,
)
from analyze.report.metrics import METRICS
from configs.schema import Experiment
from records.tracking.runs import SUPERSEDED

COLUMNS = 3
MAX_RUNS = 100  # drawn, over all groups


@dataclass(frozen=True)
class CurvePanel:
    """Metrics that are drawn together against the training step."""

    title: str
    keys: tuple[str, ...]
    log_x: bool = True  # analyses concentrate on early steps
    log_y: bool = False

    def panel(self) -> wr.LinePlot:
        first = METRICS[self.keys[0]]
        return wr.LinePlot(
            title=self.title,
            x="Step",  # every point is logged at its training step
            y=list(self.keys),
            title_x="training step",
            title_y=first.quantity.stored_axis,
            range_y=first.quantity.range,
            log_x=self.log_x,
            log_y=self.log_y,
            groupby="Group",
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            max_runs_to_show=MAX_RUNS,
        )


@dataclass(frozen=True)
class PicturePanel:
    """Pictures with a slider through training."""

    title: str
    keys: tuple[str, ...]

    def panel(self) -> wr.MediaBrowser:
        return wr.MediaBrowser(title=self.title, media_keys=list(self.keys), mode="gallery", gallery_axis="step")


@dataclass(frozen=True)
class TablePanel:
    """A table of the last checkpoint with one row per seed and the published values."""

    title: str
    keys: tuple[str]

    def panel(self) -> wr.WeavePanelSummaryTable:
        return wr.WeavePanelSummaryTable(table_name=self.keys[0])


def _training(title: str, *keys: str, log_y: bool = False) -> CurvePanel:
    return CurvePanel(title, keys, log_x=False, log_y=log_y)


def _analysis(title: str, *keys: str, log_y: bool = False) -> CurvePanel:
    return CurvePanel(title, keys, log_y=log_y)


SECTIONS: dict[str, tuple[CurvePanel | PicturePanel | TablePanel, ...]] = {
    "Training": (
        _training("Loss", "loss", "mse", log_y=True),
        _training("Loss by quarter of t", *(f"loss_q{quarter}" for quarter in range(4)), log_y=True),
        _training("Variational bound", "vb", log_y=True),
        _training("Gradient norm", "grad_norm", log_y=True),
        _training("Learning rate", "lr"),
        _training("Speed", "images_per_s"),
        _training("Arithmetic", "tflop_per_s"),
        _training("Share of a matrix product's speed", "mfu"),
        _training("GPU memory", "memory_gb"),
    ),
    "Noise mapping": (
        _analysis("Image → noise", "noise_mapping/image_to_noise"),
        _analysis("Noise → image", "noise_mapping/noise_to_image"),
        _analysis("One to one", "hungarian/accuracy"),
        _analysis(TRANSPORT.title, *TRANSPORT.curves),
        TablePanel("Table 2", ("tables/table2_noise_mapping",)),
    ),
    "Neighborhoods": (
        _analysis("Neighbors of images", "knn_coverage/image"),
        _analysis("Neighbors of noises", "knn_coverage/noise"),
    ),
    "Alignment": (
        _analysis("CKA", "cka/biased", "cka/debiased"),
        _analysis("SVCCA", "svcca/mean"),
        _analysis("SSIM", "ssim/mean"),
        _analysis("DINO", "dino/mean"),
        _analysis("FID to the training set", "fid/value"),
    ),
    "Inversion geometry": (
        *(_analysis(figure.title, *figure.curves) for figure in (ANGLES, DISTANCES, *EARLY_INVERTER_FIGURES)),
        TablePanel("Tables 3–5", ("tables/table345_triangle",)),
    ),
    "Correlation": (
        _analysis("Of pixels", *CORRELATION.curves),
        _analysis("Within patches", *(key.replace("/", "/patch_") for key in CORRELATION.curves)),
        TablePanel("Table 1", ("tables/table1_correlation",)),
    ),
    "Plain areas": (
        _analysis("Plain pixels", "plain_areas/share"),
        *(_analysis(figure.title, *figure.curves, log_y=figure.log_y) for figure in (*PLAIN_FIGURES, NORMALITY)),
    ),
    "Pictures": (
        PicturePanel("Images from always the same noises", ("pictures/samples",)),
        PicturePanel("The same images, inverted", ("pictures/latents",)),
        PicturePanel("While training", ("samples",)),
    ),
}


def outline() -> str:
    """List sections and panels, one per line."""
    lines = []
    for section, panels in SECTIONS.items():
        lines += [section, *(f"  {panel.title}: {', '.join(panel.keys)}" for panel in panels)]
    return "\n".join(lines)


def workspace(experiment: Experiment, entity: str) -> ws.Workspace:
    """Return the unsaved view of an experiment's runs."""
    return ws.Workspace(
        entity=entity,
        project=experiment.wandb.project,
        name=f"noisemap: {experiment.name}",
        sections=[
            ws.Section(
                name=name,
                panels=[panel.panel() for panel in panels],
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=COLUMNS, rows=-(-len(panels) // COLUMNS)),
            )
            for name, panels in SECTIONS.items()
        ],
        settings=ws.WorkspaceSettings(x_axis="Step", max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            query=f"^{re.escape(experiment.name)} seed ",  # a filter on config.name would match the run's id
            regex_query=True,
            filters=ws.And(ws.Tags().notin([SUPERSEDED])),
            groupby=[ws.Metric("Group")],
        ),
    )


def definition(view: ws.Workspace) -> dict[str, Any]:
    """Return the JSON that W&B receives for a view."""
    return json.loads(view._model.spec.model_dump_json(by_alias=True, exclude_none=True))


def save(view: ws.Workspace, address: str | None) -> str:
    """Save a view, replacing the one at `address` if it exists, and return its address."""
    return (view if address is None else _replace(view, address)).save().url


def _replace(view: ws.Workspace, address: str) -> ws.Workspace:
    """Return the existing view with the content of the new one, or the new view if the existing one was deleted."""
    try:
        existing = ws.Workspace.from_url(address)
    except ValueError:
        return view
    existing.name, existing.sections = view.name, view.sections
    existing.settings, existing.runset_settings = view.settings, view.runset_settings
    return existing
