#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# branches.sh KNOWN PROGRAM FILE... -- OBJECT...: runs a program whose OBJECTs count, and requires that each branch of
# these FILEs was taken both ways, but for those that stand in KNOWN, as "file | text of the line | reason". What is taken
# needs no reason, unless that begins with "race".
# More than one program: -p PROGRAM before KNOWN, as often as wanted; an argument of it by "PROGRAM ARGUMENT". Not the whole
# FILEs: -f "FUNCTION..." before KNOWN.
set -euo pipefail
programs=() functions=
while [[ $1 == -[pf] ]]; do
    if [[ $1 == -p ]]; then programs+=("$2"); else functions=$2; fi
    shift 2
done
known=$1
programs+=("$2")
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
skipped=()
for program in "${programs[@]}"; do
    read -r -a words <<<"$program"
    status=0
    "${words[@]}" >"$work/output" 2>&1 || status=$?
    ((status != 77)) || skipped+=("${words[0]##*/}")
    if ((status != 0 && status != 77)); then
        cat "$work/output"
        exit 1
    fi
    for object in "$@"; do # for programs that become another user
        [[ ! -f ${object%.o}.gcda ]] || chmod a+rw "${object%.o}.gcda"
    done
done
(cd "$work" && gcov -b -c "$@" >gcov.log 2>&1) || { cat "$work/gcov.log" && exit 1; }

for file in "${files[@]}"; do
    [[ -s $work/$file.gcov ]] || { echo "$file: nothing was counted" && exit 1; }
    sed "s/^/$file:/" "$work/$file.gcov"
done | awk -v skipped="${skipped[*]}" -v known="$known" -v functions="$functions" '
    BEGIN {
        wanted_count = split(functions, list, " ")
        for (i in list)
            wanted[list[i]] = 1
        while ((getline line <known) > 0) {
            if (line ~ /^#/ || split(line, part, / *\| */) < 3)
                continue
            known_file[++entries] = part[1]
            known_text[entries] = part[2]
            may_be_taken[entries] = part[3] ~ /^race/
        }
    }
    # Of "A / B" the line before has A, and this one B.
    function has(wanted, at) {
        at = index(wanted, " / ")
        if (at == 0)
            return index(text, wanted) > 0
        return index(text, substr(wanted, at + 3)) > 0 && index(before, substr(wanted, 1, at - 1)) > 0
    }
    function reason_for(e) {
        for (e = 1; e <= entries; e++)
            if (known_file[e] == file && has(known_text[e]))
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
        before = text
        text = rest
        sub(/^[^:]*:[^:]*: */, "", text)
    }
    rest ~ /^function / {
        split(rest, part, " ")
        name = part[2]
        if (name in wanted)
            seen[name] = 1
    }
    rest ~ /^branch / && (wanted_count == 0 || name in wanted) {
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
            if (!used[e] && !may_be_taken[e]) {
                printf "%s: \"%s\": is taken, and needs no reason\n", known_file[e], known_text[e]
                missing++
            }
        for (name in wanted)
            if (!(name in seen)) {
                printf "%s: there is no such function\n", name
                missing++
            }
        printf "branches: of %d %d are taken, %d have a reason why not, %d have none\n", \
            branches, taken, explained, branches - taken - explained
        if (branches > 0 && missing > 0 && skipped != "") {
            printf "SKIPPED: these skipped some of what they do, and what is missing may be theirs: %s\n", skipped
            exit 77
        }
        exit branches == 0 || missing > 0
    }
'
