"""Tests of the section on the errors of naive inversion."""

import pytest

from analyze.report import inversion_errors
from analyze.report.inversion_errors import findings, inversion_errors_section, mean_values, stored_values


class Seed:
    """A seed with stored values of measures at its only step."""

    last_step = 7
    steps = (7,)

    def __init__(self, **values):
        self.values = values

    def current_results(self, step: int) -> dict:
        assert step == self.last_step
        return {name: {"values": values} for name, values in self.values.items()}


STEP_ERROR = {
    "error": 4.0,
    "worst_step": 20,
    "worst_relative": 2,
    "first_share": 0.25,
    "correlation": 0.97,
    "slope": 1.1,
    "error_plain": None,
    "steps": {name: [None] * 20 for name in ("local_plain", "distance_plain", "local_other", "distance_other")},
}
FORWARD_START = {"error": 5.0, "reconstruction": 2.0, "kl": 0.02, "kl_floor": 0.01, "by_steps": {"error": [4.5, 5.0]}}


def test_numbers_are_averaged_over_the_seeds_that_have_them():
    seeds = [Seed(step_error={**STEP_ERROR, "error": 2.0}), Seed(step_error={**STEP_ERROR, "error_plain": 1.0}), Seed()]
    values = mean_values(list(stored_values(seeds, "step_error")))
    assert values["error"] == 3.0 and values["error_plain"] == 1.0
    assert mean_values(list(stored_values(seeds, "contraction"))) == {}


def test_theory_is_called_confirmed_only_if_it_predicts_the_errors():
    (steps, prediction) = findings([Seed(step_error=STEP_ERROR)])
    assert "distance of 4 from x_T" in steps and "in step 20 (relative to σ_t: in step 2); 25 %" in steps
    assert "The Jacobian predicts the error" in prediction and "0.97" in prediction
    (_, doubtful) = findings([Seed(step_error={**STEP_ERROR, "correlation": 0.5})])
    assert "predicts only in part" in doubtful


def test_different_worst_steps_are_all_named():
    seeds = [Seed(step_error={**STEP_ERROR, "worst_step": step}) for step in (100, 2, 100)]
    assert "is made in step 2 or 100 (relative to σ_t: in step 2)" in findings(seeds)[0]


@pytest.mark.parametrize("folding, text", [(0.25, "25 % of the images have a step"), (0.0, "No image has a step")])
def test_a_large_eigenvalue_is_no_proof_that_orientation_is_reversed(folding, text):
    """It may be one of a complex pair, or of an even number of real ones."""
    values = {"expanding": 0.5, "largest_radius": 1.2, "folding": folding}
    (sentence,) = findings([Seed(contraction=values)])
    assert f"{text} where an eigenvalue has a real part above 1.01" in sentence
    assert ("map may reverse" in sentence) == bool(folding)


@pytest.mark.parametrize("error, text", [(5.0, "not less than that of naive inversion, 4.5"), (4.2, ", less than")])
def test_forward_start_is_compared_with_naive_inversion(error, text):
    seeds = [Seed(step_error=STEP_ERROR, forward_start={**FORWARD_START, "error": error})]
    assert text in findings(seeds)[-1]


@pytest.mark.parametrize("plain, text", [(0.9, "misses 90 % "), (0.2, "does not explain why")])
def test_errors_of_the_worst_step_in_plain_and_other_pixels_are_compared(plain, text):
    steps = {"local_plain": [9, 2 * plain], "distance_plain": [9, 2], "local_other": [9, 2], "distance_other": [9, 4]}
    (_, sentence, _) = findings([Seed(step_error={**STEP_ERROR, "steps": steps})])
    assert text in sentence and "50 % in other pixels" in sentence
    assert ("This explains why" in sentence) == (plain > 0.5)


def test_images_without_plain_pixels_are_not_compared():
    steps = {"local_plain": [None], "distance_plain": [None], "local_other": [2], "distance_other": [4]}
    assert len(findings([Seed(step_error={**STEP_ERROR, "worst_relative": 1, "steps": steps})])) == 2


def test_section_is_omitted_without_measures():
    assert not inversion_errors_section([Seed()]).blocks


def test_every_figure_belongs_to_a_measure():
    assert inversion_errors.FIGURES.keys() <= set(inversion_errors.MEASURES)
