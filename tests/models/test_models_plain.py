"""A plug-in that gives a plain module is refused in one line, wherever its network comes from."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from diswot import search, train
from diswot.spaces.s0 import S0


def plain(*, num_classes: int, in_channels: int, **_: Any) -> nn.Module:
    """A classifier that shows nothing of its inside."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_classes))


class PlainSpace(S0):
    """S0, whose networks are plain."""

    def build(self, arch: Any, **sizes: Any) -> nn.Module:
        return plain(**sizes)

    def cost(self, *_: Any, **__: Any) -> None:
        """Counted, of the network."""


SEARCH = ["space=s0", "proxy=diswot", "teacher=resnet8", "data=gaussian", "workers=1"]


@pytest.mark.parametrize(
    ("command", "words", "node"),
    [
        (search, [*SEARCH, f"space._target_={__name__}.PlainSpace"], "space=s0: build"),
        (search, SEARCH, "teacher.network"),
        (train, ["teacher=none", "distiller=none"], "student.network"),
    ],
)
def test_a_plain_module_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Any, words: list[str], node: str
) -> None:
    if "network" in node:
        words = [*words, f"{node}._target_={__name__}.plain"]
    assert command.main([*words, "device=cpu", f"hydra.run.dir={tmp_path}/run"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f": {node}" in message
    assert "gives a Sequential, which has no classifier and outputs(images); give" in message
