/* SPDX-License-Identifier: MIT */
/*
 * One process keeps a table of prices and changes it all the time; two others read it, and cannot write it. The writer
 * never waits for a reader: it makes a new table, has the root lead there, and frees the one before. cairn sees to it
 * that nobody who is still reading that one finds something else in it, or is told.
 */
#include <cairn_publish.h>

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct table {
    long day;
    long prices[1000]; /* in a table of one day all are of that day */
};

/* Reads every day it can see until the last one; -1 when a table was of two days. */
static long read_tables(cairn_reader *reader)
{
    long tables = 0, day = 0;
    while (day < 1000) {
        uint32_t version = cairn_reader_version(reader);
        int same = 1;
        if (cairn_read_begin(reader) < 0)
            return -1;
        const struct table *table = cairn_reader_root(reader, "today");
        long seen = table ? table->day : 0;
        for (int i = 0; table && i < 1000; i++)
            same &= table->prices[i] == seen;
        if (cairn_read_end(reader) == -ESTALE)
            continue; /* took too long: what was read does not count */
        if (!same)
            return -1;
        tables += seen != day;
        day = seen;
        if (day < 1000 && cairn_reader_wait(reader, version, 10000) < 0)
            return -1;
    }
    return tables;
}

static int be_reader(int number)
{
    cairn_reader *reader;
    if (cairn_reader_open(&reader, "published_table", NULL) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }
    long tables = read_tables(reader);
    cairn_reader_close(reader);
    printf("reader %d saw %ld tables, all of them whole\n", number, tables);
    return tables > 0 ? 0 : 1;
}

int main(void)
{
    cairn_publisher *publisher;
    if (cairn_publish(&publisher, "published_table", NULL) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }
    for (int number = 1; number <= 2; number++) {
        if (fork() == 0)
            return be_reader(number);
    }
    /* After the last fork(), which would leave the locks of a thread behind. The readers wait in line until then. */
    if (cairn_publisher_start_thread(publisher) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }

    cairn_heap *heap = cairn_publisher_heap(publisher);
    struct table *before = NULL;
    for (long day = 1; day <= 1000; day++) {
        struct table *table = cairn_alloc(heap, sizeof *table);
        if (!table)
            break;
        table->day = day;
        for (int i = 0; i < 1000; i++)
            table->prices[i] = day;
        cairn_root_set(heap, "today", table); /* from here on readers find this one */
        cairn_free(heap, before);             /* and its memory is used again when nobody reads it any more */
        before = table;
    }

    int status, failed = 0;
    while (wait(&status) > 0)
        failed |= status;
    cairn_publisher_close(publisher);
    return failed != 0;
}
