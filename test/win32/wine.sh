#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# wine.sh BUILD-DIR: the tests of the Win32 calls that need nothing else (they include claims.h of windows/) are built with
# MinGW and run under Wine. Each assertion that does not hold there must be in the table of docs/win32.md, and each row of
# the table must be seen.
set -euo pipefail
mkdir -p "$1"
build=$(cd "$1" && pwd)
cd "$(dirname "$0")"
target=x86_64-w64-mingw32
for needed in $target-gcc clang wine; do
    if ! command -v "$needed" >/dev/null; then
        echo "SKIPPED: no $needed (Debian packages gcc-mingw-w64-x86-64, clang, wine64, wine)"
        exit 77
    fi
done
export WINEPREFIX=$build/prefix WINEDEBUG=-all WINEARCH=win64 DISPLAY=
[[ -d $WINEPREFIX ]] || echo "wine makes its prefix, which takes a minute"

# Of compilers for this target clang alone knows __try, in functions that are called from the guarded block.
flags=(-O1 -g -Wall -Wextra -Wno-unknown-pragmas -D_WIN32_WINNT=0x0A00 -DNTDDI_VERSION=0x0A00000B -D__USE_MINGW_ANSI_STDIO=1 -I windows)
$target-gcc "${flags[@]}" -c windows/claims.c -o "$build/claims.o"
for suite in heap section exception; do
    if grep -q '__try' "test_$suite.c"; then
        clang --target=$target -fms-extensions -Wno-ignored-attributes "${flags[@]}" -c "test_$suite.c" -o "$build/$suite.o"
    else
        $target-gcc "${flags[@]}" -c "test_$suite.c" -o "$build/$suite.o"
    fi
    $target-gcc -static "$build/$suite.o" "$build/claims.o" -o "$build/$suite.exe" -lpthread
done
: >"$build/errors"
for suite in heap section exception; do
    timeout 1000 wine "$build/$suite.exe" 2>>"$build/errors" | tr -d '\r' || true # what it lacks is seen below
done >"$build/said"

# What was seen and what the table tells, as CLAIM and ASSERTION between tabs.
sed -n 's/^DIFFERS\t\([^\t]*\t[^\t]*\)\t.*/\1/p' "$build/said" | sort -u >"$build/seen"
# shellcheck disable=SC2016 # backticks of the text
sed -n '/^<!-- wine -->/,/^<!-- end -->/p' ../../docs/win32.md | sed -n 's/^| `\([a-z_0-9]*\)` | \(.*\) | [^|]* |$/\1\t\2/p' |
    while IFS=$'\t' read -r claim words; do
        grep -oE '`[^`]+`' <<<"$words" | sed -e 's/\\|/|/g' -e "s/^.\(.*\).$/$claim\t\1/"
    done | sort -u >"$build/told"
if grep -q $'^DIFFERS\t' "$build/said"; then
    echo "---- what Wine says otherwise"
    sed -n 's/^DIFFERS\t//p' "$build/said" | tr '\t' ' '
fi

[[ $(grep -c $'^TOLD\t' "$build/said") == 3 ]] || { echo "a suite did not run to its end"; cat "$build/errors"; exit 1; }
claims=$(awk -F'\t' '$1 == "TOLD" { sum += $2 } END { print sum }' "$build/said")
assertions=$(awk -F'\t' '$1 == "ASSERTED" { sum += $3 } END { print sum }' "$build/said")
echo "---- $(wine --version), $($target-gcc -dumpversion): $claims claims with $assertions assertions;" \
    "$(cut -f 1 "$build/seen" | sort -u | wc -l) claims differ, in $(wc -l <"$build/seen") assertions"
echo "left out, as they are about what cairn adds or is seen from outside: $(cat test_*_cairn.c | grep -c '^START_TEST')" \
    "claims of test_*_cairn.c, and test_share.c"
if ! diff "$build/told" "$build/seen" >"$build/diff"; then
    echo "docs/win32.md (<) does not tell what was seen (>):"
    grep '^[<>]' "$build/diff"
    exit 1
fi
