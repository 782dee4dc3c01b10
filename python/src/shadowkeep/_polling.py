"""How gRPC waits for its sockets; it looks that up in the environment when it is loaded, so this is imported before it.

Its usual way, one epoll set for the whole process, is shared with every child that is forked: the parent then takes the
events of the child's sockets, and a first call of about one child in thirty never returned, not even at its deadline.
With `poll` a child has what it waits for to itself. A program that has set the variable has chosen for itself.
"""

import os

os.environ.setdefault("GRPC_POLL_STRATEGY", "poll,epoll1")
