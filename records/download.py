"""Downloads that are complete and have the expected digest."""

from pathlib import Path
from typing import Any

from configs.errors import UserError
from records.atomic import atomic_file, clear_partial
from records.progress import progress


def download(url: str, digest: str | None, folder: Path, option: str) -> Path:
    """Return the path of a file in `folder`, downloaded from `url` if it is missing or its digest differs.

    `digest` is written like "md5:…"; None accepts any content. Raises UserError if the download fails; the message
    names the `option` that takes a file obtained by other means.
    """
    import pooch
    from requests import RequestException

    name = url.rpartition("/")[2]
    clear_partial(folder, "tmp*", abandoned_only=True)  # pooch names its temporary files like this
    pooch.get_logger().setLevel("WARNING")  # the progress bar is enough
    try:
        return Path(pooch.retrieve(url, digest, name, folder, downloader=_fetch))
    except RequestException as error:
        reason = f"{url} cannot be downloaded ({_reason(error)})"
    except ValueError:
        reason = f"{url} is not the expected file (its digest is not {digest})"
    raise UserError(f"{reason}; obtain the file by other means and set {option}= to its path")


def _fetch(url: str, path: str, _: Any) -> None:
    """Download atomically; a temporary file of pooch is readable by its owner only and is not synced."""
    import pooch

    with progress(f"downloading {url}", 0, "B") as bar, atomic_file(Path(path)) as partial:
        pooch.HTTPDownloader(progressbar=bar, chunk_size=2**18)(url, str(partial), None)


def _reason(error: BaseException) -> str:
    """Return the message of the innermost error, without the objects that requests wraps around it."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
