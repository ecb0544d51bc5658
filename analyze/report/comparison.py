"""Several experiments, or several ways of analysing one, side by side on one page."""

import dataclasses
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyze.analysis import SeedAnalysis, nothing_analyzed
from analyze.curves import Curve, curves
from analyze.report.figures.curves import ANALYSIS_FIGURES, EARLY_INVERTER_FIGURES, TRAINING_FIGURE, CurveFigure
from analyze.report.figures.pictures import spread
from analyze.report.figures.style import COLOURS
from analyze.report.page.blocks import (
    Block,
    Grid,
    Listing,
    Notes,
    Page,
    Plot,
    Plots,
    Section,
    Subheading,
    Text,
    Viewer,
    render,
)
from analyze.report.page.pictures import POSITIONS, latents_track, noise_track, pictured_steps, samples_track, step_text
from analyze.report.page.plots import plain, plots, value_text
from analyze.report.paper_tables import tables
from analyze.report.study import about, made_with, missing, table_note, training_curves
from analyze.report.table_formats import Table, as_text
from configs.errors import UserError
from configs.load import options, to_yaml
from configs.schema import Experiment
from records.atomic import write_text
from records.layout import comparison_folder, experiment_folder

MOST = len(COLOURS)
LONGEST_NAME = 120  # of a folder
FINDINGS = {
    "noise_mapping/image_to_noise": ("Images whose nearest noise is their own", 100.0, " %"),
    "noise_mapping/noise_to_image": ("Noises whose nearest image is their own", 100.0, " %"),
    "distances/noise_latent": ("L2 distance of the latents from their noises", 1.0, ""),
}


@dataclass(frozen=True)
class Compared:
    """One of the experiments, with a name that no other has."""

    label: str
    experiment: Experiment

    @functools.cached_property
    def analyses(self) -> list[SeedAnalysis]:
        return [SeedAnalysis(self.experiment, seed) for seed in self.experiment.seeds]

    @functools.cached_property
    def measured(self) -> Mapping[str, Curve]:
        return curves(self.analyses)

    @functools.cached_property
    def curves(self) -> Mapping[str, Curve]:
        return {**self.measured, **training_curves(self.analyses)}

    @functools.cached_property
    def pictured(self) -> SeedAnalysis:
        """The first seed that anything is analysed of."""
        return next(one for one in self.analyses if pictured_steps(one))

    @property
    def noise(self) -> tuple[int, int, int]:
        """What its noise depends on; where two agree in it, they start from the same."""
        experiment = self.experiment
        return experiment.model.in_channels, experiment.model.image_size, experiment.analyze.noise_seed


def write_comparison(experiments: Sequence[Experiment], folder: Path | None = None) -> Path:
    """Writes the page of two to six experiments, and returns where it is.

    Raises UserError for another number of them, where two are the same or nothing is analysed, and where the page
    cannot be written.
    """
    labels = labels_of(experiments)
    compared = [Compared(label, one) for label, one in zip(labels, experiments, strict=True)]
    for one in compared:
        if not one.measured:
            raise UserError(f"{one.label}: {nothing_analyzed(one.experiment)}")
    path = (folder or comparison_folder(experiments[0], folder_name(title_of(compared)))) / "index.html"
    text = render(page_of(compared))
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def page_of(compared: Sequence[Compared]) -> Page:
    experiments = [one.experiment for one in compared]
    sections = [
        missing_section(compared),
        settings_section(compared, differences(experiments)),
        pictures_section(compared),
        curves_section(compared),
        tables_section(compared),
        numbers_section(compared),
        Section("configurations", "Configurations", [Listing(one.label, to_yaml(one.experiment)) for one in compared]),
    ]
    about_all = f"{len(compared)} experiments side by side"
    return Page(title_of(compared), about_all, findings(compared), sections, made_with())


# --- who is who


def title_of(compared: Sequence[Compared]) -> str:
    names = {one.experiment.name for one in compared}
    about_all = f"{names.pop()}: " if len(names) == 1 else ""
    return about_all + " and ".join(one.label for one in compared)


def labels_of(experiments: Sequence[Experiment]) -> list[str]:
    """A name for each: the experiment's, and where several have it, the options in which these differ.

    Where all have the same name it is left out. Raises UserError where there are too few or too many, or two that
    differ in nothing.
    """
    if not 2 <= len(experiments) <= MOST:
        raise UserError(f"2 to {MOST} experiments can be compared, not {len(experiments)}")
    by_name: dict[str, list[Experiment]] = {}
    for one in experiments:
        by_name.setdefault(one.name, []).append(one)
    labels = [_label(one, by_name[one.name], is_named=len(by_name) > 1) for one in experiments]
    for label, times in Counter(labels).items():
        if times > 1:
            raise UserError(
                f"{label or experiments[0].name} is asked for twice; write behind it what is to differ, e.g. "
                "analyze.weights=model"
            )
    return labels


def _label(experiment: Experiment, namesakes: Sequence[Experiment], is_named: bool) -> str:
    here = [f"{key.rpartition('.')[2]}={option(experiment, key)}" for key in differences(namesakes)]
    return " ".join([experiment.name, *here] if is_named else here)


def differences(experiments: Sequence[Experiment]) -> dict[str, list[str]]:
    """The options in which they are not all alike, with the value that each has."""
    values = {key: [option(one, key) for one in experiments] for key, _ in options()}
    return {key: found for key, found in values.items() if len(set(found)) > 1}


def option(experiment: Experiment, key: str) -> str:
    """The value of an option by its dotted key, as it is written on the command line."""
    value = functools.reduce(dict.__getitem__, key.split("."), dataclasses.asdict(experiment))
    return "null" if value is None else str(value)


def folder_name(title: str) -> str:
    """A name for the folder of a comparison, the same for the same title."""
    name = re.sub(r"[^\w.=-]+", "_", title)
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{digest}"


# --- the sections


def findings(compared: Sequence[Compared]) -> list[str]:
    """A sentence a number that matters, with what each experiment has at its last step."""
    sentences = []
    for name, (subject, scale, unit) in FINDINGS.items():
        there = [(one.label, one.curves[name]) for one in compared if name in one.curves]
        values = [
            f"{value_text(*curve.at(curve.steps[-1]), scale)}{unit} in {label} (step {curve.steps[-1]:,})"
            for label, curve in there
        ]
        sentences.append(f"{subject}: {'; '.join(values)}.")
    return sentences


def missing_section(compared: Sequence[Compared]) -> Section:
    sentences = [f"{one.label}: {sentence}" for one in compared for sentence in missing(one.experiment)]
    return Section("missing", "What is missing", [Notes(sentences)] if sentences else [])


def settings_section(compared: Sequence[Compared], differing: Mapping[str, Sequence[str]]) -> Section:
    lines = [Text(f"{one.label}: {about(one.experiment)}") for one in compared]
    rows = [[key, *values] for key, values in differing.items()]
    table = Grid("Options that are not the same", ["option", *(one.label for one in compared)], rows)
    return Section("settings", "What is compared", [*lines, table])


def pictures_section(compared: Sequence[Compared]) -> Section:
    """Experiments that start from the same noise under one slider."""
    groups: dict[tuple[int, int, int], list[Compared]] = {}
    for one in compared:
        groups.setdefault(one.noise, []).append(one)
    viewers = [viewer for group in groups.values() for viewer in _viewers(group)]
    return Section(
        "training",
        "The same noise through training",
        viewers,
        "What each experiment makes of the same noise x_T: images x_0, and below them the latents x̂_T that these are "
        "inverted to. One without a checkpoint at the slider's step shows the one before. Models of other shapes have "
        "noise and slider of their own.",
    )


def _viewers(group: Sequence[Compared]) -> list[Viewer]:
    steps = spread(sorted({step for one in group for step in pictured_steps(one.pictured)}), POSITIONS)
    who = ", ".join(one.label for one in group)
    positions = [step_text(step) for step in steps]
    noise = noise_track(group[0].pictured, len(steps))
    made = []
    for name, heading, track in (("images", "Images x_0", samples_track), ("latents", "Latents x̂_T", latents_track)):
        tracks = []
        for one in group:
            shown = [_step_at(step, pictured_steps(one.pictured)) for step in steps]
            own = sorted(set(shown))
            title = f"{one.label}, seed {one.pictured.seed}"
            tracks.append(
                dataclasses.replace(track(one.pictured, own, title), shown=[own.index(step) for step in shown])
            )
        made.append(Viewer(f"{name}-{folder_name(group[0].label)}", f"{heading}: {who}", positions, [noise, *tracks]))
    return made


def _step_at(step: int, steps: Sequence[int]) -> int:
    """The last of some ascending steps that is not after this one, or else the first."""
    return max([one for one in steps if one <= step], default=steps[0])


def curves_section(compared: Sequence[Compared]) -> Section:
    blocks: list[Block] = []
    runs = {experiment_folder(one.experiment) for one in compared}
    trained = [TRAINING_FIGURE] if len(runs) == len(compared) else []  # one training has one loss
    for spec in (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES, *trained):
        drawn = [plot for name in spec.curves for plot in _plots(spec, name, compared)]
        if drawn:
            blocks += [Subheading(spec.title), Text(plain(spec.caption)), Plots(drawn)]
    return Section(
        "curves",
        "Curves",
        blocks,
        "An experiment a colour; mean over seeds as a line, ± one standard deviation as a band. Point at a plot for "
        "its values, or go to it with Tab and along it with the arrow keys.",
    )


def _plots(spec: CurveFigure, name: str, compared: Sequence[Compared]) -> Sequence[Plot]:
    """One number of a figure, a curve an experiment; none where nobody has it."""
    keys = {str(place): one.label for place, one in enumerate(compared)}
    there = {str(place): one.curves[name] for place, one in enumerate(compared) if name in one.curves}
    own = dataclasses.replace(
        spec, name=f"{spec.name}-{name.replace('/', '-')}", title=spec.curves[name], curves=keys, caption=""
    )
    return plots([own], there).plots


def tables_section(compared: Sequence[Compared]) -> Section:
    made: dict[str, list[tuple[str, Table]]] = {}
    for one in compared:
        for table in tables(one.experiment):
            made.setdefault(table.name, []).append((one.label, table))
    return Section(
        "tables", "Tables", [side_by_side(of_one_kind) for of_one_kind in made.values()], "Of each last checkpoint."
    )


def side_by_side(labelled: Sequence[tuple[str, Table]]) -> Grid:
    """Tables of one kind as one, a row an experiment; published numbers stand in the rows of those that have some."""
    first = labelled[0][1]
    rows = tuple(row for _, table in labelled for row in table.rows)
    model = next((table.model for _, table in labelled if table.model), None)
    header, *cells = as_text(dataclasses.replace(first, rows=rows, model=model))
    lines = [[label, *line] for (label, _), line in zip(labelled, cells, strict=True)]
    note = " ".join(f"{label}: {table_note(table)}" for label, table in labelled)
    return Grid(first.title, ["experiment", *header], lines, note)


def numbers_section(compared: Sequence[Compared]) -> Section:
    """Every number at each experiment's last checkpoint."""
    names = dict.fromkeys(name for one in compared for name in one.measured)
    rows = [[name, *(_last(one.measured.get(name)) for one in compared)] for name in names]
    header = ["measure", *(one.label for one in compared)]
    return Section("numbers", "All numbers", [Grid("Every number at each last checkpoint", header, rows, folded=True)])


def _last(curve: Curve | None) -> str:
    return "" if curve is None else value_text(*curve.at(curve.steps[-1]))
