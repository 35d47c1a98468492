"""Build the kernels and their test in C, without Python in either, and run it: natively, or for other CPUs under qemu.

    python tools/ctest.py            this machine
    python tools/ctest.py cross      arm64, which gives the hash of the targets with FMA,
                                     and s390x, which is big-endian and gives the hash of base
    python tools/ctest.py lib        build/libcybackprop.a alone: docs/embedding.md
    python tools/ctest.py fuzz FILE BATCH ROUNDS         a file of programs, damaged in many ways, under sanitizers

tests/c/kernels.c tests the kernels, tests/c/program.c runs saved training steps (tests/c/step.safetensors and
tests/c/loops.safetensors, written by tools/step_file.py).  Flags and lists of sources are setup.py's.  Objects are kept
in build/ctest and made again when what they were made of is newer.
"""

import contextlib
import platform
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent

# machine: the prefix of its compiler, what gives that (Debian's packages), the hash it must give, flags of its own.
# s390x: with -std=c11 GCC computes float in double there, as its C library's float_t once was.
CROSS = {
    "aarch64": ("aarch64-linux-gnu-", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross", "fma", []),
    "s390x": ("s390x-linux-gnu-", "gcc-s390x-linux-gnu libc6-dev-s390x-cross", "base", ["-fexcess-precision=fast"]),
}


def setup_facts():
    """The names that setup.py defines: its flags are written there, and only there."""
    with mock.patch("setuptools.setup"), mock.patch("Cython.Build.cythonize"), contextlib.chdir(ROOT):
        return runpy.run_path(str(ROOT / "setup.py"))


def hashes():
    """{"fma": ..., "base": ...} as committed."""
    return dict(line.split() for line in (ROOT / "cybackprop/selftest.txt").read_text().splitlines())


def steps(name):
    """Arguments of `program hash` for a committed file, and the hashes it must give."""
    found = dict(line.split() for line in (ROOT / f"tests/c/{name}.txt").read_text().splitlines())
    return [str(ROOT / f"tests/c/{name}.safetensors"), "train", "37", "5"], found


def commands(compiler, targets, macros, folder, programs):
    """(object, command) of each compilation."""
    facts = setup_facts()
    flags = [*facts["COMMON"], *facts["GCC_SMALL"], *macros, "-Isrc", "-MMD", "-c"]
    for stem in facts["ONCE"] + facts["SMALL"]:
        yield folder / f"{stem}.o", [compiler, *flags, f"src/{stem}.c"]
    for name in programs:
        # plain loops stay plain; besides, GCC 12 for arm64 crashes when it vectorises one of them
        yield folder / f"test_{name}.o", [compiler, *flags, "-O1", "-fno-tree-vectorize", f"tests/c/{name}.c"]
    for target, own in targets.items():
        for bits in (32, 64):
            for stem in facts["PER_TARGET"]:
                yield folder / f"{stem}_{target}_{bits}.o", [compiler, *flags, *own, f"-DCBP_TARGET={target}",
                                                             f"-DCBP_BITS={bits}", f"src/{stem}.c"]


def is_stale(made):
    """Whether an object is older than what it was made of, which the compiler has written down, or than its flags."""
    try:
        rule = made.with_suffix(".d").read_text()
        names = rule.partition(":")[2].replace("\\\n", " ").split()
        sources = [ROOT / "setup.py", Path(__file__), *(ROOT / name for name in names)]
        return made.stat().st_mtime < max(p.stat().st_mtime for p in sources)
    except FileNotFoundError:            # also a header that is no longer there
        return True


def build(machine, compiler, targets, macros, programs=("kernels", "program")):
    """The paths of the test programs, which are linked with nothing but libcybackprop.a beside them and C's own."""
    folder = ROOT / "build/ctest" / machine
    folder.mkdir(parents=True, exist_ok=True)
    every = list(commands(compiler, targets, macros, folder, programs))
    stale = [job for job in every if is_stale(job[0])]
    if stale:
        print(f"{machine}: compiling {len(stale)} files ...", flush=True)
    with ThreadPoolExecutor() as pool:               # the work is done by compilers, in processes
        list(pool.map(lambda job: subprocess.run([*job[1], "-o", str(job[0])], check=True, cwd=ROOT), stale))
    library = str(folder / "libcybackprop.a")
    Path(library).unlink(missing_ok=True)
    subprocess.run(["ar" if compiler == "gcc" else compiler.replace("gcc", "ar"), "rcs", library,
                    *(str(o) for o, _ in every if not o.name.startswith("test_"))], check=True)
    sanitizers = [m for m in macros if m.startswith("-fsanitize")]
    for name in programs:
        subprocess.run([compiler, *sanitizers, "-o", str(folder / name), str(folder / f"test_{name}.o"), library,
                        "-pthread", "-lm"], check=True)
    return [str(folder / name) for name in programs]


def run_all(programs, runner, kinds):
    """Run both programs; kinds: the names of the hashes with FMA and without."""
    kernels, program = programs
    failed = subprocess.run([*runner, kernels, *(hashes()[k] for k in kinds)]).returncode
    for arguments, wanted in (steps("step"), steps("loops")):
        failed |= subprocess.run([*runner, program, "hash", *arguments, *(wanted[k] for k in kinds)]).returncode
    return failed


def build_native(programs=("kernels", "program")):
    """The test programs for this machine."""
    facts = setup_facts()
    return build(platform.machine(), "gcc", facts["TARGETS"], ["-DCBP_WITH_X86"] if facts["X86"] else [], programs)


def lib():
    """The library for this machine, where docs/embedding.md says."""
    build_native(())
    shutil.copy(ROOT / "build/ctest" / platform.machine() / "libcybackprop.a", ROOT / "build/libcybackprop.a")
    return 0


def native():
    return run_all(build_native(), [], ("fma", "base"))


def fuzz(path, batch, rounds):
    """Damaged files under sanitizers, on the base kernels."""
    program, = build("fuzz", "gcc", {"base": []}, [*setup_facts()["SANITIZER"], "-DCBP_NO_POOL"], ["fuzz"])
    return subprocess.run([program, path, str(batch), str(rounds)]).returncode


def missing():
    """Debian packages that have what cross() needs and this machine lacks."""
    for machine, (prefix, packages, *_) in CROSS.items():
        if not shutil.which(f"{prefix}gcc") or not Path("/usr", prefix[:-1], "lib").exists():
            yield packages
        if not shutil.which(f"qemu-{machine}"):
            yield "qemu-user"


def cross():
    packages = dict.fromkeys(missing())
    if packages:
        print(f"missing: sudo apt-get install {' '.join(packages)}", file=sys.stderr)
        return 1
    failed = 0
    for machine, (prefix, _, kind, flags) in CROSS.items():
        programs = build(machine, f"{prefix}gcc", {"base": []}, flags)
        print(f"{machine}: running under qemu, which takes minutes ...", flush=True)
        emulator = [f"qemu-{machine}", "-L", f"/usr/{prefix[:-1]}"]
        failed |= run_all(programs, emulator, (kind, kind))
    return failed


if __name__ == "__main__":
    sys.exit({"cross": cross, "lib": lib, "fuzz": fuzz}.get((sys.argv[1:] or [""])[0], native)(*sys.argv[2:]))
