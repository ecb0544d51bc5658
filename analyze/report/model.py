"""What comes of the analysis of a model that others trained: the paper's tables and figures, and a page."""

from collections.abc import Sequence
from pathlib import Path

from analyze.curves import curves
from analyze.model import ModelAnalysis
from analyze.report.page.blocks import Page, Section, Text, Track, Viewer, render
from analyze.report.page.pictures import picture
from analyze.report.paper_figures import StudyResults
from analyze.report.paper_figures import write_all as write_figures
from analyze.report.paper_tables import Final, final_numbers, tables_from
from analyze.report.paper_tables import write_all as write_tables
from analyze.report.study import (
    gallery,
    geometry_section,
    made_with,
    mistakes_section,
    settings_section,
    tables_section,
)
from analyze.report.table_formats import Table
from analyze.report.wandb_runs import publish_model
from configs.errors import UserError
from configs.schema import ModelStudy
from models.source import Source
from records.atomic import write_text
from records.layout import report_folder
from records.pictures import LATENT_RANGE

FIGURES = (
    "fig01_pictures",
    "fig02_triangle",
    "fig03_interpolation",
    "fig08_mapping_mistakes",
    "fig09_pixel_variance",
)


def collect(study: ModelStudy, source: Source, analyses: Sequence[ModelAnalysis]) -> None:
    """Report, tables and figures of what is measured, and a summary on the terminal.

    Raises UserError, after all of it is made, where a T failed.
    """
    failed = [f"T = {step:,}: {why}" for one in analyses for step, why in one.failures().items()]
    measured = [one for one in analyses if one.results(one.last_step)]
    if measured:
        report = write_all(study, source.about, measured)
        publish_model(study, measured, tables(study, measured))
        print("\n" + "\n".join(findings(measured)))
        print(f"\nReport:  {report}\nFigures: {report.parent / 'figures'}\nTables:  {report.parent / 'tables'}")
    if failed:
        raise UserError("; ".join(failed))


def write_all(study: ModelStudy, about: Sequence[str], analyses: Sequence[ModelAnalysis]) -> Path:
    """Writes tables, figures and the page of a study, whose model is told in lines `about`; where the page is."""
    folder, made = report_folder(study), tables(study, analyses)
    shown = pictured(study, analyses)
    write_tables(made, folder / "tables")
    write_figures(StudyResults([shown]), FIGURES, folder / "figures")
    page = Page(study.name, _line(study, analyses), findings(analyses), _sections(study, about, analyses), made_with())
    write_text(folder / "index.html", render(page))
    return folder / "index.html"


def pictured(study: ModelStudy, analyses: Sequence[ModelAnalysis]) -> ModelAnalysis:
    """The analysis that figures and pictures are of: analyze.ddim_steps, or the largest T where that one failed."""
    return next((one for one in analyses if one.options.ddim_steps == study.analyze.ddim_steps), analyses[-1])


def tables(study: ModelStudy, analyses: Sequence[ModelAnalysis]) -> list[Table]:
    """The paper's tables with a row for each T."""
    return tables_from([final for one in analyses if (final := _final(study, one))])


def _final(study: ModelStudy, analysis: ModelAnalysis) -> Final | None:
    return final_numbers(analysis.options, curves([analysis]), f"{study.source}, the same noise for every T.")


def findings(analyses: Sequence[ModelAnalysis]) -> list[str]:
    """A sentence on the noise mapping and one on the latents, from the smallest T to the largest."""
    measured = curves(analyses)

    def way(name: str, scale: float = 1.0, unit: str = "") -> str:
        values = measured[name]
        ends = sorted({values.steps[0], values.steps[-1]})
        return ", ".join(f"{scale * values.values[steps][0]:.1f}{unit} at T = {steps:,}" for steps in ends)

    if "noise_mapping/image_to_noise" not in measured:
        return ["Nothing was measured."]
    return [
        f"The nearest noise of an image is its own in {way('noise_mapping/image_to_noise', 100, ' %')}; the nearest "
        f"image of a noise in {way('noise_mapping/noise_to_image', 100, ' %')}.",
        f"Inverted, images end away from their noise by an L2 distance of {way('distances/noise_latent')}; the angle "
        f"of the triangle at the latent is {way('triangle/latent_of_mean', unit='°')}.",
    ]


def _line(study: ModelStudy, analyses: Sequence[ModelAnalysis]) -> str:
    options = analyses[0].options
    swept = ", ".join(f"{one.options.ddim_steps:,}" for one in analyses)
    clip = "x_0 clipped" if options.clip_denoised else "x_0 not clipped"
    return f"{study.source} · {options.samples:,} images, T = {swept} DDIM steps each way, {clip}"


def _sections(study: ModelStudy, about: Sequence[str], analyses: Sequence[ModelAnalysis]) -> list[Section]:
    shown = pictured(study, analyses)
    paper, of_t = StudyResults([shown]), f" (T = {shown.options.ddim_steps:,})"
    geometry, mistakes = geometry_section(paper), mistakes_section(paper)
    return [
        Section("model", "The model", [*map(Text, about), *_codes(shown)]),
        tables_section(tables(study, analyses), "A row for each number T of DDIM steps."),
        Section(
            "sweep",
            "The same noise with growing T",
            [_viewer(analyses)],
            "From the same noise x_T an image x_0 by T steps of DDIM, and the latent x̂_T by as many steps back.",
        ),
        Section("geometry", geometry.heading + of_t, geometry.blocks),
        Section("mistakes", mistakes.heading + of_t, mistakes.blocks),
        Section(
            "gallery",
            "Images" + of_t,
            [gallery(shown.generations(shown.last_step).images, f"T = {shown.options.ddim_steps:,}")],
        ),
        settings_section(study),
    ]


def _codes(analysis: ModelAnalysis) -> list[Text]:
    if not analysis.has_decoder:
        return []
    return [Text("All numbers are of the codes that the model makes; pictures of images are decoded from them.")]


def _viewer(analyses: Sequence[ModelAnalysis]) -> Viewer:
    """Noise, images and latents; the slider goes through T."""
    count = analyses[0].options.pictures
    labels = [f"T = {one.options.ddim_steps:,}" for one in analyses]
    tensors = [one.generations(one.last_step) for one in analyses]
    noise = picture(tensors[0]["noise"][:count], f"the {count} noises x_T", LATENT_RANGE)
    samples, latents = [], []
    for here, label in zip(tensors, labels, strict=True):
        samples.append(picture(here.images[:count].clone(), f"{count} images, {label}"))
        latents.append(picture(here["latents"][:count].clone(), f"their latents, {label}", LATENT_RANGE))
    every = range(len(labels))
    return Viewer(
        "sweep",
        "The noises, their images and latents",
        labels,
        [
            Track("noise x_T", [noise], [""], [0] * len(labels)),
            Track("image x_0", samples, labels, every),
            Track("latent x̂_T", latents, labels, every),
        ],
    )
