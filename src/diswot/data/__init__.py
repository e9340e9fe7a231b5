"""Image data: one file a family of data sets, all behind :class:`ImageData`."""

from diswot.data.base import ImageData, MiniBatch, read_asset
from diswot.data.images import ArrayImages, EvalTransform, LabelledImages

__all__ = ["ArrayImages", "EvalTransform", "ImageData", "LabelledImages", "MiniBatch", "read_asset"]
