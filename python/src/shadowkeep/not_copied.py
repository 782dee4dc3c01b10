"""What holds a connection cannot be copied or pickled, and says so by name, also from inside a model that holds it."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn


class NotCopied:
    """Refuses `copy`, `deepcopy` and `pickle`, which `torch.save` uses.

    Attributes:
        WAY_OUT: what to do instead, for the error's text.
    """

    WAY_OUT: ClassVar[str] = "make another where it is needed"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        raise TypeError(f"{self!r} cannot be copied or pickled: a {name} holds a connection; {self.WAY_OUT}")
