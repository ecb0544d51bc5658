"""Pictures of the page."""

import shutil

from analyze.analysis import SeedAnalysis
from analyze.report.page.pictures import MAX_PNG_BYTES, picture, training_viewer
from diffusion.randomness import fixed_noise


def test_only_large_pictures_are_compressed():
    noise = fixed_noise((3, 64, 64), 10, seed=0)
    large, small = picture(noise, "large"), picture(noise[:1, :1, :8, :8], "small")
    assert large.source.startswith("data:image/jpeg;base64,") and small.source.startswith("data:image/png;base64,")
    assert len(small.source) < MAX_PNG_BYTES < len(large.source) < 10 * 3 * 64 * 64
    assert large.tiles is not None and (large.tiles.columns, large.tiles.rows) == (5, 2)


def test_a_checkpoint_that_is_not_analyzed_yet_is_neither_shown_nor_generated(analyzed):
    """Training may save one while the others are analyzed."""
    analysis = SeedAnalysis(analyzed("seeds=[0]"), 0)
    generated = analysis.generations(8).file("samples").parent
    shutil.rmtree(generated)
    analysis.results_file(8).unlink()
    viewer = training_viewer(analysis)
    assert viewer is not None and viewer.positions == ["step 0", "step 2", "step 5"] and not generated.exists()
