/* SPDX-License-Identifier: MIT */
/*
 * open: a file that was changed, by accident or on purpose, is refused by name or opened, and then every look at it
 * ends, and so does the recovery of the dead that its records tell of.
 *
 *     byte 0    bit 0: attach for writing; 1: the header's checksum is made right; 2: the rest is the whole file;
 *               3: the file is cut off at the next four bytes; 4 and 5: which file is changed; 6: also what is marked
 *               as damaged is opened to be read; 7: with CAIRN_FUZZ_WORK=1 in the environment, who attached for writing
 *               also allocates, frees, and resets
 *     then      changes: place (3 bytes), length (1), bytes. Places are counted where the file has bytes; from 0xc00000
 *               on they are places of the file itself, by the page: there a hole gets bytes
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "section/layout.h"

/* A file that is good, and the places where it has bytes, back to back. */
struct base {
    const char *name;
    size_t bytes;
    uint8_t *content;
    size_t content_bytes;
    struct {
        size_t offset;
        size_t bytes;
    } parts[64];
    size_t part_count;
};

/* A small heap, one whose marks take many pages and which has wide holes, a section by itself; the first once more. */
static struct base bases[] = {{.name = "good"}, {.name = "wide"}, {.name = "section"}, {.name = "good"}};
static uint8_t *file_bytes;

static void read_base(struct base *base)
{
    char path[100];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), base->name);
    int file = open(path, O_RDONLY);
    REQUIRE(file >= 0 && fstat(file, &status) == 0);
    base->bytes = (size_t)status.st_size;
    off_t begin = 0, end;
    for (; (begin = lseek(file, begin, SEEK_DATA)) >= 0; begin = end) {
        end = lseek(file, begin, SEEK_HOLE);
        size_t bytes = (size_t)(end - begin);
        REQUIRE(base->part_count < sizeof base->parts / sizeof base->parts[0]);
        base->content = realloc(base->content, base->content_bytes + bytes);
        REQUIRE(base->content != NULL);
        REQUIRE(pread(file, base->content + base->content_bytes, bytes, begin) == (ssize_t)bytes);
        base->parts[base->part_count].offset = (size_t)begin;
        base->parts[base->part_count++].bytes = bytes;
        base->content_bytes += bytes;
    }
    close(file);
}

static void make_others(void)
{
    cairn_heap *heap;
    cairn_section *section;
    cairn_options options = {.name = "wide", .directory = fuzz_directory(), .bytes_max = UINT64_C(4) << 30};
    REQUIRE(cairn_heap_create(&heap, &options) == 0);
    for (size_t i = 0; i < 20; i++)
        REQUIRE(cairn_alloc(heap, i * 100) != NULL);
    cairn_heap_close(heap);
    options = (cairn_options){.name = "section", .directory = fuzz_directory(), .bytes_max = UINT64_C(1) << 30};
    REQUIRE(cairn_section_create(&section, &options) == 0);
    REQUIRE(cairn_section_commit(section, 0, 8192) == 0 && cairn_section_commit(section, 1 << 20, 4096) == 0);
    cairn_section_close(section);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    fuzz_make_good();
    make_others();
    size_t most = 0;
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        read_base(&bases[i]);
        most = bases[i].content_bytes > most ? bases[i].content_bytes : most;
    }
    file_bytes = malloc(most);
    REQUIRE(file_bytes != NULL);
    return 0;
}

static void sum_up(struct section_image *header)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct section_image, checksum); i++)
        hash = (hash ^ ((const uint8_t *)header)[i]) * UINT64_C(0x100000001b3);
    header->checksum = hash;
}

/* Writes the changed file, holes left out. */
static void make_file(struct input *input, uint64_t flags, int file)
{
    const struct base *base = &bases[flags >> 4 & 3];
    if ((flags & 4) != 0) {
        REQUIRE(write(file, input->data, input->left) == (ssize_t)input->left);
        return;
    }
    size_t bytes = base->bytes;
    if ((flags & 8) != 0)
        bytes = (size_t)input_take(input, 4) % (base->bytes + 1);
    struct {
        off_t at;
        uint8_t bytes[16];
        size_t length;
    } filled[8];
    size_t filled_count = 0;
    memcpy(file_bytes, base->content, base->content_bytes);
    while (!input_is_over(input)) {
        size_t at = (size_t)input_take(input, 3), length = 1 + (size_t)input_take(input, 1) % 16;
        bool hole = at >= 0xc00000 && filled_count < sizeof filled / sizeof filled[0];
        for (size_t i = 0; i < length; i++) {
            uint8_t byte = (uint8_t)input_take(input, 1);
            if (hole)
                filled[filled_count].bytes[i] = byte;
            else if (at % base->content_bytes + i < base->content_bytes)
                file_bytes[at % base->content_bytes + i] = byte;
        }
        if (hole) {
            filled[filled_count].at = (off_t)((at - 0xc00000) % (base->bytes >> 12) << 12);
            filled[filled_count++].length = length;
        }
    }
    if ((flags & 2) != 0)
        sum_up((struct section_image *)(void *)file_bytes);
    size_t done = 0;
    REQUIRE(ftruncate(file, (off_t)bytes) == 0);
    for (size_t i = 0; i < base->part_count && base->parts[i].offset < bytes; i++) {
        size_t left = bytes - base->parts[i].offset;
        size_t part = base->parts[i].bytes < left ? base->parts[i].bytes : left;
        REQUIRE(pwrite(file, file_bytes + done, part, (off_t)base->parts[i].offset) == (ssize_t)part);
        done += base->parts[i].bytes;
    }
    for (size_t i = 0; i < filled_count; i++)
        REQUIRE(pwrite(file, filled[i].bytes, filled[i].length, filled[i].at) == (ssize_t)filled[i].length);
}

static bool is_documented(int error)
{
    static const int errors[] = {-EPROTO, -EUCLEAN, -EADDRINUSE, -ENOMEM, -EAGAIN, -EPERM, -ESTALE};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i] == error)
            return true;
    return false;
}

static void look_as_section(const cairn_options *options)
{
    cairn_section *section;
    int error = cairn_section_open(&section, "changed", options);
    REQUIRE(error == 0 || is_documented(error));
    if (error < 0)
        return;
    uint64_t run;
    for (uint64_t offset = 0; cairn_section_query(section, offset, &run) >= 0 && run != 0; offset += run)
        ;
    if ((options->flags & CAIRN_READ_ONLY) == 0)
        (void)cairn_section_commit(section, 16384, 4096);
    cairn_section_close(section);
}

static jmp_buf misuse;

static void leave(const char *line, void *arg)
{
    (void)line, (void)arg;
    longjmp(misuse, 1);
}

/*
 * Every call ends. What it says, a crime too, is as wrong as the file. More is not promised: who writes trusts the
 * others who do, and some changes of what they share still end him, so this is no part of the usual run.
 */
static void work(cairn_heap *heap)
{
    void *blocks[40];
    if (setjmp(misuse) != 0)
        return;
    cairn_misuse_set(leave, NULL);
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        blocks[i] = cairn_alloc(heap, i * i * 97 % 20000);
    (void)cairn_root_set(heap, "mine", blocks[0]);
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        cairn_free(heap, blocks[i]);
    (void)cairn_trim(heap);
    (void)cairn_heap_reset(heap);
    (void)cairn_alloc(heap, 100);
    cairn_misuse_set(NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, bytes};
    uint64_t flags = input_take(&input, 1);
    char path[100];
    snprintf(path, sizeof path, "%s/changed", fuzz_directory());
    unlink(path);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    REQUIRE(file >= 0);
    make_file(&input, flags, file);
    close(file);

    cairn_heap *heap;
    cairn_options options = {.directory = fuzz_directory(), .flags = (flags & 1) != 0 ? 0 : CAIRN_READ_ONLY};
    look_as_section(&options);
    if ((flags & 0x41) == 0x40)
        options.flags |= CAIRN_DAMAGED_TOO;
    int error = cairn_heap_open(&heap, "changed", &options);
    REQUIRE(error == 0 || is_documented(error));
    if (error < 0)
        return 0;
    fuzz_look(heap);
    if ((flags & 1) != 0)
        REQUIRE(cairn_recover(heap) >= 0 || cairn_last_error()[0] != '\0');
    if ((flags & 0x81) == 0x81 && getenv("CAIRN_FUZZ_WORK") != NULL)
        work(heap);
    cairn_heap *child;
    if (cairn_heap_open_child(&child, heap, "child") == 0) {
        fuzz_look(child);
        cairn_heap_close(child);
    }
    cairn_heap_close(heap);
    return 0;
}
