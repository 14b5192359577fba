#!/bin/sh
# SPDX-License-Identifier: MIT
# symbols.sh LIBRARY: the shared library shows cairn_* and its version nodes, and nothing else.
set -eu
shown=$(nm -D --defined-only "$1" | awk '{ print $NF }')

if ! printf '%s\n' "$shown" | grep -Eq '^cairn_[a-z0-9_]+@@CAIRN_[0-9.]+$'; then
    echo "$1: no versioned cairn_* symbol"
    exit 1
fi
if printf '%s\n' "$shown" | grep -Ev '^(cairn_[a-z0-9_]+@@?)?CAIRN_[0-9.]+$'; then
    echo "$1: the symbols above must not be visible"
    exit 1
fi
