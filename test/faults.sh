#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# faults.sh OTHERS OBJECT... -- FUNCTION...: whatever the library's OBJECTs call of the C library is one of the FUNCTIONs that
# test/faults/faults.c makes fail, or stands in OTHERS with the reason why not.
set -euo pipefail
others=$1
shift
objects=()
while [[ $1 != -- ]]; do
    objects+=("$1")
    shift
done
shift
failed=0

declare -A wrapped=() reason=() called=() defined=()
for name in "$@"; do
    wrapped[$name]=1
done
while IFS='|' read -r name why; do
    [[ $name == \#* || -z $name ]] || reason[${name%% *}]=$why
done <"$others"
while read -r name _; do
    defined[$name]=1
done < <(nm --defined-only --format=posix "${objects[@]}" | awk 'NF > 1')

while read -r name; do
    # What the compiler and the linker call by themselves begins so, and __errno_location.
    [[ $name == _* || -n ${defined[$name]-} ]] && continue
    called[$name]=1
    if [[ -z ${wrapped[$name]-} && -z ${reason[$name]-} ]]; then
        echo "$name: is called, and neither made to fail nor in ${others##*/}"
        failed=1
    fi
done < <(nm --undefined-only --format=posix "${objects[@]}" | awk 'NF > 1 { print $1 }' | sort -u)

for name in "${!reason[@]}"; do
    if [[ -n ${wrapped[$name]-} ]]; then
        echo "$name: is made to fail, and needs no reason"
        failed=1
    elif [[ -z ${called[$name]-} && $name != futex && ${reason[$name]} != *"makes no system call" ]]; then # as compilers like
        echo "$name: stands in ${others##*/}, and is not called"
        failed=1
    fi
done
echo "faults: of ${#called[@]} functions of the C library that are called, ${#reason[@]} are not made to fail, each with a reason"
exit $((failed || ${#called[@]} == 0))
