"""One run at a time in a folder, by a lock that the operating system holds."""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOCK_FILE = ".lock"
#: What :func:`kacflow.training.checkpoint.write_atomically` leaves in a run that is killed.
_LEFT_OVER = re.compile(r"\.(checkpoint\.safetensors|config\.json|log\.jsonl)\.\d+\.tmp")
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def _take(file: IO[bytes]) -> None:
    """Lock ``file`` until it is closed or the process ends; OSError if another has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made if needed; remove what killed runs have left half written.

    The lock is on the file ``.lock``, which stays there and means nothing without it.  Where the
    file system has no locks a warning says so, and two runs are not kept apart; nor may they be
    when they run on different machines that share the folder.

    Raises
    ------
    ValueError
        If another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_FILE, "ab") as file:
        try:
            _take(file)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise ValueError(
                    f"out: got {str(folder)!r}, in which another run is training; allowed: another "
                    "folder, or this one when that run has ended"
                ) from None
            warnings.warn(f"out: {str(folder)!r} cannot be locked: {error}", stacklevel=3)
        else:
            for entry in os.scandir(folder):
                if _LEFT_OVER.fullmatch(entry.name):
                    os.unlink(entry.path)
        yield
