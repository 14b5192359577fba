/* expect: free of 0x[0-9a-f]+: an interior pointer, 16 bytes into */
/* SPDX-License-Identifier: MIT */
#include "malloc/preloaded.h"

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    char *block = malloc(100);
    free(hidden(block + 16));
}
