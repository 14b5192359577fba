/* SPDX-License-Identifier: MIT */
/*
 * What is shown while the demo runs. On a terminal: one screen that is drawn again in place. Elsewhere: a line now and
 * then. Both show what the stage really knows at that moment.
 */
#include "demo.h"

#include "picture.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRAME_EVERY_NS UINT64_C(100000000)
#define LINE_EVERY_NS UINT64_C(2000000000)
#define RATE_EVERY_NS UINT64_C(500000000)
#define MAP_LINES_MAX 8

/* The lines of a frame besides the map's rows and the readers', with one to spare for "and N more". */
#define OTHER_LINES 9

static double seconds(uint64_t nanoseconds)
{
    return (double)nanoseconds / 1e9;
}

static uint64_t names_now(const struct screen *screen)
{
    return screen->indexer ? screen->indexer->report.names : 0;
}

static uint64_t pointers_now(const struct screen *screen)
{
    uint64_t pointers = 0;

    for (unsigned i = 0; i < screen->crew->count; i++)
        pointers += screen->crew->members[i].report.pointers;
    return pointers;
}

static void update_rates(struct screen *screen, uint64_t now)
{
    uint64_t names = names_now(screen), pointers = pointers_now(screen);
    double passed = seconds(now - screen->rated_ns);

    if (now - screen->rated_ns < RATE_EVERY_NS)
        return;
    screen->names_per_s = (double)(names - screen->rated_names) / passed;
    screen->pointers_per_s = (double)(pointers - screen->rated_pointers) / passed;
    screen->rated_ns = now;
    screen->rated_names = names;
    screen->rated_pointers = pointers;
}

/* Keeps the last few sizes that the heap was seen to have. */
static void update_steps(struct screen *screen, const cairn_stats *stats)
{
    const unsigned room = sizeof screen->steps / sizeof screen->steps[0];

    if (screen->step_count > 0 && screen->steps[screen->step_count - 1] == stats->bytes_committed)
        return;
    if (screen->step_count == room) {
        memmove(screen->steps, screen->steps + 1, (room - 1) * sizeof screen->steps[0]);
        screen->step_count--;
    }
    screen->steps[screen->step_count++] = stats->bytes_committed;
}

/* "refused by the MMU", and how that is known. */
static const char *write_result(const struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        int status = crew->members[i].report.write_status;

        if (strcmp(crew->members[i].role, "reader") != 0 || crew->members[i].report.kind == 0 || status == -1)
            continue;
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV ? "write refused by the MMU (SIGSEGV)"
                                                                  : "NOT REFUSED";
    }
    return "not tried yet";
}

static int draw_readers(FILE *file, const struct screen *screen, int lines_max)
{
    unsigned readers = 0;
    int lines = 0;

    for (unsigned i = 0; i < screen->crew->count; i++) {
        const struct member *member = &screen->crew->members[i];
        const struct report *report = &member->report;

        if (member->number == 0 || ++readers > (unsigned)lines_max)
            continue;
        fprintf(file,
                "%s %-2u  code at 0x%012" PRIx64 "  %s pointers followed in %s quer%s, %" PRIu64
                " read error%s\033[K\n",
                member->role, member->number, report->text_address, text_rate((double)report->pointers).text,
                text_count(report->queries).text, report->queries == 1 ? "y" : "ies", report->read_errors,
                text_plural(report->read_errors));
        lines++;
    }
    if (readers > (unsigned)lines_max) {
        fprintf(file, "           and %u more\033[K\n", readers - (unsigned)lines_max);
        lines++;
    }
    return lines;
}

static int draw_map(FILE *file, const struct screen *screen, int columns, int lines_max)
{
    struct picture picture;
    int lines;

    if (picture_take(screen->heap, &picture) < 0)
        return 0;
    lines = map_draw_rows(file, &picture, columns, lines_max);
    picture_release(&picture);
    return lines;
}

/* Writes a frame over the one before it, in one piece, with long lines cut by the terminal. */
static void draw_frame(struct screen *screen, const cairn_stats *stats, uint64_t now)
{
    int columns, rows, lines = 0, map_lines, readers_max;
    char *text = NULL;
    size_t bytes = 0;
    FILE *file;

    text_terminal_size(&columns, &rows);
    map_lines = rows - OTHER_LINES - 2;
    map_lines = map_lines < 1 ? 1 : map_lines > MAP_LINES_MAX ? MAP_LINES_MAX : map_lines;
    readers_max = rows - OTHER_LINES - map_lines;
    readers_max = readers_max < 1 ? 1 : readers_max;
    file = open_memstream(&text, &bytes);
    if (!file)
        return;

    fputs("\033[?25l\033[?7l", file);
    if (screen->lines > 0)
        fprintf(file, "\033[%dA\r", screen->lines);
    fprintf(file, "cairn demo  ");
    text_name(file, screen->directory);
    fprintf(file, " as a tree of plain pointers in heap %s at 0x%" PRIx64 "\033[K\n\033[K\n", screen->heap_name,
            stats->address);
    lines += 2;
    fprintf(file, "names      %s", text_count(names_now(screen)).text);
    if (screen->names_per_s >= 1)
        fprintf(file, ", %s a second", text_rate(screen->names_per_s).text);
    fputs("\033[K\n", file);
    fprintf(file,
            "heap       %s committed, %s live, %" PRIu64 " growth step%s:", text_bytes(stats->bytes_committed).text,
            text_bytes(stats->bytes_live).text, stats->growths - screen->first.growths,
            text_plural(stats->growths - screen->first.growths));
    for (unsigned i = 0; i < screen->step_count; i++)
        fprintf(file, " %s%s", i > 0 ? "> " : "", text_bytes(screen->steps[i]).text);
    fputs("\033[K\n", file);
    lines += 2;
    lines += draw_map(file, screen, columns, map_lines);
    lines += draw_readers(file, screen, readers_max);
    fprintf(file, "all        %s pointers a second; %s\033[K\n", text_rate(screen->pointers_per_s).text,
            write_result(screen->crew));
    fprintf(file, "%5.1f s    %s\033[K\n", seconds(now - screen->began_ns), screen->now);
    lines += 2;
    fputs("\033[J\033[?7h", file); /* what a longer frame left below goes away */

    if (fclose(file) == 0) {
        fwrite(text, 1, bytes, stdout);
        fflush(stdout);
        screen->lines = lines;
    }
    free(text);
}

static void print_line(const struct screen *screen, const cairn_stats *stats, uint64_t now)
{
    printf("%5.1f s  %s: %s names, heap %s, %s pointers followed by the readers\n", seconds(now - screen->began_ns),
           screen->now, text_count(names_now(screen)).text, text_bytes(stats->bytes_committed).text,
           text_rate((double)pointers_now(screen)).text);
    fflush(stdout);
}

void screen_begin(struct screen *screen)
{
    screen->live = text_is_terminal();
    screen->began_ns = screen->rated_ns = demo_now_ns();
    screen->drawn_ns = 0;
    screen->lines = 0;
    if (screen->live)
        return;
    fputs("cairn demo: ", stdout);
    text_name(stdout, screen->directory);
    printf(" as a tree of plain pointers in heap %s at 0x%" PRIx64 ", which begins with %s\n", screen->heap_name,
           screen->first.address, text_bytes(screen->first.bytes_committed).text);
    fflush(stdout);
}

void screen_draw(struct screen *screen, bool at_once)
{
    uint64_t now = demo_now_ns();
    cairn_stats stats = {.size = sizeof stats};

    if (!at_once && now - screen->drawn_ns < (screen->live ? FRAME_EVERY_NS : LINE_EVERY_NS))
        return;
    if (cairn_stats_get(screen->heap, &stats) < 0)
        return;
    update_rates(screen, now);
    update_steps(screen, &stats);
    if (screen->live)
        draw_frame(screen, &stats, now);
    else
        print_line(screen, &stats, now);
    screen->drawn_ns = now;
}

void screen_end(struct screen *screen)
{
    if (screen->live)
        fputs("\033[?25h\n", stdout);
    fflush(stdout);
}
