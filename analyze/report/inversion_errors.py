"""Section on the errors of naive inversion: steps, contraction, plain areas and forward start."""

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from analyze.analysis import Analysis
from analyze.report.figures.contraction import draw_contraction, draw_forward_start, draw_step_errors
from analyze.report.page.blocks import Block, Drawings, Section, Text
from analyze.report.page.plots import drawing
from records.human import human_percent
from records.sealed import is_number

CLEAR_DIFFERENCE = 0.02  # of the fractions missed in plain and in other pixels
STRONG = 0.9  # correlation of predicted and measured errors above which the theory counts as confirmed
MEASURES = ("step_error", "contraction", "plain_areas", "forward_start")
FIGURES = {  # measure → figure, description, and a note on how it is computed
    "step_error": (
        draw_step_errors,
        "Error of naive inversion by step",
        "Left: error of a single naive step from the exact state, its first-order prediction, and its value if the "
        "denoiser does not react. Right: accumulated error and that of single steps, in plain and in other pixels.",
    ),
    "contraction": (
        draw_contraction,
        "Contraction of the exact inverse steps",
        "Left: spectral norm and radius of J, mean ± std over images. Right: ‖J·v‖ of random unit directions v "
        "supported in plain or in other pixels. Fixed-point rounds multiply an error by about the radius.",
    ),
    "forward_start": (
        draw_forward_start,
        "First steps of the inversion replaced by noise",
        "Error, standard deviation of the latents' values, and their divergence from N(0, 1).",
    ),
}
LEAD = (
    "The exact inverse of a DDIM step solves x_t = f(x_t) with f(y) = D(x_s, ε(y, t); s→t). Naive inversion "
    "evaluates f at x_s instead, so its error is J·(x_s − x_t) to first order, with the Jacobian J = B·(I − "
    "α_t·∂x̂_0/∂x). B depends on the noise schedule only; the rest is close to 1 where the denoiser barely reacts "
    "to its input. Numbers of a study are of the last checkpoint, averaged over seeds."
)


def inversion_errors_section(analyses: Sequence[Analysis]) -> Section:
    """Return findings and figures of the last step; without blocks if nothing is measured."""
    sentences = findings(analyses)
    blocks: list[Block] = [*map(Text, sentences), *_figures(analyses)]
    return Section("inversion-errors", "Errors of naive inversion", blocks, LEAD)


def _figures(analyses: Sequence[Analysis]) -> Iterator[Block]:
    for measure, (draw, description, note) in FIGURES.items():
        if seeds := list(stored_values(analyses, measure)):
            yield Drawings([drawing(draw(seeds), measure, description, note)])


def findings(analyses: Sequence[Analysis]) -> list[str]:
    """Return one sentence per question whose measures are available."""
    seeds = {name: list(stored_values(analyses, name)) for name in MEASURES}
    numbers = {name: mean_values(stored) for name, stored in seeds.items()}
    sentences = [
        _steps(numbers["step_error"], seeds["step_error"]),
        _plain_steps(seeds["step_error"]),
        _prediction(numbers["step_error"]),
        _contraction(numbers["contraction"]),
        _plain_areas(numbers["plain_areas"]) if numbers["step_error"] else "",
        _forward_start(numbers["forward_start"], seeds["forward_start"]),
    ]
    return [sentence for sentence in sentences if sentence]


def mean_values(seeds: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the numbers in the stored values of a measure, averaged over the seeds that have them."""
    values: dict[str, list[float]] = {}
    for stored in seeds:
        for name, value in stored.items():
            if is_number(value):
                values.setdefault(name, []).append(value)
    return {name: statistics.fmean(numbers) for name, numbers in values.items()}


def stored_values(analyses: Sequence[Analysis], measure: str) -> Iterator[dict[str, Any]]:
    """Yield the stored values of a measure at the last step of each seed that has them."""
    for analysis in analyses:
        if analysis.steps and (result := analysis.current_results(analysis.last_step).get(measure, {}).get("values")):
            yield result


def _steps(errors: dict[str, float], seeds: Sequence[dict[str, Any]]) -> str:
    if "first_share" not in errors:
        return ""
    worst, relative = (_numbers(seeds, name) for name in ("worst_step", "worst_relative"))
    return (
        f"Naive inversion ends at a distance of {errors['error']:.3g} from x_T. The largest error of a single step "
        f"is made in step {worst} (relative to σ_t: in step {relative}); "
        f"{human_percent(errors['first_share'])} of the final error vanishes if the first two steps are exact."
    )


def _numbers(seeds: Sequence[dict[str, Any]], name: str) -> str:
    """Return the different values of a whole number, as in "2 or 100"."""
    return " or ".join(
        f"{number:.0f}" for number in sorted({seed[name] for seed in seeds if is_number(seed.get(name))})
    )


def _prediction(errors: dict[str, float]) -> str:
    if "correlation" not in errors:
        return ""
    is_confirmed = errors["correlation"] >= STRONG
    return (
        f"The Jacobian {'predicts' if is_confirmed else 'predicts only in part'} the error of a step: ‖J·(x_s − "
        f"x_t)‖ and the measured error correlate with {errors['correlation']:.2f} (logarithms, over images and "
        f"steps), and the measured error is {errors['slope']:.2f} times the predicted one."
    )


def _contraction(contraction: dict[str, float]) -> str:
    if not contraction:
        return ""
    expanding = (
        f"J expands some direction (spectral norm above 1.01) in {human_percent(contraction['expanding'])} of all "
        f"images and measured steps; its largest spectral radius is {contraction['largest_radius']:.2f}. "
    )
    if not contraction["folding"]:
        return (
            f"{expanding}No image has a step where an eigenvalue has a real part above 1.01, which DDIM's map "
            "needs to reverse orientation."
        )
    return (
        f"{expanding}{human_percent(contraction['folding'])} of the images have a step where an eigenvalue has a "
        "real part above 1.01, so that DDIM's map may reverse orientation: different noises could then give the same "
        "image, and an inverter that reproduces the image may not recover the noise."
    )


def _plain_areas(areas: dict[str, float]) -> str:
    if "error_plain" not in areas or "error_other" not in areas:
        return ""
    return (
        f"{human_percent(areas['share'])} of the pixels are plain. The mean |x_T − x̂_T| is "
        f"{areas['error_plain']:.3g} in plain and {areas['error_other']:.3g} in other pixels, the standard "
        f"deviation of the latents {areas['std_plain']:.3g} and {areas['std_other']:.3g}."
    )


def _plain_steps(seeds: Sequence[dict[str, Any]]) -> str:
    """Compare how much of its displacement a naive step misses in plain and in other pixels."""
    missed = {"plain": list[float](), "other": list[float]()}
    for seed in seeds:
        for part, fractions in missed.items():
            # There may be no such pixels, or values of another version.
            with contextlib.suppress(TypeError, LookupError, ZeroDivisionError):
                steps, worst = seed["steps"], seed["worst_relative"] - 1
                fractions.append(steps[f"local_{part}"][worst] / steps[f"distance_{part}"][worst])
    if not all(missed.values()):
        return ""
    in_plain, in_other = map(statistics.fmean, missed.values())
    conclusion = "explains why" if in_plain > in_other + CLEAR_DIFFERENCE else "does not explain why"
    return (
        "In the step with the largest error relative to σ_t, naive inversion misses "
        f"{human_percent(in_plain)} of the distance to x_t in plain pixels and {human_percent(in_other)} in other "
        f"pixels. This {conclusion} the error would be larger in plain areas."
    )


def _forward_start(forward: dict[str, float], seeds: Sequence[dict[str, Any]]) -> str:
    """Compare with naive inversion in the same convention of timesteps: no step is replaced."""
    naive: list[float] = []
    for seed in seeds:
        with contextlib.suppress(TypeError, LookupError):  # values of another version
            naive += [seed["by_steps"]["error"][0]]
    if "error" not in forward or not naive:
        return ""
    change = "less" if forward["error"] < statistics.fmean(naive) else "not less"
    return (
        "If noise replaces the first 4 % of the steps, as published, but at least one step, the error is "
        f"{forward['error']:.3g}, {change} than that of naive inversion, {statistics.fmean(naive):.3g}; the "
        f"reconstruction error is {forward['reconstruction']:.3g}, and the divergence of the latents' values from "
        f"N(0, 1) is {forward['kl']:.2g} (noise: {forward['kl_floor']:.2g})."
    )
