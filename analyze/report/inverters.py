"""Report of the comparison of inverters: findings, plot, tables and pictures, as a section and as a page."""

import contextlib
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from analyze.analysis import Analysis
from analyze.curves import Curve, curves
from analyze.measures.inverters import InverterResult, stored_latents
from analyze.report.figures.curves import CurveFigure
from analyze.report.figures.style import COLORS, LINES, MARKERS, mathtext, new_figure, styled
from analyze.report.metrics import find_metric
from analyze.report.page.blocks import Block, Gallery, Grid, Page, Plots, Section, Subheading, Text, render
from analyze.report.page.pictures import picture
from analyze.report.page.plots import Point, plots, points_plot
from analyze.report.provenance import footer, settings_section
from analyze.report.table_formats import csv_text
from configs.errors import UserError
from configs.schema import Experiment, ModelStudy
from records.atomic import write_text
from records.human import human_percent
from records.layout import report_folder

MULTIPLES = (1, 2, 5, 10)  # of T: budgets of the findings
NAIVE = "naive-diffusers"
PLOT_SIZE = (4.8, 3.4)  # inches; legible on a phone
MIN_TICK_RATIO = 1.3  # of two evaluations with labels
PICTURED_IMAGES = 4
DIFFERENCE_RANGE = 0.5  # of x̂_T − x_T, shown as black and white
COLUMNS = {
    "inverter": lambda result: result.label,
    "evaluations": lambda result: f"{result.evaluations:.1f}",
    "mean error": lambda result: f"{result.recovery.error_mean:.3g}",
    "median": lambda result: f"{result.recovery.error_median:.3g}",
    "95th percentile": lambda result: f"{result.recovery.error_p95:.3g}",
    "diverged": lambda result: human_percent(result.recovery.diverged),
    "reconstruction": lambda result: f"{result.latents.reconstruction_mean:.3g}",
    "‖x_0 − x̂_T‖": lambda result: f"{result.recovery.image_latent:.3g}",
    "angle at x̂_T": lambda result: f"{result.recovery.latent_angle:.1f}°",
    "|correlation|": lambda result: f"{result.latents.correlation:.3f}",
    "KL to N(0, 1)": lambda result: f"{result.latents.kl:.2g}",
    "s per image": lambda result: f"{result.seconds:.3g}",
}
DATA_COLUMNS = {
    "inverter": lambda result: result.label,
    "evaluations": lambda result: f"{result.evaluations:.1f}",
    "reconstruction": lambda result: f"{result.data.reconstruction_mean:.3g}",
    "median": lambda result: f"{result.data.reconstruction_median:.3g}",
    "latent mean": lambda result: f"{result.data.latent_mean:.3f}".replace("-", "−"),
    "latent std": lambda result: f"{result.data.latent_std:.3f}",
    "KL to N(0, 1)": lambda result: f"{result.data.kl:.2g}",
    "|correlation|": lambda result: f"{result.data.correlation:.3f}",
}


def collect(study: Experiment | ModelStudy, analyses: Sequence[Analysis]) -> None:
    """Write report/inverters.html, .md and .csv, and print the table and findings.

    Raises UserError, after writing everything, if a checkpoint or T failed.
    """
    failures = [f"{step}: {reason}" for analysis in analyses for step, reason in analysis.failures().items()]
    if results := mean_results(analyses):
        table, T = to_markdown(results), analyses[0].options.ddim_steps
        section, folder = inverters_section(analyses), report_folder(study)
        page = Page(f"{study.name}: inverters", "", [], [section, settings_section(study)], footer())
        write_text(folder / "inverters.md", table)
        write_text(folder / "inverters.csv", to_csv(results))
        write_text(folder / "inverters.html", render(page))
        print("\n".join(["", table, *findings(results, T)]))
        print(f"\nReport: {folder / 'inverters.html'}\nTable:  {folder / 'inverters.md'}")
    if failures:
        raise UserError("; ".join(failures))


def mean_results(analyses: Sequence[Analysis]) -> list[InverterResult]:
    """Return the results at the last step, averaged over seeds, in the order of evaluations and error."""
    results = [mean_result(group) for group in _by_key(analyses).values()]
    return sorted(results, key=lambda result: (result.evaluations, result.recovery.error_mean))


def _by_key(analyses: Sequence[Analysis]) -> dict[str, list[InverterResult]]:
    """Return the results of all seeds with results, by the key of the inverter."""
    by_key: dict[str, list[InverterResult]] = {}
    for analysis in analyses:
        for key, values in _stored(analysis).items():
            with contextlib.suppress(ValueError):  # written by hand
                by_key.setdefault(key, []).append(InverterResult.from_json(values))
    return by_key


def _stored(analysis: Analysis) -> dict[str, Any]:
    if not analysis.steps:
        return {}
    values = analysis.current_results(analysis.last_step).get("inverters", {}).get("values", {})
    results = values.get("results")
    return results if isinstance(results, dict) else {}  # a file may be written by hand


def mean_result(results: Sequence[InverterResult]) -> InverterResult:
    """Return the mean of every number over results of the same inverter."""
    first = results[0]
    data = [result.data for result in results if result.data]
    return replace(
        first,
        evaluations=statistics.fmean(result.evaluations for result in results),
        seconds=statistics.fmean(result.seconds for result in results),
        recovery=_mean([result.recovery for result in results]),
        latents=_mean([result.latents for result in results]),
        data=_mean(data) if data else None,
    )


def _mean(parts: Sequence[Any]) -> Any:
    """Return the mean of every field over dataclasses of one kind."""
    values = [asdict(part) for part in parts]
    return type(parts[0])(**{name: statistics.fmean(value[name] for value in values) for name in values[0]})


def inverters_section(analyses: Sequence[Analysis]) -> Section:
    """Return findings, plot, tables and pictures of the last step; without blocks if nothing is compared."""
    results = mean_results(analyses)
    if not results:
        return Section("inverters", "Inverters", [])
    T = analyses[0].options.ddim_steps
    blocks: list[Block] = [
        *map(Text, findings(results, T)),
        error_plot(results),
        Grid("All results", list(COLUMNS), _rows(COLUMNS, results), _note(results), sortable=True),
        *_data_table(results),
        *_training_plots(analyses, results),
        *_pictures(next(analysis for analysis in analyses if _stored(analysis)), results),
    ]
    lead = (
        "Every method inverts the same images, in a study those of the last checkpoint, which DDIM generated with "
        f"T = {T} steps and without clipping x_0. The error of a latent x̂_T is its L2 distance from the noise x_T of "
        "its image. If a method has another sampler, it also inverts the images of that one (own), and these with the "
        "second state that the sampler ends with (own + state)."
    )
    return Section("inverters", "Inverters", blocks, lead)


def findings(results: Sequence[InverterResult], ddim_steps: int) -> list[str]:
    """Return one sentence per budget: the method that inverts DDIM's images best, and the next one."""
    sentences, before = [], list[InverterResult]()
    for multiple in MULTIPLES:
        ranking = best_of_each_method(results, multiple * ddim_steps)[:2]
        if len(ranking) > 1 and ranking != before:  # a larger budget need not change anything
            best, second = before = ranking
            sentences.append(
                f"With at most {multiple * ddim_steps} evaluations per image, {best.label} comes closest to x_T: the "
                f"mean error is {_error(best)}, followed by {second.label} with {_error(second)}."
            )
    return sentences or ["Too few results to compare."]


def _error(result: InverterResult) -> str:
    return f"{result.recovery.error_mean:.2g} (median {result.recovery.error_median:.2g})"


def best_of_each_method(results: Iterable[InverterResult], budget: float) -> list[InverterResult]:
    """Return each method's result on DDIM's images with the smallest error within a budget, best first."""
    affordable = [result for result in results if result.evaluations <= budget and result.images == "DDIM"]
    affordable.sort(key=lambda result: result.recovery.error_mean, reverse=True)
    methods = {result.method: result for result in affordable}
    return sorted(methods.values(), key=lambda result: result.recovery.error_mean)


def to_markdown(results: Sequence[InverterResult]) -> str:
    """Return the results as a Markdown table, one row per inverter and budget."""
    rows = [" | ".join(row) for row in _rows(COLUMNS, results)]
    header = " | ".join(COLUMNS).replace("|correlation|", "correlation")
    return "\n".join([f"| {header} |", "|---|" + "--:|" * (len(COLUMNS) - 1), *(f"| {row} |" for row in rows), ""])


def to_csv(results: Sequence[InverterResult]) -> str:
    """Return all numbers as CSV, one row per inverter and budget; columns of training images start with "data_"."""
    return csv_text([_numbers(result) for result in results])


def _numbers(result: InverterResult) -> dict[str, Any]:
    values = asdict(result)
    recovered, latents, data = (values.pop(part) for part in ("recovery", "latents", "data"))
    return {**values, **recovered, **latents, **{f"data_{name}": value for name, value in (data or {}).items()}}


def _rows(columns: Mapping[str, Any], results: Iterable[InverterResult]) -> list[list[str]]:
    return [[text(result) for text in columns.values()] for result in results]


def _note(results: Sequence[InverterResult]) -> str:
    latents = next((each.latents for each in results if math.isfinite(each.latents.correlation_floor)), None)
    noise = ""
    if latents is not None:  # fewer images have a larger correlation by chance
        floors = f"{latents.correlation_floor:.3f} and {latents.kl_floor:.2g}"
        noise = f"; for as much Gaussian noise they are {floors}, and larger for fewer images, as after losses"
    return (
        "Errors are L2 norms: ‖x_T − x̂_T‖, and ‖x_0 − DDIM(x̂_T)‖ for the reconstruction. An image has diverged if its "
        "error exceeds ‖x_T‖. |Correlation| is the mean of the ten largest of pixels of the latents, and KL is the "
        f"divergence of their values from N(0, 1){noise}. Images of own samplers are reconstructed with them. The time "
        "of “own + state” includes the sampling. With several seeds, all numbers are means over them."
    )


def _data_table(results: Sequence[InverterResult]) -> Iterator[Block]:
    measured = [result for result in results if result.data]
    if measured:
        note = (
            "Training images have no x_T, so the error of their latents is unknown: a small reconstruction error and "
            "normally distributed values are necessary, not sufficient."
        )
        yield Grid("Training images", list(DATA_COLUMNS), _rows(DATA_COLUMNS, measured), note, sortable=True)


def error_plot(results: Sequence[InverterResult]) -> Block:
    """Return the plot of error by evaluations, one line per method."""
    series: dict[str, list[Point]] = {}
    for result in results:
        errors = result.recovery
        texts = (str(result.rounds or ""), f"{result.evaluations:.1f}", f"{errors.error_median:.3g}")
        point = Point(result.evaluations, errors.error_median, (*texts, f"{errors.error_mean:.3g}"))
        series.setdefault(result.name, []).append(point)
    plot = points_plot(
        draw_errors(series),
        "inverter_errors",
        "Error of the recovered noise by network evaluations per image",
        "Median over images, so that a few lost images do not hide the others. Both axes are logarithmic; each line is "
        "one method with increasing numbers K of rounds per step.",
        ("inverter", "K", "evaluations", "median error", "mean error"),
        series,
    )
    return Plots([plot])


@styled
def draw_errors(series: Mapping[str, Sequence[Point]]) -> Figure:
    """Draw the error against the evaluations, one line per method, both axes logarithmic; without legend."""
    figure = new_figure(*PLOT_SIZE)
    axes = figure.add_subplot()
    for i, (method, points) in enumerate(series.items()):
        turn, color = divmod(i, len(COLORS))
        (line,) = axes.plot([point.x for point in points], [point.y for point in points], label=mathtext(method))
        line.set(color=COLORS[color], linestyle=LINES[turn % len(LINES)])
        line.set_marker(MARKERS[(i + turn) % len(MARKERS)])  # color and marker are unique for 36 lines
    axes.set(xscale="log", yscale="log", xlabel="network evaluations per image", ylabel=mathtext("median ‖x_T − x̂_T‖"))
    axes.set_xticks(_ticks(point.x for points in series.values() for point in points))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid()
    return figure


def _ticks(values: Iterable[float]) -> list[float]:
    """Return the values whose labels do not overlap on a logarithmic axis."""
    ticks: list[float] = []
    for value in sorted(map(round, values)):
        if not ticks or value >= MIN_TICK_RATIO * ticks[-1]:
            ticks.append(value)
    return ticks


def _training_plots(analyses: Sequence[Analysis], results: Sequence[InverterResult]) -> Iterator[Block]:
    """Yield the error through training of the naive inversion and of the best methods, if several steps have it."""
    measured = {key: curve for key, curve in curves(analyses).items() if key.startswith("inverters/")}
    shown = training_keys(measured, analyses[0].options.ddim_steps, results)
    if any(len(measured[key].steps) > 1 for key in shown):
        figure = CurveFigure(
            "inverters_training",
            "Inverters through training",
            {key: find_metric(key).label for key in shown},
            "Mean error ‖x_T − x̂_T‖ of each checkpoint's own images.",
            "L2 distance",
            log_y=True,
        )
        yield Plots(plots([figure], measured).plots)


def training_keys(measured: Mapping[str, Curve], ddim_steps: int, results: Sequence[InverterResult]) -> list[str]:
    """Return the curves to show: naive inversion, and the two best methods of each budget at the last step."""
    best = [result for multiple in MULTIPLES for result in best_of_each_method(results, multiple * ddim_steps)[:2]]
    keys = [f"inverters/{NAIVE}", *(f"inverters/{result.key}" for result in best)]
    return [key for key in dict.fromkeys(keys) if key in measured][: len(COLORS)]


def _pictures(analysis: Analysis, results: Sequence[InverterResult]) -> Iterator[Block]:
    """Yield the differences x̂_T − x_T of the same images, one picture per method with its largest budget."""
    images = analysis.options.measures.inverter_images
    generations = analysis.generations(analysis.last_step).unclipped(images)
    noise = generations["noise"][:PICTURED_IMAGES]
    yield Subheading(f"Difference x̂_T − x_T of {len(noise)} images; black and white are ∓{DIFFERENCE_RANGE}")
    for result in {result.name: result for result in results}.values():
        latents = stored_latents(generations, result.key, images)
        if latents is None:
            continue
        caption = f"{result.label}: {result.evaluations:.0f} evaluations, mean error {result.recovery.error_mean:.2g}"
        difference = (latents[:PICTURED_IMAGES] - noise).nan_to_num()
        yield Gallery(picture(difference, caption, DIFFERENCE_RANGE, PICTURED_IMAGES), caption)
