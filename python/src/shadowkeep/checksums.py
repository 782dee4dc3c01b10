"""CRC-32C of chunks, by whichever package is installed: google_crc32c or crc32c, both at 20 GB/s."""

from __future__ import annotations

import importlib
from typing import cast

from .wire import Checksum


def find_checksum(wanted: bool | None) -> Checksum | None:
    """Return the checksum function, or None when checksums are off; `wanted=None` takes what is installed.

    Raises ImportError when `wanted` is True and no package has it.
    """
    if wanted is False:
        return None
    for module, name, swapped in (("google_crc32c", "extend", True), ("crc32c", "crc32c", False)):
        try:
            function = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        if swapped:
            return lambda data, crc, extend=function: cast(int, extend(crc, data))  # type: ignore[misc]
        return cast(Checksum, function)
    if wanted:
        raise ImportError("checksums=True needs google-crc32c: pip install 'shadowkeep[crc]'")
    return None
