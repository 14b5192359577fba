#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh PROGRAM SOURCE [ARGUMENT...]: passes when PROGRAM is stopped by SIGABRT and says what the first line of SOURCE expects:
#     /* expect: EXTENDED-REGEX */
set -euo pipefail
program=$1
source=$2
shift 2

expected=$(sed -n '1s|^/\* expect: \(.*[^ ]\) *\*/$|\1|p' "$source")
if [ -z "$expected" ]; then
    echo "$source: the first line must be /* expect: REGEX */"
    exit 1
fi

ulimit -c 0
status=0
said=$("$program" "$@" 2>&1 >/dev/null </dev/null) || status=$?
printf 'stderr:\n%s\nstatus: %s\n' "$said" "$status"

if [ "$status" -ne 134 ]; then # 128 + SIGABRT
    echo "expected: killed by SIGABRT (134)"
    exit 1
fi
if ! printf '%s\n' "$said" | grep -Eq -e "$expected"; then
    echo "expected on stderr: $expected"
    exit 1
fi
