"""Makes ``import torchvision`` work beside any build of torch.

PyPI's torchvision expects its compiled operators. Beside a CPU-only torch they do not load, and
``import torchvision`` (hence ``lightning``, ``torchmetrics`` and ``timm``) fails with ``operator
torchvision::nms does not exist``, although nothing here detects boxes.
"""

import contextlib
import functools
import importlib.util
from pathlib import Path

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def ensure() -> None:
    """Make ``import torchvision`` safe; call it right before importing torchvision or its users.

    Where torchvision's own library loads, nothing else is done: declaring an operator that the
    library declares later aborts the process. Only where it does not load are the two operators
    that torchvision insists on declared, without an implementation. Calling it again, or without
    torchvision installed, does nothing.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return
    for library in sorted(Path(spec.origin).parent.glob("_C*")):
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    if not hasattr(torch.ops.torchvision, "nms"):
        _declare()


@functools.cache  # the declarations live as long as the Library object
def _declare() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]
    return library
