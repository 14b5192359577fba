#!/bin/sh
# SPDX-License-Identifier: MIT
# seed.sh BUILD-DIR SOURCE-DIR: with CAIRN_SEEDS=DIR, the complete program that is printed in
# DIR/growable-shared-memory-block.txt is compiled unchanged, as C++ and as C, linked, and run.
set -eu
build=$1
source=$2
text=${CAIRN_SEEDS-}/growable-shared-memory-block.txt
if [ -z "${CAIRN_SEEDS-}" ] || [ ! -f "$text" ]; then
    echo "SKIPPED: CAIRN_SEEDS does not name a directory with growable-shared-memory-block.txt"
    exit 77
fi
work=$build/test/win32/seed
mkdir -p "$work"
awk '/^```/ { inside = !inside; if (!inside && found) exit; next } inside && /#include <windows.h>/ { found = 1 }
    inside && found' "$text" >"$work/seed.cpp"
grep -q 'int __cdecl wmain(int, wchar_t \*\*)' "$work/seed.cpp"
cp "$work/seed.cpp" "$work/seed.c"
for compile in "c++ $work/seed.cpp" "cc -std=gnu2x $work/seed.c"; do
    # shellcheck disable=SC2086
    ${compile% *} -o "$work/seed" "${compile##* }" -I "$source/include/cairn/win32" \
        -L "$build" -lcairn-win32-main -lcairn-win32 -lcairn
    said=$(printf '\n\n\n' | LD_LIBRARY_PATH=$build timeout 30 "$work/seed")
    [ "$(printf '%s\n' "$said" | grep -c 'is committed')" = 2 ]
    printf '%s\n' "$said"
done
