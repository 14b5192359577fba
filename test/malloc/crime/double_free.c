/* expect: double free of 0x[0-9a-f]+ */
/* SPDX-License-Identifier: MIT */
#include "malloc/preloaded.h"

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    void *block = malloc(100);
    free(hidden(block));
    free(hidden(block));
}
