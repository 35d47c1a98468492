"""Files that are replaced whole or not at all."""

import contextlib
import errno
import os
import platform
import re
import stat
import zlib

# Hidden, and carrying host and process, so that the next save can tell a crashed save's file from a running one's.
_TEMP_NAME = ".cybackprop-{host:08x}-{pid}-{token}.tmp"
_TEMP_PATTERN = r"\.cybackprop-([0-9a-f]{8})-([0-9]{1,10})-[0-9a-f]{12}\.tmp"  # compiled by the first save


def atomic_write(path, chunks):
    """Write a file so that its reader sees the old content or the new, never a part.

    Parameters
    ----------
    path : str or path-like
        A symbolic link is followed: its target is replaced, the link stays.
    chunks : iterable of bytes-like
        Written one after another; may be a generator.

    Raises
    ------
    OSError
        The file can't be written.  As after any other exception, Ctrl-C among them, the old file
        is untouched and the temporary one is gone.

    Notes
    -----
    The order is: temporary file in the same folder, write, fsync, rename, fsync of the folder.
    Without the first fsync a crash can leave a file of zeros, without the second the rename can be lost.
    An old file keeps its mode; a new one gets 0666 less the umask.
    """
    path, old = _target(path)
    folder = os.path.dirname(path)
    _remove_orphans(folder)
    try:
        with _temporary(folder) as temp:
            with _created(temp) as file:
                if old is not None and hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, path)
        _sync_folder(folder)
    except OSError as error:
        if error.filename is None:  # a full disk doesn't say whose file it stopped
            error.filename = path
        raise


def check_writable(path):
    """Raise the OSError that `atomic_write` to this path would raise; leave everything as it is."""
    path, _ = _target(path)
    with _temporary(os.path.dirname(path)) as temp, _created(temp):
        pass


def _target(path):
    """The path to be replaced, links resolved, and the old file's stat or None."""
    path = os.path.realpath(os.fspath(path))
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return path, None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(old.st_mode):  # a rename would replace /dev/null itself
        raise OSError(errno.EINVAL, "Not a regular file", path)
    if not os.access(path, os.W_OK):  # a rename would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return path, old


@contextlib.contextmanager
def _temporary(folder):
    """A name in this folder; whatever happens, no file of that name is left."""
    name = _TEMP_NAME.format(host=_host(), pid=os.getpid(), token=os.urandom(6).hex())
    temp = os.path.join(folder, name)
    try:
        yield temp
    finally:
        with contextlib.suppress(OSError):  # mostly: it isn't there; else the first error is the one to be told
            os.unlink(temp)


def _created(temp):
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        return open(os.open(temp, flags, 0o666), "wb")
    except OSError as error:  # the folder is what the user knows and can change
        error.filename = os.path.dirname(temp)
        raise


def _sync_folder(folder):
    if os.name == "nt":  # no such call there
        return
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be writable and not readable
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without it
            raise
    finally:
        os.close(fd)


def _remove_orphans(folder):
    """Remove what saves of dead processes of this machine left in the folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        match = re.fullmatch(_TEMP_PATTERN, name)
        if match and int(match[1], 16) == _host() and not _alive(int(match[2])):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def _host():
    return zlib.crc32(platform.node().encode("utf-8", "surrogateescape"))


def _alive(pid):
    if os.name == "nt":  # os.kill would end the process; and Windows keeps files that are open
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
