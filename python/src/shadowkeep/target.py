"""Where a service listens."""

from __future__ import annotations

import re

# What gRPC puts before addresses, as in "dns:///trainer:50051".
_SCHEME = re.compile(r"dns:(//[^/]*/)?|ipv[46]:", re.ASCII)
# A socket of this machine, which has no port.
_SOCKET = re.compile(r"unix(-abstract)?:.", re.ASCII)
_HOST_AND_PORT = re.compile(r"(\[[\da-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})", re.ASCII)
_PORT_MAX = 65_535


def checked_target(target: str) -> str:
    """Return a target. Raises ValueError for one without a port, which gRPC would look for at port 443."""
    match = _SCHEME.match(target)
    scheme = match[0] if match else ""
    rest = target[len(scheme) :]
    # Only numeric schemes take lists.
    addresses = rest.split(",") if scheme.startswith("ip") else [rest]
    if _SOCKET.match(target) or all(map(_has_port, addresses)):
        return target
    raise ValueError(f"target must be HOST:PORT with a port from 1 to {_PORT_MAX}, got {target!r}")


def _has_port(address: str) -> bool:
    host = _HOST_AND_PORT.fullmatch(address)
    return host is not None and 1 <= int(host[2]) <= _PORT_MAX
