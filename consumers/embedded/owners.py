"""Who holds unacked messages: a locked file per connection; the kernel frees the lock when its process dies.

There is no lease to tune: whoever finds an owner's lock free knows at once that nobody works on its messages.
"""

import fcntl
import os
from io import FileIO
from pathlib import Path
from uuid import uuid4
from weakref import WeakSet

from consumers.embedded.errors import BrokerUnusable


class OwnerFile:
    """The life sign of one connection, shown from birth until `release` or death."""

    def __init__(self, directory: Path) -> None:
        """Create and lock the file. Raises: BrokerUnusable if locks do not hold in this directory."""
        self.name = uuid4().hex
        self.path = owner_path(directory, self.name)
        # A file object: forgotten without a goodbye, it still lets the lock go.
        self._file = FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if has_died(self.path):
                raise OSError("a locked file can be locked again")
        except OSError as error:
            self.release()
            raise BrokerUnusable(
                f"The embedded broker cannot keep its messages in {directory}: file locks do not hold there "
                f"({error}). Set PAYMENTS_DATA_DIR to a directory on a local disk."
            ) from error
        _held.add(self)

    def is_held(self) -> bool:
        """Whether others still see us: not after a fork, nor when somebody removed the directory under us."""
        return not self._file.closed and self.path.exists()

    def release(self) -> None:
        """Remove the file and let the lock go."""
        self.path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Let the lock go as death would: the file stays for others to find."""
        self._file.close()


def owner_path(directory: Path, name: str) -> Path:
    """Name the file of an owner."""
    return directory / f"owner-{name}"


def has_died(path: Path) -> bool:
    """Whether an owner's lock is free or its file gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


_held: WeakSet[OwnerFile] = WeakSet()


def _abandon_in_child() -> None:
    for owner in _held:
        owner.abandon()


# A forked child shares its parent's lock and would keep it alive after the parent's death.
os.register_at_fork(after_in_child=_abandon_in_child)
