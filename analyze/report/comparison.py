"""Comparison of several experiments, or of several analyses of one experiment, on one page."""

import dataclasses
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from analyze.analysis import nothing_analyzed
from analyze.curves import Curve
from analyze.report.compared import Compared
from analyze.report.figures.curves import ANALYSIS_FIGURES, EARLY_INVERTER_FIGURES, TRAINING_FIGURE, CurveFigure
from analyze.report.figures.pictures import spread
from analyze.report.figures.style import COLORS
from analyze.report.metrics import METRICS
from analyze.report.page.blocks import (
    Block,
    Grid,
    Listing,
    Page,
    Plot,
    Plots,
    Section,
    Subheading,
    Text,
    Viewer,
    render,
)
from analyze.report.page.pictures import (
    MAX_POSITIONS,
    latents_track,
    noise_track,
    pictured_steps,
    samples_track,
    step_text,
)
from analyze.report.page.plots import plots, value_text
from analyze.report.paper_tables import tables
from analyze.report.provenance import footer
from analyze.report.reproducibility import by_pixels, groups, reproducibility_finding, reproducibility_section
from analyze.report.study import missing, missing_section, subtitle, table_note
from analyze.report.table_formats import Table, as_text
from configs.errors import UserError, printable
from configs.load import options, to_yaml
from configs.schema import Experiment
from records.atomic import write_text
from records.layout import comparison_folder, experiment_folder

MAX_EXPERIMENTS = len(COLORS)
MAX_FOUND = 3  # reproducibilities in one sentence
MAX_FOLDER_NAME = 120  # characters
FINDINGS = {
    "noise_mapping/image_to_noise": "Images whose nearest noise is their own",
    "noise_mapping/noise_to_image": "Noises whose nearest image is their own",
    "distances/noise_latent": "L2 distance between latents and their noises",
}


def write_comparison(experiments: Sequence[Experiment], folder: Path | None = None) -> Path:
    """Write the page of two to six experiments and return its path.

    Raises UserError for another number of experiments, if two are equal, if one has no results, or if the page cannot
    be written.
    """
    compared = [
        Compared(label, experiment) for label, experiment in zip(labels_of(experiments), experiments, strict=True)
    ]
    for entry in compared:
        if not entry.measured:
            raise UserError(f"{entry.label}: {nothing_analyzed(entry.experiment)}")
    path = (folder or comparison_folder(experiments[0], folder_name(title_of(compared)))) / "index.html"
    text = render(page_of(compared))
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def page_of(compared: Sequence[Compared]) -> Page:
    experiments = [entry.experiment for entry in compared]
    same_noise = groups(compared)
    pixels = by_pixels(same_noise)
    sections = [
        missing_section([f"{entry.label}: {sentence}" for entry in compared for sentence in missing(entry.experiment)]),
        settings_section(compared, differences(experiments)),
        pictures_section(compared),
        reproducibility_section(compared, same_noise, pixels),
        curves_section(compared),
        tables_section(compared),
        numbers_section(compared),
        Section(
            "configurations", "Configurations", [Listing(entry.label, to_yaml(entry.experiment)) for entry in compared]
        ),
    ]
    sentences = findings(compared)
    if 0 < len(pixels) <= MAX_FOUND:
        sentences.append(reproducibility_finding(pixels))
    return Page(title_of(compared), f"Comparison of {len(compared)} experiments", sentences, sections, footer())


# --- labels


def title_of(compared: Sequence[Compared]) -> str:
    names = {entry.experiment.name for entry in compared}
    common = f"{names.pop()}: " if len(names) == 1 else ""
    return common + " and ".join(entry.label for entry in compared)


def labels_of(experiments: Sequence[Experiment]) -> list[str]:
    """Label each experiment with its name and, among experiments of the same name, with the options that differ.

    A name that all experiments share is omitted. Raises UserError for too few or too many experiments, or if two of
    them are equal.
    """
    if not 2 <= len(experiments) <= MAX_EXPERIMENTS:
        raise UserError(f"cannot compare {len(experiments)} experiments; choose 2 to {MAX_EXPERIMENTS}")
    by_name: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        by_name.setdefault(experiment.name, []).append(experiment)
    labels = [_label(experiment, by_name[experiment.name], is_named=len(by_name) > 1) for experiment in experiments]
    for label, count in Counter(labels).items():
        if count > 1:
            raise UserError(
                f"{label or experiments[0].name} is listed twice with the same options; add an option after one of "
                "them, for example analyze.weights=model"
            )
    return labels


def _label(experiment: Experiment, namesakes: Sequence[Experiment], is_named: bool) -> str:
    differing = [f"{key.rpartition('.')[2]}={option(experiment, key)}" for key in differences(namesakes)]
    return printable(" ".join([experiment.name, *differing] if is_named else differing))


def differences(experiments: Sequence[Experiment]) -> dict[str, list[str]]:
    """Return the options that are not equal in all experiments, with each experiment's value."""
    values = {key: [option(experiment, key) for experiment in experiments] for key, _ in options()}
    return {key: texts for key, texts in values.items() if len(set(texts)) > 1}


def option(experiment: Experiment, key: str) -> str:
    """Return the value of an option by its dotted key, in command-line syntax."""
    value = functools.reduce(dict.__getitem__, key.split("."), dataclasses.asdict(experiment))
    return "null" if value is None else str(value)


def folder_name(title: str) -> str:
    """Return a valid folder name that depends only on the title."""
    name = re.sub(r"[^\w.=-]+", "_", title)
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name if len(name) <= MAX_FOLDER_NAME else f"{name[:MAX_FOLDER_NAME]}-{digest}"


# --- sections


def findings(compared: Sequence[Compared]) -> list[str]:
    """Return one sentence per main metric, with each experiment's value at its last step."""
    sentences = []
    for key, subject in FINDINGS.items():
        quantity, available = (
            METRICS[key].quantity,
            [(entry.label, entry.curves[key]) for entry in compared if key in entry.curves],
        )
        values = [
            f"{value_text(*curve.at(curve.steps[-1]), quantity.scale)}{quantity.suffix} in {label} "
            f"(step {curve.steps[-1]:,})"
            for label, curve in available
        ]
        if values:
            sentences.append(f"{subject}: {'; '.join(values)}.")
    return sentences


def settings_section(compared: Sequence[Compared], differing: Mapping[str, Sequence[str]]) -> Section:
    lines = [Text(f"{entry.label}: {subtitle(entry.experiment)}") for entry in compared]
    rows = [[key, *values] for key, values in differing.items()]
    table = Grid("Options that differ", ["option", *(entry.label for entry in compared)], rows)
    return Section("settings", "Compared experiments", [*lines, table])


def pictures_section(compared: Sequence[Compared]) -> Section:
    """Return viewers in which experiments that start from the same noise share one slider."""
    by_noise: dict[object, list[Compared]] = {}
    for entry in compared:
        by_noise.setdefault(entry.noise, []).append(entry)
    viewers = [viewer for group in by_noise.values() for viewer in _viewers(group)]
    return Section(
        "training",
        "The same noise through training",
        viewers,
        "Images x_0 that each experiment generates from the same noise x_T, followed by the latents x̂_T of their "
        "inversion. An experiment without a checkpoint at the selected step shows the previous one. Models of "
        "different shapes have separate noise and sliders.",
    )


def _viewers(group: Sequence[Compared]) -> list[Viewer]:
    steps = spread(sorted({step for entry in group for step in pictured_steps(entry.pictured)}), MAX_POSITIONS)
    names, positions = ", ".join(entry.label for entry in group), [step_text(step) for step in steps]
    noise = noise_track(group[0].pictured, len(steps))
    viewers = []
    for kind, heading, track in (("images", "Images x_0", samples_track), ("latents", "Latents x̂_T", latents_track)):
        tracks = []
        for entry in group:
            shown = [_step_at(step, pictured_steps(entry.pictured)) for step in steps]
            distinct = sorted(set(shown))
            title = f"{entry.label}, seed {entry.pictured.seed}"
            order = [distinct.index(step) for step in shown]
            tracks.append(dataclasses.replace(track(entry.pictured, distinct, title), order=order))
        name = f"{kind}-{folder_name(group[0].label)}"
        viewers.append(Viewer(name, f"{heading}: {names}", positions, [noise, *tracks]))
    return viewers


def _step_at(position: int, steps: Sequence[int]) -> int:
    """Return the last of the ascending steps up to a position, or the first step if there is none."""
    return max([step for step in steps if step <= position], default=steps[0])


def curves_section(compared: Sequence[Compared]) -> Section:
    blocks: list[Block] = []
    folders = {experiment_folder(entry.experiment) for entry in compared}
    training = [TRAINING_FIGURE] if len(folders) == len(compared) else []  # analyses of one training share its loss
    for spec in (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES, *training):
        drawn = [plot for key in spec.curves for plot in _plots(spec, key, compared)]
        if drawn:
            blocks += [Subheading(spec.title), Text(spec.caption), Plots(drawn)]
    return Section(
        "curves",
        "Curves",
        blocks,
        "One color per experiment; lines are means over seeds, bands ± one standard deviation. Point at a plot to see "
        "its values, or focus it with Tab and use the arrow keys.",
    )


def _plots(spec: CurveFigure, key: str, compared: Sequence[Compared]) -> Sequence[Plot]:
    """Return the plot of one metric of a figure with one curve per experiment; empty if no experiment has it."""
    labels = {str(i): entry.label for i, entry in enumerate(compared)}
    available = {str(i): entry.curves[key] for i, entry in enumerate(compared) if key in entry.curves}
    name = f"{spec.name}-{key.replace('/', '-')}"
    own = dataclasses.replace(spec, name=name, title=spec.curves[key], curves=labels, caption="")
    return plots([own], available).plots


def tables_section(compared: Sequence[Compared]) -> Section:
    by_name: dict[str, list[tuple[str, Table]]] = {}
    for entry in compared:
        for table in tables(entry.experiment):
            by_name.setdefault(table.name, []).append((entry.label, table))
    merged = [merge_tables(labeled) for labeled in by_name.values()]
    return Section("tables", "Tables", merged, "Values at each experiment's last checkpoint.")


def merge_tables(labeled: Sequence[tuple[str, Table]]) -> Grid:
    """Merge tables of one kind into one with a row per experiment; published numbers stay in their own rows."""
    first = labeled[0][1]
    rows = tuple(row for _, table in labeled for row in table.rows)
    model = next((table.model for _, table in labeled if table.model), None)
    header, *cells = as_text(dataclasses.replace(first, rows=rows, model=model))
    lines = [[label, *line] for (label, _), line in zip(labeled, cells, strict=True)]
    note = " ".join(f"{label}: {table_note(table)}" for label, table in labeled)
    return Grid(first.title, ["experiment", *header], lines, note)


def numbers_section(compared: Sequence[Compared]) -> Section:
    """Return a table of all metrics at each experiment's last step."""
    names = dict.fromkeys(name for entry in compared for name in entry.measured)
    rows = [[name, *(_last(entry.measured.get(name)) for entry in compared)] for name in names]
    header = ["metric", *(entry.label for entry in compared)]
    table = Grid("Every metric at each experiment's last step", header, rows, folded=True)
    return Section("numbers", "All numbers", [table])


def _last(curve: Curve | None) -> str:
    return "" if curve is None else value_text(*curve.at(curve.steps[-1]))
