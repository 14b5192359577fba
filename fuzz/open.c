/* SPDX-License-Identifier: MIT */
/*
 * open: a heap's file that was changed, by accident or on purpose, is refused by name or opened, and then every look at
 * it ends, and so does the recovery of the dead that its records tell of.
 *
 *     byte 0    bit 0: attach for writing; 1: the header's checksum is made right; 2: the rest is the whole file;
 *               3: the file is cut off at the next four bytes
 *     then      changes: place (3 bytes), length (1), bytes
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "section/layout.h"

static uint8_t *good, *file_bytes;
static size_t good_bytes;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    char path[100];
    struct stat status;
    fuzz_make_good();
    snprintf(path, sizeof path, "%s/good", fuzz_directory());
    int file = open(path, O_RDONLY);
    REQUIRE(file >= 0 && fstat(file, &status) == 0);
    good_bytes = (size_t)status.st_size;
    good = malloc(good_bytes);
    file_bytes = malloc(good_bytes);
    REQUIRE(good != NULL && file_bytes != NULL && read(file, good, good_bytes) == (ssize_t)good_bytes);
    close(file);
    return 0;
}

static void sum_up(struct section_image *header)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct section_image, checksum); i++)
        hash = (hash ^ ((const uint8_t *)header)[i]) * UINT64_C(0x100000001b3);
    header->checksum = hash;
}

static size_t make_file(struct input *input, uint64_t flags)
{
    size_t bytes = good_bytes;
    if ((flags & 4) != 0) {
        bytes = input->left < good_bytes ? input->left : good_bytes;
        memcpy(file_bytes, input->data, bytes);
        return bytes;
    }
    if ((flags & 8) != 0)
        bytes = (size_t)input_take(input, 4) % (good_bytes + 1);
    memcpy(file_bytes, good, good_bytes);
    while (!input_is_over(input)) {
        size_t at = (size_t)input_take(input, 3) % good_bytes, length = 1 + (size_t)input_take(input, 1) % 16;
        for (size_t i = at; i < at + length && i < good_bytes; i++)
            file_bytes[i] = (uint8_t)input_take(input, 1);
    }
    if ((flags & 2) != 0)
        sum_up((struct section_image *)(void *)file_bytes);
    return bytes;
}

static bool is_documented(int error)
{
    static const int errors[] = {-EPROTO, -EUCLEAN, -EADDRINUSE, -ENOMEM, -EAGAIN, -EPERM};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i] == error)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, bytes};
    uint64_t flags = input_take(&input, 1);
    size_t length = make_file(&input, flags);
    char path[100];
    snprintf(path, sizeof path, "%s/changed", fuzz_directory());
    unlink(path);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    REQUIRE(file >= 0 && write(file, file_bytes, length) == (ssize_t)length);
    close(file);

    cairn_heap *heap;
    cairn_options options = {.directory = fuzz_directory(), .flags = (flags & 1) != 0 ? 0 : CAIRN_READ_ONLY};
    int error = cairn_heap_open(&heap, "changed", &options);
    REQUIRE(error == 0 || is_documented(error));
    if (error < 0)
        return 0;
    fuzz_look(heap);
    if ((flags & 1) != 0)
        REQUIRE(cairn_recover(heap) >= 0 || cairn_last_error()[0] != '\0');
    cairn_heap *child;
    if (cairn_heap_open_child(&child, heap, "child") == 0) {
        fuzz_look(child);
        cairn_heap_close(child);
    }
    cairn_heap_close(heap);
    return 0;
}
