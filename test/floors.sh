#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# floors.sh SRC-DIR OBJECT...: the floors look down, never up (docs/architecture.md).
#   1. No file includes a header of a higher floor, and each include of ours names its floor.
#      malloc is a user of the public header, and knows of the other floors platform and base alone; win32 of base.
#   2. core and recovery are blind: they include nothing of platform, call nothing but the floors below them and what a
#      compiler may call by itself, and keep no variable of their own. So they make no system call and read no clock.
set -euo pipefail
src=$1
shift
failed=0

fail() {
    echo "$*"
    failed=1
}

height() {
    case $1 in
        base) echo 0 ;;
        platform) echo 1 ;;
        section) echo 2 ;;
        core) echo 3 ;;
        recovery) echo 4 ;;
        api) echo 5 ;;
        faces | server | publish | tool | malloc | win32) echo 6 ;;
        *) echo 9 ;; # no floor: always too high
    esac
}

# ---- 1. includes

# look FILE FLOOR INCLUDED: may FILE on FLOOR include "INCLUDED"?
look() {
    case $3 in
        cairn.h | cairn_*.h | cairn/* | cairn.hpp) other=api ;; # the public headers are what api promises
        ./* | ../*) other=unnamed ;;
        */*) other=${3%%/*} ;;
        *) if [ "$2" = tool ]; then other=tool; else other=unnamed; fi ;; # the tool sees no other floor anyway
    esac
    if [ "$other" = unnamed ]; then
        fail "$1: \"$3\" does not name its floor"
    elif [ "$(height "$other")" -gt "$(height "$2")" ]; then
        fail "$1: $2 looks up to \"$3\""
    elif [ "$(height "$2")" -eq 6 ] && [ "$(height "$other")" -eq 6 ] && [ "$other" != "$2" ]; then
        fail "$1: $2 looks into the next room, \"$3\""
    elif [ "$2" = malloc ] && [[ $other != @(malloc|platform|base) && $3 != cairn.h ]]; then
        fail "$1: malloc sees nothing of cairn but cairn.h, not \"$3\""
    elif [ "$2" = win32 ] && [[ $other != @(win32|base) && $3 != cairn.h && $3 != cairn_publish.h && $3 != cairn/win32/* ]]; then
        fail "$1: win32 sees nothing of cairn but its public headers and base, not \"$3\""
    elif [ "$other" = platform ] && { [ "$2" = core ] || [ "$2" = recovery ]; }; then
        fail "$1: $2 must not know the platform, \"$3\""
    fi
}

include='^[[:space:]]*#[[:space:]]*include[[:space:]]*'
while read -r file; do
    inside=${file#"$src"/}
    while read -r included; do
        look "$inside" "${inside%%/*}" "$included"
    done < <(sed -En "s|$include\"([^\"]+)\".*|\1|p; s|$include<(cairn[._/][^>]*)>.*|\1|p" "$file")
done < <(find "$src" -name '*.[ch]' | sort)

# ---- 2. objects

# Functions that a compiler calls without being asked: the four of a freestanding C implementation, strlen (gcc makes it
# of a loop), helpers of libgcc, and the instruments of sanitizers and coverage.
by_compiler='mem(set|cpy|move|cmp)|strlen|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__[a-z]+[dt]i[234]|__aarch64_.*'
by_compiler="$by_compiler|__(asan|ubsan|tsan|sanitizer|gcov|llvm)_.*"

objects=("$@")

# objects_of FLOOR...: those of the objects that belong to the floors.
objects_of() {
    local floor object
    for floor in "$@"; do
        for object in "${objects[@]}"; do
            case $object in */src/"$floor"/*) printf '%s\n' "$object" ;; esac
        done
    done
}

# blind FLOOR BELOW...: the objects of FLOOR use only themselves and the floors below.
blind() {
    local floor=$1 own known object name
    mapfile -t own < <(objects_of "$floor")
    mapfile -t known < <(objects_of "$@")
    ((${#own[@]})) || return 0

    local -A defined=()
    while read -r name _; do
        defined[$name]=1
    done < <(nm --defined-only --format=posix "${known[@]}" | awk 'NF > 1')
    for object in "${own[@]}"; do
        while read -r name _; do
            [[ -n ${defined[$name]-} || $name =~ ^($by_compiler)$ ]] || fail "$object: $floor must not use $name"
        done < <(nm --undefined-only --format=posix "$object")
        # Constant tables with pointers in them lie in .data.rel.ro: they are no variables.
        while read -r name; do
            [[ $name == __* || $name == .* ]] || fail "$object: $floor must not keep a variable, $name"
        done < <(nm --defined-only --format=sysv "$object" | awk -F'|' '
            $7 ~ /^[.](data|bss|tdata|tbss)/ && $7 !~ /^[.]data[.]rel[.]ro/ { sub(/ +$/, "", $1); print $1 }')
    done
}
blind core base section
blind recovery base section core

exit $failed
