"""The counted operations of opened models."""

import pytest
from tiny_pipelines import tiny_pipeline

from models.flops import evaluation_flop, forward_flop
from models.pipeline_options import PipelineOptions
from models.pipelines import open_pipeline


def test_a_denoiser_takes_the_operations_of_its_network(unet32):
    assert evaluation_flop(unet32.denoiser) == forward_flop(unet32.network.config, unet32.diffusion)


@pytest.mark.parametrize("kind", ["dit", "stable_diffusion"])
def test_guidance_is_two_evaluations_of_the_same_cost(kind, tmp_path):
    tiny_pipeline(kind).save_pretrained(tmp_path)
    prompts = () if kind == "dit" else ("a cat",)
    plain, guided = (open_pipeline(tmp_path, PipelineOptions(prompts, guidance=scale)).denoiser for scale in (1, 3))
    assert guided.evaluations_per_call == 2 and evaluation_flop(guided) == evaluation_flop(plain) > 1e5
