/* expect: free of 0x[0-9a-f]+: a foreign pointer */
/* SPDX-License-Identifier: MIT */
#include "malloc/preloaded.h"

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    free(hidden(malloc(100))); /* makes the heap; made later it might lie where the block was */
    void *block = aligned_alloc((size_t)4 << 20, 100);
    free(hidden(block));
    free(hidden(block));
}
