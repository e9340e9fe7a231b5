"""Pages that are written by running are of the members there are."""

from __future__ import annotations

import re
from pathlib import Path

from diswot.config import conf_dir

DOCS = Path(__file__).parents[1] / "docs"


def test_every_proxy_is_on_its_page() -> None:
    page = (DOCS / "proxies.md").read_text(encoding="utf-8")
    support = page[page.index("## What works where") : page.index("## How well they rank S0")]
    rows = re.findall(r"^\| `(\w+)` \|", support, flags=re.MULTILINE)
    assert rows == sorted(file.stem for file in (conf_dir() / "proxy").glob("*.yaml"))


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([\w./-]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
