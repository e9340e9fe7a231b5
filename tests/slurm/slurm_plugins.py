"""A proxy that takes as long as a test wants."""

import time
from pathlib import Path

from diswot.proxies.base import Components, Proxy, ProxyInput


class Wait(Proxy):
    """Knows nothing, and from its fifth candidate on waits until ``hold-<seed>`` is gone."""

    needs_network = False
    needs_forward = False

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._measured = 0

    def measure(self, inputs: ProxyInput) -> Components:
        self._measured += 1
        file, deadline = Path(f"hold-{inputs.seed}"), time.monotonic() + 240
        while self._measured > 4 and file.exists():
            assert time.monotonic() < deadline, f"{file} is still there"
            time.sleep(0.05)
        return {"wait": 0.0}
