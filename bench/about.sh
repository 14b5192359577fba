# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What a file of samples tells about the machine, and the page that it is shown on. For bash scripts that set `root` and
# `build`.

machine() {
    local model virtual=''
    model=$(sed -n '/^model name/{s/^[^:]*: *//p;q}' /proc/cpuinfo)
    ! grep -qw hypervisor /proc/cpuinfo || virtual=', virtual machine'
    echo "${model:-$(uname -m)}, $(nproc) CPUs$virtual, $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
}

system() {
    local name
    name=$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)
    echo "${name:-unknown}, Linux $(uname -r)"
}

huge_pages() {
    local of=/sys/kernel/mm/transparent_hugepage
    chosen() { sed 's/.*\[\(.*\)\].*/\1/' "$1" 2>/dev/null || echo unknown; }
    echo "$(chosen $of/enabled), in shared memory $(chosen $of/shmem_enabled)"
}

# CMake's own note of the compiler that it found.
compiler() {
    local note
    note=$(echo "$build"/CMakeFiles/*/CMakeCCompiler.cmake)
    echo "$(sed -n 's/^set(CMAKE_C_COMPILER_ID "\(.*\)")/\1/p' "$note")" \
        "$(sed -n 's/^set(CMAKE_C_COMPILER_VERSION "\(.*\)")/\1/p' "$note"), release"
}

revision() {
    git -C "$root" describe --always --dirty 2>/dev/null || echo unknown
}

# What stands on the page between the lines "<!-- NAME: begin -->" and "<!-- NAME: end -->" comes from a command alone.
fill_page() { # NAME FILE
    local page=$root/docs/performance.md
    awk -v begin="<!-- $1: begin -->" -v end="<!-- $1: end -->" -v file="$2" '
        $0 == end { skip = 0 }
        !skip { print }
        $0 == begin { while ((getline line < file) > 0) print line; skip = found = 1 }
        END { exit !found }
    ' "$page" >"$page.new" || {
        rm -f "$page.new"
        echo "bench: $page has no place for $1" >&2
        return 1
    }
    mv "$page.new" "$page"
}
