#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# branches.sh KNOWN PROGRAM FILE... -- OBJECT...: runs a program whose OBJECTs count, and requires that each branch of
# these FILEs was taken both ways, but for those that stand in KNOWN, as "file | text of the line | reason".
set -euo pipefail
known=$1
program=$2
shift 2
files=()
while [[ $1 != -- ]]; do
    files+=("$1")
    shift
done
shift

for tool in gcov gcc; do
    command -v $tool >/dev/null || { echo "SKIPPED: no $tool" && exit 77; }
done
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
for object in "$@"; do
    rm -f "${object%.o}.gcda"
done
"$program"
(cd "$work" && gcov -b -c "$@" >gcov.log 2>&1) || { cat "$work/gcov.log" && exit 1; }

for file in "${files[@]}"; do
    [[ -s $work/$file.gcov ]] || { echo "$file: nothing was counted" && exit 1; }
    sed "s/^/$file:/" "$work/$file.gcov"
done | awk -v known="$known" '
    BEGIN {
        while ((getline line <known) > 0) {
            if (line ~ /^#/ || split(line, part, / *\| */) < 3)
                continue
            known_file[++entries] = part[1]
            known_text[entries] = part[2]
        }
    }
    function reason_for(e) {
        for (e = 1; e <= entries; e++)
            if (known_file[e] == file && index(text, known_text[e]) > 0)
                return e
        return 0
    }
    {
        at = index($0, ":")
        file = substr($0, 1, at - 1)
        rest = substr($0, at + 1)
    }
    rest ~ /^ *([0-9]+\*?|#####|=====|-): *[0-9]+:/ {
        split(rest, part, ":")
        number = part[2] + 0
        text = rest
        sub(/^[^:]*:[^:]*: */, "", text)
    }
    rest ~ /^branch / {
        branches++
        if (rest !~ /never executed|taken 0/) {
            taken++
        } else if (e = reason_for()) {
            used[e]++
            explained++
        } else {
            printf "%s:%d: a branch is not taken: %s\n", file, number, text
            missing++
        }
    }
    END {
        for (e = 1; e <= entries; e++)
            if (!used[e]) {
                printf "%s: \"%s\": is taken, and needs no reason\n", known_file[e], known_text[e]
                missing++
            }
        printf "branches: of %d in the dispatcher and its tables %d are taken, %d have a reason why not, %d have none\n", \
            branches, taken, explained, branches - taken - explained
        exit branches == 0 || missing > 0
    }
'
