#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mingw.sh SOURCE-DIR: what our windows.h declares is what that of MinGW declares: each function with the same types, each
# constant with the same value, each structure of the same size with its members at the same places.
set -euo pipefail
header=$1/include/cairn/win32/windows.h
real=/usr/x86_64-w64-mingw32/include
if ! command -v clang >/dev/null || [[ ! -f $real/windows.h ]]; then
    echo "SKIPPED: no clang, or no headers of MinGW (Debian packages clang, mingw-w64-x86-64-dev)"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The declarations of Windows's own calls, to be given once more behind the real header: a compiler refuses unlike ones.
declarations() {
    tr '\n' ' ' <"$header" | grep -oE 'CAIRN_WIN32_API [^;]*;' |
        sed -E 's/^CAIRN_WIN32_API //; s/ +/ /g' | grep -vE '\b(Cairn[A-Z]|cairn_|CeHeapCreate|define)' || true
}

# Our constants: NAME VALUE; what is no number is none.
constants() {
    sed -nE 's/^#define ([A-Z][A-Z_0-9]+) \(?(-?[0-9][0-9a-fA-Fx]*)u?\)?( .*)?$/\1 \2/p' "$header" | grep -v '^CAIRN_' | sort -u
}

members() {
    cat <<'TEXT'
PROCESS_HEAP_ENTRY lpData cbData cbOverhead iRegionIndex wFlags Block.hMem Region.dwCommittedSize Region.dwUnCommittedSize Region.lpFirstBlock Region.lpLastBlock
MEMORY_BASIC_INFORMATION BaseAddress AllocationBase AllocationProtect RegionSize State Protect Type
SYSTEM_INFO dwOemId wProcessorArchitecture dwPageSize lpMinimumApplicationAddress lpMaximumApplicationAddress dwActiveProcessorMask dwNumberOfProcessors dwProcessorType dwAllocationGranularity wProcessorLevel wProcessorRevision
SECURITY_ATTRIBUTES nLength lpSecurityDescriptor bInheritHandle
EXCEPTION_RECORD ExceptionCode ExceptionFlags ExceptionRecord ExceptionAddress NumberParameters ExceptionInformation
EXCEPTION_POINTERS ExceptionRecord ContextRecord
TEXT
}

# Sizes and places here, as assertions for there.
layout() {
    {
        printf '#include <windows.h>\n#include <stdio.h>\nint main(void)\n{\n'
        members | while read -r type names; do
            printf 'printf("_Static_assert(sizeof(%s) == %%zu, \\"%s\\");\\n", sizeof(%s));\n' "$type" "$type" "$type"
            for name in $names; do
                printf 'printf("_Static_assert(__builtin_offsetof(%s, %s) == %%zu, \\"%s.%s\\");\\n", __builtin_offsetof(%s, %s));\n' \
                    "$type" "$name" "$type" "$name" "$type" "$name"
            done
        done
        printf 'return 0;\n}\n'
    } >"$work/layout.c"
    clang -I"${header%/*}" "$work/layout.c" -o "$work/layout"
    "$work/layout"
}

absent=$(printf '#include <windows.h>\n#include <winnt.h>\n' |
    clang --target=x86_64-w64-mingw32 -isystem "$real" -D_WIN32_WINNT=0x0A00 -dM -E -x c - | awk '{ print $2 }' | sort -u >"$work/names"
    constants | awk '{ print $1 }' | sort -u | comm -23 - "$work/names" | tr '\n' ' ')
compared=$(($(constants | wc -l) - $(wc -w <<<"$absent")))
{
    printf '#include <windows.h>\n'
    declarations
    constants | while read -r name value; do
        printf '#ifdef %s\n_Static_assert((long long)(%s) == (long long)(%s) || (unsigned)(%s) == (unsigned)(%s), "%s");\n#endif\n' \
            "$name" "$name" "$value" "$name" "$value" "$name"
    done
    layout
} >"$work/compare.c"
clang --target=x86_64-w64-mingw32 -isystem "$real" -D_WIN32_WINNT=0x0A00 -fsyntax-only -Wno-inconsistent-dllimport \
    -Wno-dll-attribute-on-redeclaration -Wall -Werror "$work/compare.c"
printf '#include <windows.h>\n' |
    clang --target=x86_64-w64-mingw32 -isystem "$real" -D_WIN32_WINNT=0x0A00 -E -P -x c - >"$work/real"
functions=0
while read -r name; do
    if grep -qE "\b$name ?\(" "$work/real"; then
        functions=$((functions + 1))
    else
        absent="$absent$name "
    fi
done < <(declarations | sed -E 's/^[^(]* ([A-Za-z]+) ?\(.*/\1/')
echo "$functions functions, $compared constants and $(members | wc -l) structures are those of MinGW; not there: ${absent:-none}"
((functions >= 34 && compared >= 80)) # else what was to be compared was not found
