"""Text in figures."""

import pytest

from analyze.report.figures.curves import to_svg
from analyze.report.figures.style import mathtext, new_figure, symbols


def test_symbols_are_mathematics_and_everything_else_is_text():
    assert mathtext("x_T and x̂_T") == r"$x_T$ and $\hat{x}_T$"
    assert mathtext("5 $ or 6 $") == r"5 \$ or 6 \$" and mathtext("_a_b") == r"$\_$a_b"


@pytest.mark.parametrize("name", [r"$\frac{$ x_T", "$", "_a", "__", "<b>&amp;--></svg>", "a\nb", ""])
def test_any_name_can_be_a_label(name):
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([0, 1], label=mathtext(name))
    axes.legend()
    assert len(axes.get_legend_handles_labels()[1]) == bool(name)
    svg = to_svg(figure)
    assert "<b>" not in svg and svg.count("</svg>") == 1


def test_mathematics_of_our_own_labels_is_typeset():
    assert symbols(r"mean $\Vert$x_T$\Vert$") == r"mean $\Vert$" + mathtext("x_T") + r"$\Vert$"
    assert mathtext("$5") == r"\$5"
