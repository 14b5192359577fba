#!/bin/sh
# SPDX-License-Identifier: MIT
# install.sh BUILD-DIR SOURCE-DIR C-COMPILER LIBDIR: install into an empty prefix, then build and run a program against
# it in each way the README promises.
set -eu
build=$1
source=$2
cc=$3
libdir=$4

work=$build/test/install
prefix=$work/prefix
rm -rf "$work"
mkdir -p "$work"

example=
for file in "$source"/examples/*.c; do
    [ -f "$file" ] && example=$file && break
done
if [ -z "$example" ]; then
    echo "SKIPPED: there is no example to build"
    exit 77
fi

echo "== install"
cmake --install "$build" --prefix "$prefix" >"$work/install.log"
test -f "$prefix/include/cairn.h"
test -f "$prefix/$libdir/libcairn.so.0"
if [ -e "$prefix/bin/cairn" ] && ldd "$prefix/bin/cairn" | grep 'not found'; then
    echo "bin/cairn does not find its library"
    exit 1
fi

program=$(sed -n 's/^ExecStart=\([^ ]*\) .*/\1/p' "$prefix/lib/systemd/system/cairnd.service")
if [ ! -x "$program" ]; then
    echo "cairnd.service would start \"$program\", which is not there"
    exit 1
fi
"$program" --config "$prefix/share/doc/cairn/examples/cairnd.conf" --check-config

run() {
    echo "== run $1"
    LD_LIBRARY_PATH=$prefix/$libdir "$1" >/dev/null
}

echo "== pkg-config, shared"
export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
# shellcheck disable=SC2046 # flags are meant to be split
"$cc" -o "$work/by-pkg-config" "$example" $(pkg-config --cflags --libs cairn)
run "$work/by-pkg-config"

echo "== pkg-config, static"
# shellcheck disable=SC2046
"$cc" -static -o "$work/by-pkg-config-static" "$example" $(pkg-config --static --cflags --libs cairn)
run "$work/by-pkg-config-static"

echo "== find_package"
mkdir "$work/user"
cat >"$work/user/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.16)
project(user C)
find_package(cairn 0.1 REQUIRED)
add_executable(shared "$example")
target_link_libraries(shared cairn::cairn)
add_executable(static "$example")
target_link_libraries(static cairn::cairn_static)
END
cmake -G Ninja -S "$work/user" -B "$work/user/build" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" >"$work/user/log"
cmake --build "$work/user/build"
run "$work/user/build/shared"
run "$work/user/build/static"
