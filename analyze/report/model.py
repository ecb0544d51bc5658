"""Report of a pretrained model: the paper's tables and figures, and a page."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from analyze.curves import curves
from analyze.model import ModelAnalysis
from analyze.report.export import analysis_rows, to_csv
from analyze.report.figures.curves import DDIM_STEPS
from analyze.report.inversion_errors import inversion_errors_section
from analyze.report.inverters import inverters_section
from analyze.report.metrics import METRICS
from analyze.report.page.blocks import Page, Section, Text, Track, Viewer, render
from analyze.report.page.pictures import picture
from analyze.report.paper_figures import StudyResults, write_figures
from analyze.report.paper_tables import final_numbers, tables_from, write_tables
from analyze.report.provenance import footer, settings_section
from analyze.report.study import (
    GALLERY_IMAGES,
    GEOMETRY_FIGURES,
    curve_plots,
    gallery,
    geometry_section,
    mistakes_section,
    numbers_section,
    plots_section,
    solver_text,
    tables_section,
)
from analyze.report.table_formats import Table
from analyze.report.wandb_runs import publish_model
from configs.errors import UserError
from configs.schema import ModelStudy
from models.source import Source
from records.atomic import write_bytes, write_text
from records.layout import report_folder
from records.pictures import LATENT_RANGE

FIGURES = (*GEOMETRY_FIGURES, "fig08_mapping_mistakes", "fig09_pixel_variance")


def collect(
    study: ModelStudy, source: Source, analyses: Sequence[ModelAnalysis], failed: UserError | None = None
) -> None:
    """Write the report, publish the numbers to W&B and print a summary.

    Raises UserError, after writing everything, if a job failed (`failed`), or if results of any T are missing.
    """
    failures = [f"T = {T:,}: {reason}" for analysis in analyses for T, reason in _problems(analysis)]
    analyzed = [analysis for analysis in analyses if analysis.results(analysis.last_step)]
    if analyzed:
        report = write_report(study, source.about, analyzed)
        publish_model(study, analyzed, tables(study, analyzed))
        print("\n" + "\n".join(findings(analyzed)))
        print(f"\nReport:  {report}\nFigures: {report.parent / 'figures'}\nTables:  {report.parent / 'tables'}")
    if problems := [str(failed)] if failed else failures:
        raise UserError("; ".join(problems))


def _problems(analysis: ModelAnalysis) -> Iterator[tuple[int, str]]:
    """Yield the reason for which results of T are missing."""
    T = analysis.last_step
    if reason := analysis.failures().get(T):
        yield T, reason
    elif analysis.missing():
        yield T, "not analyzed yet"


def write_report(study: ModelStudy, about: Sequence[str], analyses: Sequence[ModelAnalysis]) -> Path:
    """Write tables, figures, curves.csv and the page of a model described by `about`; return the path of the page."""
    folder = report_folder(study)
    numbers = (row for analysis in analyses for row in analysis_rows(study.name, None, analysis))
    write_bytes(folder / "curves.csv", to_csv(numbers))
    write_tables(tables(study, analyses), folder / "tables")
    write_figures(StudyResults([pictured(study, analyses)]), folder / "figures", FIGURES)
    sections = _sections(study, about, analyses)
    page = Page(study.name, _subtitle(study, analyses), findings(analyses), sections, footer())
    write_text(folder / "index.html", render(page))
    return folder / "index.html"


def pictured(study: ModelStudy, analyses: Sequence[ModelAnalysis]) -> ModelAnalysis:
    """Return the analysis shown in pictures: that of analyze.ddim_steps, or of the largest T if it failed."""
    requested = [analysis for analysis in analyses if analysis.options.ddim_steps == study.analyze.ddim_steps]
    return requested[0] if requested else analyses[-1]


def tables(study: ModelStudy, analyses: Sequence[ModelAnalysis]) -> list[Table]:
    """Return the paper's tables with one row per T."""
    source = f"{study.source}, the same noise for every T."
    finals = [final_numbers(analysis.options, curves([analysis]), source) for analysis in analyses]
    return tables_from([final for final in finals if final is not None])


def findings(analyses: Sequence[ModelAnalysis]) -> list[str]:
    """Return a sentence on the noise mapping and one on the latents, for the smallest and the largest T.

    A sentence whose numbers are not measured is omitted.
    """
    measured = curves(analyses)

    def ends(key: str) -> str:
        curve, quantity = measured[key], METRICS[key].quantity
        values = {T: quantity.scale * curve.at(T)[0] for T in (curve.steps[0], curve.steps[-1])}
        return ", ".join(f"{value:.1f}{quantity.suffix} at T = {T:,}" for T, value in values.items())

    sentences = []
    with contextlib.suppress(KeyError):
        sentences.append(
            f"The noise nearest to an image is its own in {ends('noise_mapping/image_to_noise')}; the image nearest to "
            f"a noise is its own in {ends('noise_mapping/noise_to_image')}."
        )
    with contextlib.suppress(KeyError):
        sentences.append(
            f"The L2 distance between noise and latent is {ends('distances/noise_latent')}; the angle "
            f"of the triangle at the latent is {ends('triangle/latent_of_mean')}."
        )
    return sentences or ["Nothing has been measured."]


def _subtitle(study: ModelStudy, analyses: Sequence[ModelAnalysis]) -> str:
    options = analyses[0].options
    steps = ", ".join(f"{analysis.options.ddim_steps:,}" for analysis in analyses)
    clip = "x_0 clipped" if options.clip_denoised else "x_0 not clipped"
    return f"{study.source} · {options.samples:,} images, {solver_text(options, steps)}, {clip}"


def _sections(study: ModelStudy, about: Sequence[str], analyses: Sequence[ModelAnalysis]) -> list[Section]:
    analysis = pictured(study, analyses)
    results, T = StudyResults([analysis]), f"T = {analysis.options.ddim_steps:,}"
    geometry, mistakes = geometry_section(results), mistakes_section(results)
    images = analysis.generations(analysis.last_step).images
    return [
        Section("model", "The model", [*map(Text, about), *_codes_note(analysis)]),
        tables_section(tables(study, analyses), "One row per number T of DDIM steps."),
        Section(
            "sweep",
            "The same noise with increasing T",
            [_viewer(analyses)],
            "The model generates images x_0 from the same noise x_T with T steps of DDIM, and inverts them to latents "
            f"x̂_T. {_conditions(analysis, analysis.options.pictures)}".rstrip(),
        ),
        _curves_section(analyses),
        Section("geometry", f"{geometry.heading} ({T})", geometry.blocks),
        Section("mistakes", f"{mistakes.heading} ({T})", mistakes.blocks),
        inversion_errors_section([analysis]),
        inverters_section([analysis]),
        Section("gallery", f"Images ({T})", [gallery(images, T)], _conditions(analysis, GALLERY_IMAGES)),
        numbers_section(curves([analysis]), "T"),
        settings_section(study),
    ]


def _curves_section(analyses: Sequence[ModelAnalysis]) -> Section:
    """Return the plots of the measures against T; a single T makes no curve."""
    drawn = curve_plots(curves(analyses), DDIM_STEPS) if len(analyses) > 1 else []
    return plots_section(drawn, analyses, "All T start from the same noise; the axis of T is logarithmic.")


def _conditions(analysis: ModelAnalysis, count: int) -> str:
    """Return a sentence on the prompts or classes of the first `count` images, or "" if there are none."""
    conditions = analysis.conditions(count)
    return f"Conditions, in turn: {', '.join(conditions)}." if conditions else ""


def _codes_note(analysis: ModelAnalysis) -> list[Text]:
    if not analysis.has_decoder:
        return []
    return [Text("All numbers are computed on the codes generated by the model; pictures show the decoded images.")]


def _viewer(analyses: Sequence[ModelAnalysis]) -> Viewer:
    """Return noise, images and latents, with T on the slider."""
    count = analyses[0].options.pictures
    labels = [f"T = {analysis.options.ddim_steps:,}" for analysis in analyses]
    generations = [analysis.generations(analysis.last_step) for analysis in analyses]
    noise = picture(generations[0]["noise"][:count], f"the {count} noises x_T", LATENT_RANGE)
    samples, latents = [], []
    for tensors, label in zip(generations, labels, strict=True):
        samples.append(picture(tensors.images[:count].clone(), f"{count} images, {label}"))
        latents.append(picture(tensors["latents"][:count].clone(), f"their latents, {label}", LATENT_RANGE))
    order = range(len(labels))
    return Viewer(
        "sweep",
        "The noises, their images and latents",
        labels,
        [
            Track("noise x_T", [noise], [""], [0] * len(labels)),
            Track("image x_0", samples, labels, order),
            Track("latent x̂_T", latents, labels, order),
        ],
    )
