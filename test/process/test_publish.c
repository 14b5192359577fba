/* SPDX-License-Identifier: MIT */
/* Published heaps: one process writes, others map, find roots and follow pointers. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "support/workspace.h"

/* What both sides of a claim see. */
struct board {
    _Atomic uint32_t turn;
    _Atomic uint32_t heard;
    uint64_t address;
    uint64_t generation;
};
static struct board *board;

struct line {
    struct line *next;
    char text[40];
};

static cairn_publisher *publish(const cairn_publish_options *options)
{
    cairn_publisher *publisher;
    if (cairn_publish(&publisher, "prices", options) < 0)
        broken(__FILE__, __LINE__, "publish: %s", cairn_last_error());
    return publisher;
}

static cairn_reader *open_reader(void)
{
    cairn_reader *reader;
    if (cairn_reader_open(&reader, "prices", NULL) < 0)
        broken(__FILE__, __LINE__, "open: %s", cairn_last_error());
    return reader;
}

static cairn_publisher_stats stats_of_publisher(cairn_publisher *publisher)
{
    cairn_publisher_stats stats = {.size = sizeof stats};
    REQUIRE_CALL(cairn_publisher_stats_get(publisher, &stats) == 0);
    return stats;
}

static void add_line(cairn_heap *heap, const char *text)
{
    struct line *line = cairn_alloc(heap, sizeof *line);
    REQUIRE_CALL(line != NULL);
    line->next = cairn_root_get(heap, "lines");
    snprintf(line->text, sizeof line->text, "%s", text);
    REQUIRE_CALL(cairn_root_set(heap, "lines", line) == 0);
}

/* Every descriptor and view of the published heap in this process. */
static int count_in(const char *path, const char *what)
{
    char line[1000];
    int count = 0;
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        count += strstr(line, what) != NULL;
    if (file != NULL)
        fclose(file);
    return count;
}

/* ---------------------------------------------------------------- reading */

static void read_lines(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    cairn_reader_info info = {.size = sizeof info};
    REQUIRE_EQUAL(cairn_reader_info_get(reader, &info), 0);
    REQUIRE_EQUAL(info.units_address, board->address);
    REQUIRE_EQUAL(info.generation, board->generation);
    REQUIRE(cairn_reader_root(reader, "lines") == NULL);
    REQUIRE_EQUAL(cairn_last_errno(), -EINVAL);

    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    int count = 0;
    for (const struct line *line = cairn_reader_root(reader, "lines"); line != NULL; line = line->next) {
        char expected[40];
        snprintf(expected, sizeof expected, "line %d", 9 - count);
        REQUIRE(strcmp(line->text, expected) == 0);
        count++;
    }
    REQUIRE_EQUAL(count, 10);
    REQUIRE(cairn_reader_root(reader, "another") == NULL);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);

    /* It grows; nothing is to be done for it. */
    uint64_t bytes = info.bytes;
    advance(&board->heard);
    wait_for(&board->turn, 2);
    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    const unsigned char *large = cairn_reader_root(reader, "large");
    REQUIRE(large != NULL);
    for (size_t i = 0; i < 8 * MIB; i += 1000)
        REQUIRE(large[i] == 7);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);
    REQUIRE_EQUAL(cairn_reader_info_get(reader, &info), 0);
    REQUIRE(info.bytes >= bytes + 8 * MIB);
    REQUIRE(cairn_reader_is_current(reader));
    cairn_reader_close(reader);
    REQUIRE_EQUAL(count_in("/proc/self/maps", "cairn-p"), 0);
}

static void a_reader_follows_pointers_and_sees_growth(void)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(read_lines, NULL);
    cairn_publisher *publisher = publish(NULL);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    for (int i = 0; i < 10; i++) {
        char text[40];
        snprintf(text, sizeof text, "line %d", i);
        add_line(heap, text);
    }
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    REQUIRE_EQUAL(cairn_publisher_start_thread(publisher), -EBUSY);
    cairn_stats stats = stats_of(heap);
    board->generation = stats_of_publisher(publisher).generation;
    board->address = stats.units_address;
    advance(&board->turn);
    wait_for(&board->heard, 1);
    unsigned char *large = cairn_alloc(heap, 8 * MIB);
    REQUIRE_CALL(large != NULL);
    memset(large, 7, 8 * MIB);
    REQUIRE_CALL(cairn_root_set(heap, "large", large) == 0);
    advance(&board->turn);
    finish(child);
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
    REQUIRE_EQUAL(workspace_entries(), 0);
    REQUIRE_EQUAL(count_in("/proc/self/maps", "cairn-p"), 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_reader_follows_pointers_and_sees_growth),
    };
    return run_claims(claims, COUNT(claims), 30);
}
