#!/bin/sh
# SPDX-License-Identifier: MIT
# seed.sh BUILD-DIR SOURCE-DIR [SANITIZERS]: with CAIRN_SEEDS=DIR, which has four texts about the calls:
#   1. The complete program that is printed in growable-shared-memory-block.txt is compiled unchanged, as C++ and as C,
#      linked and run; so are its three next steps, put together from the fragments as the text says.
#   2. The prototype in ertos-heapcreate.txt is the header's, and its flags are what that personality takes.
#   3. Each memory call and flag that any of the texts names is in the header.
set -eu
build=$1
source=$2
sanitizers=${3-}
seeds=${CAIRN_SEEDS-}
texts="growable-shared-memory-block ertos-heapcreate platform-sdk-heap-functions shared-heap-pitfalls"
for text in $texts; do
    if [ -z "$seeds" ] || [ ! -f "$seeds/$text.txt" ]; then
        echo "SKIPPED: CAIRN_SEEDS does not name a directory with $text.txt"
        exit 77
    fi
done
work=$build/test/win32/seed
mkdir -p "$work"

fail() {
    echo "$*"
    exit 1
}

# compile COMPILER-AND-OPTIONS FILE; makes $work/seed.
compile() {
    # shellcheck disable=SC2086
    $1 ${sanitizers:+-fsanitize=$sanitizers} -o "$work/seed" "$2" -I "$source/include/cairn/win32" -I "$source/include" \
        -L "$build" -lcairn-win32-main -lcairn-win32 -lcairn
}

run() {
    printf '\n\n\n\n\n' | LD_LIBRARY_PATH=$build timeout 30 "$work/seed"
}

# ---- 1. the growable block

# fence NUMBER: what stands between the fences of that number.
fence() {
    awk -v wanted="$1" '/^```/ { inside = !inside; if (inside) number++; next } inside && number == wanted' \
        "$seeds/growable-shared-memory-block.txt"
}

fence 1 >"$work/step1.c"
grep -q '^#include <windows.h>' "$work/step1.c"
grep -q 'int __cdecl wmain(int, wchar_t \*\*)' "$work/step1.c"
sed '/^int __cdecl wmain/,$d' "$work/step1.c" >"$work/before"

# The second fence replaces the call of the first.
fence 2 >"$work/call"
sed -e "/HANDLE h = CreateFileMapping/,/NULL);/{
    /NULL);/r $work/call
    d
}" "$work/step1.c" >"$work/step2.c"

fence 3 >"$work/third"
cat "$work/before" "$work/third" >"$work/step3.c"

# The fourth has "..." where the third's body stands, up to its end.
sed -e '1,/^{/d' -e '/return 0;/,$d' "$work/third" >"$work/body"
{
    cat "$work/before"
    grep '^#define' "$work/third"
    fence 4 | sed -e "/^ *\.\.\.$/{
        r $work/body
        d
    }"
} >"$work/step4.c"

# expect STEP COMMITTED NOT-COMMITTED
expect() {
    cp "$work/step$1.c" "$work/step$1.cpp"
    for how in "c++ $work/step$1.cpp" "cc -std=gnu2x $work/step$1.c"; do
        compile "${how% *}" "${how##* }"
        said=$(run)
        there=$(printf '%s\n' "$said" | grep -c 'is committed') || true
        missing=$(printf '%s\n' "$said" | grep -c 'is not committed') || true
        [ "$there $missing" = "$2 $3" ] || fail "step $1, ${how% *}: $said"
    done
    echo "step $1: committed $2 times, not committed $3 times, in C++ and C"
}
expect 1 2 0
expect 2 0 2
expect 3 2 4
expect 4 4 6

# ---- 2. the prototype

space=$(printf '\302\240') # in UTF-8, of a kind that no compiler takes
awk '/^HANDLE HeapCreate\(/, /^\);/' "$seeds/ertos-heapcreate.txt" | sed "s/$space/ /g" >"$work/prototype"
grep -q dwMaximumSize "$work/prototype" || fail "no prototype in ertos-heapcreate.txt"
flags=$(grep -ohE '\bHEAP_[A-Z_]+' "$seeds/ertos-heapcreate.txt" | sort -u | tr '\n' ' ')
{
    echo '#include <windows.h>'
    cat "$work/prototype"
    echo 'int main(void) {'
    echo '    static const DWORD flags[] = {0,' "$(echo "$flags" | sed 's/ /, /g')" '};'
    echo '    CairnSetPersonality(CAIRN_ERTOS);'
    echo '    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {'
    echo '        HANDLE heap = HeapCreate(flags[i], 4096, 1 << 20);'
    echo '        if (heap == NULL || HeapAlloc(heap, 0, 0x7fff0) == NULL || HeapDestroy(heap) == 0) return 1;'
    echo '    }'
    echo '    return 0;'
    echo '}'
} >"$work/ertos.c"
compile "cc -std=c11 -Wall -Werror" "$work/ertos.c"
run || fail "a flag of ertos-heapcreate.txt: $flags"
echo "prototype and flags: $flags"

# ---- 3. the names

absent="VirtualAllocEx" # the memory of another process
names=$(for text in $texts; do cat "$seeds/$text.txt"; done |
    grep -oE '\b(CeHeap|Heap|Virtual|Create|Map|Get)[A-Z][A-Za-z]+|\b(HEAP|MEM|SEC|PAGE|FILE_MAP)_[A-Z_]+' |
    grep -E '^(CeHeap|Heap|Virtual)|CreateFileMapping|MapViewOfFile|GetLastError|_' | sort -u | tr '\n' ' ')
[ -n "$names" ]
for name in $names; do
    case " $absent " in *" $name "*) continue ;; esac
    grep -qw "$name" "$source/include/cairn/win32/windows.h" || fail "$name is not in windows.h"
done
echo "names: $names"
