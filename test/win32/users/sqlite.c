/* SPDX-License-Identifier: MIT */
/*
 * SQLite on a heap of HeapCreate: Debian's library, with memory methods that make the calls which SQLite makes on
 * Windows: a heap of its own with an initial and a maximum size, HeapAlloc, HeapReAlloc, HeapFree, HeapSize for every
 * size, HeapValidate, HeapCompact and HeapDestroy. A database is worked on there and on malloc: the answers are the
 * same. SQLite keeps account of what HeapSize tells: what is left at the end must be nothing.
 */
#include "sqlite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "require.h"

#define ROWS 20000

DWORD heap_flags;

static int blocks_left(void)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    int count = 0;
    while (HeapWalk(methods_heap(), &entry))
        count += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
    REQUIRE(GetLastError() == ERROR_NO_MORE_ITEMS);
    return count;
}

static void run(sqlite3 *database, const char *statement)
{
    char *message = NULL;
    if (sqlite3_exec(database, statement, NULL, NULL, &message) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", statement, message);
        exit(1);
    }
}

/* The rows of an answer, folded into one number. */
static uint64_t answer(sqlite3 *database, const char *query)
{
    sqlite3_stmt *statement;
    uint64_t hash = UINT64_C(1469598103934665603);
    REQUIRE(sqlite3_prepare_v2(database, query, -1, &statement, NULL) == SQLITE_OK);
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const unsigned char *text = sqlite3_column_text(statement, i);
            for (; text != NULL && *text != 0; text++)
                hash = (hash ^ *text) * UINT64_C(1099511628211);
        }
    REQUIRE(step == SQLITE_DONE);
    sqlite3_finalize(statement);
    return hash;
}

static void fill(sqlite3 *database)
{
    sqlite3_stmt *insert;
    run(database, "BEGIN; CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT, number INTEGER)");
    REQUIRE(sqlite3_prepare_v2(database, "INSERT INTO words VALUES (?, ?, ?)", -1, &insert, NULL) == SQLITE_OK);
    uint64_t seed = 7;
    for (int i = 0; i < ROWS; i++) {
        char word[400];
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        int length = snprintf(word, sizeof word, "%0*" PRIx64, (int)(seed >> 56) + 20, seed);
        sqlite3_bind_int(insert, 1, i);
        sqlite3_bind_text(insert, 2, word, length, SQLITE_TRANSIENT);
        sqlite3_bind_int64(insert, 3, (sqlite3_int64)(seed >> 40));
        REQUIRE(sqlite3_step(insert) == SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    run(database, "COMMIT");
}

static uint64_t work(void)
{
    sqlite3 *database;
    REQUIRE(sqlite3_initialize() == SQLITE_OK);
    REQUIRE(sqlite3_open(":memory:", &database) == SQLITE_OK);
    fill(database);
    run(database, "CREATE INDEX by_number ON words (number); CREATE INDEX by_word ON words (word)");
    run(database, "BEGIN; DELETE FROM words WHERE id % 3 = 0; UPDATE words SET word = word || word WHERE id % 5 = 0");
    run(database, "SAVEPOINT one; DELETE FROM words; ROLLBACK TO one; COMMIT; VACUUM");
    uint64_t hash = answer(database, "SELECT number % 100 AS n, count(*), max(word), group_concat(id) FROM words "
                                     "GROUP BY n ORDER BY n");
    hash ^= answer(database, "SELECT a.id, b.word FROM words a JOIN words b ON b.number = a.number ORDER BY a.id") * 3;
    hash ^= answer(database, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) "
                             "SELECT sum(i), hex(zeroblob(100000)) FROM c") *
            5;
    REQUIRE(answer(database, "PRAGMA integrity_check") == answer(database, "SELECT 'ok'"));
    REQUIRE(sqlite3_close(database) == SQLITE_OK);
    if (methods_heap() != NULL) {
        REQUIRE(sqlite3_memory_used() == 0); /* the sum of what HeapSize told for each block, to the byte */
        REQUIRE(blocks_left() == 0);
        (void)HeapCompact(methods_heap(), heap_flags);
        REQUIRE(sqlite3_win32_reset_heap() == SQLITE_OK);
    }
    REQUIRE(sqlite3_shutdown() == SQLITE_OK);
    return hash;
}

static void logged(void *data, int code, const char *text)
{
    (void)data;
    fprintf(stderr, "SQLite logs %d: %s\n", code, text);
    exit(1);
}

int main(void)
{
    uint64_t expected = work(); /* on malloc */
    REQUIRE(calls.HeapCreate == 0 && calls.HeapAlloc == 0);
    for (int single = 0; single < 2; single++) {
        heap_flags = single ? HEAP_NO_SERIALIZE : 0;
        calls_reset();
        REQUIRE(sqlite3_config(SQLITE_CONFIG_LOG, logged, NULL) == SQLITE_OK); /* these methods log what fails */
        REQUIRE(sqlite3_config(single ? SQLITE_CONFIG_SINGLETHREAD : SQLITE_CONFIG_SERIALIZED) == SQLITE_OK);
        REQUIRE(sqlite3_config(SQLITE_CONFIG_MALLOC, sqlite3MemGetWin32()) == SQLITE_OK);
        uint64_t seen = work();
        char who[200];
        snprintf(who, sizeof who, "SQLite %s, %s, %s", sqlite3_libversion(), methods_are,
                 single ? "HEAP_NO_SERIALIZE" : "serialized");
        calls_print(who);
        REQUIRE(seen == expected);
        REQUIRE(calls.failed == 0);
        REQUIRE(calls.HeapAlloc == calls.HeapFree && calls.HeapAlloc > 100000 && calls.HeapReAlloc > 500);
        REQUIRE(calls.HeapSize > 100000 && calls.HeapValidate > 100);
        REQUIRE(calls.HeapCreate == 2 && calls.HeapDestroy == 2);
    }
    return 0;
}
