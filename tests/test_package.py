"""What the package promises as a whole."""

import subprocess
import sys
from pathlib import Path

import pytest

import diswot

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_import_is_light_and_silent() -> None:
    code = (
        "import sys, diswot\n"
        "heavy = {'torch', 'torchvision', 'lightning', 'hydra', 'matplotlib', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_resolve() -> None:
    for name in diswot.__all__:
        assert getattr(diswot, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = diswot.nothing_here


def test_the_image_licence_travels_with_the_images() -> None:
    assets = ROOT / "src" / "diswot" / "assets"
    notice = (assets / "NOTICE").read_text(encoding="utf-8")
    for line in (assets / "SHA256SUMS").read_text(encoding="utf-8").split("\n"):
        if line:
            assert line.split()[0] in notice
            assert line.split()[1] in notice


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_gives(path: Path) -> None:
    """A docstring everywhere; ``__all__`` in every public module that defines anything."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""')
    public = not path.name.startswith("_") and ("\ndef " in text or "\nclass " in text)
    assert not public or "__all__" in text
