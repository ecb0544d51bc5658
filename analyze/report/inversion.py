"""Report of a comparison of inverters: a table and a page with error by evaluations, pictures and findings."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from safetensors.torch import load_file

from analyze.inversion import InverterResult, to_markdown
from analyze.report.figures.style import COLORS, LINES, MARKERS, PAGE, mathtext, new_figure, styled
from analyze.report.page.blocks import Drawings, Gallery, Grid, Page, Section, Text, render
from analyze.report.page.pictures import picture
from analyze.report.page.plots import drawing
from analyze.report.study import footer, settings_section
from configs.schema import ModelStudy
from diffusion.randomness import fixed_noise
from records.atomic import write_text
from records.layout import report_folder

PICTURED_IMAGES = 4
DIFFERENCE_RANGE = 0.5  # of x̂_T − x_T, shown as black and white
COLUMNS = {
    "inverter": lambda result: result.label,
    "evaluations": lambda result: f"{result.evaluations:.1f}",
    "error, mean": lambda result: f"{result.error_mean:.3g}",
    "median": lambda result: f"{result.error_median:.3g}",
    "95th percentile": lambda result: f"{result.error_p95:.3g}",
    "diverged": lambda result: f"{100 * result.diverged:.0f} %",
    "reconstruction": lambda result: f"{result.reconstruction_mean:.3g}",
    "angle at x̂_T": lambda result: f"{result.latent_angle:.1f}°",
    "|correlation|": lambda result: f"{result.correlation:.3f}",
    "s per image": lambda result: f"{result.seconds_per_image:.3g}",
}


def write_inverter_report(study: ModelStudy, results: Mapping[Path, InverterResult]) -> Path:
    """Write report/inverters.md and report/inverters.html; `results` are by the file of each result's statistics."""
    folder = report_folder(study)
    write_text(folder / "inverters.md", to_markdown(list(results.values())))
    options, ordered = study.analyze, list(results.values())
    subtitle = f"{study.source} · T = {options.ddim_steps} DDIM steps · {options.precision}"
    floor = f"{ordered[0].correlation_floor:.3f}"
    note = (
        "Errors are L2 norms: ‖x_T − x̂_T‖, and ‖x_0 − DDIM(x̂_T)‖ for the reconstruction. An image has diverged if its "
        f"error exceeds ‖x_T‖. |Correlation| is the mean of the ten largest of the latents; that of noise is {floor}."
    )
    rows = [[text(result) for text in COLUMNS.values()] for result in ordered]
    plot = drawing(
        draw_errors(ordered),
        "inverters",
        "Error of the recovered noise by the number of network evaluations per image",
        "Both axes are logarithmic; each line is one method with increasing numbers of rounds.",
    )
    sections = [
        Section("plot", "Error by evaluations", [Drawings([plot])]),
        Section("table", "All results", [Grid("Inverters", list(COLUMNS), rows, note)]),
        Section(
            "pictures", "Difference x̂_T − x_T", _pictures(study, results), f"Black and white are ∓{DIFFERENCE_RANGE}."
        ),
        settings_section(study),
    ]
    page = Page(f"{study.name}: inverters", subtitle, findings(ordered, options.ddim_steps), sections, footer())
    write_text(folder / "inverters.html", render(page))
    return folder / "inverters.html"


def findings(results: list[InverterResult], ddim_steps: int) -> list[str]:
    """Return one sentence per budget of 1, 2, 5 and 10 T: the method with the smallest mean error, and the next one."""
    sentences = []
    for multiple in (1, 2, 5, 10):
        affordable = [result for result in results if result.evaluations <= multiple * ddim_steps]
        methods = {_method(result): result for result in sorted(affordable, key=lambda r: r.error_mean, reverse=True)}
        ranking = sorted(methods.values(), key=lambda result: result.error_mean)
        if len(ranking) > 1:
            best, second = ranking[:2]
            sentences.append(
                f"With at most {multiple * ddim_steps} evaluations per image, {best.label} comes closest to x_T: the "
                f"mean error is {best.error_mean:.2g}, followed by {second.label} with {second.error_mean:.2g}."
            )
    return sentences or ["Too few results to compare."]


@styled
def draw_errors(results: list[InverterResult]) -> Figure:
    """Draw the mean error against the evaluations, one line per method, both axes logarithmic."""
    figure = new_figure(PAGE, 4.2)
    axes = figure.add_subplot()
    methods = dict.fromkeys(_method(result) for result in results)
    for i, method in enumerate(methods):
        points = [(result.evaluations, result.error_mean) for result in results if _method(result) == method]
        color, line = COLORS[i % len(COLORS)], LINES[i // len(COLORS) % len(LINES)]
        evaluations, errors = zip(*points, strict=True)
        axes.plot(evaluations, errors, color=color, linestyle=line, marker=MARKERS[i % len(MARKERS)], label=method)
    axes.set(xscale="log", yscale="log", xlabel="network evaluations per image", ylabel=mathtext("mean ‖x_T − x̂_T‖"))
    axes.grid()
    figure.legend(loc="outside right upper")
    return figure


def _method(result: InverterResult) -> str:
    return result.label.partition(", K = ")[0]


def _pictures(study: ModelStudy, results: Mapping[Path, InverterResult]) -> list[Gallery | Text]:
    galleries: list[Gallery | Text] = []
    for file, result in results.items():
        latents = load_file(file.with_suffix(".safetensors"))["latents"][:PICTURED_IMAGES]
        noise = fixed_noise(tuple(latents.shape[1:]), len(latents), study.analyze.noise_seed)
        caption = f"{result.label}: {result.evaluations:.0f} evaluations, mean error {result.error_mean:.2g}"
        difference = (latents - noise).nan_to_num()
        galleries.append(Gallery(picture(difference, caption, DIFFERENCE_RANGE, PICTURED_IMAGES), caption))
    return galleries
