#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# symbols.sh LIBCAIRN-MALLOC ARCHIVE: shows malloc's names and nothing of cairn's own, needs the C library alone, never
# calls an allocator, and has thread-local variables of the initial-exec model only.
set -euo pipefail
failed=0
fail() {
    echo "$*"
    failed=1
}

allocators='malloc|calloc|realloc|reallocarray|free|aligned_alloc|posix_memalign|memalign|valloc|pvalloc'
shown=$(nm -D --defined-only "$1" | awk '{ print $NF }')
for name in ${allocators//|/ } malloc_usable_size _Znwm _ZdlPvm; do
    grep -qx "$name" <<<"$shown" || fail "$1 does not show $name"
done
others=$(grep -Evx "$allocators|malloc_usable_size|_Zn[wa]m.*|_Zd[la]Pv.*" <<<"$shown" || true)
[[ ! $others ]] || fail "$1 shows" "$others"

needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -Ev '^(libc|ld-linux.*|libpthread|libdl)[.]so' || true)
[[ ! $needed ]] || fail "$1 needs" "$needed"

# What of the C library is known to allocate. opendir does: cairn_heap_names is in the archive, and nobody calls it.
callers="$allocators|v?asprintf|strn?dup|getline|getdelim|fopen|fdopen|open_memstream|setenv|putenv|qsort|realpath"
callers="$callers|v?f?printf|puts|__cxa_thread_atexit_impl|__tls_get_addr|pthread_create|atexit|__cxa_atexit"
calls=$(nm -D --undefined-only "$1" | awk '{ sub(/@.*/, "", $NF); print $NF }' | grep -Ex "$callers" || true)
[[ ! $calls ]] || fail "$1 calls" "$calls"
calls=$(nm --undefined-only "$2" 2>/dev/null | awk '{ print $NF }' | grep -Ex "$allocators" || true)
[[ ! $calls ]] || fail "$2 calls" "$calls"

# Models other than initial-exec have relocations of modules: DTPMOD, TLSDESC.
if readelf -rW "$1" | grep -E 'DTPMOD|TLSDESC'; then
    fail "$1 has thread-local variables that are found by a call"
fi
exit $failed
