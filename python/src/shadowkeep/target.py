"""Where a service listens."""

from __future__ import annotations

import re

# A name of gRPC's own kind, as "dns:///trainer:50051" or "unix:/run/shadowkeep.sock".
_GRPC_NAME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract):.", re.ASCII)
_HOST_AND_PORT = re.compile(r"(\[[\da-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})", re.ASCII)
_PORT_MAX = 65_535


def checked_target(target: str) -> str:
    """Return a target. Raises ValueError for one without a port, which gRPC would look for at port 443."""
    host = _HOST_AND_PORT.fullmatch(target)
    if _GRPC_NAME.match(target) or (host and 1 <= int(host[2]) <= _PORT_MAX):
        return target
    raise ValueError(f"target must be HOST:PORT with a port from 1 to {_PORT_MAX}, got {target!r}")
