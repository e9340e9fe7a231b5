"""Versions of the software and the instruction set that the bits of a score depend on."""

import platform


def versions() -> dict[str, str]:
    """Versions of the software, the instruction set and the GPU, if any."""
    import numpy
    import torch

    from diswot._version import __version__

    found = {
        "diswot": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["cuda"] = str(torch.version.cuda)
    return found
