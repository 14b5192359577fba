/* SPDX-License-Identifier: MIT */
/* A private heap for one piece of work: any number of blocks, and one call that frees them all. */
#include <cairn.h>

#include <stdio.h>

int main(void)
{
    cairn_heap *heap;
    if (cairn_heap_create(&heap, NULL) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }

    for (int request = 0; request < 3; request++) {
        for (int i = 0; i < 1000; i++) {
            char *text = cairn_alloc(heap, 100);
            if (!text) {
                fprintf(stderr, "%s\n", cairn_last_error());
                return 1;
            }
            snprintf(text, 100, "temporary %d of request %d: nobody has to remember to free it", i, request);
        }
        cairn_stats stats = {.size = sizeof stats};
        if (cairn_stats_get(heap, &stats) < 0 || cairn_heap_reset(heap) < 0) {
            fprintf(stderr, "%s\n", cairn_last_error());
            return 1;
        }
        printf("request %d: %llu blocks, freed at once\n", request, (unsigned long long)stats.blocks_live);
    }
    cairn_heap_close(heap);
    return 0;
}
