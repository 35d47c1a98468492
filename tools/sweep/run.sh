#!/bin/sh
# make sweep: build the kernels as setup.py does, the tool for this very machine (that is only the tool: -march=native
# has no place in the package), run it, and write the table of docs/accuracy.md.  Needs gcc with libquadmath, on Linux.
set -e
python=$1
shift
here=build/sweep
mkdir -p $here
"$python" setup.py -q build_clib --build-clib $here/lib --build-temp $here/temp
flags="-std=gnu11 -O3 -march=native -mprefer-vector-width=512 -fno-math-errno -fno-trapping-math -ffp-contract=off
       -Wall -Wextra -Isrc"
for bits in 64 80 128; do
    gcc $flags -DREAL=$bits -c tools/sweep/oracle.c -o $here/oracle_$bits.o
done
gcc $flags -pthread tools/sweep/sweep.c tools/sweep/all32.c tools/sweep/sample.c $here/oracle_*.o -o $here/sweep \
    -Wl,--start-group $here/lib/libcbp_*.a -Wl,--end-group $(ls /lib*/*/libmvec.so* >/dev/null 2>&1 && echo -lmvec) \
    -lquadmath -lm
status=0
$here/sweep "$@" || status=$?
$here/sweep --markdown > $here/table.md
awk -v table=$here/table.md '/<!-- end of the table -->/ { skip = 0 } !skip { print }
    /<!-- the table: make sweep -->/ { skip = 1; while ((getline line < table) > 0) print line }' \
    docs/accuracy.md > $here/accuracy.md
cp $here/accuracy.md docs/accuracy.md
exit $status
