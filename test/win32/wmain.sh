#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# wmain.sh SOURCE-DIR LIBRARY-DIR C-COMPILER [C++-COMPILER]: programs whose entry is wmain, in each of its forms, run and
# get their arguments and environment.
set -euo pipefail
source=$1 library=$2 c=$3 cpp=${4-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C.UTF-8

try() { # COMPILER FILE PARAMETERS STATEMENTS
    printf '#include <windows.h>\n#include <stdlib.h>\n#include <wchar.h>\n%s\n{\n    %s\n}\n' "$3" "$4" >"$work/$2"
    "$1" -Wall -Wextra -I "$source/include/cairn/win32" -I "$source/include" "$work/$2" -o "$work/program" \
        -L"$library" -lcairn-win32-main -lcairn-win32 -lcairn -Wl,-rpath,"$library"
    local status=0
    env -i LC_ALL=C.UTF-8 FIRST=wïde "$work/program" wïde || status=$?
    if ((status != 7)); then
        echo "FAILED with $status: $3"
        exit 1
    fi
}

argument='argc == 2 && wcscmp(argv[1], L"w\u00efde") == 0 && argv[2] == NULL'
environment='wcscmp(envp[0], L"LC_ALL=C.UTF-8") == 0 && wcscmp(envp[1], L"FIRST=w\u00efde") == 0 && envp[2] == NULL'
forms() { # COMPILER FILE VOID
    try "$1" "$2" "int wmain($3)" 'return 7;'
    try "$1" "$2" 'int wmain(int argc, wchar_t **argv)' "return $argument ? 7 : 1;"
    try "$1" "$2" 'int wmain(int argc, wchar_t *argv[], wchar_t *envp[])' "return $argument && $environment ? 7 : 1;"
    try "$1" "$2" 'int wmain(int argc, const wchar_t **argv)' "return $argument ? 7 : 1;"
    try "$1" "$2" 'int wmain(int argc, const wchar_t **argv, const wchar_t **envp)' \
        "return $argument && $environment ? 7 : 1;"
    try "$1" "$2" 'void wmain(int argc, wchar_t *argv[])' "exit($argument ? 7 : 1);"
}
forms "$c" program.c void
[[ -z $cpp ]] || forms "$cpp" program.cpp ''
