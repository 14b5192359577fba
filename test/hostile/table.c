/* SPDX-License-Identifier: MIT */
/* table: reads the document, tries cell by cell, and prints what came of it. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostile/hostile.h"
#include "support/intruder.h"
#include "support/random.h"
#include "support/workspace.h"

_Static_assert((unsigned char)(PLACE_OF_X * 7) == 'x', "byte i of the block is 7 i");

enum { COLUMNS = 6, CELL_BYTES = 100, CELL_MILLISECONDS = 5, ALONE_MILLISECONDS = 50 };

/* As the head of each table names them. */
static const struct column columns[COLUMNS] = {
    {"same user", SERVER_USER, true, false}, {"not dumpable", SERVER_USER, false, false},
    {"other user", OTHER_USER, false, true}, {"on the list", LISTED_USER, false, false},
    {"on no list", STRANGER, false, false},  {"root", 0, false, false},
};

struct board *board;
const struct column *column;

/* ---------------------------------------------------------------- for the scenes */

bool is_hung_up(int socket)
{
    struct pollfd hup = {.fd = socket, .events = POLLRDHUP};
    return poll(&hup, 1, -1) == 1 && (hup.revents & (POLLHUP | POLLRDHUP)) != 0;
}

void fill_block(unsigned char *block)
{
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        block[i] = (unsigned char)(i * 7);
}

uint64_t count_changed(const unsigned char *block, size_t bytes)
{
    uint64_t changed = 0;
    for (size_t i = 0; i < bytes; i++)
        changed += block[i] != (unsigned char)(i * 7);
    return changed;
}

uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void tell_honest_round(uint64_t began_at)
{
    uint64_t took = (nanoseconds() - began_at) / 1000;
    board->honest[atomic_load(&board->row)][took < MICROSECONDS_MAX ? took : MICROSECONDS_MAX - 1]++;
}

void rest(unsigned microseconds)
{
    struct timespec time = {.tv_nsec = (long)microseconds * 1000};
    nanosleep(&time, NULL);
}

/* The lowest of them is the holder's own: what it gives away it opens later, and closes when the other has it. */
static int find_memory_file(void)
{
    char path[64], target_of[200];
    snprintf(path, sizeof path, "/proc/%d/fd", board->holder);
    DIR *stream = opendir(path);
    struct dirent *entry;
    int found = -1;
    REQUIRE(stream != NULL);
    while ((entry = readdir(stream)) != NULL) {
        ssize_t length = readlinkat(dirfd(stream), entry->d_name, target_of, sizeof target_of - 1);
        target_of[length > 0 ? length : 0] = '\0';
        int file = atoi(entry->d_name);
        bool is_memory = strstr(target_of, "cairn-published") != NULL || strstr(target_of, "memfd:cairnd") != NULL;
        if (is_memory && (found < 0 || file < found))
            found = file;
    }
    closedir(stream);
    REQUIRE(found >= 0);
    return found;
}

/* The last eight bytes of a stack are zero, and stay so. */
static uintptr_t find_place(void)
{
    char path[64], line[400];
    unsigned long begin, end = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", board->holder);
    FILE *maps = fopen(path, "re");
    REQUIRE(maps != NULL);
    while (end == 0 && fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, "[stack]") != NULL)
            REQUIRE(sscanf(line, "%lx-%lx", &begin, &end) == 2);
    }
    fclose(maps);
    REQUIRE(end != 0);
    return end - 8;
}

void look_at_holder(void)
{
    board->file_there = find_memory_file();
    if (board->place_there == 0) {
        board->place_there = find_place();
        board->byte_there = 0;
    }
}

void make_room_for(uint32_t user)
{
    REQUIRE(chown(workspace_directory(), user, user) == 0);
    REQUIRE(chmod(workspace_directory(), 0755) == 0);
}

/* ---------------------------------------------------------------- the document */

struct table {
    size_t rows;
    char names[ROWS_MAX][CELL_BYTES];
    char cells[ROWS_MAX][COLUMNS][CELL_BYTES];
};

/* The next cell of a line of a table, without what surrounds it; false: there is none. */
static bool next_cell(char **line, char ret_cell[CELL_BYTES])
{
    char *bar = strchr(*line, '|');
    char *end = bar != NULL ? strchr(bar + 1, '|') : NULL;
    if (end == NULL)
        return false;
    char *from = bar + 1;
    char *to = end;
    while (from < to && *from == ' ')
        from++;
    while (to > from && to[-1] == ' ')
        to--;
    snprintf(ret_cell, CELL_BYTES, "%.*s", (int)(to - from), from);
    *line = end;
    return true;
}

static void read_row(struct table *table, char *line)
{
    size_t row = table->rows;
    char number[CELL_BYTES], more[CELL_BYTES];
    REQUIRE(row < ROWS_MAX);
    if (!next_cell(&line, number) || (size_t)strtoul(number, NULL, 10) != row + 1)
        broken(__FILE__, __LINE__, "%s: row %zu has the number %s", HOSTILE_TABLE, row + 1, number);
    REQUIRE(next_cell(&line, table->names[row]));
    for (size_t c = 0; c < COLUMNS; c++) {
        if (!next_cell(&line, table->cells[row][c]) || table->cells[row][c][0] == '\0')
            broken(__FILE__, __LINE__, "%s: \"%s\" has no expected result for %s", HOSTILE_TABLE, table->names[row],
                   columns[c].name);
    }
    REQUIRE(!next_cell(&line, more));
    table->rows++;
}

static void read_table(const char *heading, struct table *ret_table)
{
    static const char *const head = "| # | attack | same user | not dumpable | other user | on the list | on no list | "
                                    "root |";
    char line[1000];
    FILE *file = fopen(HOSTILE_TABLE, "re");
    if (file == NULL)
        broken(__FILE__, __LINE__, "%s: %s", HOSTILE_TABLE, strerror(errno));
    bool is_here = false, has_head = false;
    *ret_table = (struct table){0};
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "## ", 3) == 0)
            is_here = strcmp(line + 3, heading) == 0;
        else if (is_here && strcmp(line, head) == 0)
            has_head = true;
        else if (is_here && has_head && line[0] == '|' && strncmp(line, "|---", 4) != 0)
            read_row(ret_table, line);
    }
    fclose(file);
    if (!has_head)
        broken(__FILE__, __LINE__, "%s: no table under \"%s\"", HOSTILE_TABLE, heading);
}

/* ---------------------------------------------------------------- cells */

static const char *name_of(long result)
{
    static const struct {
        long result;
        const char *name;
    } names[] = {
        {0, "allowed"},      {DROPPED, "dropped"},  {NO_MEANS, "-"},     {SEALED, "sealed"},  {NO_HOLE, "no hole"},
        {-EACCES, "EACCES"}, {-EPERM, "EPERM"},     {-EBADF, "EBADF"},   {-EINVAL, "EINVAL"}, {-EEXIST, "EEXIST"},
        {-EIO, "EIO"},       {-EAGAIN, "EAGAIN"},   {-EDQUOT, "EDQUOT"}, {-ENOMEM, "ENOMEM"}, {-ESTALE, "ESTALE"},
        {-EROFS, "EROFS"},   {-ENODATA, "ENODATA"}, {-ESRCH, "ESRCH"},   {-ENOENT, "ENOENT"}, {-EFAULT, "EFAULT"},
    };
    static char other[32];
    for (size_t i = 0; i < COUNT(names); i++) {
        if (names[i].result == result)
            return names[i].name;
    }
    snprintf(other, sizeof other, "%ld", result);
    return other;
}

struct cell {
    const struct scene *scene;
    const struct attack *attack;
};

static void be_attacker(void *arg)
{
    const struct cell *cell = arg;
    become(column->user);
    cell->scene->enter();
    uint64_t end = nanoseconds() + random_rounds(CELL_MILLISECONDS) * 1000000;
    board->result = cell->attack->run();
    while (!cell->attack->is_once && nanoseconds() < end) {
        long again = cell->attack->run();
        if (again != board->result)
            broken(__FILE__, __LINE__, "\"%s\" by %s gives %s, and later %s", cell->attack->name, column->name,
                   strdup(name_of(board->result)), name_of(again));
    }
}

static unsigned percentile(const uint32_t *counts, uint64_t total, unsigned percent)
{
    uint64_t seen = 0;
    unsigned i = 0;
    while (i < MICROSECONDS_MAX - 1 && (seen += counts[i]) * 100 < total * percent)
        i++;
    return i;
}

static void print_waits(const uint32_t *counts)
{
    uint64_t total = 0;
    for (size_t i = 0; i < MICROSECONDS_MAX; i++)
        total += counts[i];
    printf(" %7u %7u %7llu\n", percentile(counts, total, 50), percentile(counts, total, 99), (unsigned long long)total);
}

struct outcome {
    long result;
    uint64_t changed;
};

/* Tries one column; returns how many cells are not as expected. */
static unsigned try_column(const struct scene *scene, const struct table *table, struct outcome outcomes[][COLUMNS],
                           size_t c)
{
    unsigned wrong = 0;
    column = &columns[c];
    scene->begin(column);
    rest(ALONE_MILLISECONDS * 1000); /* the honest one alone, for comparison */
    for (size_t row = 0; row < table->rows; row++) {
        struct cell cell = {scene, &scene->attacks[row]};
        atomic_store(&board->row, (uint32_t)row + 1);
        board->result = -1;
        finish(start(be_attacker, &cell));
        atomic_store(&board->row, 0);
        outcomes[row][c] = (struct outcome){board->result, scene->changed()};
        const char *name = name_of(board->result);
        if (strcmp(name, table->cells[row][c]) != 0) {
            fprintf(stderr, "row %zu, \"%s\", by %s: %s instead of %s\n", row + 1, table->names[row], column->name,
                    name, table->cells[row][c]);
            wrong++;
        }
    }
    scene->end();
    return wrong;
}

static void print_table(const struct scene *scene, const struct table *table, struct outcome outcomes[][COLUMNS])
{
    printf("\n%s\n%-3s %-52s", scene->heading, "#", "attack");
    for (size_t c = 0; c < COLUMNS; c++)
        printf(" %-12s", columns[c].name);
    printf(" %7s %7s %7s %7s\n", "changed", "p50 us", "p99 us", "rounds");
    printf("%-3s %-52s %*s %7s", "", "nobody attacks", 13 * COLUMNS - 1, "", "");
    print_waits(board->honest[0]);
    for (size_t row = 0; row < table->rows; row++) {
        uint64_t changed = 0;
        printf("%-3zu %-52s", row + 1, table->names[row]);
        for (size_t c = 0; c < COLUMNS; c++) {
            printf(" %-12s", name_of(outcomes[row][c].result));
            changed += outcomes[row][c].changed;
        }
        printf(" %7llu", (unsigned long long)changed);
        print_waits(board->honest[row + 1]);
    }
    printf("changed: bytes of what the honest have, over all cells of the row; p50, p99: of %s, reported only\n",
           scene->honest);
}

static bool yama_forbids(void)
{
    char scope = '0';
    FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    if (file != NULL) {
        (void)!fread(&scope, 1, 1, file);
        fclose(file);
    }
    return scope > '1';
}

void try_scene(const struct scene *scene)
{
    static struct table table;
    static struct outcome outcomes[ROWS_MAX][COLUMNS];
    read_table(scene->heading, &table);
    for (size_t row = 0; row < table.rows || row < scene->attacks_count; row++) {
        const char *document = row < table.rows ? table.names[row] : "nothing";
        const char *here = row < scene->attacks_count ? scene->attacks[row].name : "nothing";
        if (strcmp(document, here) != 0)
            broken(__FILE__, __LINE__, "row %zu is \"%s\" in the document and \"%s\" here", row + 1, document, here);
    }
    if (geteuid() != 0)
        skip("%zu cells of \"%s\" need root, to be all these users", table.rows * COLUMNS, scene->heading);
    if (yama_forbids())
        skip("%zu cells of \"%s\": kernel.yama.ptrace_scope forbids what a column is about", table.rows * COLUMNS,
             scene->heading);
    unsigned wrong = 0;
    uint64_t changed = 0;
    board = shared_memory(sizeof *board);
    for (size_t c = 0; c < COLUMNS; c++)
        wrong += try_column(scene, &table, outcomes, c);
    print_table(scene, &table, outcomes);
    for (size_t row = 0; row < table.rows; row++) {
        for (size_t c = 0; c < COLUMNS; c++)
            changed += outcomes[row][c].changed;
    }
    printf("%zu cells, %u not as expected, %llu bytes changed\n", table.rows * COLUMNS, wrong,
           (unsigned long long)changed);
    REQUIRE_EQUAL(wrong, 0);
    REQUIRE_EQUAL(changed, 0);
}
