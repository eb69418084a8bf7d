"""Files that are written whole or not at all, locks, and clear errors for writing."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ddpnas.errors import RunError
from ddpnas.utils.read import require_regular

__all__ = [
    "LOCK",
    "check_place",
    "expanded",
    "is_full",
    "lock",
    "sync",
    "writable",
    "write_atomic",
]

LOCK = ".lock"  # the file in a folder that is locked while the folder is in use

NO_TEMPORARY = "No usable temporary directory"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the quota, `ulimit -f`


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, even if the process is killed or the power fails.

    Args:
        path: File; an older one is replaced.
        content: What it shall hold.

    Raises:
        OSError: The file cannot be written. An older one is still there.
        RunError: The path is a folder, a pipe or a device.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "result.json")
        >>> write_atomic(path, b"{}")
        >>> path.read_text()
        '{}'
    """
    if path.exists():
        require_regular(path)  # replacing a device or a pipe would break what else uses it
    _remove_leftovers(path)
    # Each process has its own temporary file, or two that write at once would mix their content.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        # A rename is atomic, so no reader sees half a file. Flushed first, it survives a power cut.
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk gets its space back
        raise
    sync(path.parent)  # the rename itself


def sync(path: Path) -> None:
    """Return once what was written to a file, or the names in a folder, survive a power cut.

    Args:
        path: The file or folder.
    """
    if path.is_dir() and os.name != "posix":
        return  # only there can a folder be opened
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` as the user's home folder; unchanged where there is no such user.

    Args:
        path: What a user gave, perhaps the name of a file that begins with ``~``.

    Example:
        >>> str(expanded("~nobody-of-this-name/a.npz"))
        '~nobody-of-this-name/a.npz'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of killed processes that were writing this file."""
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        process = leftover.name.removeprefix(f"{path.name}.").removesuffix(".tmp")
        if process.isdecimal() and not _runs(int(process)):
            leftover.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Return whether a process of this number runs; where it cannot be asked, it may."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it runs for another user
    return True


def lock(path: Path, mark: Path, instead: str) -> contextlib.AbstractContextManager[object]:
    """Lock a folder or file against other processes, until the ``with`` statement ends.

    A lock ends with its process, however that ends.

    Args:
        path: The folder or file, for the message.
        mark: The file that is locked in its place; made if it is not there.
        instead: What to do if another process has the lock, the end of the sentence.

    Raises:
        RunError: Another process has the lock.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with lock(folder, folder / LOCK, "give another --out"):
        ...     lock(folder, folder / LOCK, "give another --out")
        Traceback (most recent call last):
        ddpnas.errors.RunError: ... is in use by another process; give another --out
    """
    try:
        return FileLock(mark).acquire(timeout=0)
    except Timeout:
        raise RunError(f"{path} is in use by another process; {instead}") from None


@contextlib.contextmanager
def writable(
    path: Path, instead: str = "give another --out", then: str = "try again"
) -> Iterator[None]:
    """Turn an error of the file system inside into a sentence: the path cannot be written.

    Args:
        path: The folder or file, for the message.
        instead: What to do, the end of the sentence.
        then: What to do on a full disk once there is room.

    Raises:
        RunError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        advice = f"make room, then {then}" if is_full(error) else instead
        raise RunError(f"{path} cannot be written ({error.strerror or error}); {advice}") from None


def check_place(path: Path) -> None:
    """Refuse a folder that cannot be made or written, without making anything.

    Args:
        path: The folder.

    Raises:
        RunError: It, or the nearest folder above that is there, is a file or may not be written.

    Example:
        >>> check_place(Path("/dev/null/run"))
        Traceback (most recent call last):
        ddpnas.errors.RunError: /dev/null/run cannot be written: /dev/null is no folder; ...
    """
    place = next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))
    if not place.is_dir():
        what = f"{place} is no folder"
    elif not os.access(place, os.W_OK | os.X_OK):
        what = f"{place} may not be written"
    else:
        return
    raise RunError(f"{path} cannot be written: {what}; give another --out")


def is_full(error: OSError) -> bool:
    """Return whether a write failed because of a full disk, a quota or a largest file size."""
    # tempfile tries each of its folders by writing to it, and hides why none would do.
    return error.errno in _FULL or NO_TEMPORARY in str(error.strerror)
