"""From matplotlib to SVG that lives inside a page, in its fonts and its light or dark colours."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Panel", "panel", "plain"]

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "diswot",  # the same figure has the same ids
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 9.0,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "savefig.facecolor": "none",
    "savefig.dpi": 160.0,
}
_COLORS = {
    "#000000": "var(--ink)",
    "#333333": "var(--ink)",
    "#4c4c4c": "var(--ink)",
    "#4d4d4d": "var(--ink)",
    "#666666": "var(--soft)",
    "#b0b0b0": "var(--soft)",
    "#1f77b4": "var(--c0)",
    "#ff7f0e": "var(--c1)",
    "#2ca02c": "var(--c2)",
    "#d62728": "var(--c3)",
    "#9467bd": "var(--c4)",
    "#8c564b": "var(--c5)",
    "#e377c2": "var(--c6)",
    "#7f7f7f": "var(--c7)",
    "#bcbd22": "var(--c8)",
    "#17becf": "var(--c9)",
}
"""What matplotlib draws with, and the page's own for it."""


class Panel:
    """One set of axes that becomes one picture.

    Attributes:
        axes: To draw on.
        svg: The picture, once the context of `panel` has ended.
    """

    def __init__(self, axes: Any) -> None:
        self.axes = axes
        self.svg = ""


@contextmanager
def panel(name: str, label: str, width: float = 4.4, height: float = 3.1) -> Iterator[Panel]:
    """Give axes to draw on; what was drawn is in `Panel.svg` afterwards.

    Args:
        name: Unlike that of any other picture of the page; letters, digits and hyphens.
        label: What it shows, for those who cannot see it.
        width: Inches.
        height: Inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        drawn = Panel(figure.subplots())
        yield drawn
        text = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has more fonts
            warnings.filterwarnings("ignore", "constrained_layout not applied")  # long labels
            figure.savefig(text, format="svg", metadata={"Date": None})
    drawn.svg = _inline(text.getvalue(), name, label)


def plain(text: object) -> str:
    """Text without the characters that XML knows not, for labels in pictures."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(text))


def _inline(text: str, name: str, label: str) -> str:
    """The picture as an element: own ids, the page's colours and fonts, no style sheet."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(plain(text))  # written by matplotlib a moment ago
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _adapt(element, name)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", plain(label))
    return ET.tostring(root, encoding="unicode")


def _adapt(element: ET.Element, name: str) -> None:
    if (target := element.attrib.pop(_XLINK, None)) is not None:
        element.set("href", re.sub(r"^#", f"#{name}-", target.replace("\n", "")))
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.attrib['id']}")
    if "clip-path" in element.attrib:
        element.set("clip-path", element.attrib["clip-path"].replace("#", f"#{name}-"))
    if "style" in element.attrib:
        element.set("style", _style(element))


def _style(element: ET.Element) -> str:
    style = re.sub(r"font-family:[^;]*;?", "", element.attrib["style"])
    style = re.sub(r"font: ([\w. ]*?)(\d[\d.]*px)[^;]*", r"font-size: \2", style)
    style = re.sub(r"#[0-9a-f]{6}\b", lambda found: _COLORS.get(found[0], found[0]), style)
    if element.tag == f"{{{_SVG}}}text" and "fill:" not in style:
        style = f"fill: var(--ink); {style}"
    return style
