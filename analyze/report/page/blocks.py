"""Content of a page: sections with a heading, a lead and blocks, rendered by page.html.j2."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

FOLDER = Path(__file__).parent
# Control characters, direction marks, separators of lines, and surrogates, which UTF-8 cannot encode.
CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Block:
    """A part of a section, rendered by the macro of page/blocks.html.j2 that is named after its class."""

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Text(Block):
    text: str


@dataclass(frozen=True)
class Notes(Block):
    """Warnings, for example about missing results, one per line."""

    sentences: Sequence[str]


@dataclass(frozen=True)
class Subheading(Block):
    text: str


@dataclass(frozen=True)
class Tiles:
    """Rows and columns of images of one size in pixels, with gaps of one pixel."""

    columns: int
    rows: int
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    source: str  # data URI
    alt: str
    tiles: Tiles | None = None


@dataclass(frozen=True)
class Gallery(Block):
    """A picture with a caption."""

    picture: Picture
    caption: str


@dataclass(frozen=True)
class Drawing:
    """Inline SVG in the page's colors."""

    svg: str
    alt: str
    caption: str
    is_wide: bool


@dataclass(frozen=True)
class Drawings(Block):
    drawings: Sequence[Drawing]


@dataclass(frozen=True)
class Canvas:
    """Inline SVG of a plot, with its size and the upper and lower end of its axes, in SVG units from the top left."""

    svg: str
    size: tuple[float, float]
    box: tuple[float, float]


@dataclass(frozen=True)
class PlotCell:
    """Cell of a plot's table, with the vertical position of its point and the color of its curve, if any."""

    text: str
    y: float | None = None
    color: str = ""  # CSS


@dataclass(frozen=True)
class PlotRow:
    """Row of a plot's table and its horizontal position: the values of all curves at a step, or one point of a line.

    The first cell of a point has the name of its line, its vertical position and its color.
    """

    x: float | None  # None: cannot be selected
    cells: Sequence[PlotCell]


@dataclass(frozen=True)
class PlotKey:
    """Legend entry of the line whose SVG group has the id NAME-line-INDEX."""

    label: str
    marker: str
    color: str  # CSS


@dataclass(frozen=True)
class Plot:
    """Curves against the training step, or points of several lines, as a drawing and as a table of values."""

    name: str
    title: str
    label: str  # of the drawing, for screen readers
    caption: str
    canvas: Canvas
    header: Sequence[PlotCell]
    rows: Sequence[PlotRow]
    summaries: Sequence[str] = ()  # one sentence per curve
    keys: Sequence[PlotKey] = ()  # empty: the drawing contains the legend


@dataclass(frozen=True)
class Plots(Block):
    plots: Sequence[Plot]


@dataclass(frozen=True)
class Track:
    """Pictures that a viewer shows one at a time: pictures[order[i]] at slider position i."""

    heading: str
    pictures: Sequence[Picture]
    labels: Sequence[str]  # one per picture
    order: Sequence[int]


@dataclass(frozen=True)
class Viewer(Block):
    """Tracks side by side under one slider."""

    name: str
    heading: str
    positions: Sequence[str]
    tracks: Sequence[Track]


@dataclass(frozen=True)
class Grid(Block):
    """A table of texts whose first column names the rows; long tables start `folded`.

    The headers of a `sortable` table sort its rows, by number if all texts of the column are numbers or missing.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False
    sortable: bool = False


@dataclass(frozen=True)
class Listing(Block):
    """Preformatted text, folded at first."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of a page; links refer to its `name`."""

    name: str
    heading: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    title: str
    subtitle: str
    findings: Sequence[str]
    sections: Sequence[Section]
    footer: str


def render(page: Page) -> str:
    """Render a page as one HTML file that loads nothing; sections without blocks are omitted."""
    environment = Environment(
        loader=PackageLoader("analyze.report.page", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_controls,
    )
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    sections = [section for section in page.sections if section.blocks]
    return environment.get_template("page.html.j2").render(page=page, sections=sections, style=style, script=script)


def _without_controls(value: Any) -> Any:
    """Replace characters that are not text or that reverse the order of the following text, as in file names."""
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", value) if type(value) is str else value


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
