"""Catalog of metrics: label, quantity, unit, range, formula and direction of every number that is logged.

Tables, curves, dashboard, findings, comparison and documentation read labels and units here.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Quantity:
    """The axis of metrics that can be drawn together."""

    name: str
    unit: str = ""  # of stored values; fractions are displayed in percent
    range: tuple[float | None, float | None] = (None, None)

    @property
    def scale(self) -> float:
        """Factor from stored to displayed values."""
        return 100.0 if self.unit == "fraction" else 1.0

    @property
    def suffix(self) -> str:
        """Unit after a displayed value."""
        return {"fraction": " %", "°": "°"}.get(self.unit, "")

    @property
    def axis(self) -> str:
        """Axis label of displayed values."""
        return _with_unit(self.name, self.suffix)

    @property
    def stored_axis(self) -> str:
        """Axis label of stored values."""
        return _with_unit(self.name, self.unit)

    @property
    def limits(self) -> str:
        """The range as text."""
        low, high = self.range
        if low is not None and high is not None:
            return f"{low:g} to {high:g}"
        return f"≥ {low:g}" if low is not None else f"≤ {high:g}" if high is not None else ""


def _with_unit(text: str, unit: str) -> str:
    return f"{text} ({unit.strip()})" if unit else text


@dataclass(frozen=True)
class Metric:
    """A number per step. Formulas use the symbols of the paper; x̄_0 is the last checkpoint's image."""

    key: str  # "measure/value", as in W&B
    label: str  # in the legend of a plot and the header of a table
    quantity: Quantity
    formula: str = ""
    paper: str = ""  # table or figure
    better: str = ""  # "higher", "lower" or neither

    @property
    def header(self) -> str:
        """Column header of displayed values."""
        return _with_unit(self.label, self.quantity.suffix)


LOSS = Quantity("loss")
TRAINING = (
    Metric("images", "images seen", Quantity("images")),
    Metric("loss", "loss", LOSS, "L_simple or L_hybrid, as minimized"),
    Metric("mse", "L_simple", LOSS, "mean (ε − ε_θ(x_t, t))²"),
    Metric("vb", "variational bound", Quantity("variational bound", "bits"), "as weighted in the loss"),
    *(
        Metric(f"{part}_q{i}", f"{part}, quarter {i + 1} of t", LOSS)
        for part, i in itertools.product(("loss", "mse", "vb"), range(4))
    ),
    Metric("grad_norm", "gradient norm", Quantity("L2 norm"), "before clipping"),
    Metric("lr", "learning rate", Quantity("learning rate")),
    Metric("images_per_s", "images per second", Quantity("throughput", "images/s"), "over all processes"),
    Metric("tflop_per_s", "TFLOP per second", Quantity("throughput", "TFLOP/s"), "over all processes"),
    Metric("mfu", "model FLOP utilization", Quantity("utilization", "fraction"), "relative to a large matrix product"),
    Metric("memory_gb", "GPU memory", Quantity("memory", "GB"), "peak of one GPU"),
)

MAPPED = Quantity("correctly assigned", "fraction", (0.0, 1.0))
EXCESS = Quantity("relative excess cost", range=(0.0, None))
SHARED = Quantity("shared neighbors", "fraction", (0.0, 1.0))
SIMILARITY = Quantity("similarity", range=(None, 1.0))
OVERLAP = Quantity("similarity", range=(0.0, 1.0))
ANGLE = Quantity("angle", "°", (0.0, 180.0))
DISTANCE = Quantity("L2 distance", range=(0.0, None))
FRECHET = Quantity("Fréchet distance", range=(0.0, None))
CORRELATION = Quantity("|correlation|", range=(0.0, 1.0))
ERROR = Quantity("error", range=(0.0, None))
PLAIN = Quantity("plain pixels", "fraction", (0.0, 1.0))
DEVIATION = Quantity("standard deviation", range=(0.0, None))
DIVERGENCE = Quantity("KL divergence", "nats", (0.0, None))
CONTRACTION = Quantity("factor per round", range=(0.0, None))
EXPANDING = Quantity("images or steps", "fraction", (0.0, 1.0))
FIRST_SHARE = Quantity("part of the error", "fraction", (None, 1.0))
INVERSE_STEP = Quantity("inverse step", range=(1.0, None))
PREDICTION = Quantity("quality of the prediction", range=(-1.0, None))
CORNERS = {"image": "image x_0", "noise": "noise x_T", "latent": "latent x̂_T"}
SIDES = {"noise_latent": "‖x_T − x̂_T‖", "image_latent": "‖x_0 − x̂_T‖", "image_noise": "‖x_0 − x_T‖"}
ANGLES = {
    "of_mean": "arccos of the mean cosine",
    "mean": "mean angle",
    "std": "standard deviation of the angle",
    "most_probable": "argmax of h_0(a) h_T(b) h_x̂(c) over whole degrees a + b + c = 180; h: histograms of the angles",
}
TENSORS = {"noise": "noise x_T", "latents": "latent x̂_T", "samples": "image x_0", "floor": "noise floor"}
NEIGHBORS = "mean |K(i) ∩ K̄(i)| / k; K(i): the k nearest images, K̄(i): those at the last checkpoint"


def _with_std(metrics: Iterable[Metric], over: str) -> Iterator[Metric]:
    """Yield each metric, followed by its standard deviation within a checkpoint."""
    for metric in metrics:
        yield metric
        yield replace(
            metric, key=f"{metric.key}_std", label=f"{metric.label} (std)", formula=f"std over {over}", better=""
        )


def _angles(measure: str, paper: str, condition: str = "") -> Iterator[Metric]:
    for (statistic, formula), (corner, name) in itertools.product(ANGLES.items(), CORNERS.items()):
        label = f"angle at {name}" + ("" if statistic == "of_mean" else f" ({statistic.replace('_', ' ')})")
        yield Metric(f"{measure}/{corner}_{statistic}", label, ANGLE, formula + condition, paper)


def _distances(measure: str, paper: str, condition: str = "") -> Iterator[Metric]:
    for side, formula in SIDES.items():
        label, better = f"{side.replace('_', '–')} distance", "lower" if side == "noise_latent" else ""
        yield Metric(f"{measure}/{side}", label, DISTANCE, f"mean {formula}{condition}", paper, better)


def _correlations(prefix: str, condition: str, formula: str, paper: str) -> Iterator[Metric]:
    for tensor, name in TENSORS.items():
        key, better = f"correlation/{prefix}{tensor}", "lower" if tensor == "latents" else ""
        yield Metric(key, name + condition, CORRELATION, formula, paper, better)


def _plain_areas() -> Iterator[Metric]:
    share = "mean |difference| from the right and lower neighbor < threshold in all channels"
    yield Metric("plain_areas/share", "plain pixels", PLAIN, share)
    for part in ("plain", "other"):
        error = f"error in {part} pixels"
        yield Metric(f"plain_areas/error_{part}", error, ERROR, "mean |x_T − x̂_T|", better="lower")
        yield Metric(f"plain_areas/std_{part}", f"latent in {part} pixels", DEVIATION, "std of the values")
        yield Metric(f"plain_areas/noise_std_{part}", f"noise in {part} pixels", DEVIATION, "std of the values")
    divergence = "Σ p_k ln(K p_k); p_k: shares of K = 256 intervals with equal probability under N(0, 1)"
    yield Metric("plain_areas/kl", "latent x̂_T", DIVERGENCE, divergence, better="lower")
    yield Metric("plain_areas/kl_floor", "noise x_T", DIVERGENCE, divergence)


def _self_interpolation() -> Iterator[Metric]:
    for name, label, point in (("middle", "λ = ½", "½"), ("end", "λ = 1", "1")):
        distance = f"mean ‖x_0(λ) − x_0(0)‖; x_0(λ): image of slerp(x_T, x̂_T, λ), λ = {point}"
        yield Metric(f"self_interpolation/{name}", f"image at {label}", DISTANCE, distance, better="lower")
    for name, label in (("start", "λ = 0"), ("middle", "λ = ½"), ("end", "λ = 1")):
        distance = "mean distance of x_0(λ) from the nearest training image"
        yield Metric(f"self_interpolation/data_{name}", f"image at {label} to the data", DISTANCE, distance)


def _step_errors() -> Iterator[Metric]:
    error = "mean ‖x_T − x̂_T‖; every step is x_t = f(x_s)"
    yield Metric("step_error/error", "naive inversion to the level of x_T", DISTANCE, error, better="lower")
    for part in ("plain", "other"):
        key, label = f"step_error/error_{part}", f"root mean square error in {part} pixels"
        yield Metric(key, label, ERROR, f"root mean square of x_T − x̂_T in {part} pixels", better="lower")
    worst = "argmax over steps of the mean ‖f(x_s) − x_t‖"
    yield Metric("step_error/worst_step", "step with the largest error", INVERSE_STEP, worst)
    relative = ("step_error/worst_relative", "step with the largest relative error")
    yield Metric(*relative, INVERSE_STEP, worst.replace("‖f(x_s) − x_t‖", "‖f(x_s) − x_t‖ / σ_t"))
    share = "1 − ‖x_T − x̂_T‖ from the exact state after two steps / ‖x_T − x̂_T‖ from x_0"
    yield Metric("step_error/first_share", "share of the first two steps", FIRST_SHARE, share)
    logarithms = "Pearson r of log ‖J (x_s − x_t)‖ and log ‖f(x_s) − x_t‖ over images and steps"
    yield Metric("step_error/correlation", "correlation of predicted and measured errors", PREDICTION, logarithms)
    slope = "least-squares s of ‖f(x_s) − x_t‖ = s ‖J (x_s − x_t)‖"
    yield Metric("step_error/slope", "measured over predicted error", PREDICTION, slope)


def _contraction() -> Iterator[Metric]:
    jacobian = "; J = ∂f/∂x at the exact x_t; largest mean over steps"
    yield Metric("contraction/largest_norm", "largest spectral norm", CONTRACTION, f"‖J‖{jacobian}", better="lower")
    radius = f"largest |eigenvalue| of J{jacobian}"
    yield Metric("contraction/largest_radius", "largest spectral radius", CONTRACTION, radius, better="lower")
    for part in ("plain", "other"):
        label, gain = f"largest gain in {part} pixels", f"mean ‖J v‖ of random v in {part} pixels, ‖v‖ = 1{jacobian}"
        yield Metric(f"contraction/largest_gain_{part}", label, CONTRACTION, gain)
    yield Metric("contraction/expanding", "steps with a norm above 1", EXPANDING, "‖J‖ > 1.01", better="lower")
    folding = "an eigenvalue of J has a real part > 1.01 at some step"
    yield Metric("contraction/folding", "images with an eigenvalue above 1", EXPANDING, folding, better="lower")


def _forward_start() -> Iterator[Metric]:
    replaced = "; noise replaces the first 4 % of the steps, at least one"
    for key, label, error in (
        ("error", "latent from forward noise", "mean ‖x_T − x̂_T‖"),
        ("exact_start", "latent from the exact state", "mean ‖x_T − x̂_T‖ from the exact state after these steps"),
        ("reconstruction", "image of the latent from forward noise", "mean ‖x_0 − DDIM(x̂_T)‖"),
    ):
        yield Metric(f"forward_start/{key}", label, DISTANCE, error + replaced, better="lower")
    for part in ("plain", "other"):
        label = f"latent from forward noise in {part} pixels"
        yield Metric(f"forward_start/std_{part}", label, DEVIATION, f"std of the values{replaced}")
    divergence = "as plain_areas/kl"
    yield Metric("forward_start/kl", "values from forward noise", DIVERGENCE, divergence + replaced, better="lower")
    yield Metric("forward_start/kl_floor", "values of the noise x_T", DIVERGENCE, divergence)


ASSIGNED, FIGURE_7 = ("Table 2, Figure 5", "higher"), "Figures 7, 10"
EARLY = ("early_inverter", "Figure 4", ", for x̄_0 inverted by this checkpoint")
ANALYSIS = (
    *_with_std(
        [
            Metric("noise_mapping/image_to_noise", "image → noise", MAPPED, "argminⱼ ‖x_0ⁱ − x_Tʲ‖ = i", *ASSIGNED),
            Metric("noise_mapping/noise_to_image", "noise → image", MAPPED, "argminⱼ ‖x_Tⁱ − x_0ʲ‖ = i", *ASSIGNED),
            Metric(
                "hungarian/accuracy", "one to one", MAPPED, "π(i) = i; π minimizes Σ ‖x_0ⁱ − x_T^π(i)‖²", "", "higher"
            ),
        ],
        "chunks",
    ),
    Metric("transport_gap/gap", "the model's pairs", EXCESS, "Σ ‖x_0ⁱ − x_Tⁱ‖² / min_π Σ ‖x_0ⁱ − x_T^π(i)‖² − 1"),
    Metric("transport_gap/random", "random pairs", EXCESS, "the same, expected for a random permutation"),
    Metric("knn_coverage/image", "neighbors of images", SHARED, NEIGHBORS, "Figure 6"),
    Metric("knn_coverage/noise", "neighbors of noises", SHARED, NEIGHBORS, "Figure 6"),
    Metric("cka/biased", "CKA", SIMILARITY, "HSIC(K, K̄) / √(HSIC(K, K) HSIC(K̄, K̄)); K = x_0 x_0ᵀ, centered", FIGURE_7),
    Metric("cka/debiased", "CKA, debiased", SIMILARITY, "CKA with the unbiased estimator of HSIC"),
    Metric("svcca/mean", "SVCCA", OVERLAP, "mean singular value of Uᵀ Ū; U: ten left singular vectors", FIGURE_7),
    Metric("ssim/mean", "SSIM", SIMILARITY, "structural similarity of x_0 and x̄_0, uniform 7×7 windows", FIGURE_7),
    Metric("dino/mean", "DINO", SIMILARITY, "mean cos(f(x_0), f(x̄_0)); f: CLS feature of DINO", FIGURE_7),
    Metric("fid/value", "FID", FRECHET, "‖μ − μ̄‖² + tr(Σ + Σ̄ − 2(Σ Σ̄)^½); μ̄, Σ̄: training set", better="lower"),
    *_angles("triangle", "Tables 3–5, Figure 2"),
    *_with_std(_distances("distances", "Tables 3–5"), "images"),
    *_angles(*EARLY),
    *_with_std(_distances(*EARLY), "images"),
    *_with_std(_correlations("", "", "mean of the 10 largest |r| of pixel pairs", "Table 1"), "these pairs"),
    *_with_std(_correlations("patch_", " in 8×8 patches", "mean of the 20 largest |r| per patch", ""), "these pairs"),
    *_plain_areas(),
    Metric("reconstruction/mse", "reconstruction MSE", ERROR, "mean (x̃_0 − x_0)²; x̃_0: sampled from x̂_T", "", "lower"),
    Metric("reconstruction/mean_absolute_error", "reconstruction MAE", ERROR, "mean |x̃_0 − x_0|", "", "lower"),
    *_self_interpolation(),
    *_step_errors(),
    *_contraction(),
    *_forward_start(),
)
INVERTERS = "inverters/"  # one metric per inverter and budget
METRICS = {metric.key: metric for metric in (*TRAINING, *ANALYSIS)}


def find_metric(key: str) -> Metric:
    """Return the metric of a key; a measure without an entry has the name of its value as label."""
    if key.startswith(INVERTERS):
        label = key.removeprefix(INVERTERS).replace("-K", ", K = ").replace("-", " ")
        return Metric(key, label, DISTANCE, "mean ‖x_T − x̂_T‖", better="lower")
    return METRICS.get(key) or Metric(key, key.rpartition("/")[2], Quantity("value"))


def metrics_table(metrics: Iterable[Metric] = ANALYSIS) -> str:
    """Return a Markdown table with one row for all metrics that differ only in key and label."""
    rows: dict[tuple[str, str, str, str, str], list[Metric]] = {}
    for metric in metrics:
        properties = (metric.quantity.stored_axis, metric.quantity.limits, metric.better, metric.formula, metric.paper)
        rows.setdefault(properties, []).append(metric)
    lines = ["| key | label | quantity | range | better | formula | paper |", "|---|---|---|---|---|---|---|"]
    for cells, group in rows.items():
        keys, labels = ", ".join(f"`{metric.key}`" for metric in group), ", ".join(metric.label for metric in group)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in (keys, labels, *cells)) + " |")
    return "\n".join(lines) + "\n"
