#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# text.sh SOURCE-DIR LIBRARY-DIR COMPILER: text.c as a program of one kind of text and of the other, as C and as C++.
set -euo pipefail
source=$1 libraries=$2 compiler=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CAIRN_DIR=$work
for language in c c++; do
    for kind in "" -DUNICODE "-DUNICODE -fshort-wchar"; do
        # shellcheck disable=SC2086
        "$compiler" -x "$language" $kind -Wall -Wextra -Werror -I"$source/include/cairn/win32" "$source/test/win32/text.c" \
            -o "$work/text" -L"$libraries" -Wl,-rpath,"$libraries" -lcairn-win32 -lcairn
        "$work/text"
    done
done
echo "text.c runs with and without UNICODE, as C and as C++"
