"""What tests of figures share."""

import pytest
from matplotlib.text import Text


@pytest.fixture
def texts():
    """A function: everything that is written in a figure."""

    def written(figure) -> list[str]:
        figure.draw_without_rendering()
        return [one.get_text() for one in figure.findobj(Text) if one.get_visible() and one.get_text()]

    return written
