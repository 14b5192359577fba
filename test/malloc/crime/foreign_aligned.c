/* expect: free of 0x[0-9a-f]+: a foreign pointer */
/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <sys/mman.h>

#include "malloc/preloaded.h"

/* As aligned as a block of great alignment. */
static void *aligned_address(void)
{
    char *address = mmap(NULL, (size_t)8 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(address != MAP_FAILED);
    return address + (-(uintptr_t)address & (((uintptr_t)4 << 20) - 1));
}

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    void *mapped = aligned_address();
    free(hidden(mapped));
}
