"""What models of timm cost, counted once a machine and kept in the user's cache directory."""

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch

from diswot._version import __version__
from diswot.models.outputs import Cost, count_flops, count_layers, count_params
from diswot.models.zoo import REFUSALS, own_size, timm_model, timm_version

_EVERY = 10.0  # seconds of counting between two lines of progress


class CostTable:
    """Costs of models of timm; what one process has counted others read.

    MACs of a model that does not run on the images are those of an image of its own size.
    """

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, Cost]] = {}
        self._seconds, self._models = 0.0, 0  # of counting

    def cost(self, model: str, num_classes: int, image: tuple[int, int, int]) -> Cost:
        """Cost of a model on an image ``(in_channels, H, W)``, from the table if it is there."""
        file = _file(num_classes, image)
        known = self._known.setdefault(file, {})
        if model not in known:
            known.update(_read(file))  # what other processes have counted meanwhile
        if model not in known:
            started = time.monotonic()
            known[model] = _counted(model, num_classes, image)
            _append(file, model, known[model])
            self._progress(time.monotonic() - started, file)
        return known[model]

    def _progress(self, seconds: float, file: Path) -> None:
        """A line on stderr after every ten seconds of counting."""
        before = self._seconds
        self._seconds, self._models = before + seconds, self._models + 1
        if self._seconds // _EVERY > before // _EVERY:
            line = f"Counted what {self._models} models of timm cost, once for all: {file}"
            sys.stderr.write(f"{line}\n")


def _file(num_classes: int, image: tuple[int, int, int]) -> Path:
    """One for each version of diswot and timm, size of image and number of classes."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    sizes = "x".join(map(str, image))
    name = f"{__version__}-timm-{timm_version()}-{sizes}-{num_classes}.jsonl"
    return Path(root, "diswot", name)


def _read(file: Path) -> dict[str, Cost]:
    costs = {}
    with suppress(OSError):
        for line in file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError, KeyError):  # a line that was cut off
                entry = json.loads(line)
                model = entry.pop("model")
                costs[model] = Cost(**entry)
    return costs


def _append(file: Path, model: str, cost: Cost) -> None:
    with suppress(OSError):  # without a place to keep it, it is counted again
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"model": model, **asdict(cost)}) + "\n")


def _counted(model: str, num_classes: int, image: tuple[int, int, int]) -> Cost:
    channels, side, _ = image
    try:
        with torch.device("meta"):
            network = timm_model(model, num_classes, channels, side)
        flops = count_flops(network, image)
    except REFUSALS:
        own = own_size(model)
        with torch.device("meta"):
            network = timm_model(model, num_classes, channels)
        flops = count_flops(network, (channels, own, own))
    return Cost(count_params(network), flops, count_layers(network))
