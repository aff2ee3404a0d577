# SPDX-License-Identifier: Apache-2.0
"""The policy that ``clyra dbt init`` writes, and whether somebody has changed it since.

Its last line holds the digest of those above, so that ``--remove`` takes away only what nobody touched.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

from clyra.spec import ConfigurationError

_TEMPLATE = "templates/data_platform.yaml"
_SEAL = "# written by `clyra dbt init`; unchanged as long as the lines above have the SHA-256 "
_TARGET = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_PRODUCTION = ("    targets: [prod]\n", "    mode: enforce ")
_DEVELOPMENT = "    targets: [dev]\n"


def new_policy(enforce: str | None) -> str:
    """The text of a first policy: nothing is enforced, or only on the dbt target ``enforce``.

    Raises:
        ConfigurationError: The target's name cannot stand in the file.
    """
    text = files("clyra.policy").joinpath(_TEMPLATE).read_text("utf-8")
    targets, mode = _PRODUCTION
    if enforce is None:
        text = text.replace(mode, "    mode: shadow  ", 1)
    elif _TARGET.fullmatch(enforce) is None:
        raise ConfigurationError(f"{enforce!r} is no name of a dbt target; use letters, digits and _ . - only")
    else:
        text = text.replace(targets, f'    targets: ["{enforce}"]\n', 1)
        if enforce == "dev":
            text = text.replace(_DEVELOPMENT, "    targets: []\n", 1)
    return f"{text}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_untouched(text: str) -> bool:
    """Whether this is a policy that `new_policy` wrote, as it wrote it."""
    above, seal, digest = text.rpartition(_SEAL)
    return bool(seal) and digest == f"{hashlib.sha256(above.encode()).hexdigest()}\n"
