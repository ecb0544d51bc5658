"""Pictures of the page."""

from analyze.report.page.pictures import MAX_PNG_BYTES, picture
from diffusion.randomness import fixed_noise


def test_only_large_pictures_are_compressed():
    noise = fixed_noise((3, 64, 64), 10, seed=0)
    large, small = picture(noise, "large"), picture(noise[:1, :1, :8, :8], "small")
    assert large.source.startswith("data:image/jpeg;base64,") and small.source.startswith("data:image/png;base64,")
    assert len(small.source) < MAX_PNG_BYTES < len(large.source) < 10 * 3 * 64 * 64
    assert large.tiles is not None and (large.tiles.columns, large.tiles.rows) == (5, 2)
