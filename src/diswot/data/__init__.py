"""Image data: one file a family of data sets, all behind :class:`ImageData`."""

from diswot.data.base import (
    ArrayImages,
    EvalTransform,
    ImageData,
    LabelledImages,
    MiniBatch,
    read_asset,
)

__all__ = ["ArrayImages", "EvalTransform", "ImageData", "LabelledImages", "MiniBatch", "read_asset"]
