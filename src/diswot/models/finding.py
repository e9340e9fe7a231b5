"""Parts of a classifier that nobody has named: its stages and its last layer, by running it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from diswot.errors import UserError

_MOST_PREFIX = 2  # tokens of no place, where a model does not say how many it has


class Parts(NamedTuple):
    """Paths of the stages, in order of execution, and of the last linear layer."""

    stages: list[str]
    classifier: str


class Shown(NamedTuple):
    """What a module gives as a map ``(B, C, H, W)``, and the way back to the module's own form."""

    map: Tensor
    back: Callable[[Tensor], Tensor]


def shown(output: object, prefix: int = 0) -> Shown | None:
    """The map that a module's output holds; None where it holds none.

    Understood are maps, maps with channels last, ``(B, H, W, C)`` with H = W ≠ C, tokens of a
    square grid ``(B, N, C)`` behind ``prefix`` tokens of no place (or the fewest that leave a
    square), and vectors ``(B, C)`` as maps of one pixel.
    """
    if not isinstance(output, Tensor) or not 2 <= output.ndim <= 4:
        return None
    if output.ndim == 2:
        return Shown(output[:, :, None, None], lambda vectors: vectors.flatten(1))
    if output.ndim == 4:
        if output.shape[1] == output.shape[2] != output.shape[3]:
            return Shown(output.permute(0, 3, 1, 2), lambda maps: maps.permute(0, 2, 3, 1))
        return Shown(output, lambda maps: maps)
    for skipped in (prefix, *range(_MOST_PREFIX + 1)):
        side = math.isqrt(max(0, output.shape[1] - skipped))
        if side and side * side == output.shape[1] - skipped:
            return _grid(output[:, :skipped], output[:, skipped:], side)
    return None


def _grid(first: Tensor, tokens: Tensor, side: int) -> Shown:
    maps = tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
    return Shown(maps, lambda m: torch.cat([first, m.flatten(2).transpose(1, 2)], 1))


@torch.no_grad()
def find_parts(model: nn.Module, images: Tensor, named: Sequence[str] = ()) -> Parts:
    """The parts of a classifier in eval mode, found by running a few images, on any device.

    The classifier is the linear layer that gives the logits. There is a stage for each size of
    square maps, while it falls: the last of the ``named`` modules that gives such a map, or, where
    none are named, of the outermost modules, among those that run once. Where all maps have one
    size, there are at most four, evenly spaced in a list of modules. Where the last one has not as
    many channels as the classifier reads, a map of one pixel that has is one more stage; with
    ``named`` ones a later map of the same size takes its place, or a vector is one more.

    Raises:
        UserError: The last layer is not linear, or no module gives maps.
    """
    once, logits = _outputs(model, images)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"its forward gives {shape}, not logits (B, K)")
    linear = [
        path
        for path, output in once.items()
        if isinstance(model.get_submodule(path), nn.Linear)
        and (output is logits or (not logits.is_meta and torch.equal(output, logits)))
    ]
    if not linear:
        raise UserError("its logits are not what a Linear gives; its last layer has to be one")
    maps = dict(_maps(once, len(images), int(getattr(model, "num_prefix_tokens", 0))))
    known = [path for path in named if path in maps and maps[path][1] > 1]
    stages = _one_a_size({path: maps[path] for path in known} or maps, outermost=not known)
    if len(stages) == 1:
        stages = _row(model, maps, known, stages[0])
    read = cast(nn.Linear, model.get_submodule(linear[-1])).in_features
    if stages and maps[stages[-1]][0] != read:
        stages = _with_last(stages, maps, read, named=bool(known))
    return Parts(stages, linear[-1])


def _outputs(model: nn.Module, images: Tensor) -> tuple[dict[str, Any], Any]:
    """What the modules give that run once, by path, those that hold others behind them; logits."""
    calls: dict[str, list[Any]] = {}

    def note(path: str, module: nn.Module, args: Any, output: Any) -> None:
        calls.setdefault(path, []).append(output)

    with ExitStack() as stack:
        for path, module in model.named_modules():
            if path:
                stack.enter_context(module.register_forward_hook(partial(note, path)))
        logits = model(images)
    return {path: outputs[0] for path, outputs in calls.items() if len(outputs) == 1}, logits


Sizes = Mapping[str, tuple[int, int]]
"""Channels and side of square maps, by path; the side of vectors is 0."""


def _maps(
    once: Mapping[str, Any], batch: int, prefix: int
) -> Iterator[tuple[str, tuple[int, int]]]:
    for path, output in once.items():
        seen = shown(output, prefix)
        if seen is not None and len(seen.map) == batch and seen.map.shape[2] == seen.map.shape[3]:
            yield path, (seen.map.shape[1], seen.map.shape[2] if output.ndim > 2 else 0)


def _depth(path: str) -> int:
    return path.count(".")


def _one_a_size(maps: Sizes, *, outermost: bool) -> list[str]:
    last: dict[int, str] = {}  # by size
    for path, (_, side) in maps.items():
        least = not outermost or _depth(path) <= _depth(last.get(side, path))
        if 1 < side <= min(last, default=side) and least:
            last[side] = path
    return list(last.values())


def _row(model: nn.Module, maps: Sizes, named: Sequence[str], last: str) -> list[str]:
    """At most four modules of the longest row of modules in a list, the last one being ``last``."""
    lists = [p for p, m in model.named_modules() if isinstance(m, nn.Sequential | nn.ModuleList)]
    rows = [[f"{p}.{name}" for name, _ in model.get_submodule(p).named_children()] for p in lists]
    side = maps[last][1]
    rows = [[path for path in row if path in maps and maps[path][1] == side] for row in rows]
    row = list(named) or max(rows, key=len, default=[])
    chosen = [row[len(row) * part // 4 - 1] for part in (1, 2, 3) if len(row) * part // 4]
    return [*dict.fromkeys(each for each in chosen if each != last), last]


def _with_last(stages: list[str], maps: Sizes, read: int, *, named: bool) -> list[str]:
    """The stages with a last one that has ``read`` channels, if there is such a map."""
    if not named:
        pixels = [path for path in maps if maps[path] == (read, 1)]
        return [*stages, min(pixels, key=_depth)] if pixels else stages
    order, side = list(maps), maps[stages[-1]][1]
    later = [path for path in order[order.index(stages[-1]) + 1 :] if maps[path][0] == read]
    if same := [path for path in later if maps[path][1] == side]:
        return [*stages[:-1], min(reversed(same), key=_depth)]
    return [*stages, *sorted(later, key=_depth)[:1]]
