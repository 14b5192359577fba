/* SPDX-License-Identifier: MIT */
/*
 * Heaps that other builds made: each test/data/image-*.hex is a shared heap's file, and opens here as it was left, or
 * is refused by name because its version or fingerprint is another. A build whose fingerprint none of them has stores
 * one:
 *
 *     portability_image DIRECTORY                  opens each image in the directory
 *     portability_image --write FILE               makes an image
 *
 * An image is text: a line for each 32 bytes that are not all zero, with the offset first.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "section/layout.h"
#include "support/workspace.h"

enum { NODES = 10, PIECE = 32 };

struct node {
    struct node *next; /* a plain pointer */
    char text[40];
};

static const char *directory_of_images;
static char image_path[4096];
static struct section_image header;
static uint64_t image_bytes;

/* ---------------------------------------------------------------- making */

static void make_heap(void)
{
    cairn_heap *heap = create_shared("image", 256 * KIB);
    struct node *first = NULL;
    for (int i = 0; i < NODES; i++) {
        struct node *node = cairn_zalloc(heap, sizeof *node);
        void *hole = cairn_alloc(heap, sizeof *node);
        REQUIRE_CALL(node != NULL && hole != NULL);
        snprintf(node->text, sizeof node->text, "node %d", i);
        node->next = first;
        first = node;
        cairn_free(heap, hole);
    }
    unsigned char *large = cairn_zalloc(heap, 40000);
    REQUIRE_CALL(large != NULL);
    large[39999] = 1;
    REQUIRE_CALL(cairn_root_set(heap, "first", first) == 0 && cairn_root_set(heap, "large", large) == 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void write_image(void)
{
    make_heap();
    FILE *from = fopen(workspace_path("image"), "re"), *to = fopen(image_path, "we");
    REQUIRE(from != NULL && to != NULL);
    fprintf(to, "# SPDX-License-Identifier: MIT\n# cairn %s, fingerprint %016llx\n", cairn_version(),
            (unsigned long long)image_fingerprint());
    unsigned char piece[PIECE];
    unsigned long offset = 0;
    size_t length;
    while ((length = fread(piece, 1, PIECE, from)) > 0) {
        static const unsigned char zeros[PIECE];
        if (memcmp(piece, zeros, length) != 0) {
            fprintf(to, "%lx ", offset);
            for (size_t i = 0; i < length; i++)
                fprintf(to, "%02x", piece[i]);
            fprintf(to, "\n");
        }
        offset += length;
    }
    fprintf(to, "end %lx\n", offset);
    REQUIRE(fclose(to) == 0);
    fclose(from);
}

/* ---------------------------------------------------------------- reading */

static unsigned value_of(char digit)
{
    const char *digits = "0123456789abcdef", *found = strchr(digits, digit);
    REQUIRE(digit != '\0' && found != NULL);
    return (unsigned)(found - digits);
}

/* Makes the file of an image under a name in the workspace. */
static void restore(const char *name)
{
    FILE *from = fopen(image_path, "re");
    int to = open(workspace_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(from != NULL && to >= 0);
    char line[200];
    bool ended = false;
    while (fgets(line, sizeof line, from) != NULL) {
        if (line[0] == '#')
            continue;
        ended = strncmp(line, "end ", 4) == 0;
        char *at;
        unsigned long offset = strtoul(ended ? line + 4 : line, &at, 16);
        if (ended) {
            image_bytes = offset;
            break;
        }
        unsigned char piece[PIECE];
        size_t length = 0;
        for (at++; at[0] != '\n' && length < PIECE; at += 2)
            piece[length++] = (unsigned char)(value_of(at[0]) << 4 | value_of(at[1]));
        REQUIRE(pwrite(to, piece, length, (off_t)offset) == (ssize_t)length);
    }
    REQUIRE(ended); /* else the image is cut off */
    REQUIRE(posix_fallocate(to, 0, (off_t)image_bytes) == 0);
    REQUIRE(pread(to, &header, sizeof header, 0) == (ssize_t)sizeof header);
    close(to);
    fclose(from);
}

static int open_it(const char *name, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, name, &options);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

static void require_contents(cairn_heap *heap)
{
    const struct node *node = cairn_root_get(heap, "first");
    for (int i = NODES - 1; i >= 0; i--, node = node->next) {
        char text[40];
        snprintf(text, sizeof text, "node %d", i);
        REQUIRE(node != NULL && strcmp(node->text, text) == 0);
    }
    REQUIRE(node == NULL);
    const unsigned char *large = cairn_root_get(heap, "large");
    REQUIRE(large != NULL && cairn_size(heap, large) >= 40000 && large[39998] == 0 && large[39999] == 1);
    REQUIRE_EQUAL(blocks_live(heap), NODES + 1);
    REQUIRE_SOUND(heap);
}

static bool is_of_this_build(void)
{
    return header.byte_order == IMAGE_BYTE_ORDER && header.version == IMAGE_VERSION &&
           header.fingerprint == image_fingerprint();
}

static void the_image_opens_or_is_refused_by_name(void)
{
    restore("old");
    REQUIRE(header.magic == IMAGE_MAGIC || header.byte_order != IMAGE_BYTE_ORDER);
    if (!is_of_this_build()) {
        REFUSED(-EPROTO, open_it("old", CAIRN_READ_ONLY));
        REFUSED(-EPROTO, open_it("old", 0));
        return;
    }
    int error = open_it("old", CAIRN_READ_ONLY);
    if (error == -EADDRINUSE)
        skip("something else lies at the image's address here");
    cairn_heap *heap = open_shared("old", CAIRN_READ_ONLY);
    require_contents(heap);
    cairn_heap_close(heap);
    heap = open_shared("old", 0);
    require_contents(heap);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block);
    cairn_free(heap, cairn_root_get(heap, "large"));
    REQUIRE_EQUAL(blocks_live(heap), NODES);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void refuse_with(size_t offset, const void *value, size_t bytes)
{
    restore("other");
    int file = open(workspace_path("other"), O_RDWR | O_CLOEXEC);
    REQUIRE(file >= 0 && pwrite(file, value, bytes, (off_t)offset) == (ssize_t)bytes);
    close(file);
    REFUSED(-EPROTO, open_it("other", CAIRN_READ_ONLY));
    REFUSED(-EPROTO, open_it("other", 0));
}

/* As a library of tomorrow, of another build, or of another kind of machine would have made it. */
static void what_is_of_another_kind_is_refused_by_name(void)
{
    uint32_t version = IMAGE_VERSION + 1, order = __builtin_bswap32(IMAGE_BYTE_ORDER);
    uint64_t fingerprint = image_fingerprint() ^ 1;
    refuse_with(offsetof(struct section_image, version), &version, sizeof version);
    refuse_with(offsetof(struct section_image, byte_order), &order, sizeof order);
    refuse_with(offsetof(struct section_image, fingerprint), &fingerprint, sizeof fingerprint);
}

static void some_image_is_of_this_build(void)
{
    DIR *stream = opendir(directory_of_images);
    REQUIRE(stream != NULL);
    struct dirent *entry;
    bool found = false;
    while ((entry = readdir(stream)) != NULL) {
        if (strncmp(entry->d_name, "image-", 6) != 0)
            continue;
        snprintf(image_path, sizeof image_path, "%s/%s", directory_of_images, entry->d_name);
        restore("old");
        found = found || is_of_this_build();
    }
    closedir(stream);
    if (!found)
        skip("no image in %s has fingerprint %016llx: the layout has changed; store one by --write",
             directory_of_images, (unsigned long long)image_fingerprint());
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        static const struct claim writing[] = {CLAIM(write_image)};
        snprintf(image_path, sizeof image_path, "%s", argv[2]);
        return run_claims(writing, COUNT(writing), 20);
    }
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY | --write FILE\n", argv[0]);
        return 2;
    }
    directory_of_images = argv[1];
    static const struct claim about_each[] = {
        CLAIM(the_image_opens_or_is_refused_by_name),
        CLAIM(what_is_of_another_kind_is_refused_by_name),
    };
    static const struct claim about_all[] = {CLAIM(some_image_is_of_this_build)};
    DIR *stream = opendir(directory_of_images);
    struct dirent *entry;
    int status = 0;
    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        if (strncmp(entry->d_name, "image-", 6) != 0)
            continue;
        snprintf(image_path, sizeof image_path, "%s/%s", directory_of_images, entry->d_name);
        printf("%s\n", entry->d_name);
        int verdict = run_claims(about_each, COUNT(about_each), 20);
        status = verdict == 1 || status == 0 ? verdict : status;
    }
    if (stream != NULL)
        closedir(stream);
    int verdict = run_claims(about_all, COUNT(about_all), 20);
    return verdict == 1 || status == 0 ? verdict : status;
}
