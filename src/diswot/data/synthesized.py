"""Training images that ``diswot synthesize`` made of a teacher, tested on real ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from diswot.checks import folder
from diswot.config import check_harmless, conf_dir, known_targets, make
from diswot.data.base import ArrayImages, ImageData, LabelledImages, Split
from diswot.data.npz import read_train
from diswot.errors import UserError
from diswot.runs import read_json

_WANTED = "the run directory of a diswot synthesize that has finished"


class SynthesizedData(ImageData):
    """The images of a synthesis; those to test with are of the data set it was made for.

    Args:
        run: the run directory of the synthesis; its data set has to be one of the package.
        image_size, mean, std: default: those of that data set.

    Raises:
        UserError: there are no images, or a setting is outside what is allowed.
    """

    own_files = ("run",)

    def __init__(
        self,
        *,
        run: str | Path | None,
        image_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        self.run = folder("data.run", run, _WANTED)
        config = self.run / "config.json"
        for file in (config, self.run / "images.npz"):
            if not file.is_file():
                raise UserError(f"data.run: {file} does not exist; give {_WANTED}")
        node = self.made_for({"run": run})
        own = {"image_size": image_size, "mean": mean, "std": std}
        given = {key: value for key, value in own.items() if value is not None}
        self.real = make({**node, **given, **settings}, "data", ImageData)
        self.crop = self.real.crop
        super().__init__(
            name="synthesized",
            num_classes=self.real.num_classes,
            in_channels=self.real.in_channels,
            image_size=self.real.image_size,
            mean=self.real.mean,
            std=self.real.std,
            **settings,
        )

    @staticmethod
    def made_for(node: Mapping[str, Any]) -> dict[str, Any]:
        """The node of the images to test with, of a node of these.

        A UserError where it names a class that no config of the package does.
        """
        config = Path(str(node["run"])).expanduser() / "config.json"
        found: dict[str, Any] = read_json(config).get("data") or {}
        check_harmless(found, known_targets([conf_dir()]), f"{config}, data,")
        return found

    def load(self, split: Split) -> LabelledImages:
        """Read one split; images that were made are not cropped as photos are."""
        if split == "test":
            return self.real.load("test")
        images, labels = read_train(self.run / "images.npz", "data.run")
        return ArrayImages(
            torch.from_numpy(images), torch.from_numpy(labels), replace(self.transform, crop=1.0)
        )
