"""Random generators keyed by what they are for.

A number drawn from such a generator depends on its key alone, never on what was drawn before,
so scores do not depend on the order in which candidates are scored.
"""

import hashlib
import json

import torch


def stable_hash(*parts: object, bits: int = 64) -> int:
    """Hash of JSON values, the same in every process, on every machine; ``bits`` in eights."""
    text = json.dumps(parts, separators=(",", ":"), sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=bits // 8).digest(), "big")


def generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded with the hash of ``parts``."""
    return torch.Generator().manual_seed(stable_hash(*parts, bits=56))
