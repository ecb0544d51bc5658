"""A reader under test: sound files, ways to damage them, and the function that reads them."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.mutations import damaged_tree
from hypothesis import strategies as st

Tree = dict[str, bytes]  # content of files by relative path


@dataclass(frozen=True)
class Reader:
    """`write` fills a folder with sound files and `read` reads it.

    `repair` makes digests valid again, so that damage reaches the code behind their check. `examples` returns hostile
    trees; its second argument is a file that no case may create. `kinds` contains strategies by suffix. Only the files
    that `reads` names are damaged at random.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    repair: Callable[[Tree], Tree] | None = None
    examples: Callable[[Tree, Path], Iterable[Tree]] = lambda tree, executed: ()
    kinds: dict[str, Callable[[bytes], st.SearchStrategy]] = field(default_factory=dict)
    reads: Callable[[str], bool] = lambda name: True
    case_s: float = 10.0  # time limit of a case

    def example(self, folder: Path) -> Tree:
        """Return the sound files."""
        path = folder / "sound"
        path.mkdir()
        self.write(path)
        tree = {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
        shutil.rmtree(path)
        return tree

    def hostile(self, tree: Tree, executed: Path) -> list[Tree]:
        """Return the hostile examples, each also with valid digests."""
        examples = list(self.examples(tree, executed))
        return examples if self.repair is None else [*examples, *map(self.repair, examples)]

    def damaged(self, tree: Tree) -> st.SearchStrategy[Tree]:
        """Return the strategy of damaged trees, half of them with valid digests."""
        strategy = damaged_tree(tree, sorted(filter(self.reads, tree)), self.kinds)
        return strategy if self.repair is None else st.one_of(strategy, strategy.map(self.repair))


class Executed:
    """A pickle that creates a folder when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        import os

        return os.mkdir, (str(self.path),)


def by_name(*readers: Reader) -> dict[str, Reader]:
    return {reader.name: reader for reader in readers}
