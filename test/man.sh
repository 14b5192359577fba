#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# man.sh SOURCE-DIR: the manual is sound, complete, and its programs are those of examples/.
#   1. mandoc has no warning.
#   2. Each call of a public header has its name and its prototype in a page of chapter 3; each constant of one that begins
#      with CAIRN_ and may be passed to a call is in a page.
#   3. What stands between `.\" example: FILE` and `.Ed` is that file, but for its first line.
#   4. Each environment variable that the library reads is in cairn(7), and no other. service.c serves cairnd alone.
set -euo pipefail
cd "$1"
failed=0

if ! command -v mandoc >/dev/null; then
    echo "SKIPPED: no mandoc (Debian package mandoc)"
    exit 77
fi

fail() {
    echo "$*"
    failed=1
}

# ---- 1. form

mandoc -Tlint -W warning man/*.[1-9] || failed=1

# ---- 2. calls and flags

while read -r call; do
    page=$(grep -lE "^\.Nm $call( ,)?$" man/*.3 || true)
    [[ $page ]] || { fail "include: $call is in no page" && continue; }
    grep -qE "^\.F[no] $call( |$)" "$page" || fail "$page: $call has no prototype"
done < <(grep -hE '^CAIRN_API' include/*.h | grep -oE 'cairn_[a-z0-9_]+\(' | tr -d '(' | sort -u)

while read -r call; do
    grep -qE "^CAIRN_API .*\b$call\(|^typedef .*\b$call\(" include/*.h || fail "man: $call is in no public header"
done < <(grep -ohE '^\.Fn cairn_[a-z0-9_]+ ' man/*.3 | awk '{ print $2 }' | sort -u)

while read -r flag; do
    grep -qE "^\.(It )?(Dv|Li) $flag\b" man/*.[37] || fail "include: $flag is in no page"
done < <(grep -ohE '^#define CAIRN_[A-Z_]+( UINT64_C|  *\\$)|^ +CAIRN_(SPAN|READER)_[A-Z]+' include/*.h | grep -oE 'CAIRN_[A-Z_]+')

# ---- 3. programs

count=0
while IFS=: read -r page line example; do
    count=$((count + 1))
    if ! diff <(tail -n +2 "$example") \
        <(tail -n +"$((line + 2))" "$page" | sed '/^\.Ed$/,$d; s/^\\&//; s/\\e/\\/g') >/dev/null; then
        fail "$page:$line: not what stands in $example"
    fi
done < <(grep -nE '^\.\\" example: ' man/*.[37] | sed 's/\.\\" example: //')
((count > 0)) || fail "man: no example in any page"

# ---- 4. the environment

read_by_library=$(grep -rhoE 'getenv\("[A-Z_]+"\)' src --include='*.c' --exclude-dir=tool --exclude=service.c | grep -oE '[A-Z_]+' | sort -u)
told=$(grep -oE '^\.It Ev [A-Z_]+' man/cairn.7 | awk '{ print $3 }' | sort -u)
if [[ $read_by_library != "$told" ]]; then
    fail "cairn(7) tells of these variables: ${told//$'\n'/ }; the library reads these: ${read_by_library//$'\n'/ }"
fi

exit $failed
