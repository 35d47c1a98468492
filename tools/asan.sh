#!/bin/sh
# The suite with AddressSanitizer and UndefinedBehaviourSanitizer, in a build folder of its own.
# Every buffer is its own malloc there and Python's own pools are off, so that an overrun cannot hide.
set -e
python=$1
shift
here=build/asan
mkdir -p $here
CYBACKPROP_SANITIZE=1 "$python" setup.py -q build --build-base $here --build-lib $here/lib
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export LD_PRELOAD PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
# PYTHONSAFEPATH: not the checkout's own package, neither here nor in what tests start
export PYTHONPATH="$PWD/$here/lib" PYTHONSAFEPATH=1 CYBACKPROP_TESTED=$here/lib
# -s: pytest would hide the report
exec "$python" -X faulthandler -m pytest -s -m "not plain_build" --timeout 1200 "$@"
