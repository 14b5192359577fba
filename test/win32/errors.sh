#!/bin/sh
# SPDX-License-Identifier: MIT
# errors.sh SOURCE-DIR: docs/win32.md tells of each call the last errors that a test in this directory has seen it set,
# and of no other.
set -eu
source=$1

# What is asserted, as "CALL ERROR": ck_error(CALL(...), failure, ERROR). make() stands for CreateFileMapping.
seen=$(cat "$source"/test/win32/test_*.c | tr '\n' ' ' | sed 's/ck_error(/\n&/g' |
    sed -nE 's/^ck_error\(([A-Za-z_0-9]+)\(([^;]*)[ (]ERROR_([A-Z_]+)\);.*/\1 \3/p' | sed 's/^make /CreateFileMapping /' | sort -u)
# shellcheck disable=SC2016 # backticks of the text
told=$(sed -n '/^<!-- errors -->/,/^<!-- end -->/p' "$source/docs/win32.md" |
    awk -F'|' '$2 ~ /`/ { gsub(/[` ]/, "", $2); count = split($3, errors, /[, ]+/)
        for (i = 1; i <= count; i++) if (errors[i] ~ /^[A-Z_]+$/) print $2, errors[i] }' | sort -u)
if [ "$(printf '%s\n' "$seen" | wc -l)" -lt 60 ] || [ "$seen" != "$told" ]; then
    printf 'tested, as CALL ERROR:\n%s\n\ndocs/win32.md tells:\n%s\n' "$seen" "$told"
    exit 1
fi
printf '%s pairs of a call and its error\n' "$(printf '%s\n' "$seen" | wc -l)"
