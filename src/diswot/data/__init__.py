"""Image data: one file a family, all behind :class:`diswot.data.base.ImageData`.

Only the light parts are imported here; the members import Lightning.
"""

from diswot.data.batch import MiniBatch

__all__ = ["MiniBatch"]
