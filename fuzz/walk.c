/* SPDX-License-Identifier: MIT */
/*
 * walk: while another changes the bookkeeping under it, each look at a heap ends and touches nothing that is not there.
 * The input tells which words change, and to what. The commit bits do not: one who marks memory that is not there makes
 * everybody's touch of it a SIGBUS, which SECURITY.md says of writers.
 */
#include "fuzz.h"

#include <pthread.h>
#include <string.h>

#include "base/base.h"
#include "section/layout.h"

static cairn_heap *heap;
static unsigned char *base;
static uint64_t *saved;
static size_t words;       /* of the bookkeeping that may change */
static size_t first, last; /* words of the commit bits */

/* How far the bookkeeping is committed without a gap. */
static size_t committed_words(const struct section_image *image)
{
    const uint8_t *bits = base + image->commit_offset;
    uint64_t page = 0, end = image->units_offset >> image->page_shift;
    while (page < end && (bits[page / 8] >> page % 8 & 1) != 0)
        page++;
    return (size_t)(page << image->page_shift) / sizeof(uint64_t);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    cairn_stats stats = {.size = sizeof stats};
    fuzz_make_good();
    cairn_options options = {.directory = fuzz_directory()};
    REQUIRE(cairn_heap_open(&heap, "good", &options) == 0 && cairn_stats_get(heap, &stats) == 0);
    base = (unsigned char *)(uintptr_t)stats.address; /* NOLINT(performance-no-int-to-ptr) */
    const struct section_image *image = (const struct section_image *)(const void *)base;
    words = committed_words(image);
    first = image->commit_offset / sizeof(uint64_t);
    last = image->processes_offset / sizeof(uint64_t);
    saved = malloc(words * sizeof *saved);
    REQUIRE(saved != NULL && words > last);
    memcpy(saved, base, words * sizeof *saved);
    return 0;
}

static void *change(void *arg)
{
    struct input *input = arg;
    atomic_u64 *image = (atomic_u64 *)(void *)base;
    while (!input_is_over(input)) {
        size_t at = (size_t)input_take(input, 3) % words;
        uint64_t how = input_take(input, 1);
        uint64_t value = (how & 1) != 0 ? input_take(input, 8) : UINT64_C(1) << (how >> 1 & 63);
        if (at >= first && at < last)
            continue;
        if ((how & 1) != 0)
            store_relaxed(&image[at], value);
        else
            atomic_fetch_xor_explicit(&image[at], value, memory_order_relaxed);
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, bytes};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, change, &input) == 0);
    fuzz_look(heap);
    REQUIRE(pthread_join(thread, NULL) == 0);
    fuzz_look(heap);
    memcpy(base, saved, words * sizeof *saved);
    return 0;
}
