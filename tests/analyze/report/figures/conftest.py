"""Fixtures of the figure tests."""

import pytest
from matplotlib.text import Text


@pytest.fixture
def texts():
    """Return a function that returns all visible texts of a figure."""

    def visible_texts(figure) -> list[str]:
        figure.draw_without_rendering()
        return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]

    return visible_texts
