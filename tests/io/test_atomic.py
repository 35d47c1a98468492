"""A file is old or new, never a part; and nothing is left lying about."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from cybackprop.io import atomic, atomic_write, check_writable

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX modes and signals")


def crash_file(folder, pid):
    path = folder / f".cybackprop-{atomic._host():08x}-{pid}-0123456789ab.tmp"
    path.write_bytes(b"half a file")
    return path


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("old", [None, b"old"])
def test_writes(tmp_path, old):
    path = tmp_path / "f"
    if old is not None:
        path.write_bytes(old)
    atomic_write(path, (part for part in (b"new ", memoryview(b"content"), b"")))
    assert path.read_bytes() == b"new content"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exception", [OSError, ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_any_exception_leaves_the_old_file_and_no_other(tmp_path, old, exception):
    if old is not None:
        (tmp_path / "f").write_bytes(old)

    def chunks():
        yield b"new"
        raise exception

    with pytest.raises(exception):
        atomic_write(tmp_path / "f", chunks())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({} if old is None else {"f": old})


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_failing_calls(tmp_path, monkeypatch, call, code):
    (tmp_path / "f").write_bytes(b"old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    if call == "write":
        monkeypatch.setattr(atomic, "_created", lambda temp, real=atomic._created: Failing(real(temp), fail))
    else:
        monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        atomic_write(tmp_path / "f", [b"new"])
    monkeypatch.undo()
    assert caught.value.filename == str(tmp_path / "f")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": b"old"}


class Failing:
    """A file whose writes fail."""

    def __init__(self, file, fail):
        self.file, self.write = file, fail

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *exception):
        return self.file.__exit__(*exception)

    def fileno(self):
        return self.file.fileno()


@posix
def test_order_of_calls(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noted(first, *rest, name=name, real=real):
            kind = "folder" if isinstance(first, int) and stat.S_ISDIR(os.fstat(first).st_mode) else "file"
            calls.append((name, kind))
            return real(first, *rest)

        monkeypatch.setattr(atomic.os, name, noted)
    atomic_write(tmp_path / "f", [b"new"])
    assert calls == [("fsync", "file"), ("replace", "file"), ("fsync", "folder")]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_mode_of_the_old_file_is_kept(tmp_path, mode):
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(mode)
    atomic_write(tmp_path / "f", [b"new"])
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_mode_of_a_new_file_follows_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        atomic_write(tmp_path / "f", [b"new"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o666 & ~umask


@posix
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "f")
    atomic_write(tmp_path / "link", [b"new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "f").read_bytes() == b"new"


def test_orphans_of_dead_processes_are_removed_and_no_others(tmp_path):
    orphan = crash_file(tmp_path, dead_pid())
    of_another_host = f".cybackprop-{atomic._host() ^ 1:08x}-{dead_pid()}-0123456789ab.tmp"
    kept = [crash_file(tmp_path, os.getpid()), tmp_path / of_another_host]
    kept += [tmp_path / ".cybackprop-notes.tmp", tmp_path / orphan.name.replace(".tmp", ".tmp2")]
    for path in kept:
        path.write_bytes(b"not ours to remove")
    atomic_write(tmp_path / "f", [b"new"])
    assert set(tmp_path.iterdir()) == {*kept, tmp_path / "f"}


@posix
@pytest.mark.parametrize("moment", ["written", "synced"])
def test_kill_in_mid_save(tmp_path, moment):
    """kill -9: the loader sees the old file, and the next save cleans up."""
    (tmp_path / "f").write_bytes(b"old")
    script = (
        "import os, sys, time\n"
        "from cybackprop.io import atomic_write\n"
        "def wait(*_):\n"
        "    print('now', flush=True)\n"
        "    time.sleep(60)\n"
        "def chunks():\n"
        "    yield b'new' * 100_000\n"
        "    wait() if sys.argv[2] == 'written' else None\n"
        "os.replace = wait\n"
        "atomic_write(sys.argv[1], chunks())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "f", moment], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    atomic_write(tmp_path / "f", [b"newer"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": b"newer"}


@posix
def test_kill_at_random_moments(tmp_path):
    """The file is always one of those written, whole."""
    script = (
        "import sys\n"
        "from cybackprop.io import atomic_write\n"
        "print('now', flush=True)\n"
        "while True:\n"
        "    for mark in (b'a', b'b'):\n"
        "        atomic_write(sys.argv[1], [mark * 50_000, mark * 50_000])\n"
    )
    whole = {b"a" * 100_000, b"b" * 100_000}
    atomic_write(tmp_path / "f", [b"a" * 100_000])
    for attempt in range(8):
        process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "f"], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.003 * attempt)
        process.kill()
        process.communicate()
        assert (tmp_path / "f").read_bytes() in whole
    atomic_write(tmp_path / "f", [b"end"])
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


@posix
def test_file_size_limit(tmp_path):
    """The system itself refuses the write, as it does on a full disk."""
    (tmp_path / "f").write_bytes(b"old")
    script = (
        "import resource, sys\n"
        "from cybackprop.io import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    atomic_write(sys.argv[1], [bytes(3000)] * 3)\n"
        "except OSError as error:\n"
        "    print(type(error).__name__, end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "f"], capture_output=True, text=True, check=True)
    assert done.stdout == "OSError"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": b"old"}


@pytest.mark.parametrize("write", [lambda path: atomic_write(path, [b"new"]), check_writable], ids=["write", "check"])
@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("folder", IsADirectoryError),
        ("nowhere/f", FileNotFoundError),
        ("file/f", NotADirectoryError),
        pytest.param("pipe", OSError, marks=posix),
        pytest.param("/proc/nothing", OSError, marks=pytest.mark.skipif(sys.platform != "linux", reason="/proc")),
    ],
)
def test_where_nothing_can_be_written(tmp_path, write, place, error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error) as caught:
        write(tmp_path / place)
    if error is FileNotFoundError:
        assert caught.value.filename == str(tmp_path / "nowhere")
    assert sorted(tmp_path.iterdir()) == before


def test_a_read_only_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.setattr(atomic.os, "access", lambda path, mode: mode != os.W_OK)  # root may write everything
    with pytest.raises(PermissionError):
        atomic_write(tmp_path / "f", [b"new"])
    assert (tmp_path / "f").read_bytes() == b"old"


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError) as caught:
        check_writable(tmp_path / "f")
    tmp_path.chmod(0o755)
    assert caught.value.filename == str(tmp_path)


def test_a_read_only_file_system_is_named_by_its_folder(tmp_path, monkeypatch):
    def fail(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(atomic.os, "open", fail)
    monkeypatch.setattr(atomic.os, "unlink", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)) as caught:
        check_writable(tmp_path / "f")
    monkeypatch.undo()
    assert caught.value.filename == str(tmp_path)


def test_check_leaves_everything_as_it_is(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    check_writable(tmp_path / "f")
    check_writable(tmp_path / "g")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": b"old"}
