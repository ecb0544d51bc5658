"""Main results of a study in a few sentences, and metrics as text."""

import contextlib
from collections.abc import Mapping

from analyze.curves import Curve
from analyze.report.metrics import CORNERS, find_metric
from configs.schema import Experiment

MAX_INITIAL_SHARE = 0.05  # of the initial weights in a moving average


def findings(experiment: Experiment, curves: Mapping[str, Curve]) -> list[str]:
    """Return sentences on the noise mapping, on how early the images settle, and on the geometry of the latents.

    A sentence whose numbers are not measured is omitted. Another one warns if the average of the weights is too young.
    """
    steps = sorted({step for curve in curves.values() for step in curve.steps})
    sentences = []
    for sentence in (_mapping, _settling, _geometry, _young_average) if steps else ():
        with contextlib.suppress(KeyError):  # a measure failed
            sentences.append(sentence(experiment, curves, steps))
    return [sentence for sentence in sentences if sentence] or ["Nothing has been measured."]


def _mapping(experiment: Experiment, curves: Mapping[str, Curve], steps: list[int]) -> str:
    keys, last = ("noise_mapping/image_to_noise", "noise_mapping/noise_to_image"), steps[-1]
    image_to_noise, noise_to_image = (metric_text(curves, key, last) for key in keys)
    seeds = len(curves[keys[0]].values[last])
    average = f"mean ± std over {seeds} seeds" if seeds > 1 else "one seed"
    sentence = (
        f"At step {last:,} ({average}), the noise nearest to an image is its own in {image_to_noise} of cases, and the "
        f"image nearest to a noise is its own in {noise_to_image}"
    )
    if len(steps) == 1:
        return f"{sentence}."
    earlier = " and ".join(metric_text(curves, key, steps[0]) for key in keys)
    return f"{sentence}; at step {steps[0]:,} these were {earlier}."


def _settling(experiment: Experiment, curves: Mapping[str, Curve], steps: list[int]) -> str:
    early = next(step for step in steps if step >= steps[-1] / 4)
    if early == steps[-1]:  # no earlier checkpoint to compare
        return ""
    coverage = metric_text(curves, "knn_coverage/image", early)
    cka, ssim = (metric_text(curves, key, early, digits=3) for key in ("cka/biased", "ssim/mean"))
    return (
        f"At step {early:,}, images share {coverage} of their {experiment.analyze.measures.knn_k} nearest neighbors "
        f"with those of step {steps[-1]:,}; CKA is {cka} and SSIM {ssim}."
    )


def _geometry(experiment: Experiment, curves: Mapping[str, Curve], steps: list[int]) -> str:
    last = steps[-1]
    latent, image = (metric_text(curves, f"distances/{side}", last) for side in ("noise_latent", "image_noise"))
    corners = (f"{metric_text(curves, f'triangle/{corner}_of_mean', last)} at the {corner}" for corner in CORNERS)
    return (
        f"At step {last:,}, the L2 distance between noise and latent is {latent} (between noise and image: {image}); "
        f"the angles of the triangle are {', '.join(corners)}."
    )


def _young_average(experiment: Experiment, curves: Mapping[str, Curve], steps: list[int]) -> str:
    """Return a warning if the analyzed average of weights still contains the random initial ones."""
    weights, last = experiment.analyze.weights, steps[-1]
    if weights == "model" or experiment.train.init_from is not None:
        return ""
    share = float(weights.removeprefix("ema_")) ** last
    if share <= MAX_INITIAL_SHARE:
        return ""
    return (
        f"At step {last:,}, the analyzed weights {weights} are still {100 * share:.0f} % random initial weights, so "
        "that images may look like noise; analyze.weights=model or an average with a smaller rate shows what the "
        "network has learned."
    )


def metric_text(curves: Mapping[str, Curve], key: str, step: int, digits: int = 1) -> str:
    """Format a metric at a step: mean, ± standard deviation over seeds, unit."""
    quantity, (mean, std) = find_metric(key).quantity, curves[key].at(step)
    spread = "" if std is None else f" ± {quantity.scale * std:.{digits}f}"
    return f"{quantity.scale * mean:.{digits}f}{spread}{quantity.suffix}"
