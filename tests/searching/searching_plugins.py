"""Proxies that misbehave; workers import this module too."""

import os
import signal
from pathlib import Path

from diswot.proxies.base import Components, Proxy, ProxyInput


class Fragile(Proxy):
    """Fails in every way an architecture can make it fail; else the parameters."""

    needs_forward = False

    def measure(self, inputs: ProxyInput) -> Components:
        if inputs.arch.endswith("-1"):
            raise ValueError(f"no {inputs.arch}")
        if inputs.arch.endswith("1-3"):
            return {"fragile": float("nan")}
        return {"fragile": float(inputs.cost.params)}


class Deadly(Proxy):
    """Kills its process on one architecture, at most ``times``."""

    needs_forward = False

    def __init__(self, *, name: str, arch: str, times: int, log: str) -> None:
        super().__init__(name=name)
        self.arch, self.times, self.log = arch, times, Path(log)

    def measure(self, inputs: ProxyInput) -> Components:
        if inputs.arch == self.arch and len(self.log.read_bytes()) < self.times:
            with self.log.open("ab") as file:
                file.write(b"x")
            os.kill(os.getpid(), signal.SIGKILL)
        return {"deadly": float(inputs.cost.params)}
