"""Pictures of the same noise through training for a slider, compressed to limit the size of the page."""

import io
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from analyze.analysis import SeedAnalysis
from analyze.report.figures.pictures import spread
from analyze.report.page.blocks import Picture, Tiles, Track, Viewer, data_uri
from records.pictures import LATENT_RANGE, grid, to_png

MAX_POSITIONS = 40  # of a slider
MAX_PNG_BYTES = 16_000  # larger pictures become JPEG
JPEG_QUALITY = 90
COLUMNS = 5  # images per row, to fit on a phone


def picture(images: Tensor, alt: str, largest: float = 1.0, columns: int = COLUMNS) -> Picture:
    """Return images [n, C, H, W] as one picture, −largest as black and largest as white; JPEG if it is large."""
    columns = min(columns, len(images))
    image = grid(images, columns, largest)
    kind, data = "png", to_png(image)
    if len(data) > MAX_PNG_BYTES:
        kind, data = "jpeg", _to_jpeg(image)
    tiles = Tiles(columns, -(-len(images) // columns), images.shape[-1], images.shape[-2])
    return Picture(data_uri(f"image/{kind}", data), alt, tiles)


def _to_jpeg(image: Image.Image) -> bytes:
    """Encode with full color resolution, because every pixel of a small image matters."""
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return data.getvalue()


def pictured_steps(analysis: SeedAnalysis, count: int = MAX_POSITIONS) -> list[int]:
    """Return the steps whose pictures are shown, evenly spaced in the logarithm."""
    return spread([step for step in analysis.steps if analysis.results(step)], count)


def training_viewer(analysis: SeedAnalysis) -> Viewer | None:
    """Return noise, images and latents of a seed through training; None if no checkpoint is analyzed."""
    steps = pictured_steps(analysis)
    if not steps:
        return None
    name, positions = f"seed-{analysis.seed}", [step_text(step) for step in steps]
    tracks = [noise_track(analysis, len(steps)), samples_track(analysis, steps), latents_track(analysis, steps)]
    return Viewer(name, f"Seed {analysis.seed}", positions, tracks)


def noise_track(analysis: SeedAnalysis, positions: int) -> Track:
    step = pictured_steps(analysis)[-1]  # not the last step, which may have been saved after the analysis
    noise = analysis.generations(step)["noise"][: analysis.options.pictures]
    return Track("noise x_T", [picture(noise, f"the {len(noise)} noises x_T", LATENT_RANGE)], [""], [0] * positions)


def samples_track(analysis: SeedAnalysis, steps: Sequence[int], heading: str = "image x_0") -> Track:
    return _track(analysis, steps, heading, "samples", "images generated", 1.0)


def latents_track(analysis: SeedAnalysis, steps: Sequence[int], heading: str = "latent x̂_T") -> Track:
    return _track(analysis, steps, heading, "latents", "latents inverted", LATENT_RANGE)


def _track(analysis: SeedAnalysis, steps: Sequence[int], heading: str, tensor: str, noun: str, largest: float) -> Track:
    """Return a track with one picture per step."""
    pictures = []
    for step in steps:
        images = analysis.generations(step)[tensor][: analysis.options.pictures].clone()
        pictures.append(picture(images, f"{len(images)} {noun} at step {step}", largest))
    return Track(heading, pictures, [step_text(step) for step in steps], range(len(steps)))


def step_text(step: int) -> str:
    return f"step {step:,}"
