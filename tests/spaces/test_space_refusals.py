"""Texts that spaces refuse to read, and settings that they refuse to have."""

from __future__ import annotations

import re

import pytest
from spaces_helpers import make_space

from diswot.errors import UserError

RESNET18 = "s2:64/b3x2-64/b3x2-128/b3x2-256/b3x2-512"
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|avg_pool_3x3~2|"


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        ("s0", "s0:1-2-5", "'s0:1-2-5': depth of stage 2 is 2; space s0 allows 1, 3, 5, 7"),
        ("s0", "s0:1-03-5", "canonical form, which is s0:1-3-5"),
        ("s0", "s0:1-3", "which reads s0:1-1-1"),
        ("s1", "s1:16/b3x1-8-8/b3x1-8-8", "has 2 stages; space s1 has 3"),
        ("s1", "s1:16" + "/b3x1-8-8" * 4, "has 4 stages; space s1 has 3"),
        (
            "s1",
            "s1:16/x3x1-8-8/b3x1-8-8/b3x1-8-8",
            "is not of space s1, which reads s1:8/b3",
        ),
        ("s1", "s1:/b3x1-8-8/b3x1-8-8/b3x1-8-8", "is not of space s1"),
        (
            "s1",
            "s1:16/b3x1-8-8/b3x1-257-8/b3x1-8-8",
            "middle width of stage 2 is 257; space s1",
        ),
        ("s1", "s1:016/b3x1-8-8/b3x1-8-8/b3x1-8-8", "canonical form, which is s1:16/"),
        ("s2", RESNET18.replace("x2-512", "x3-512"), "has 20 layers; space.max_layers allows 18"),
        (
            "s2",
            RESNET18.replace("b3x2-128", "b4x2-128"),
            "kernel of stage 2 is 4; space s2 all",
        ),
        (
            "s2",
            RESNET18.replace("x2-64", "x6-64"),
            "depth of stage 1 is 6; space s2 allows 1, 2",
        ),
        ("s2", RESNET18.replace("-512", "-1032"), "width of stage 4 is 1032; space s2 allows 128,"),
        ("s2", RESNET18.replace("s2:64", "s2:60"), "stem is 60; space s2 allows 16, 24"),
        ("s2", RESNET18.replace("s2:64", "s2:064"), "canonical form, which is s2:64/"),
        ("s2", "s2:64/b3x2-64/b3x2-128", "has 2 stages; space s2 has 4"),
        ("s2", "s2:64/n3x2-64/b3x2-128", f"is not of space s2, which reads {RESNET18}"),
        (
            "nasbench201",
            CELL.replace("skip_connect", "conv"),
            "from node 1 to 2 is conv; space",
        ),
        (
            "nasbench201",
            CELL.replace("~2", "~1"),
            "of space nasbench201, which reads |skip_conn",
        ),
        ("nasbench201", f"nasbench201:{CELL}", "is not of space nasbench201"),
        ("nasbench201", CELL.replace("+", ""), "is not of space nasbench201"),
    ],
)
def test_texts(space: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make_space(space).parse(text)


@pytest.mark.parametrize(
    ("space", "setting", "value", "message"),
    [
        ("s0", "depths", [], "space=s0: depth of stage 1 has the choices []; at least one"),
        ("s0", "depths", [1, 1], "space=s0: depth of stage 1 has the choices [1, 1]; at least one"),
        ("s0", "shortcut", "C", "space.shortcut=C: allowed are A, B"),
        ("s1", "blocks", ["conv"], "space.blocks: 'conv'; allowed: basic, bottleneck"),
        ("s1", "kernels", [3, 4], "space.kernels: 4 is even"),
        ("s2", "max_layers", 9, "space.max_layers=9 is not allowed; give a whole number of at le"),
        ("s2", "max_layers", 16, "has 18 layers; space.max_layers allows 16"),
        ("s2", "kernels", [5, 7], "kernel of stage 1 is 3; space s2 allows 5, 7"),
        (
            "s2",
            "width_limits",
            [0.5],
            "space.width_limits=[0.5]: give the narrowest and the",
        ),
        ("s2", "width_limits", [0.5, 0.9], "space.width_limits=0.9 is not allowed"),
        ("s2", "width_factors", [0.5], "space.width_factors=0.5 is not allowed"),
        ("s2", "width_step", 0, "space.width_step=0 is not allowed"),
        ("s2", "base", "resnet18", "space.base=resnet18 is not allowed; give one as s2:64/b3x2-64"),
        ("nasbench201", "cells", 0, "space.cells"),
        ("nasbench201", "widths", [], "space.widths"),
        ("nasbench201", "widths", [16, 0], "space.widths"),
    ],
)
def test_settings(space: str, setting: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make_space(space, **{setting: value})
