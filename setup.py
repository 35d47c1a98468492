"""Build: C11 kernels once per instruction set and dtype as static libraries, then the Cython modules that link them.

Everything that is not code to run (metadata, dependencies, tools) is in pyproject.toml.
Environment: CYBACKPROP_SANITIZE=1 builds with ASan and UBSan and without memory pools (see `make asan`).
"""

import copy
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
SANITIZE = os.environ.get("CYBACKPROP_SANITIZE") == "1"
X86 = platform.machine().lower() in ("x86_64", "amd64", "i686", "x86")

# compiled once for each instruction set and dtype; the rest of src/ is compiled once
PER_TARGET = ["chain", "dense", "elementwise", "gemm", "map", "optim", "reduce", "softmax", "table"]
# ... this for size: nothing of it runs at each call, or for long
SMALL = ["batches", "chains", "check", "constants", "dispatch", "fuse", "module", "plan", "rows", "saved",
         "saved_program", "selftest", "slab", "tiles", "turns"]
ONCE = sorted({Path(p).stem for p in glob("src/*.c")} - {*PER_TARGET, *SMALL})

COMMON = ["-std=c11", "-O2", "-ftree-vectorize", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
          "-fvisibility=hidden", "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Wdouble-promotion", "-Werror"]
# GCC copies short loops and vectorises their tails again at half the width: a third of the wheel for little speed.  At
# -O2, which is as fast and takes another twentieth off, it must be told to inline exp, else its loops stay scalar.
# Reordering within blocks is what these CPUs do themselves, and what is computed twice is moved at the price of copies:
# 22 kB of the wheel; products take as long without (Zen 3, runs in turns).
GCC_SMALL = ["-fno-tree-pre", "-fno-schedule-insns2", "--param", "max-completely-peeled-insns=60", "--param",
             "vect-epilogues-nomask=0", "-fno-version-loops-for-strides", "--param", "max-inline-insns-single=200"]
MSVC = ["/std:c11", "/O2", "/fp:precise"]
TARGETS = {"base": []}
if X86:
    TARGETS["avx2"] = ["-mavx2", "-mfma"]
    TARGETS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
MSVC_TARGETS = {"base": [], "avx2": ["/arch:AVX2"], "avx512": ["/arch:AVX512"]}
SANITIZER = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-O1", "-g"]

# a table edit must rebuild: build_clib goes by time stamps of what it is told of
HEADERS = sorted(glob("src/*.h") + glob("src/*.def"))


def library(name, stems, flags=(), macros=()):
    sources = [f"src/{stem}.c" for stem in stems]
    once = [("CBP_WITH_X86", None)] if X86 else []
    pool = [("CBP_NO_POOL", None)] if SANITIZE else []
    return name, {"sources": sources, "flags": list(flags), "macros": [*macros, *once, *pool],
                  "obj_deps": {"": HEADERS}, "include_dirs": ["src"]}


def kernels(target, bits):
    """The libraries of one instruction set and dtype.  Of the base kernels, which CPUs of before 2013 run, only these
    lose much by -Os, in float32; the rest is 37 kB of the wheel smaller."""
    macros = [("CBP_TARGET", target), ("CBP_BITS", bits)]
    if target != "base" or not X86:
        return [library(f"cbp_{target}_{bits}", PER_TARGET, [target], macros)]
    fast = ["elementwise", "softmax"] if bits == "32" else []
    small = library(f"cbp_base_{bits}", [stem for stem in PER_TARGET if stem not in fast], ["base", "-Os"], macros)
    return [small, library(f"cbp_base_fast_{bits}", fast, ["base"], macros)] if fast else [small]


LIBRARIES = [library("cbp_once", ONCE), library("cbp_small", SMALL, ["base", "-Os"])] + [
    made for target in TARGETS for bits in ("32", "64") for made in kernels(target, bits)]


def is_gcc(compiler):
    """Whether the compiler is GCC itself, also where it is called cc."""
    try:
        said = subprocess.run([*compiler.compiler[:1], "--version"], capture_output=True, text=True).stdout
    except (AttributeError, OSError):
        return False
    return "Free Software Foundation" in said


class BuildKernels(build_clib):
    """build_clib with an own folder for each library: it would take the first one's objects for all otherwise."""

    def build_libraries(self, libraries):
        with ThreadPoolExecutor(os.cpu_count()) as pool:       # the work is done by compilers, in processes
            list(pool.map(self.build_one, libraries))

    def build_one(self, library):
        name, info = library
        msvc = self.compiler.compiler_type == "msvc"
        target = info["flags"][0] if info["flags"] else "base"
        flags = MSVC + MSVC_TARGETS[target] if msvc else COMMON + TARGETS[target] + info["flags"][1:]
        if is_gcc(self.compiler):
            flags = flags + GCC_SMALL
        if not msvc and SANITIZE:
            flags = flags + SANITIZER
        if not msvc and sys.platform != "win32":
            flags = [*flags, "-fPIC"]
        mine = copy.copy(self)
        mine.build_temp = os.path.join(self.build_temp, name)
        build_clib.build_libraries(mine, [(name, {**info, "cflags": flags})])


class BuildModules(build_ext):
    def build_extensions(self):
        if self.compiler.compiler_type != "msvc":
            for extension in self.extensions:
                extension.extra_compile_args += ["-Os", "-fvisibility=hidden", "-fno-asynchronous-unwind-tables",
                                                 "-ffp-contract=off", "-Wno-unused-function"]
                if is_gcc(self.compiler):      # Py_DECREF as a call costs a fifth of an eager step
                    extension.extra_compile_args += ["--param", "max-inline-insns-size=8"]
                if sys.platform.startswith("linux"):
                    extension.extra_compile_args += [*SANITIZER, "-DCYTHON_USE_FREELISTS=0"] if SANITIZE else ["-g0"]
                    extension.extra_link_args += ["-Wl,--as-needed", "-pthread"]
                    extension.extra_link_args += SANITIZER[:1] if SANITIZE else ["-Wl,-s"]
        super().build_extensions()


def module(name):
    """A Cython module.  There is one: a second copy of the kernels would mean two pools and two dispatch tables."""
    plain = [("CYTHON_COMPRESS_STRINGS", "0")]     # a wheel compresses them better, together with the rest
    return Extension(f"cybackprop._core.{name}", [f"cybackprop/_core/{name}.pyx"], include_dirs=["src"],
                     define_macros=plain,
                     depends=[*sorted(glob("cybackprop/_core/*.px[di]")), *HEADERS, *glob("src/*.c")])


DIRECTIVES = {"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True,
              "initializedcheck": False, "allow_none_for_extension_args": False, "embedsignature": True,
              "binding": False, "auto_pickle": False}

modules = [module(Path(p).stem) for p in sorted(glob("cybackprop/_core/*.pyx"))]

setup(
    libraries=LIBRARIES,
    ext_modules=cythonize(modules, build_dir="build/cython", compiler_directives=DIRECTIVES,
                          annotate=os.environ.get("CYBACKPROP_ANNOTATE") == "1"),
    cmdclass={"build_clib": BuildKernels, "build_ext": BuildModules},
)
