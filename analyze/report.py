"""`report/index.html`: one file that shows the whole study and needs nothing else."""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader
from PIL import Image
from torch import Tensor

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves
from analyze.figures.curves import ANALYSIS_FIGURES, EARLY_INVERTER_FIGURES, TRAINING_FIGURE, CurveFigure, draw, to_svg
from analyze.figures.pictures import spread
from analyze.findings import findings
from analyze.table_formats import as_text
from analyze.tables import tables
from configs.checks import checkpoint_steps
from configs.load import to_yaml
from configs.schema import Experiment
from records.durable import write_text
from records.layout import report_folder
from records.pictures import LATENT_RANGE, grid, strip, to_png
from records.provenance import versions
from records.tracking import read_points

GALLERY_COLUMNS, GALLERY_IMAGES = 16, 64
STEPS_SHOWN = 10  # checkpoints of which pictures are shown
PAPER_FIGURES = {
    "fig02_triangle": "The triangle of noise, image and latent, drawn to scale from its most probable angles.",
    "fig03_interpolation": "Distance of x_t from the line from noise (λ = 0) to latent (λ = 1); nearest λ marked.",
    "fig08_mapping_mistakes": "Wrongly assigned noises and images, and what attracts most of the others, with counts.",
    "fig09_pixel_variance": "The plainest and the most varied images, with the variance of their pixels.",
}


@dataclass(frozen=True)
class Plot:
    spec: CurveFigure
    source: str  # data URI


@dataclass(frozen=True)
class Picture:
    label: str
    source: str  # data URI
    description: str


@dataclass(frozen=True)
class SeedPictures:
    seed: int
    samples: list[Picture]
    latents: list[Picture]
    gallery: Picture | None  # more images of the last checkpoint


def write_report(experiment: Experiment) -> Path:
    """Writes the report of everything that is analysed so far, and returns where it is."""
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    measured = curves(analyses)
    page = Environment(loader=PackageLoader("analyze", "."), autoescape=True).get_template("report.html.j2")
    path = report_folder(experiment) / "index.html"
    write_text(
        path,
        page.render(
            experiment=experiment,
            findings=findings(experiment, measured),
            missing=missing(experiment),
            unavailable=unavailable(analyses),
            plots=[
                *_plots((*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES), measured),
                *_plots([TRAINING_FIGURE], training_curves(analyses)),
            ],
            figures=_paper_figures(path.parent / "figures"),
            tables=[(table, as_text(table)) for table in tables(experiment)],
            pictures=[_seed_pictures(analysis) for analysis in analyses],
            final=[(name, curve.steps[-1], curve.mean[-1], curve.std[-1]) for name, curve in measured.items()],
            settings=to_yaml(experiment),
            versions=versions(),
        ),
    )
    return path


def missing(experiment: Experiment) -> list[str]:
    """What a study of this experiment has not got, and why, a sentence each."""
    sentences = []
    planned = checkpoint_steps(experiment.train.checkpoints, experiment.train.steps)
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        failures = analysis.failures()
        sentences += [f"seed {seed}, step {step}: {why}" for step, why in failures.items()]
        absent = [step for step in planned if not analysis.results(step) and step not in failures]
        if absent:
            shown = ", ".join(map(str, absent[:5])) + (" …" if len(absent) > 5 else "")
            sentences.append(f"seed {seed}: not trained or not analysed yet: step {shown}{_preliminary(analysis)}")
    return sentences


def _preliminary(analysis: SeedAnalysis) -> str:
    """A warning where the last checkpoint of all is not there yet, and an earlier one stands in for it."""
    if not analysis.steps or analysis.last_step == analysis.experiment.train.steps:
        return ""
    return f"; preliminary: what is compared with the last checkpoint is compared with step {analysis.last_step}"


def unavailable(analyses: list[SeedAnalysis]) -> list[str]:
    """Why measures could not be computed, each reason once: they are missing everywhere, and all else is there."""
    results = [one.results(step) for one in analyses for step in one.steps]
    return sorted({result["unavailable"] for all in results for result in all.values() if "unavailable" in result})


def training_curves(analyses: list[SeedAnalysis]) -> dict[str, Curve]:
    values: dict[str, dict[int, list[float]]] = {name: {} for name in TRAINING_FIGURE.curves}
    for analysis in analyses:
        for point in read_points(analysis.run.log):
            for name in values.keys() & point.keys():
                values[name].setdefault(point["step"], []).append(point[name])
    return {name: Curve(name, by_step) for name, by_step in values.items() if by_step}


def _paper_figures(folder: Path) -> list[Picture]:
    """Those of the paper's figures that are no curves, where they have been drawn."""
    files = [(file, description) for name, description in PAPER_FIGURES.items() for file in folder.glob(f"{name}.png")]
    return [Picture(text, _data_uri("image/png", file.read_bytes()), text) for file, text in files]


def _plots(specs, measured: dict[str, Curve]) -> list[Plot]:
    drawn = [spec for spec in specs if spec.curves.keys() & measured.keys()]
    return [Plot(spec, _data_uri("image/svg+xml", to_svg(draw(spec, measured)).encode())) for spec in drawn]


def _seed_pictures(analysis: SeedAnalysis) -> SeedPictures:
    samples, latents = [], []
    shown = analysis.options.pictures
    steps = spread([step for step in analysis.steps if analysis.results(step)], STEPS_SHOWN)
    for step in steps:
        here = analysis.tensors(step)
        samples.append(
            _picture(f"step {step:,}", strip(here["samples"][:shown]), f"{shown} images generated at step {step}")
        )
        latents.append(
            _picture(
                f"step {step:,}", strip(here["latents"][:shown], LATENT_RANGE), f"their latents inverted at step {step}"
            )
        )
    if steps:
        noise = _picture("noise", strip(here["noise"][:shown], LATENT_RANGE), f"the {shown} noises x_T")
        samples, latents = [noise, *samples], [noise, *latents]
    gallery = _gallery(analysis.tensors(steps[-1])["samples"], steps[-1]) if steps else None
    return SeedPictures(analysis.seed, samples, latents, gallery)


def _gallery(samples: Tensor, step: int) -> Picture:
    shown = samples[:GALLERY_IMAGES]
    return _picture(f"step {step:,}", grid(shown, GALLERY_COLUMNS), f"{len(shown)} images generated at step {step}")


def _picture(label: str, image: Image.Image, description: str) -> Picture:
    return Picture(label, _data_uri("image/png", to_png(image)), description)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
