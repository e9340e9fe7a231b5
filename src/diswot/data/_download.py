"""Downloads by torchvision, with an honest message when they fail."""

from http.client import HTTPException
from pathlib import Path

from diswot import _torchvision
from diswot.errors import UserError

__all__ = ["download"]


def download(url: str, folder: Path, filename: str, md5: str, *, unpack: bool = False) -> None:
    """Fetch ``url`` into ``folder`` unless an intact copy lies there already.

    Args:
        url: where from.
        folder: where to; made if it does not exist.
        filename: name of the file within the folder.
        md5: checksum the file must have.
        unpack: also unpack the archive into the folder.

    Raises:
        UserError: the file cannot be fetched; the message says how to supply it by hand.
    """
    _torchvision.ensure()
    from torchvision.datasets import utils

    try:
        utils.download_url(url, folder, filename, md5)
        if unpack:
            utils.extract_archive(folder / filename, folder)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"data.download: {url} cannot be fetched ({error}); "
            f"put {filename} into {folder} by hand and run again"
        ) from error
