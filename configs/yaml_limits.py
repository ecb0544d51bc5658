"""Limits of YAML texts, whose aliases and brackets can describe more content than fits into memory."""

import yaml

MAX_CHARACTERS = 1_000_000
MAX_VALUES = 100_000  # with every alias replaced by the values that it refers to
MAX_DEPTH = 50

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_limits(text: str) -> None:
    """Raise ValueError if a YAML text exceeds the limits, and YAMLError if it is invalid."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, more than {MAX_CHARACTERS:,}")
    sizes: dict[str, int] = {}  # number of values by anchor
    unfinished: list[tuple[str | None, int]] = []  # anchor and size of the collections around the current position
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            unfinished.append((event.anchor, 1))
            if len(unfinished) > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, (yaml.CollectionEndEvent, yaml.NodeEvent)):
            anchor, size = _finished(event, unfinished, sizes)
            if anchor is not None:
                sizes[anchor] = size
            if unfinished:
                outer, outer_size = unfinished.pop()
                unfinished.append((outer, size := outer_size + size))
            if size > MAX_VALUES:
                raise ValueError(f"it has more than {MAX_VALUES:,} values")


def _finished(
    event: yaml.CollectionEndEvent | yaml.NodeEvent,
    unfinished: list[tuple[str | None, int]],
    sizes: dict[str, int],
) -> tuple[str | None, int]:
    """Return the anchor and the size of the value that ends with an event."""
    if isinstance(event, yaml.CollectionEndEvent):
        return unfinished.pop()
    if not isinstance(event, yaml.AliasEvent) or event.anchor is None:
        return event.anchor, 1
    if event.anchor in [anchor for anchor, _ in unfinished]:
        raise ValueError(f"*{event.anchor} contains itself")
    return None, sizes.get(event.anchor, 1)
