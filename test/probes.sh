#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# probes.sh LIBRARY found|none|sanitizer: a library that was built where <sys/sdt.h> is has all its probes, and one that was built
# elsewhere has none, which is said.
set -euo pipefail
library=$1 header=$2
found=$(readelf --notes "$library" | sed -n 's/^ *Provider: cairn$/cairn/p; s/^ *Name: //p' | paste -d : - - | sort -u | tr '\n' ' ')
if [[ $header == sanitizer ]]; then
    echo "skipped: where a sanitizer looks no tracer needs to"
    exit 77
elif [[ $header != found ]]; then
    [[ -z $found ]] || { echo "no <sys/sdt.h>, and yet probes: $found" >&2 && exit 1; }
    echo "skipped: <sys/sdt.h> was not there (systemtap-sdt-dev)"
    exit 77
fi
wanted="cairn:alloc cairn:free cairn:grow cairn:recover "
[[ $found == "$wanted" ]] || { echo "probes: $found; wanted: $wanted" >&2 && exit 1; }
echo "probes: $found"
