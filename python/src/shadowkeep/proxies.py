"""Which proxy stands between this process and the service, as gRPC finds it in the environment."""

from __future__ import annotations

import ipaddress
import os
from typing import NamedTuple
from urllib.parse import urlsplit

# In gRPC's order; the first one that is set is taken.
_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTION_VARIABLES = ("no_grpc_proxy", "no_proxy")


class Proxy(NamedTuple):
    """A proxy, its address without credentials, and the environment variable that names it."""

    variable: str
    address: str


def is_loopback(target: str) -> bool:
    """Whether the target is this machine's own, which no proxy on another one can reach."""
    if target.startswith("unix"):
        return True
    host = host_of(target)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def proxy_of(target: str) -> Proxy | None:
    """Return the proxy that gRPC takes for a target; None: it connects by itself."""
    variable = next((name for name in _PROXY_VARIABLES if os.environ.get(name)), None)
    if variable is None or is_loopback(target):
        return None
    exceptions = next((os.environ[name] for name in _EXCEPTION_VARIABLES if os.environ.get(name)), "")
    host = host_of(target)
    if any(host.endswith(entry.strip()) for entry in exceptions.split(",") if entry.strip()):
        return None
    return Proxy(variable, _without_credentials(os.environ[variable]))


def host_of(target: str) -> str:
    """Return the host of "HOST:PORT", "[::1]:PORT" or one of them behind a resolver's name ("dns:///HOST:PORT")."""
    authority = target.rsplit("/", 1)[-1]
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        authority = authority.removeprefix(scheme)
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.rpartition(":")[0] or authority


def _without_credentials(url: str) -> str:
    return (urlsplit(url).netloc or url).rpartition("@")[2]
