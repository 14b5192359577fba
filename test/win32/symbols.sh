#!/bin/sh
# SPDX-License-Identifier: MIT
# symbols.sh LIBRARY SOURCE-DIR: the library shows the calls of windows.h, docs/win32.md lists these, and nothing else.
set -eu
shown=$(nm -D --defined-only "$1" | awk '{ print $NF }' | sed 's/@.*//' | grep -v '^CAIRN_WIN32_' | sort)
declared=$(tr '\n' ' ' <"$2/include/cairn/win32/windows.h" | sed 's/define CAIRN_WIN32_API//' | grep -oE 'CAIRN_WIN32_API [^(;]*\(' |
    grep -oE '[A-Za-z0-9_]+\($' | tr -d '(' | sort -u)
# shellcheck disable=SC2016 # backticks of the text
told=$(sed -n '/^<!-- exported -->/,/^<!-- end -->/p' "$2/docs/win32.md" | grep -oE '`[A-Za-z0-9_]+`' | tr -d '`' | sort)
if [ -z "$shown" ] || [ "$shown" != "$declared" ]; then
    printf 'the library shows:\n%s\n\nwindows.h declares:\n%s\n' "$shown" "$declared"
    exit 1
fi
if [ "$shown" != "$told" ]; then
    printf 'the library shows:\n%s\n\ndocs/win32.md lists:\n%s\n' "$shown" "$told"
    exit 1
fi
