#!/bin/sh
# Say in one line what is missing on this machine before a long build finds out.
python=$1
missing=""
command -v "$python" >/dev/null 2>&1 || { echo "python3 is missing: apt-get install python3 python3-venv python3-dev gcc" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $python is older: make PYTHON=python3.12 ..." >&2; exit 1; }
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || missing="$missing python3-dev"
command -v "${CC:-gcc}" >/dev/null 2>&1 || command -v cc >/dev/null 2>&1 || missing="$missing gcc"
[ -z "$missing" ] || { echo "missing:$missing.  Install with: sudo apt-get install$missing" >&2; exit 1; }
