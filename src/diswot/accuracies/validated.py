"""How well the package's proxies rank architectures of known accuracy."""

import io
from collections.abc import Mapping
from typing import Any

from diswot.config import conf_dir, with_members
from diswot.runs import Validation

_FILE = "validated.csv"
"""Made of experiments/proxies by tools/measure_proxies.py."""


def validations(space: str, proxy: str, node: Mapping[str, Any]) -> list[Validation]:
    """Those of a proxy of the package in a space, a target each; none for other settings.

    ``node`` is the proxy's config in the run.
    """
    import pandas as pd
    from omegaconf import OmegaConf

    from diswot.data import read_asset

    file = conf_dir() / "proxy" / f"{proxy}.yaml"
    if not file.is_file():
        return []
    usual = {"proxy": {proxy: OmegaConf.to_container(OmegaConf.load(file))}}
    if with_members(usual, [conf_dir()])["proxy"][proxy] != dict(node):
        return []
    table = pd.read_csv(io.BytesIO(read_asset(_FILE)))
    own = table[(table["space"] == space) & (table["proxy"] == proxy)]
    own = own.drop(columns=["space", "proxy"]).astype(object)
    return [Validation(**row) for row in own.where(own.notna(), None).to_dict("records")]
