"""What a page is made of: sections, each a heading, a lead and blocks; page.html.j2 says how they look."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader

FOLDER = Path(__file__).parent


class Block:
    """A part of a section; the macro of page/blocks.html.j2 with the name of its class writes it."""

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Text(Block):
    text: str


@dataclass(frozen=True)
class Notes(Block):
    """Sentences that say what is lacking, a line each."""

    sentences: Sequence[str]


@dataclass(frozen=True)
class Subheading(Block):
    text: str


@dataclass(frozen=True)
class Tiles:
    """Images of one size in rows and columns, in pixels, with gaps of one pixel."""

    columns: int
    rows: int
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    source: str  # data URI
    alternative: str  # what is seen, for those who don't see it
    tiles: Tiles | None = None  # that it is made of


@dataclass(frozen=True)
class Gallery(Block):
    """A picture with a caption."""

    picture: Picture
    caption: str


@dataclass(frozen=True)
class Drawing:
    """A drawing as inline SVG, which takes on the page's colours."""

    svg: str
    alternative: str
    caption: str
    is_wide: bool


@dataclass(frozen=True)
class Drawings(Block):
    drawings: Sequence[Drawing]


@dataclass(frozen=True)
class PlotRow:
    """A step of a plot: where it lies on the drawing, and what each curve has there, if anything."""

    step: int
    x: float
    y: Sequence[float | None]
    texts: Sequence[str]


@dataclass(frozen=True)
class Plot:
    """Curves against the training step, as a drawing and as a table of the values."""

    name: str
    title: str
    caption: str
    seen: Sequence[str]  # what each curve does, a sentence each
    svg: str
    size: tuple[float, float]  # of the drawing, in its own units
    box: tuple[float, float]  # its axes' upper and lower end
    labels: Sequence[str]
    colours: Sequence[str]  # as CSS
    rows: Sequence[PlotRow]


@dataclass(frozen=True)
class Plots(Block):
    plots: Sequence[Plot]


@dataclass(frozen=True)
class Track:
    """Pictures of which a viewer shows one at a time: at its i-th position the one numbered shown[i]."""

    heading: str
    pictures: Sequence[Picture]
    labels: Sequence[str]  # what is said of each picture
    shown: Sequence[int]


@dataclass(frozen=True)
class Viewer(Block):
    """Tracks of pictures side by side under one slider."""

    name: str
    heading: str
    positions: Sequence[str]
    tracks: Sequence[Track]


@dataclass(frozen=True)
class Grid(Block):
    """A table of texts; the first column names the rows. A long one is `folded` at first."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Listing(Block):
    """Text as it is, to be unfolded."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of a page. `name` is its place in links."""

    name: str
    heading: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    title: str
    about: str  # in one line, below the title
    findings: Sequence[str]
    sections: Sequence[Section]
    made_with: str


def render(page: Page) -> str:
    """The page as one HTML file, without the sections that have no blocks; it loads nothing."""
    environment = Environment(
        loader=PackageLoader("analyze.report.page", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    sections = [section for section in page.sections if section.blocks]
    return environment.get_template("page.html.j2").render(page=page, sections=sections, style=style, script=script)


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
