"""Every error tiffin raises on purpose; the tree of the bottom package.

TiffinError                 exit 1
├── UsageError              exit 2   a wrong flag or combination of flags
└── StoreError              exit 1   the state directory or a cache
    ├── DigestError                  text that is not a valid digest
    ├── MissingBlobError             a layer that is nowhere, or came damaged
    ├── MissingLayerError            a layer that is here in no form that can be read
    ├── CorruptError                 bytes that do not have the promised digest, size or form
    └── DiskFullError                no space left on the device
"""

from __future__ import annotations


class TiffinError(Exception):
    """A failure told to the user in one line: what failed on what (`message`), and what to do now (`remedy`)."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    def within(self, what: str) -> None:
        """Tell of what it is: one of several things that a command does."""
        self.message = f"{what}: {self.message}"

    def ends_with(self, exit_code: int) -> None:
        """Have another exit code: that of a command for which this failure means something of its own."""
        self.exit_code = exit_code


class UsageError(TiffinError):
    """The command line was wrong."""

    exit_code = 2


class StoreError(TiffinError):
    """The state directory, or a cache behind it, could not do what was asked."""


class DigestError(StoreError):
    """Text that is not a digest of a supported algorithm."""


class CorruptError(StoreError):
    """Bytes that do not have the digest, size or form promised for them."""


class MissingBlobError(StoreError):
    """A packed layer that is nowhere to be had; `digest` is its digest as text."""

    def __init__(self, message: str, *, digest: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.digest = digest


class MissingLayerError(StoreError):
    """A layer that is here in no form that this process can read: unpacked with the owners of another namespace."""


class DiskFullError(StoreError):
    """No space (or no inode, or no quota) left where bytes had to be written."""
