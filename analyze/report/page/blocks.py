"""Content of a page: sections with a heading, a lead and blocks, rendered by page.html.j2."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader

FOLDER = Path(__file__).parent


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
class PlotRow:
    """Position of a step in the drawing, with the position and text of each curve's value."""

    step: int
    x: float
    y: Sequence[float | None]  # None: no value at this step
    texts: Sequence[str]


@dataclass(frozen=True)
class Plot:
    """Curves against the training step, as a drawing and as a table of values."""

    name: str
    title: str
    caption: str
    summaries: Sequence[str]  # one sentence per curve
    svg: str
    size: tuple[float, float]  # of the drawing, in SVG units
    box: tuple[float, float]  # upper and lower end of the axes
    labels: Sequence[str]
    colors: Sequence[str]  # CSS
    rows: Sequence[PlotRow]


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
    """A table of texts whose first column names the rows; long tables start `folded`."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False


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
        loader=PackageLoader("analyze.report.page", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    sections = [section for section in page.sections if section.blocks]
    return environment.get_template("page.html.j2").render(page=page, sections=sections, style=style, script=script)


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
