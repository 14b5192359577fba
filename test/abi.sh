#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# abi.sh SOURCE-DIR LIBRARY [--store]: the library can take the place of the one that abi/cairn-VERSION.abi describes, for
# every VERSION with the same first two numbers as the library's. --store writes the description of this library, which
# must have debug information. See docs/compatibility.md.
set -euo pipefail
source_dir=$1
library=$2

number() { # MAJOR|MINOR|PATCH
    sed -n "s/^#define CAIRN_VERSION_$1 \([0-9]*\)$/\1/p" "$source_dir/include/cairn.h"
}
version=$(number MAJOR).$(number MINOR)
stored=$source_dir/abi/cairn-$version.abi

for tool in abidw abidiff; do
    if ! command -v $tool >/dev/null; then
        echo "SKIPPED: no $tool (Debian package abigail-tools)"
        exit 77
    fi
done

# Without what differs from one place or machine to another; the tool looks at the first line, so the licence is second.
describe() {
    abidw --exported-interfaces-only --headers-dir "$source_dir/include" --drop-private-types --no-show-locs \
        --no-corpus-path --no-comp-dir-path --no-elf-needed --no-architecture "$1" |
        sed -e '1a <!-- SPDX-License-Identifier: MIT -->' -e "s| path='[^']*/src/| path='src/|"
}

if [[ ${3:-} == --store ]]; then
    mkdir -p "$source_dir/abi"
    describe "$library" >"$stored"
    echo "stored in $stored"
    exit 0
fi

if [[ $(readelf -S "$library") != *.debug_info* ]]; then
    echo "SKIPPED: $library has no debug information, by which types are compared"
    exit 77
fi
if [[ ! -f $stored ]]; then
    echo "$stored: missing; store it by abi.sh SOURCE-DIR LIBRARY --store"
    exit 1
fi
current=$(mktemp)
trap 'rm -f "$current"' EXIT
describe "$library" >"$current"

# Bits of the status: 1 and 2 an error, 4 a change, 8 a change that breaks programs. What is only added is a change too.
status=0
abidiff --no-show-locs "$stored" "$current" || status=$?
if ((status & 3)); then
    echo "abidiff failed"
    exit 1
fi
if ((status & 8)); then
    echo "$library cannot take the place of the one that $stored describes"
    exit 1
fi
if ((status & 4)); then
    echo "not as $stored describes: if the change is meant and no program breaks, store the new description"
    exit 1
fi
