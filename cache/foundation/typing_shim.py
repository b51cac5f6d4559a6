"""What of `typing` code needs when it runs. To import that takes a fifth of what Python takes to start."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Protocol as Protocol
    from typing import cast as cast
    from typing import dataclass_transform as dataclass_transform
else:

    class Protocol:
        """Checkers know what it means."""

    def cast(_: object, value: object) -> object:
        return value

    def dataclass_transform(**_: object) -> object:
        return lambda decorator: decorator
