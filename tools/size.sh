#!/bin/sh
# Lines by folder, the longest files, and the size of the newest wheel beside its promise.
for folder in src cybackprop/_core cybackprop/ops cybackprop/transforms cybackprop/nn cybackprop/optim cybackprop/train \
              cybackprop/io cybackprop/data cybackprop/cli tests benchmarks tools; do
    files=$(git ls-files "$folder" | grep -E '\.(c|h|def|pyx|pxd|pxi|py|sh)$')
    [ -n "$files" ] && printf '%-24s %4d files %6d lines\n' "$folder" "$(echo "$files" | wc -l)" "$(cat $files | wc -l)"
done
echo "longest:"
git ls-files | grep -E '\.(c|h|pyx|pxd|pxi|py)$' | xargs wc -l | grep -v total | sort -rn | head -5
wheel=$(ls -t dist/*.whl 2>/dev/null | head -1)
[ -n "$wheel" ] && printf 'wheel: %d bytes (promise: 1,000,000)\n' "$(wc -c < "$wheel")"
exit 0
