"""One run at a time in a folder, by a lock that the operating system holds."""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_FILE = ".lock"
#: What :func:`kacflow.training.checkpoint.write_atomically` leaves in a run that is killed.
_LEFT_OVER = re.compile(r"\.(checkpoint\.safetensors|config\.json|log\.jsonl)\.\d+\.tmp")
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def _take(file: int) -> None:
    """Lock ``file`` until it is closed or the process ends; OSError if another has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_file(file: Path) -> int:
    """The descriptor of ``file``, open and locked; not one that the run before has just removed."""
    while True:
        found = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(found)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                os.close(found)
                raise ValueError(
                    f"out: got {str(file.parent)!r}, in which another run is training; allowed: "
                    "another folder, or this one when that run has ended"
                ) from None
            warnings.warn(f"out: {str(file.parent)!r} cannot be locked: {error}", stacklevel=5)
            return found
        if os.fstat(found).st_nlink or file.exists():
            return found
        os.close(found)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made if needed; remove what killed runs have left half written.

    The lock is on the file ``.lock``; one that a killed run has left is none.  Where the file
    system has no locks a warning says so, and two runs are not kept apart; nor may they be when
    they run on different machines that share the folder.  ValueError if another run holds it.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock_file(folder / LOCK_FILE)
    try:
        for name in filter(_LEFT_OVER.fullmatch, os.listdir(folder)):
            os.unlink(folder / name)
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            os.unlink(folder / LOCK_FILE)
            if new:
                folder.rmdir()  # if nothing was written
        os.close(lock)
