"""Files that come with the package, checked against ``assets/SHA256SUMS`` when read."""

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from diswot.errors import UserError

__all__ = ["read_asset"]


def read_asset(name: str, folder: Traversable | None = None) -> bytes:
    """Read a file that comes with the package.

    Args:
        name: file name within the folder.
        folder: where it and ``SHA256SUMS`` lie; default: the package's ``assets``.

    Raises:
        UserError: the file is missing or is not the one that was released.
    """
    folder = folder or files("diswot") / "assets"
    try:
        content = (folder / name).read_bytes()
        lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{folder / name}: cannot be read ({error}); reinstall diswot") from error
    sums = {file: digest for digest, file in (line.split() for line in lines if line.strip())}
    found = hashlib.sha256(content).hexdigest()
    if found != sums.get(name):
        raise UserError(
            f"{folder / name}: its sha256 is {found}, but SHA256SUMS says "
            f"{sums.get(name, 'nothing about it')}; reinstall diswot"
        )
    return content
