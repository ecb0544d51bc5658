"""Files from the network, whole and with the digest that is expected of them."""

import logging
import shutil
from pathlib import Path

from configs.errors import UserError
from records.atomic import PARTIAL, atomic_file, file_digest
from records.progress import progress


def downloaded(url: str, digest: str | None, folder: Path, option: str) -> Path:
    """The file at `url`, kept in `folder`; `digest` like "md5:…", or None where none is published.

    Only one process at a time may call it. Raises UserError where it cannot be had, or is another one; it names the
    `option` by which a file can be given that was got otherwise.
    """
    path = folder / url.rpartition("/")[2]
    if path.exists() and has_digest(path, digest):
        return path
    clear_leftovers(path)
    with atomic_file(path) as aside:
        _download(url, aside, option)
        if not has_digest(aside, digest):
            raise UserError(
                f"{url} gave a file that is not the expected one (its digest is not {digest}); "
                f"try again later, or get it elsewhere and give its path as {option}="
            )
    return path


def has_digest(path: Path, digest: str | None) -> bool:
    if digest is None:
        return True
    algorithm, _, expected = digest.partition(":")
    return file_digest(path, algorithm) == expected


def clear_leftovers(path: Path) -> None:
    """Removes what died while it was writing the file or folder `path`."""
    for leftover in path.parent.glob(f"{PARTIAL}{path.name}-*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _download(url: str, path: Path, option: str) -> None:
    import pooch
    from requests import RequestException

    pooch.get_logger().setLevel(logging.WARNING)  # the bar says it all
    with progress(f"downloading {url}", 0, "B") as bar:
        try:
            pooch.HTTPDownloader(progressbar=bar, chunk_size=2**18)(url, str(path), None)
        except RequestException as error:
            raise UserError(
                f"{url} cannot be downloaded ({_reason(error)}); get it by other means and give its path as {option}="
            ) from None


def _reason(error: BaseException) -> str:
    """What lies at the bottom of an error of requests, without the objects it passed through."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
