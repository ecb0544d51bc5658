"""`report/index.html`: one file that shows the whole study and needs nothing else."""

import contextlib
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves
from analyze.report.figures.curves import ANALYSIS_FIGURES, EARLY_INVERTER_FIGURES, TRAINING_FIGURE, figures_of_others
from analyze.report.findings import findings
from analyze.report.page.blocks import (
    Drawings,
    Gallery,
    Grid,
    Listing,
    Notes,
    Page,
    Plots,
    Section,
    Text,
    render,
)
from analyze.report.page.pictures import picture, step_text, training_viewer
from analyze.report.page.plots import drawing, plots
from analyze.report.paper_figures import FIGURES, NotMeasured, StudyResults, write_figures
from analyze.report.paper_tables import tables, write_tables
from analyze.report.table_formats import PAPER, Table, as_text
from analyze.report.wandb_runs import publish_analysis
from configs.checks import checkpoint_steps
from configs.errors import UserError
from configs.load import to_yaml
from configs.schema import Experiment, ModelStudy
from records.atomic import write_text
from records.layout import experiment_folder, report_folder
from records.provenance import versions
from records.tracking.points import read_points
from records.tracking.runs import offline_runs, resolved_mode

GALLERY_COLUMNS, GALLERY_IMAGES = 16, 64
TRAINING_POINTS = 300
CAPTIONS = {  # what is seen, and how it was made
    "fig01_pictures": (
        "Noises, the images that become of them, their latents, and what a latent has that its noise has not",
        "Below the labels are the values of black and white.",
    ),
    "fig02_triangle": (
        "The triangle of noise, image and latent, to scale",
        "Its angles are the most probable ones: the whole degrees that add up to 180 and maximise the product of the "
        "three histograms over all images. At its sides are mean L2 distances.",
    ),
    "fig03_interpolation": (
        "How far the images on the way from noise to image are from the line between noise (λ = 0) and latent (λ = 1)",
        "Mean L2 distance of x_t from (1 − λ) x_T + λ x̂_T; the nearest λ of each t is marked.",
    ),
    "fig08_mapping_mistakes": (
        "Wrongly assigned noises and images, and what attracts most of the others",
        "Assigned by the smallest L2 distance among the images of one chunk; with counts.",
    ),
    "fig09_pixel_variance": (
        "The plainest and the most varied images",
        "Below each is the variance of its pixels over all channels, of values in [−1, 1].",
    ),
}


def collect(experiment: Experiment, failed: UserError | None = None) -> None:
    """Report and W&B from all that is measured, and a summary on the terminal.

    Raises UserError, after all of it is made, where jobs `failed` or a checkpoint is missing.
    """
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    figures, written, report = write_figures(experiment), write_tables(experiment), write_report(experiment)
    for analysis in analyses:
        publish_analysis(analysis)
    print("\n" + "\n".join(findings(experiment, curves(analyses))))
    for reason in unavailable(analyses):
        print(f"Not measured: {reason}.")
    print(f"\nReport:  {report}")
    print(f"Figures: {report.parent / 'figures'} ({len(figures)} files)")
    print(f"Tables:  {report.parent / 'tables'} ({len(written)} files)")
    _print_wandb(experiment)
    lacking = [str(failed)] if failed else missing(experiment)
    if lacking:
        raise UserError("the study is not complete: " + "; ".join(lacking))


def _print_wandb(experiment: Experiment) -> None:
    folder = experiment_folder(experiment)
    if resolved_mode(experiment) != "disabled" and offline_runs(folder):
        print(f"W&B:     {len(offline_runs(folder))} offline runs; look at them with  wandb leet {folder / 'wandb'}")
        print(f"         or upload them with  wandb sync {folder / 'wandb'}/offline-run-*  (after wandb login)")


def write_report(experiment: Experiment) -> Path:
    """Writes the report of everything that is analysed so far, and returns where it is."""
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    study, path = StudyResults(analyses), report_folder(experiment) / "index.html"
    sections = [
        missing_section(missing(experiment)),
        training_section(analyses),
        curves_section(study, analyses),
        geometry_section(study),
        tables_section(tables(experiment)),
        mistakes_section(study),
        gallery_section(analyses),
        numbers_section(study.curves),
        settings_section(experiment),
    ]
    page = Page(experiment.name, about(experiment), findings(experiment, study.curves), sections, made_with())
    write_text(path, render(page))
    return path


def about(experiment: Experiment) -> str:
    """A study in one line."""
    options, seeds = experiment.analyze, ", ".join(map(str, experiment.seeds))
    return (
        f"{'seeds' if len(experiment.seeds) > 1 else 'seed'} {seeds} · {experiment.train.steps:,} training steps · "
        f"{options.samples:,} images a checkpoint, T = {options.ddim_steps} DDIM steps each way, weights "
        f"{options.weights}"
    )


def made_with() -> str:
    return " · ".join(f"{name} {version}" for name, version in versions().items())


# --- the sections, each where there is something to show


def missing_section(sentences: Sequence[str]) -> Section:
    return Section("missing", "What is missing", [Notes(sentences)] if sentences else [])


def training_section(analyses: Iterable[SeedAnalysis]) -> Section:
    viewers = [viewer for one in analyses if (viewer := training_viewer(one))]
    return Section(
        "training",
        "The same noise through training",
        viewers,
        "From the same noise x_T, on the left, each checkpoint generates an image x_0 by DDIM, and inverts it to the "
        "latent x̂_T: were that exact, it would be the noise again. Each image has the place of its noise; black and "
        "white are ∓3 in noise and latents.",
    )


def curves_section(study: StudyResults, analyses: Sequence[SeedAnalysis]) -> Section:
    reasons = [Text(f"Not measured: {reason}.") for reason in unavailable(analyses)]
    specs = (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES, *figures_of_others(study.curves))
    drawn = plots(specs, study.curves).plots
    trained = plots([TRAINING_FIGURE], training_curves(analyses)).plots
    return Section(
        "curves",
        "Curves",
        [*reasons, Plots([*drawn, *trained])] if drawn or trained else reasons,
        "Mean over seeds as a line, ± one standard deviation as a band; the step axis is logarithmic from the first "
        "checkpoint after 0 on. Point at a plot for its values, or go to it with Tab and along it with the arrow keys.",
    )


def geometry_section(study: StudyResults) -> Section:
    """The triangle and the way between noise and latent, of the last checkpoint."""
    lead = (
        "Of the last checkpoint: where noise x_T, image x_0 and inverted latent x̂_T lie to each other. Pictures are of "
        "the first seed, numbers are means over seeds."
    )
    drawn = drawings(study, "fig01_pictures", "fig02_triangle", "fig03_interpolation")
    return Section("geometry", "Inversion geometry", drawn, lead)


def mistakes_section(study: StudyResults) -> Section:
    lead = (
        "Of the last checkpoint of the first seed: which noises and images are not matched by the smallest L2 "
        "distance, and why."
    )
    drawn = drawings(study, "fig08_mapping_mistakes", "fig09_pixel_variance")
    return Section("mistakes", "Mistakes of the noise mapping", drawn, lead)


def tables_section(made: Sequence[Table], lead: str = "Of the last checkpoint.") -> Section:
    return Section("tables", "Tables", [grid(table) for table in made], lead)


def gallery_section(analyses: Iterable[SeedAnalysis]) -> Section:
    done = [one for one in analyses if one.steps and one.results(one.last_step)]
    figures = [
        gallery(one.generations(one.last_step).images, f"seed {one.seed}, {step_text(one.last_step)}") for one in done
    ]
    return Section("gallery", "Images of the last checkpoint", figures)


def numbers_section(measured: dict[str, Curve]) -> Section:
    """Every number at its last checkpoint."""
    rows = [
        [name, f"{curve.steps[-1]:,}", *(f"{value or 0:.4g}" for value in curve.at(curve.steps[-1]))]
        for name, curve in measured.items()
    ]
    header = ["measure", "step", "mean", "std over seeds"]
    return Section(
        "numbers",
        "All numbers",
        [Grid("Every number at its last checkpoint", header, rows, folded=True)] if rows else [],
    )


def settings_section(experiment: Experiment | ModelStudy) -> Section:
    return Section("settings", "Settings", [Listing("The whole configuration", to_yaml(experiment))])


# --- what stands in them


def drawings(study: StudyResults, *names: str) -> list[Drawings]:
    """Figures of the paper, where what they show is measured."""
    drawn = []
    for name in names:
        with contextlib.suppress(NotMeasured):
            drawn.append(drawing(FIGURES[name](study), name, *CAPTIONS[name]))
    return [Drawings(drawn)] if drawn else []


def grid(table: Table) -> Grid:
    header, *rows = as_text(table)
    return Grid(table.title, header, rows, table_note(table))


def table_note(table: Table) -> str:
    """How its numbers were made, and whose stand beside them."""
    return table.note + (f" Published: {table.model}, {PAPER}." if table.model else "")


def gallery(images: Tensor, caption: str) -> Gallery:
    """The first of some images [N, C, H, W]."""
    shown = images[:GALLERY_IMAGES].clone()
    return Gallery(picture(shown, f"{len(shown)} generated images: {caption}", columns=GALLERY_COLUMNS), caption)


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


def unavailable(analyses: Sequence[SeedAnalysis]) -> list[str]:
    """Why measures could not be computed, each reason once: they are missing everywhere, and all else is there."""
    results = [one.results(step) for one in analyses for step in one.steps]
    return sorted({result["unavailable"] for all in results for result in all.values() if "unavailable" in result})


def training_curves(analyses: Sequence[SeedAnalysis]) -> dict[str, Curve]:
    """Of what was logged, as many points as a plot has room for."""
    values: dict[str, dict[int, list[float]]] = {name: {} for name in TRAINING_FIGURE.curves}
    for analysis in analyses:
        points = read_points(analysis.run.log)
        for name, by_step in values.items():
            for step, value in thinned({int(one["step"]): one[name] for one in points if name in one}).items():
                by_step.setdefault(step, []).append(value)
    return {name: Curve(name, by_step) for name, by_step in values.items() if by_step}


def thinned(values: dict[int, float], most: int = TRAINING_POINTS) -> dict[int, float]:
    """At most so many values by step: means over stretches that grow with the step, each at its last step.

    What is logged is a mean since the point before, and so are these.
    """
    if len(values) <= most:
        return values
    stretches: dict[int, list[int]] = {}
    scale = (most - 1) / math.log(max(values))
    for step in values:
        stretches.setdefault(math.floor(scale * math.log(step)), []).append(step)
    return {steps[-1]: statistics.fmean(values[step] for step in steps) for steps in stretches.values()}
