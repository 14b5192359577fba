#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sources.sh DIRECTORY: brings three files that make the calls of windows.h on Windows into DIRECTORY, from Debian's source
# packages, by the system's own apt and its own mirror: os_win.c of SQLite, ftsystem.c of FreeType (with FreeType's
# headers), vmem.h of Perl. What is there already stays. Nothing of them is kept in the repository.
set -euo pipefail
mkdir -p "$1"
cd "$1"
packages=(sqlite3 freetype perl)

all_there() {
    [[ -f os_win.c && -f ftsystem.c && -f freetype/ft2build.h && -f vmem.h ]]
}

give_up() {
    echo "SKIPPED: $*"
    exit 77
}

all_there && exit 0
command -v apt-get >/dev/null || give_up "no apt-get here, which fetches source packages"

# An apt of its own, which knows the sources of where the system has its packages from, and needs no rights.
state=$PWD/apt
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
# shellcheck disable=SC2016 # for apt to fill in
apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' \
    >"$state/sources.list"
[[ -s $state/sources.list ]] || give_up "apt knows no mirror of Debian; apt-get update may help"
own=(-o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" -o Dir::Etc::SourceList="$state/sources.list"
    -o Dir::Etc::SourceParts=/dev/null)
apt-get "${own[@]}" -o APT::Update::Error-Mode=any -qq update >"$state/log" 2>&1 || give_up "apt-get update failed: $(tail -1 "$state/log")"

# A mirror need not have the newest version of each package that it lists.
fetch() { # PACKAGE
    local version
    while read -r version; do
        apt-get "${own[@]}" -qq source --download-only "$1=$version" >>"$state/log" 2>&1 && return
    done < <(apt-cache "${own[@]}" showsrc --only-source "$1" 2>>"$state/log" | sed -n 's/^Version: //p' | sort -Vru)
    give_up "no source package of $1 is to be had: $(tail -1 "$state/log")"
}

# take PACKAGE TAR-ARGUMENT...: out of the package's archive.
take() {
    local archives=("$1"_*.orig.tar.*)
    [[ ${archives[0]} == *.asc ]] && archives=("${archives[@]:1}")
    tar -xf "${archives[0]}" --wildcards "${@:2}"
}

for package in "${packages[@]}"; do
    fetch "$package"
done
take sqlite3 --strip-components=2 '*/src/os_win.c'
take freetype --strip-components=3 '*/builds/windows/ftsystem.c'
mkdir -p freetype
take freetype --strip-components=2 -C freetype '*/include/*'
take perl --strip-components=2 '*/win32/vmem.h'
all_there || give_up "the source packages do not have the files"
printf '%s\n' *.dsc >versions
rm -rf "$state" ./*.dsc ./*.tar.* ./*.asc ./*.diff.gz
