"""Set-ups on noise of 16 × 16 pixels, spaces found by listing conf, and bits of measurements."""

from functools import cache
from typing import Any

import pytest

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.scoring.scorer import Measurement, Scorer
from diswot.scoring.setup import Setup
from diswot.spaces import Space

TINY = ["data=gaussian", "data.batch_size=6", "data.image_size=16", "teacher=resnet8"]

SMALLER = {
    "autoformer": ["space.widths=[24,48]", "space.depths=[3]"],
    "timm": ["space.models=[test_efficientnet,test_efficientnet_gn]"],
}
"""Settings that make the networks of a space small."""


def members(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def made(group: str, kind: type[Any], *overrides: str) -> Any:
    """A member of a group as a search has it."""
    return make(compose("search", overrides, None)[group], group, kind)


@cache
def space_of(name: str) -> Space:
    return made("space", Space, f"space={name}", *(SMALLER["timm"] if name == "timm" else []))


each_space = pytest.mark.parametrize("name", members("space"))


def setup(*overrides: str) -> Setup:
    return Setup.from_config({**compose("search", [*TINY, *overrides], None), "device": "cpu"})


@cache
def s0_scorer(*overrides: str) -> Scorer:
    return setup("space=s0", *(overrides or ["proxy=[diswot,nwot,params,random]"])).scorer


def bits(measurement: Measurement) -> tuple[Any, ...]:
    """All but the seconds, every part to its last bit."""
    parts = {
        proxy: {part: value.hex() for part, value in parts.items()}
        for proxy, parts in measurement.parts.items()
    }
    return measurement.arch, parts, measurement.failures, measurement.cost
