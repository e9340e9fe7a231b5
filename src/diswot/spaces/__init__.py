"""Search spaces: each samples, mutates, enumerates, parses and builds architectures."""

from diswot.spaces.base import Arch, Gene, ProductSpace, Space, SpaceSize

__all__ = ["Arch", "Gene", "ProductSpace", "Space", "SpaceSize"]
