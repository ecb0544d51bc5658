"""The saved view of a study in W&B: which curves, pictures and tables stand where.

A line is the mean over seeds with a band of ± one standard deviation: runs that differ in nothing but the seed are
one group. What was analysed before and is no longer true is left out by its tag.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from configs.schema import Experiment
from records.tracking.runs import SUPERSEDED

Range = tuple[float | None, float | None]
SHARE: Range = (0.0, 1.0)
ANGLE: Range = (0.0, 180.0)  # degrees
CORNERS, SIDES = ("image", "noise", "latent"), ("noise_latent", "image_latent", "image_noise")
COLUMNS = 3
DRAWN_RUNS = 100  # at most, over all groups


@dataclass(frozen=True)
class Curves:
    """Curves that are drawn together, against the training step."""

    title: str
    y_label: str
    keys: tuple[str, ...]
    y: Range = (None, None)
    log_x: bool = True  # most of what is analysed happens early
    log_y: bool = False

    def panel(self) -> wr.LinePlot:
        return wr.LinePlot(
            title=self.title,
            x="Step",  # every point is logged at its training step
            y=list(self.keys),
            title_x="training step",
            title_y=self.y_label,
            range_y=self.y,
            log_x=self.log_x,
            log_y=self.log_y,
            groupby="Group",
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            max_runs_to_show=DRAWN_RUNS,
        )


@dataclass(frozen=True)
class Pictures:
    """Pictures of every step, with a slider through the training."""

    title: str
    keys: tuple[str, ...]

    def panel(self) -> wr.MediaBrowser:
        return wr.MediaBrowser(title=self.title, media_keys=list(self.keys), mode="gallery", gallery_axis="step")


@dataclass(frozen=True)
class LastTable:
    """A table of the last checkpoint: a row for each seed, the published values beside ours."""

    title: str
    keys: tuple[str]

    def panel(self) -> wr.WeavePanelSummaryTable:
        return wr.WeavePanelSummaryTable(table_name=self.keys[0])


def _training(title: str, y_label: str, *keys: str, log_y: bool = False) -> Curves:
    return Curves(title, y_label, keys, log_x=False, log_y=log_y)


def _early(title: str, y_label: str, *keys: str, y: Range = (None, None)) -> Curves:
    return Curves(title, y_label, keys, y)


SECTIONS: dict[str, tuple[Curves | Pictures | LastTable, ...]] = {
    "Training": (
        _training("Loss", "loss", "loss", "mse", log_y=True),
        _training("Loss by quarter of t", "loss", *(f"loss_q{quarter}" for quarter in range(4)), log_y=True),
        _training("Variational bound", "bits, as weighted in the loss", "vb", log_y=True),
        _training("Gradient norm", "L2 norm", "grad_norm", log_y=True),
        _training("Learning rate", "learning rate", "lr"),
        _training("Speed", "images/s", "images_per_s"),
        _training("Arithmetic", "TFLOP/s", "tflop_per_s"),
        _training("Share of the hardware's peak", "share", "mfu"),
        _training("GPU memory", "GB", "memory_gb"),
    ),
    "Noise mapping": (
        _early("Image → noise", "correctly assigned", "noise_mapping/image_to_noise", y=SHARE),
        _early("Noise → image", "correctly assigned", "noise_mapping/noise_to_image", y=SHARE),
        LastTable("Table 2", ("tables/table2_noise_mapping",)),
    ),
    "Neighbourhoods": (
        _early("Neighbours of images", "shared with the last checkpoint", "knn_coverage/image", y=SHARE),
        _early("Neighbours of noises", "shared with the last checkpoint", "knn_coverage/noise", y=SHARE),
    ),
    "Alignment": (
        _early("CKA", "similarity", "cka/biased", "cka/debiased", y=(None, 1.0)),
        _early("SVCCA", "similarity", "svcca/mean", y=SHARE),
        _early("SSIM", "similarity", "ssim/mean", y=(None, 1.0)),
        _early("DINO", "cosine", "dino/mean", y=(None, 1.0)),
        _early("FID to the training set", "Fréchet distance", "fid/value", y=(0.0, None)),
    ),
    "Inversion geometry": (
        _early("Angles", "degrees", *(f"triangle/{corner}_of_mean" for corner in CORNERS), y=ANGLE),
        _early("Distances", "L2 distance", *(f"distances/{side}" for side in SIDES), y=(0.0, None)),
        _early("Angles, last images", "degrees", *(f"early_inverter/{corner}_of_mean" for corner in CORNERS), y=ANGLE),
        _early("Distances, last images", "L2 distance", *(f"early_inverter/{side}" for side in SIDES), y=(0.0, None)),
        LastTable("Tables 3–5", ("tables/table345_triangle",)),
    ),
    "Correlation": (
        _early(
            "Of pixels",
            "largest |correlations|, mean",
            *(f"correlation/{name}" for name in ("noise", "latents", "samples", "floor")),
            y=SHARE,
        ),
        _early(
            "Within patches",
            "largest |correlations|, mean",
            *(f"correlation/patch_{name}" for name in ("noise", "latents", "samples", "floor")),
            y=SHARE,
        ),
        LastTable("Table 1", ("tables/table1_correlation",)),
    ),
    "Pictures": (
        Pictures("Images from always the same noises", ("pictures/samples",)),
        Pictures("The same images, inverted", ("pictures/latents",)),
        Pictures("While training", ("samples",)),
    ),
}


def outline() -> str:
    """Sections and panels, a line each."""
    lines = []
    for section, panels in SECTIONS.items():
        lines += [section, *(f"  {panel.title}: {', '.join(panel.keys)}" for panel in panels)]
    return "\n".join(lines)


def workspace(experiment: Experiment, entity: str) -> ws.Workspace:
    """The view of an experiment's runs, not saved yet."""
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
        settings=ws.WorkspaceSettings(x_axis="Step", max_runs=DRAWN_RUNS),
        runset_settings=ws.RunsetSettings(
            query=f"^{re.escape(experiment.name)} seed ",  # a filter by config.name would be one by the run's id
            regex_query=True,
            filters=ws.And(ws.Tags().notin([SUPERSEDED])),
            groupby=[ws.Metric("Group")],
        ),
    )


def definition(view: ws.Workspace) -> dict[str, Any]:
    """What W&B is sent of a view."""
    return json.loads(view._model.spec.model_dump_json(by_alias=True, exclude_none=True))


def save(view: ws.Workspace, address: str | None) -> str:
    """Saves a view in place of the one at `address`, or as a new one; its address."""
    if address is not None:
        view = _in_place_of(view, address)
    return view.save().url


def _in_place_of(view: ws.Workspace, address: str) -> ws.Workspace:
    """The view that is there with everything in it replaced; the new one where it is gone."""
    try:
        there = ws.Workspace.from_url(address)
    except ValueError:
        return view
    there.name, there.sections = view.name, view.sections
    there.settings, there.runset_settings = view.settings, view.runset_settings
    return there
