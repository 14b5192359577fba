/* expect: free of 0x[0-9a-f]+: a foreign pointer */
/* SPDX-License-Identifier: MIT */
#include "malloc/preloaded.h"

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    static char array[4096];
    free(hidden(array + 64));
}
