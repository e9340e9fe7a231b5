"""The spelling of the settings of ``diswot train`` before this release, and what it is now.

What was ``trainer`` is ``protocol``; ``trainer`` holds the arguments of Lightning's Trainer. This
goes with the next release.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["translated"]

_PRESETS = ("short", "crd", "imagenet")
_KEYS = (
    *("name", "max_epochs", "optimizer", "schedule", "augment", "mixup", "cutmix", "ce_weight"),
    *("label_smoothing", "ema", "gradient_clip", "validation", "compile", "teacher_cache"),
)
_PRESET = re.compile(rf"(\+?)trainer=((?:{'|'.join(_PRESETS)})(?:,(?:{'|'.join(_PRESETS)}))*)")
_KEY = re.compile(rf"([+~]{{0,2}})trainer\.((?:{'|'.join(_KEYS)})(?:[.=@].*)?)", re.DOTALL)


def translated(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Put words of a command line of ``diswot train`` into the present spelling.

    Args:
        words: Overrides and options.

    Returns:
        The words, and a line for each that was changed.
    """
    changed = [_translated(word) for word in words]
    notices = [
        f"{old} is now {new}; the old spelling goes with the next release"
        for old, new in zip(words, changed, strict=True)
        if new != old
    ]
    return changed, notices


def _translated(word: str) -> str:
    if preset := _PRESET.fullmatch(word):
        return f"{preset[1]}protocol={preset[2]}"
    if key := _KEY.fullmatch(word):
        return f"{key[1]}protocol.{key[2]}"
    return word
