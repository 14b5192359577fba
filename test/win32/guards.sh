#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# guards.sh SOURCE-DIR LIBRARY-DIR COMPILER: guarded code works as the compiler makes it, at each degree of optimization; in
# C++ wherever windows.h stands among the other headers. With CAIRN_ROUNDS more options, and more standards of C++.
set -euo pipefail
source=$1 library=$2 compiler=$3
if ! command -v "$compiler" >/dev/null; then
    echo "SKIPPED: no $compiler"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-Wall -Wextra -I "$source/include/cairn/win32" -I "$source/include")
libraries=(-L"$library" -lcairn-win32-main -lcairn-win32 -lcairn -pthread "-Wl,-rpath,$library")
degrees=(-O0 -O1 -O2 -O3)
standards=(c++11)
places=(BEFORE)
if [[ -n ${CAIRN_ROUNDS-} ]]; then
    degrees+=("-O2 -fstack-protector-all -fstack-clash-protection" "-O2 -fno-omit-frame-pointer")
    [[ $(uname -m) != x86_64 ]] || degrees+=("-O3 -march=native")
    standards=(c++11 c++17 c++20)
    places=(BEFORE BETWEEN BEHIND)
fi

try() { # OPTIONS...
    if ! "$compiler" "${flags[@]}" "$@" -Werror -o "$work/guards" "${libraries[@]}" || ! timeout 60 "$work/guards" wïde; then
        echo "FAILED: $compiler $*"
        exit 1
    fi
}

export LC_ALL=C.UTF-8
if [[ $compiler == *++ ]]; then
    for standard in "${standards[@]}"; do
        for place in "${places[@]}"; do
            try -std="$standard" -D"$place" "$source/test/win32/seh.cpp"
        done
    done
else
    for degree in "${degrees[@]}"; do
        # shellcheck disable=SC2086 # options
        try $degree -Wno-psabi -Wno-clobbered -Wno-unknown-warning-option "$source/test/win32/guards.c"
    done
fi

# Who asks for warnings gets none of the macros.
language=c standard=c17
[[ $compiler != *++ ]] || language=c++ standard=c++17
printf '#define CAIRN_WIN32_SEH\n#include <windows.h>\nint main()\n{\n    volatile int at = 0;\n    __try {\n        at = 1;\n    } __except (1) {\n        at = 2;\n    }\n    return at != 1;\n}\n' |
    "$compiler" "${flags[@]}" -x "$language" -std="$standard" -Wpedantic -Wshadow -Wvla -Werror -fsyntax-only -
