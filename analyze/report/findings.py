"""What a study found, in three sentences of numbers."""

from collections.abc import Mapping

from analyze.curves import Curve
from configs.schema import Experiment


def findings(experiment: Experiment, curves: Mapping[str, Curve]) -> list[str]:
    """Sentences on noise mapping, on how early the images are settled, and on where the latents lie."""
    if not curves:
        return ["Nothing was measured."]
    steps = curves["noise_mapping/image_to_noise"].steps
    last, middle = steps[-1], _middle(steps)
    seeds = max(len(values) for values in curves["noise_mapping/image_to_noise"].values.values())

    def at(name: str, step: int, scale: float = 1.0, digits: int = 1) -> str:
        curve = curves[name]
        place = curve.steps.index(step)
        spread = f" ± {scale * curve.std[place]:.{digits}f}" if len(curve.values[step]) > 1 else ""
        return f"{scale * curve.mean[place]:.{digits}f}{spread}"

    def percent(name: str, step: int) -> str:
        return f"{at(name, step, scale=100.0)} %"

    mapping = (
        f"At step {last:,} ({_over(seeds)}) the nearest noise of an image is its own in "
        f"{percent('noise_mapping/image_to_noise', last)} of cases, and the nearest image of a noise in "
        f"{percent('noise_mapping/noise_to_image', last)}"
    )
    earlier = (
        f"; at step {steps[0]:,} it was {percent('noise_mapping/image_to_noise', steps[0])} and "
        f"{percent('noise_mapping/noise_to_image', steps[0])}."
    )
    settling = (
        f"At step {middle:,} the images share {percent('knn_coverage/image', middle)} of their "
        f"{experiment.analyze.measures.knn_k} nearest neighbours with those of step {last:,}, with CKA "
        f"{at('cka/biased', middle, digits=3)} and SSIM {at('ssim/mean', middle, digits=3)}."
    )
    geometry = (
        f"Inverted, the images of step {last:,} end {at('distances/noise_latent', last)} away from their noise "
        f"(the image is {at('distances/image_noise', last)} away from it): the triangle has "
        f"{at('triangle/image_of_mean', last)}° at the image, {at('triangle/noise_of_mean', last)}° at the noise and "
        f"{at('triangle/latent_of_mean', last)}° at the latent."
    )
    if len(steps) == 1:  # nothing to compare with
        return [f"{mapping}.", geometry]
    return [f"{mapping}{earlier}", settling, geometry]


def _middle(steps: list[int]) -> int:
    """The first checkpoint at a quarter of the training or later: early enough to say something."""
    return next(step for step in steps if step >= steps[-1] / 4)


def _over(seeds: int) -> str:
    return f"mean ± std over {seeds} seeds" if seeds > 1 else "one seed"
