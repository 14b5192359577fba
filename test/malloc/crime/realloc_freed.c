/* expect: realloc of 0x[0-9a-f]+: a block of */
/* SPDX-License-Identifier: MIT */
#include "malloc/preloaded.h"

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    void *block = malloc(100);
    free(hidden(block));
    free(hidden(realloc(hidden(block), 200)));
}
