#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# readme.sh SOURCE-DIR: the README says what is there.
#   1. Each ```c block consists of pieces, parted by lines "/* ... */". The pieces stand, each without a gap and in this
#      order, in the example that the text last named: examples/NAME.c. Indentation does not count.
#   2. What README and docs/*.md link to in this repository exists.
#   3. "./dev COMMAND" and "cairn COMMAND" in README are commands of ./dev and of the manual page.
set -euo pipefail
cd "$1"
failed=0

fail() {
    echo "$*"
    failed=1
}

# ---- 1. programs

awk '
function load(file,    line) {
    lines = 0
    while ((getline line < file) > 0) {
        gsub(/^[ \t]+|[ \t]+$/, "", line)
        source[++lines] = line
    }
    close(file)
    if (lines == 0) { print FILENAME ": " file " cannot be read"; bad = 1 }
    at = 1
}

# Looks for the piece from `at` on, and moves `at` behind it.
function find_piece(    first, i) {
    if (count == 0)
        return
    for (first = at; first + count - 1 <= lines; first++) {
        for (i = 1; i <= count && source[first + i - 1] == piece[i]; i++)
            ;
        if (i > count) {
            at = first + count
            count = 0
            return
        }
    }
    print FILENAME ":" begin ": not in " example " at this place: " piece[1] (count > 1 ? " (and what follows)" : "")
    bad = 1
    count = 0
}

!inside && match($0, /examples\/[a-z0-9_]+[.]c/) { example = substr($0, RSTART, RLENGTH) }
/^```c$/ { inside = 1; blocks++; count = 0; load(example); next }
inside && /^```$/ { find_piece(); inside = 0; next }
inside {
    line = $0
    gsub(/^[ \t]+|[ \t]+$/, "", line)
    if (line == "/* ... */") { find_piece(); next }
    if (count == 0) begin = NR
    piece[++count] = line
}
END {
    if (blocks == 0) { print FILENAME ": no program in it"; bad = 1 }
    exit bad
}' README.md || failed=1

# ---- 2. links

for page in README.md CONTRIBUTING.md CHANGELOG.md docs/*.md; do
    while read -r link; do
        target=${link%%#*}
        case $target in *://* | mailto:* | '') continue ;; esac
        [[ -e $(dirname "$page")/$target ]] || fail "$page: links to $target, which does not exist"
    done < <(grep -oE '\]\([^) ]+\)' "$page" | sed 's/^](//; s/)$//')
done

# ---- 3. commands

while read -r command; do
    grep -Eq "^  $command +" <(./dev help | sed 's/ \[ARG.*\]/ /') || fail "README.md: ./dev has no command $command"
done < <(grep -oE '\./dev [a-z-]+' README.md | awk '{ print $2 }' | sort -u)

while read -r command; do
    grep -q "^\.It Cm $command$" man/cairn.1 || fail "README.md: the manual page has no command $command"
done < <(grep -oE '`cairn [a-z]+' README.md | awk '{ print $2 }' | sort -u)

exit $failed
