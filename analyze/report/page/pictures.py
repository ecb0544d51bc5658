"""Pictures of the same noises through training, for a slider, within a sensible size of the file."""

import io
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from analyze.analysis import SeedAnalysis
from analyze.report.figures.pictures import spread
from analyze.report.page.blocks import Picture, Tiles, Track, Viewer, data_uri
from records.pictures import LATENT_RANGE, grid, to_png

POSITIONS = 40  # of a slider, at most
SMALL = 16_000  # bytes up to which a picture is kept as it is
QUALITY = 90  # of JPEG, for the larger ones
COLUMNS = 5  # images side by side, as many as a phone has room for


def picture(images: Tensor, alternative: str, largest: float = 1.0, columns: int = COLUMNS) -> Picture:
    """Images [n, C, H, W] as one picture, −largest as black and largest as white; compressed where it is large."""
    columns = min(columns, len(images))
    drawn = grid(images, columns, largest)
    kind, data = "png", to_png(drawn)
    if len(data) > SMALL:
        kind, data = "jpeg", _to_jpeg(drawn)
    tiles = Tiles(columns, -(-len(images) // columns), images.shape[-1], images.shape[-2])
    return Picture(data_uri(f"image/{kind}", data), alternative, tiles)


def _to_jpeg(image: Image.Image) -> bytes:
    """With all of the colour's resolution: of small images each pixel counts."""
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=QUALITY, subsampling=0)
    return data.getvalue()


def pictured_steps(analysis: SeedAnalysis, positions: int = POSITIONS) -> list[int]:
    """The steps of which pictures are shown, spread in the logarithm."""
    return spread([step for step in analysis.steps if analysis.results(step)], positions)


def training_viewer(analysis: SeedAnalysis) -> Viewer | None:
    """Noise, images and latents of a seed through training; None where nothing is analysed."""
    steps = pictured_steps(analysis)
    if not steps:
        return None
    name, positions = f"seed-{analysis.seed}", [step_text(step) for step in steps]
    tracks = [noise_track(analysis, len(steps)), samples_track(analysis, steps), latents_track(analysis, steps)]
    return Viewer(name, f"Seed {analysis.seed}", positions, tracks)


def noise_track(analysis: SeedAnalysis, positions: int) -> Track:
    shown = analysis.options.pictures
    noise = analysis.generations(analysis.last_step)["noise"][:shown]
    return Track("noise x_T", [picture(noise, f"the {len(noise)} noises x_T", LATENT_RANGE)], [""], [0] * positions)


def samples_track(analysis: SeedAnalysis, steps: Sequence[int], heading: str = "image x_0") -> Track:
    return _track(analysis, steps, heading, "samples", "images generated", 1.0)


def latents_track(analysis: SeedAnalysis, steps: Sequence[int], heading: str = "latent x̂_T") -> Track:
    return _track(analysis, steps, heading, "latents", "latents inverted", LATENT_RANGE)


def _track(analysis: SeedAnalysis, steps: Sequence[int], heading: str, tensor: str, what: str, largest: float) -> Track:
    """A picture a step, shown at positions of these steps."""
    pictures = []
    for step in steps:
        images = analysis.generations(step)[tensor][: analysis.options.pictures].clone()
        pictures.append(picture(images, f"{len(images)} {what} at step {step}", largest))
    return Track(heading, pictures, [step_text(step) for step in steps], range(len(steps)))


def step_text(step: int) -> str:
    return f"step {step:,}"
