#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# users.sh BUILD-DIR SOURCE-DIR [SANITIZERS]: three files of other projects that make the calls of windows.h, unchanged, are
# compiled against the header and do their work on libcairn-win32 as they do it on malloc; the calls are counted.
# "./dev win32" fetches them (sources.sh) to SOURCE-DIR/build/win32-sources; without it this is skipped.
set -euo pipefail
build=$1
source=$2
users=$source/test/win32/users
sources=$source/build/win32-sources
for file in os_win.c ftsystem.c vmem.h; do
    if [[ ! -f $sources/$file ]]; then
        echo "SKIPPED: no $file of Debian's source packages; ./dev win32 fetches it"
        exit 77
    fi
done
for needed in sqlite3 freetype2; do
    if ! pkg-config --exists "$needed"; then
        echo "SKIPPED: $needed is not installed"
        exit 77
    fi
done
work=$build/test/win32/users
mkdir -p "$work"

common=(-O1 -g -Wall -Wextra -Werror ${3:+-fsanitize=$3} -I "$source/include/cairn/win32" -I "$source/include" -I "$users" -I "$work")
while read -r call; do
    common+=("-Wl,--wrap=$call")
done < <(sed -nE 's/^    DO\(([A-Za-z]+)\).*/\1/p' "$users/calls.h")
library=(-L "$build" -lcairn-win32 -lcairn -lpthread)
export LD_LIBRARY_PATH=$build

run() { # PROGRAM
    timeout 60 "$work/$1"
}

# What os_win.c has for its option SQLITE_WIN32_MALLOC: the heap, and nothing of files.
awk '/^#ifdef SQLITE_WIN32_MALLOC$/ { inside = 1 } inside; /^#endif \/\* SQLITE_WIN32_MALLOC \*\/$/ { inside = 0 }' \
    "$sources/os_win.c" >"$work/winmem.c"
read -ra linked < <(pkg-config --cflags --libs sqlite3)
cc -std=gnu17 "${common[@]}" -Wno-format "$users"/{sqlite,sqlite_winmem,calls}.c -o "$work/sqlite" "${linked[@]}" "${library[@]}"
run sqlite

# The static library, of which ftsystem.o is left out, as all that it has is here already.
read -ra linked < <(pkg-config --static --libs freetype2)
linked=("${linked[@]/#-lfreetype/-l:libfreetype.a}")
cc -std=gnu17 "${common[@]}" "$users"/{freetype,freetype_windows,calls}.c -o "$work/freetype" \
    -I "$sources" -I "$sources/freetype" "${linked[@]}" "${library[@]}"
run freetype

# The options are lines of the file.
cp "$sources/vmem.h" "$work/vmem_malloc.h"
sed 's,^#define _USE_MSVCRT_MEM_ALLOC$,,' "$sources/vmem.h" >"$work/vmem_tags.h"
sed 's,^// #define _USE_BUDDY_BLOCKS$,#define _USE_BUDDY_BLOCKS,' "$work/vmem_tags.h" >"$work/vmem_buddies.h"
cc -std=gnu17 "${common[@]}" -c "$users/calls.c" -o "$work/calls.o"
for kind in malloc tags buddies; do
    c++ -std=c++17 "${common[@]}" -Wno-sign-compare -Wno-unused-variable -Wno-unused-but-set-variable \
        "-DVMEM_H=<vmem_$kind.h>" "-DKIND=\"$kind\"" "$users/vmem.cpp" "$work/calls.o" -o "$work/vmem_$kind" "${library[@]}"
    run "vmem_$kind"
done
cat "$sources/versions"
