"""What the package and its pages promise as a whole."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import diswot

ROOT = Path(__file__).parents[1]


def test_import_is_light_and_silent() -> None:
    code = (
        "import sys, diswot\n"
        "heavy = {'torch', 'torchvision', 'lightning', 'hydra', 'matplotlib', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import diswot.cli; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_resolve() -> None:
    for name in diswot.__all__:
        assert getattr(diswot, name) is not None
    assert dir(diswot) == sorted(diswot.__all__)
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = diswot.nothing_here


def test_the_image_licence_travels_with_the_images() -> None:
    assets = ROOT / "src" / "diswot" / "assets"
    notice = (assets / "NOTICE").read_text(encoding="utf-8")
    for line in (assets / "SHA256SUMS").read_text(encoding="utf-8").split("\n"):
        if line and "validated.csv" not in line:  # measured by the package itself
            assert line.split()[0] in notice
            assert line.split()[1] in notice


def test_tables_of_members_are_up_to_date() -> None:
    command = [sys.executable, ROOT / "tools" / "docs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([\w./-]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
