/* SPDX-License-Identifier: MIT */
/*
 * An SQLite database that eight processes query and none can change: one process makes it, and publishes its image as a
 * block. The others have SQLite work on that block as it lies there: nothing is copied, and no file is locked.
 */
#include <cairn_publish.h>

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READERS = 8 };

struct image {
    sqlite3_int64 bytes;
    unsigned char *content;
};

static const char make[] = "CREATE TABLE part (number INTEGER PRIMARY KEY, name TEXT, price INTEGER);"
                           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
                           "  INSERT INTO part SELECT i, 'part ' || i, i * 7919 % 10007 FROM n;"
                           "CREATE INDEX by_price ON part (price);";
static const char total[] = "SELECT sum(price) FROM part";

static sqlite3_int64 ask(sqlite3 *database, const char *question)
{
    sqlite3_stmt *statement;
    sqlite3_int64 answer = -1;
    if (sqlite3_prepare_v2(database, question, -1, &statement, NULL) != SQLITE_OK)
        return -1;
    if (sqlite3_step(statement) == SQLITE_ROW)
        answer = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return answer;
}

/* Its image, in a block of the heap; NULL when that fails. */
static struct image *publish_image(cairn_heap *heap, sqlite3 *database)
{
    struct image *image = cairn_alloc(heap, sizeof *image);
    sqlite3_int64 bytes;
    unsigned char *content = sqlite3_serialize(database, "main", &bytes, 0);
    if (image != NULL && content != NULL) {
        *image = (struct image){.bytes = bytes, .content = cairn_alloc(heap, (size_t)bytes)};
        if (image->content == NULL)
            image = NULL;
        else
            memcpy(image->content, content, (size_t)bytes);
    }
    sqlite3_free(content);
    return image != NULL && cairn_root_set(heap, "parts", image) == 0 ? image : NULL;
}

/* Queries the database as it was published; 0: it is right, and cannot be changed. */
static int query(cairn_reader *reader, int number, sqlite3_int64 expected)
{
    const struct image *image = cairn_reader_root(reader, "parts");
    sqlite3 *database;
    if (image == NULL || sqlite3_open(":memory:", &database) != SQLITE_OK)
        return -1;
    /* It writes nothing to what is read-only: the kernel would not let it. */
    int error =
        sqlite3_deserialize(database, "main", image->content, image->bytes, image->bytes, SQLITE_DESERIALIZE_READONLY);
    sqlite3_int64 sum = error == SQLITE_OK ? ask(database, total) : -1;
    sqlite3_int64 cheap = ask(database, "SELECT count(*) FROM part WHERE price < 100");
    int inserted = sqlite3_exec(database, "INSERT INTO part VALUES (0, 'mine', 0)", NULL, NULL, NULL);
    printf("reader %d: the sum is %lld, %lld parts are cheap; INSERT: %s\n", number, (long long)sum, (long long)cheap,
           sqlite3_errmsg(database));
    sqlite3_close(database);
    return sum == expected && cheap > 0 && inserted == SQLITE_READONLY ? 0 : -1;
}

static int be_reader(int number, sqlite3_int64 expected)
{
    cairn_reader *reader;
    if (cairn_reader_open(&reader, "published_database", NULL) < 0 || cairn_read_begin(reader) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }
    int failed = query(reader, number, expected) < 0;
    if (cairn_read_end(reader) < 0) /* held up somebody's free for too long: nothing is freed here */
        failed = 1;
    cairn_reader_close(reader);
    return failed;
}

int main(void)
{
    cairn_publisher *publisher;
    sqlite3 *database;
    if (cairn_publish(&publisher, "published_database", NULL) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }
    if (sqlite3_open(":memory:", &database) != SQLITE_OK ||
        sqlite3_exec(database, make, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s\n", sqlite3_errmsg(database));
        return 1;
    }
    sqlite3_int64 expected = ask(database, total);
    int failed = publish_image(cairn_publisher_heap(publisher), database) == NULL;
    sqlite3_close(database);
    for (int number = 1; number <= READERS && !failed; number++) {
        pid_t reader = fork();
        if (reader == 0)
            return be_reader(number, expected);
        failed |= reader < 0;
    }
    /* After the last fork(), which would leave the locks of a thread behind. The readers wait in line until then. */
    failed |= cairn_publisher_start_thread(publisher) < 0;
    int status;
    while (wait(&status) > 0)
        failed |= status != 0;
    cairn_publisher_close(publisher);
    return failed;
}
