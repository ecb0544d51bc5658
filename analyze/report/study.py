"""Report of a study: figures, tables, W&B, and the self-contained page report/index.html."""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from analyze.analysis import Analysis, SeedAnalysis
from analyze.curves import Curve
from analyze.generations import Images
from analyze.report.figures.curves import (
    ANALYSIS_FIGURES,
    EARLY_INVERTER_FIGURES,
    TRAINING_FIGURE,
    TRAINING_STEP,
    Position,
    other_figures,
)
from analyze.report.findings import findings
from analyze.report.inversion_errors import inversion_errors_section
from analyze.report.inverters import inverters_section
from analyze.report.metrics import find_metric
from analyze.report.page.blocks import Drawings, Gallery, Grid, Notes, Page, Plot, Plots, Section, Text, render
from analyze.report.page.pictures import picture, step_text, training_viewer
from analyze.report.page.plots import drawing, plots
from analyze.report.paper_figures import FIGURES, NotMeasured, StudyResults, write_figures
from analyze.report.paper_tables import tables, write_tables
from analyze.report.provenance import footer, settings_section
from analyze.report.table_formats import PAPER, Table, as_text
from analyze.report.training_curves import training_curves
from analyze.report.wandb_runs import publish_analysis
from configs.errors import UserError
from configs.schema import Analyze, Experiment
from records.atomic import write_text
from records.layout import experiment_folder, report_folder, saved_steps, seed_folder
from records.tracking.login import resolved_mode
from records.tracking.runs import offline_runs

GALLERY_COLUMNS, GALLERY_IMAGES = 16, 64
GEOMETRY_FIGURES = (
    "fig01_pictures",
    "fig02_triangle",
    "fig03_interpolation",
    "self_interpolation",
    "self_interpolation_distances",
)
LISTED_STEPS = 5  # of the steps with missing results
CAPTIONS = {  # description, and a note on how the figure is computed
    "fig01_pictures": (
        "Noises, the images generated from them, the latents of these images, and the difference of latent and noise",
        "The labels give the values shown as black and white.",
    ),
    "fig02_triangle": (
        "The triangle of noise, image and latent, drawn with its most probable angles",
        "The most probable angles are the whole degrees that add up to 180 and maximize the product of the three "
        "histograms over all images. The sides are labeled with mean L2 distances, which need not fit the drawing.",
    ),
    "fig03_interpolation": (
        "Distance of the sampling trajectory from the line between noise (λ = 0) and latent (λ = 1)",
        "Mean L2 distance between x_t and (1 − λ) x_T + λ x̂_T; markers show the nearest λ of each t.",
    ),
    "self_interpolation": (
        "Images sampled from points between noise and latent",
        "The points divide the arc from x_T to x̂_T into equal angles. Below each image is its L2 distance from the "
        "image of the noise; an exact latent equals its noise, and all its images are the same.",
    ),
    "self_interpolation_distances": (
        "Distances of these images from the image of the noise and from the training images",
        "Mean L2 distances; bands are ± one standard deviation over seeds.",
    ),
    "fig08_mapping_mistakes": (
        "Wrongly assigned noises and images, and the images and noises that are nearest to several others",
        "Assigned by the smallest L2 distance among the images of one chunk; the labels are counts.",
    ),
    "fig09_pixel_variance": (
        "The images with the lowest and the highest pixel variance",
        "The labels give the variance over all pixels and channels, for values in [−1, 1].",
    ),
}


def collect(experiment: Experiment, failed: UserError | None = None, half_trained: bool = False) -> None:
    """Write the report, publish the analyses to W&B and print a summary.

    Raises UserError, after writing everything, if a job failed (`failed`) or results are missing, except for those of
    checkpoints that are not trained yet if the study may be `half_trained`.
    """
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    results, folder = StudyResults(analyses), report_folder(experiment)
    figures = write_figures(results, folder / "figures")
    table_files = write_tables(tables(experiment), folder / "tables")
    report = write_report(experiment)
    for analysis in analyses:
        publish_analysis(analysis)
    print("\n" + "\n".join(findings(experiment, results.curves)))
    for reason in unavailable(analyses):
        print(f"Not measured: {reason}.")
    print(f"\nReport:  {report}")
    print(f"Figures: {folder / 'figures'} ({len(figures)} files)")
    print(f"Tables:  {folder / 'tables'} ({len(table_files)} files)")
    _print_wandb(experiment)
    if half_trained and (other_steps := [*not_trained(experiment), *trained_further(experiment)]):
        print("\n" + "\n".join(other_steps))
    expected = not_analyzed if half_trained else missing
    if problems := [str(failed)] if failed else expected(experiment):
        raise UserError("the study is incomplete: " + "; ".join(problems))


def _print_wandb(experiment: Experiment) -> None:
    folder = experiment_folder(experiment)
    if resolved_mode(experiment) != "disabled" and (runs := offline_runs(folder)):
        print(f"W&B:     {len(runs)} offline runs; view them with  wandb leet {folder / 'wandb'}")
        print(f"         or upload them with  wandb sync {folder / 'wandb'}/offline-run-*  (after wandb login)")


def write_report(experiment: Experiment) -> Path:
    """Write the page with all available results, and return its path."""
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    results, path = StudyResults(analyses), report_folder(experiment) / "index.html"
    sections = [
        missing_section(missing(experiment)),
        training_section(analyses),
        curves_section(results, analyses),
        geometry_section(results),
        tables_section(tables(experiment)),
        mistakes_section(results),
        inversion_errors_section(analyses),
        inverters_section(analyses),
        gallery_section(analyses),
        numbers_section(results.curves),
        settings_section(experiment),
    ]
    page = Page(experiment.name, subtitle(experiment), findings(experiment, results.curves), sections, footer())
    write_text(path, render(page))
    return path


def subtitle(experiment: Experiment) -> str:
    """Summarize the settings of a study in one line."""
    options, seeds = experiment.analyze, ", ".join(map(str, experiment.seeds))
    return (
        f"{'seeds' if len(experiment.seeds) > 1 else 'seed'} {seeds} · {experiment.train.steps:,} training steps · "
        f"{options.samples:,} images per checkpoint, {solver_text(options, f'{options.ddim_steps:,}')}, weights "
        f"{options.weights}"
    )


def solver_text(options: Analyze, steps: str) -> str:
    """Describe sampler and inverter; `steps` are one or several numbers T."""
    inversion = f"inverted with {options.inversion_steps:,}" if options.inversion_steps else "in each direction"
    return f"T = {steps} DDIM steps {inversion}"


# --- sections; without blocks they are omitted


def missing_section(sentences: Sequence[str]) -> Section:
    return Section("missing", "Missing results", [Notes(sentences)] if sentences else [])


def training_section(analyses: Iterable[SeedAnalysis]) -> Section:
    viewers = [viewer for analysis in analyses if (viewer := training_viewer(analysis))]
    return Section(
        "training",
        "The same noise through training",
        viewers,
        "Each checkpoint generates images x_0 from the same noise x_T (left) by DDIM, and inverts them to latents x̂_T; "
        "an exact inversion would return the noise. Each image is at the position of its noise; black and white are "
        "−3 and 3 in noise and latents.",
    )


def curves_section(results: StudyResults, analyses: Sequence[SeedAnalysis]) -> Section:
    drawn = [*curve_plots(results.curves), *plots([TRAINING_FIGURE], training_curves(analyses)).plots]
    lead = (
        "Lines are means over seeds, bands ± one standard deviation; the step axis is linear up to the first "
        "checkpoint after step 0 and logarithmic beyond."
    )
    return plots_section(drawn, analyses, lead)


def plots_section(drawn: Sequence[Plot], analyses: Sequence[Analysis], lead: str) -> Section:
    """Return the section of plots, with the reasons why measures are unavailable."""
    reasons = [Text(f"Not measured: {reason}.") for reason in unavailable(analyses)]
    usage = "Point at a plot to see its values, or focus it with Tab and use the arrow keys."
    if not drawn:
        return Section("curves", "Curves", reasons)
    return Section("curves", "Curves", [*reasons, Plots(drawn)], f"{lead} {usage}")


def curve_plots(curves: Mapping[str, Curve], position: Position = TRAINING_STEP) -> Sequence[Plot]:
    """Return the plots of all measures but the comparison of inverters, which has its own section."""
    specs = (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES, *other_figures(curves))
    return plots([dataclasses.replace(spec, position=position) for spec in specs], curves).plots


def geometry_section(results: StudyResults) -> Section:
    """Return the triangle and the trajectory between noise and latent."""
    lead = (
        "Geometry of noise x_T, image x_0 and inverted latent x̂_T at the last checkpoint. Pictures show the first "
        "seed; numbers are means over seeds."
    )
    drawn = drawings(results, *GEOMETRY_FIGURES)
    return Section("geometry", "Inversion geometry", drawn, lead)


def mistakes_section(results: StudyResults) -> Section:
    lead = (
        "Noises and images of the first seed's last checkpoint that the smallest L2 distance does not match, and the "
        "nearest neighbors that cause these mistakes."
    )
    drawn = drawings(results, "fig08_mapping_mistakes", "fig09_pixel_variance")
    return Section("mistakes", "Mistakes of the noise mapping", drawn, lead)


def tables_section(tables: Sequence[Table], lead: str = "Values at the last checkpoint.") -> Section:
    return Section("tables", "Tables", [grid(table) for table in tables], lead)


def gallery_section(analyses: Iterable[SeedAnalysis]) -> Section:
    galleries = [
        gallery(analysis.generations(step).images, f"seed {analysis.seed}, {step_text(step)}")
        for analysis in analyses
        if analysis.steps and analysis.results(step := analysis.last_step)
    ]
    return Section("gallery", "Images of the last checkpoint", galleries)


def numbers_section(curves: Mapping[str, Curve], position: str = "step") -> Section:
    """Return a table of all metrics at their last step; `position` is the name of the x axis."""
    rows = []
    for name, curve in curves.items():
        (mean, std), metric = curve.at(curve.steps[-1]), find_metric(name)
        numbers = [f"{curve.steps[-1]:,}", f"{mean:.4g}", "" if std is None else f"{std:.4g}"]
        rows.append([name, *numbers, metric.label, metric.quantity.stored_axis])
    header = ["metric", position, "mean", "std over seeds", "label", "quantity"]
    table = Grid(f"Every metric at its last {position}", header, rows, folded=True)
    return Section("numbers", "All numbers", [table] if rows else [])


# --- blocks


def drawings(results: StudyResults, *names: str) -> list[Drawings]:
    """Return the named figures of the paper that can be drawn."""
    drawn = []
    for name in names:
        with contextlib.suppress(NotMeasured):
            drawn.append(drawing(FIGURES[name](results), name, *CAPTIONS[name]))
    return [Drawings(drawn)] if drawn else []


def grid(table: Table) -> Grid:
    header, *rows = as_text(table)
    return Grid(table.title, header, rows, table_note(table))


def table_note(table: Table) -> str:
    """Return the table's note, with the source of its published values."""
    return table.note + (f" Published: {table.model}, {PAPER}." if table.model else "")


def gallery(images: Images, caption: str) -> Gallery:
    """Return a gallery of the first images of [N, C, H, W]."""
    shown = images[:GALLERY_IMAGES].clone()
    return Gallery(picture(shown, f"{len(shown)} generated images: {caption}", columns=GALLERY_COLUMNS), caption)


def missing(experiment: Experiment) -> list[str]:
    """Return sentences on everything that the study misses."""
    return [*not_trained(experiment), *not_analyzed(experiment)]


def trained_further(experiment: Experiment) -> list[str]:
    """Return one sentence per seed with checkpoints beyond train.steps, which are not analyzed."""
    sentences = []
    for seed in experiment.seeds:
        steps, last = experiment.train.steps, max(saved_steps(seed_folder(experiment, seed).checkpoints), default=0)
        if last > steps:
            sentences.append(f"seed {seed} is trained to step {last:,}; set train.steps={last} to analyze all of it")
    return sentences


def not_trained(experiment: Experiment) -> list[str]:
    """Return one sentence per seed with checkpoints that are not trained yet."""
    sentences = []
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        if awaited := analysis.awaited:
            sentences.append(f"seed {seed}: not trained yet: {_list_steps(awaited)}{_preliminary(analysis)}")
    return sentences


def not_analyzed(experiment: Experiment) -> list[str]:
    """Return one sentence per failure and per seed with trained checkpoints that are not analyzed yet."""
    sentences = []
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        failures = analysis.failures()
        sentences += [f"seed {seed}, step {step}: {reason}" for step, reason in failures.items()]
        pending = [step for step in sorted(analysis.missing()) if step not in failures]
        new = [step for step in pending if not analysis.results(step)]
        if new:
            sentences.append(f"seed {seed}: trained but not analyzed yet: {_list_steps(new)}")
        if changed := [step for step in pending if step not in new]:
            sentences.append(f"seed {seed}: some measures are missing or out of date: {_list_steps(changed)}")
    return sentences


def _list_steps(steps: Sequence[int]) -> str:
    listed = ", ".join(map(str, steps[:LISTED_STEPS]))
    more = f", … ({len(steps)} checkpoints)" if len(steps) > LISTED_STEPS else ""
    return f"step{'s' if len(steps) > 1 else ''} {listed}{more}"


def _preliminary(analysis: SeedAnalysis) -> str:
    """Return a warning if an earlier checkpoint replaces the last one."""
    if not analysis.steps or analysis.last_step == analysis.experiment.train.steps:
        return ""
    others = ", and are left out of averages with seeds trained further" if len(analysis.experiment.seeds) > 1 else ""
    return f" (preliminary: comparisons with the last checkpoint use step {analysis.last_step}{others})"


def unavailable(analyses: Sequence[Analysis]) -> list[str]:
    """Return the reasons why measures are unavailable, without duplicates."""
    stored = [analysis.current_results(step) for analysis in analyses for step in analysis.steps]
    results = [result for by_measure in stored for result in by_measure.values()]
    return sorted({result["unavailable"] for result in results if "unavailable" in result})
