/* SPDX-License-Identifier: MIT */
/*
 * The tool's commands on real heaps: what they print, that their JSON is JSON and their SVG is well-formed XML, and the
 * three exit codes. The tool is a program of its own here, as it is for its users.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cairn_client.h"
#include "cairn_publish.h"
#include "support/service.h"
#include "support/workspace.h"

#define FINE 0
#define FAILED 1
#define USAGE 2

static char tool[PATH_MAX];
static char *output; /* of the last run, both kinds */

/* As REQUIRE, and what the tool has said is told. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            broken(__FILE__, __LINE__, "not true: %s; the tool said:\n%s", #condition, output ? output : "");          \
    } while (0)

/* The tool stands in the environment, else where the build puts it: ../../cairn from this program. */
static bool find_tool(void)
{
    const char *given = getenv("CAIRN_TOOL");
    char build[PATH_MAX - 8];
    ssize_t length;

    if (given) {
        snprintf(tool, sizeof tool, "%s", given);
        return access(tool, X_OK) == 0;
    }
    length = readlink("/proc/self/exe", build, sizeof build - 1);
    if (length < 0)
        return false;
    build[length] = '\0';
    for (int i = 0; i < 3; i++)
        *strrchr(build, '/') = '\0';
    snprintf(tool, sizeof tool, "%s/cairn", build);
    return access(tool, X_OK) == 0;
}

/*
 * Runs the tool with up to four arguments, keeps its output, returns its exit code. Not by a fork: beside a publisher's
 * thread that is at work its child may hang under a sanitizer.
 */
static int run(const char *a, const char *b, const char *c, const char *d)
{
    const char *arguments[] = {"cairn", a, b, c, d, NULL};
    int fds[2], status;
    size_t room = 1 << 16, got = 0;
    ssize_t bytes;
    posix_spawn_file_actions_t actions;
    pid_t pid;

    EXPECT(pipe2(fds, O_CLOEXEC) == 0);
    EXPECT(posix_spawn_file_actions_init(&actions) == 0);
    EXPECT(posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO) == 0);
    EXPECT(posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO) == 0);
    EXPECT(posix_spawn(&pid, tool, &actions, NULL, (char *const *)(uintptr_t)arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    output = realloc(output, room);
    EXPECT(output);
    while ((bytes = read(fds[0], output + got, room - 1 - got)) > 0) {
        got += (size_t)bytes;
        if (got + 1 == room)
            output = realloc(output, room *= 2);
        EXPECT(output);
    }
    output[got] = '\0';
    close(fds[0]);
    EXPECT(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static bool says(const char *text)
{
    return strstr(output, text) != NULL;
}

/* ---------------------------------------------------------------- JSON: just enough to tell that it is */

static const char *json_value(const char *at);

static const char *skip_space(const char *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
        at++;
    return at;
}

static const char *json_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return NULL; /* the terminator, too */
        if (*at != '\\')
            continue;
        at++;
        if (*at == 'u') {
            for (int i = 0; i < 4; i++)
                if (!isxdigit((unsigned char)*++at))
                    return NULL;
        } else if (!*at || !strchr("\"\\/bfnrt", *at)) {
            return NULL;
        }
    }
    return at + 1;
}

static const char *json_number(const char *at)
{
    char *end;

    if (!isdigit((unsigned char)*at) && !(*at == '-' && isdigit((unsigned char)at[1])))
        return NULL;
    (void)strtod(at, &end);
    return end;
}

/* An array or an object: both are values, or pairs, between brackets. */
static const char *json_group(const char *at, char close)
{
    at = skip_space(at + 1);
    if (*at == close)
        return at + 1;
    for (;;) {
        if (close == '}') {
            at = json_string(skip_space(at));
            if (!at || *(at = skip_space(at)) != ':')
                return NULL;
            at++;
        }
        at = json_value(at);
        if (!at)
            return NULL;
        at = skip_space(at);
        if (*at == close)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

/* Returns what follows a value, NULL when it is none. */
static const char *json_value(const char *at)
{
    at = skip_space(at);
    if (*at == '{')
        return json_group(at, '}');
    if (*at == '[')
        return json_group(at, ']');
    if (*at == '"')
        return json_string(at);
    if (strncmp(at, "true", 4) == 0 || strncmp(at, "null", 4) == 0)
        return at + 4;
    if (strncmp(at, "false", 5) == 0)
        return at + 5;
    return json_number(at);
}

/* One object and nothing else, which begins with the schema. */
static bool is_json(const char *schema)
{
    char begin[64];
    const char *end = json_value(output);

    snprintf(begin, sizeof begin, "{\"schema\":\"%s\"", schema);
    return strncmp(output, begin, strlen(begin)) == 0 && end && *skip_space(end) == '\0';
}

/* ---------------------------------------------------------------- XML: tags that close, and text that is escaped */

static bool is_svg(const char *text)
{
    char open[64][16];
    int depth = 0;
    const char *at = text;

    if (strncmp(text, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39) != 0)
        return false;
    while (*at) {
        char name[16] = "";
        const char *end;
        bool closes;

        if (*at == '&' && at[1] != '#')
            return false;
        if (*at != '<') {
            if (depth == 0 && *at != '\n')
                return false;
            at++;
            continue;
        }
        closes = at[1] == '/';
        if (sscanf(at + 1 + closes, "%15[a-z]", name) != 1)
            return false;
        for (end = at; *end && *end != '>'; end++)
            if (*end == '"' && !(end = strchr(end + 1, '"')))
                return false;
        if (*end != '>')
            return false;
        if (closes && (depth == 0 || strcmp(open[--depth], name) != 0))
            return false;
        if (!closes && end[-1] != '/') {
            if (depth == 64)
                return false;
            memcpy(open[depth++], name, sizeof name);
        }
        at = end + 1;
    }
    return depth == 0;
}

/* ---------------------------------------------------------------- the heaps that are looked at */

/* Small and large blocks with holes between them, and a root. */
static cairn_heap *make_heap(const char *name)
{
    cairn_heap *heap = create_shared(name, 0);
    void *blocks[200], *large[6];

    for (int i = 0; i < 200; i++)
        REQUIRE_CALL((blocks[i] = cairn_alloc(heap, 20 + (size_t)i)));
    for (int i = 0; i < 6; i++)
        REQUIRE_CALL((large[i] = cairn_alloc(heap, 300000)));
    for (int i = 0; i < 200; i += 2)
        cairn_free(heap, blocks[i]);
    cairn_free(heap, large[1]);
    cairn_free(heap, large[3]);
    REQUIRE_CALL(cairn_root_set(heap, "the \"table\"", blocks[1]) == 0);
    return heap;
}

/* One that nobody is attached to. */
static void leave_heap(const char *name)
{
    cairn_heap_close(make_heap(name));
}

static void write_file(const char *name, const void *bytes, size_t count)
{
    int fd = open(workspace_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    REQUIRE(fd >= 0 && write(fd, bytes, count) == (ssize_t)count);
    close(fd);
}

/* ---------------------------------------------------------------- the claims */

static void an_empty_directory_lists_nothing(void)
{
    EXPECT(run("ls", NULL, NULL, NULL) == FINE);
    EXPECT(*output == '\0');
    EXPECT(run("ls", "--json", NULL, NULL) == FINE);
    EXPECT(is_json("cairn.ls/1"));
}

static void ls_tells_who_is_attached(void)
{
    cairn_heap *heap = make_heap("orders");

    EXPECT(run("ls", NULL, NULL, NULL) == FINE);
    EXPECT(says("orders") && says("active"));
    cairn_heap_close(heap);
    EXPECT(run("ls", "--dir", workspace_directory(), NULL) == FINE);
    EXPECT(says("orders") && says("idle"));
    EXPECT(run("ls", "--json", NULL, NULL) == FINE);
    EXPECT(is_json("cairn.ls/1"));
    EXPECT(says("{\"name\":\"orders\",\"state\":\"idle\",\"bytes_committed\":"));
}

static void ls_tells_what_sections_have(void)
{
    cairn_options options = {.size = sizeof options, .name = "block", .bytes_max = 64 * MIB};
    cairn_section *section;

    REQUIRE_CALL(cairn_section_create(&section, &options) == 0);
    REQUIRE_CALL(cairn_section_commit(section, 8 * MIB, MIB) == 0 && cairn_section_commit(section, 0, MIB) == 0);
    leave_heap("orders");
    EXPECT(run("ls", NULL, NULL, NULL) == FINE);
    EXPECT(says("block") && says("  2 MiB  ") && says("section of 64 MiB") && says("idle"));
    EXPECT(run("ls", "--json", NULL, NULL) == FINE);
    EXPECT(is_json("cairn.ls/1"));
    EXPECT(says("\"sections\":[\n{\"name\":\"block\",\"state\":\"section\",\"bytes_committed\":2097152,"
                "\"bytes_max\":67108864}]"));
    EXPECT(!says("{\"name\":\"orders\",\"state\":\"section\""));
    cairn_section_close(section);
}

static void sections_have_numbers_and_a_picture(void)
{
    cairn_options options = {.size = sizeof options, .name = "block", .bytes_max = 64 * MIB};
    cairn_section *section;

    REQUIRE_CALL(cairn_section_create(&section, &options) == 0);
    REQUIRE_CALL(cairn_section_commit(section, 8 * MIB, 3 * MIB) == 0 && cairn_section_commit(section, 0, MIB) == 0);
    cairn_section_close(section);
    EXPECT(run("stat", "block", NULL, NULL) == FINE);
    EXPECT(says("block: a section of at most 64 MiB, 4 MiB committed in 2 runs, the longest 3 MiB\n"));
    EXPECT(run("stat", "--json", "block", NULL) == FINE);
    EXPECT(is_json("cairn.stat/1"));
    EXPECT(says("\"bytes_committed\":4194304,\"bytes_max\":67108864") &&
           says("\"runs\":[{\"offset\":0,\"bytes\":1048576},\n{\"offset\":8388608,\"bytes\":3145728}]"));
    EXPECT(run("map", "--json", "block", NULL) == FINE);
    EXPECT(is_json("cairn.map/1"));
    EXPECT(run("map", "block", NULL, NULL) == FINE);
    EXPECT(says(" 0 ########........") && says("#") && says("committed, + in part, . not"));
    EXPECT(run("check", "block", NULL, NULL) == FINE);
    EXPECT(says("block: a section, sound\n"));
    EXPECT(run("check", "--json", "block", NULL) == FINE);
    EXPECT(is_json("cairn.check/1"));
    EXPECT(run("map", "--svg", "block", NULL) == FAILED);
    leave_heap("orders"); /* a heap is told as one, and what is neither by the heap's refusal */
    EXPECT(run("stat", "orders", NULL, NULL) == FINE);
    EXPECT(says("blocks") && !says("section"));
    EXPECT(run("stat", "nothing", NULL, NULL) == FAILED);
}

static void stat_tells_numbers_and_roots(void)
{
    leave_heap("orders");
    EXPECT(run("stat", "orders", NULL, NULL) == FINE);
    EXPECT(says("in 104 blocks") && says("4 large blocks") && says("the \"table\" -> 0x"));
    EXPECT(says("external fragmentation 5") && says("longest run") && says("\nclasses ") && says(" large "));
    EXPECT(run("stat", "orders", "--json", NULL) == FINE);
    EXPECT(is_json("cairn.stat/1"));
    EXPECT(says("\"external_fragmentation\":0.") && says("\"block_bytes\":32,") && says("{\"block_bytes\":0,"));
    EXPECT(says("\"blocks_live\":104") && says("{\"name\":\"the \\\"table\\\"\",\"address\":\"0x"));
}

static void map_draws_on_a_pipe_without_colours(void)
{
    leave_heap("orders");
    EXPECT(run("map", "orders", NULL, NULL) == FINE);
    EXPECT(says("in 104 blocks") && says("fragmentation 0.") && says("1 cell = "));
    EXPECT(!says("\033"));
    EXPECT(run("map", "--json", "orders", NULL) == FINE);
    EXPECT(is_json("cairn.map/1"));
    EXPECT(says("\"kind\":\"large\"") && says("\"kind\":\"free\""));
}

static void map_writes_an_svg(void)
{
    char option[PATH_MAX + 8], *path = option + 6;
    FILE *file;
    size_t bytes;

    leave_heap("orders");
    EXPECT(run("map", "--svg", "orders", NULL) == FINE);
    EXPECT(is_svg(output) && says("<title>") && says("large"));

    snprintf(option, sizeof option, "--svg=%s/picture.svg", workspace_directory());
    EXPECT(run("map", option, "orders", NULL) == FINE);
    EXPECT(*output == '\0');
    file = fopen(path, "r");
    EXPECT(file);
    output = realloc(output, 1 << 22);
    EXPECT(output);
    bytes = fread(output, 1, (1 << 22) - 1, file);
    output[bytes] = '\0';
    fclose(file);
    EXPECT(is_svg(output));

    EXPECT(run("map", "--svg=/no/such/folder/picture.svg", "orders", NULL) == FAILED);
}

static void a_name_may_hold_anything(void)
{
    cairn_heap *heap = make_heap("\033[31m<&\"\\\xff");

    EXPECT(run("ls", NULL, NULL, NULL) == FINE);
    EXPECT(!says("\033") && says("\\x1b[31m<&\"\\\\xff"));
    EXPECT(run("ls", "--json", NULL, NULL) == FINE);
    EXPECT(is_json("cairn.ls/1"));
    EXPECT(run("map", "--svg", "\033[31m<&\"\\\xff", NULL) == FINE);
    EXPECT(is_svg(output));
    cairn_heap_close(heap);
    EXPECT(run("rm", "\033[31m<&\"\\\xff", NULL, NULL) == FINE);
}

static void check_finds_nothing_in_a_sound_heap(void)
{
    leave_heap("orders");
    EXPECT(run("check", "orders", NULL, NULL) == FINE);
    EXPECT(strcmp(output, "orders: sound\n") == 0);
    EXPECT(run("check", "--json", "orders", NULL) == FINE);
    EXPECT(is_json("cairn.check/1"));
    EXPECT(says("\"findings\":[],\"count\":0"));
}

static void a_damaged_heap_is_told_from_other_files(void)
{
    leave_heap("orders");
    leave_heap("broken");
    REQUIRE(truncate(workspace_path("broken"), 4096) == 0); /* its header promises more */
    write_file("letter", "not a heap\n", 11);

    EXPECT(run("check", "broken", NULL, NULL) == FAILED);
    EXPECT(says("broken: 1 finding"));
    EXPECT(run("check", "-j", "broken", NULL) == FAILED);
    EXPECT(is_json("cairn.check/1") && says("\"count\":1"));
    EXPECT(run("stat", "broken", NULL, NULL) == FAILED);
    EXPECT(run("map", "broken", NULL, NULL) == FAILED);
    EXPECT(run("ls", NULL, NULL, NULL) == FAILED);
    EXPECT(says("damaged") && says("idle") && !says("letter"));
    EXPECT(run("check", "letter", NULL, NULL) == FAILED);
    EXPECT(run("rm", "letter", NULL, NULL) == FAILED);
}

static void rm_removes_each_name_it_can(void)
{
    leave_heap("orders");
    EXPECT(run("rm", "nothing", "orders", NULL) == FAILED);
    EXPECT(says("nothing"));
    EXPECT(run("stat", "orders", NULL, NULL) == FAILED);
    EXPECT(says("orders"));
}

/* ---------------------------------------------------------------- published heaps */

static cairn_publisher *publish(const char *name, uint64_t flags, uint32_t users_count)
{
    static const uint32_t users[] = {54321, 54322};
    cairn_publish_options options = {
        .size = sizeof options, .flags = flags, .users = users, .users_count = users_count};
    cairn_publisher *publisher;

    REQUIRE_CALL(cairn_publish(&publisher, name, &options) == 0);
    void *table = cairn_alloc(cairn_publisher_heap(publisher), 1000);
    REQUIRE_CALL(table != NULL && cairn_root_set(cairn_publisher_heap(publisher), "table", table) == 0);
    return publisher;
}

static void publish_until_killed(void *arg)
{
    int ready = *(const int *)arg;
    (void)publish("killed", 0, 0);
    REQUIRE(write(ready, "", 1) == 1);
    for (;;)
        pause();
}

static void published_heaps_are_told(void)
{
    char told[200];
    int ready[2];
    cairn_publisher *prices = publish("prices", 0, 2), *rates = publish("rates", CAIRN_PUBLISH_EVERYONE, 0),
                    *silent = publish("silent", 0, 0);
    cairn_publisher_stats stats = {.size = sizeof stats};

    leave_heap("orders");
    REQUIRE(pipe(ready) == 0);
    pid_t killed = start(publish_until_killed, &ready[1]);
    REQUIRE(read(ready[0], told, 1) == 1);
    kill(killed, SIGKILL);
    finish_by(killed, SIGKILL);
    write_file("letter.sock", "no socket\n", 10);
    REQUIRE_CALL(cairn_publisher_start_thread(prices) == 0 && cairn_publisher_start_thread(rates) == 0);
    REQUIRE_CALL(cairn_publisher_stats_get(prices, &stats) == 0);

    EXPECT(run("ls", NULL, NULL, NULL) == FINE);
    snprintf(told, sizeof told, "published for its user, 2 users and 0 groups by user %u, generation %016llx",
             geteuid(), (unsigned long long)stats.generation);
    EXPECT(says("orders ") && says(told) && says("published for everyone by user") && !says("letter"));
    EXPECT(says("ended: killed: ") && says("silent: silent: "));
    EXPECT(run("ls", "--json", NULL, NULL) == FINE);
    EXPECT(is_json("cairn.ls/1"));
    snprintf(told, sizeof told, "\"generation\":\"%016llx\"", (unsigned long long)stats.generation);
    EXPECT(says("\"published\":[") && says(told) && says("\"everyone\":true") && says("\"users_count\":2"));
    EXPECT(run("stat", "prices", NULL, NULL) == FINE);
    snprintf(told, sizeof told, "by process %d of user %u, for its user, 2 users and 0 groups", getpid(), geteuid());
    EXPECT(says(told) && says("generation ") && says("version 1 of its roots"));
    EXPECT(run("stat", "rates", "-j", NULL) == FINE);
    EXPECT(is_json("cairn.published/1"));
    EXPECT(run("stat", "killed", NULL, NULL) == FAILED && says("its publisher has ended"));
    EXPECT(run("map", "prices", NULL, NULL) == FAILED && says("prices: published, ") && says("cannot be drawn"));
    EXPECT(run("check", "prices", NULL, NULL) == FAILED && says("prices: published, ") && says("cannot be checked"));
    EXPECT(run("stat", "nothing", NULL, NULL) == FAILED && says("nothing: cannot be opened"));
    do /* who has looked is no reader any more */
        REQUIRE_CALL(cairn_publisher_stats_get(prices, &stats) == 0);
    while (stats.readers != 0);
    EXPECT(stats.dropped == 0 && stats.refused == 0);
    cairn_publisher_close(silent);
    cairn_publisher_close(rates);
    cairn_publisher_close(prices);
}

/* ---------------------------------------------------------------- a heap server */

static void serve_here(void *arg)
{
    (void)arg;
    REQUIRE(chdir(workspace_directory()) == 0);
    execl(tool, "cairn", "serve", "cairnd.sock", (char *)NULL);
    _exit(127);
}

static void serve_as_configured(void *arg)
{
    (void)arg;
    execl(tool, "cairn", "serve", "--config", workspace_path("cairnd.conf"), (char *)NULL);
    _exit(127);
}

/* Sees to it that the client has so many blocks at the server, of which it has handed one over. */
static cairn_client *make_client(int blocks)
{
    cairn_client_options options = {
        .socket = workspace_path("cairnd.sock"), .flags = CAIRN_CLIENT_CREATE, .bytes_max = 4 * MIB};
    cairn_client *client;
    cairn_block block;

    REQUIRE_CALL(cairn_client_open(&client, "orders", &options) == 0);
    for (int i = 0; i < blocks; i++)
        REQUIRE_CALL(cairn_client_alloc(client, 100, &block) == 0);
    REQUIRE_CALL(cairn_client_root_set(client, "table", &block) == 0);
    REQUIRE_CALL(cairn_client_give(client, &block, CAIRN_TO_HEAP) == 0);
    return client;
}

static void what_a_server_holds_is_told(void)
{
    char server[600], told[64];
    pid_t process = service_start(serve_here, NULL);
    cairn_client *client = make_client(77);

    snprintf(server, sizeof server, "--server=%s", workspace_path("cairnd.sock"));
    EXPECT(run("clients", server, NULL, NULL) == FINE);
    snprintf(told, sizeof told, "%10u  %10u  %10d ", cairn_client_number(client), geteuid(), getpid());
    EXPECT(says(told) && says("        76  orders\n"));
    EXPECT(says("1 of 64") && says("4 MiB of 4 GiB") && says("77 of 1,048,576"));
    EXPECT(run("clients", server, "--json", NULL) == FINE);
    EXPECT(is_json("cairn.clients/1"));
    EXPECT(says("\"heap\":\"orders\"") && says("\"blocks\":76") && says("\"blocks\":77}"));
    EXPECT(run("ls", server, NULL, NULL) == FINE);
    EXPECT(says("  orders\n"));
    EXPECT(run("ls", server, "--json", NULL) == FINE);
    EXPECT(is_json("cairn.server.ls/1"));
    EXPECT(says("\"name\":\"orders\"") && says("\"blocks_live\":77") && says("\"blocks_kept\":1"));
    EXPECT(run("stat", server, "orders", NULL) == FINE);
    EXPECT(says("in 77 blocks, of which 1 is the heap's own") && says("table -> 0x") && says("of the heap's"));
    EXPECT(run("stat", server, "orders", "-j") == FINE);
    EXPECT(is_json("cairn.server.stat/1"));
    EXPECT(run("map", server, "orders", NULL) == FINE);
    EXPECT(says("in 77 blocks") && says("1 cell = "));
    EXPECT(run("map", server, "orders", "-j") == FINE);
    EXPECT(is_json("cairn.server.map/1"));
    EXPECT(says("\"kind\":\"slab\"") && says("\"blocks_live\":"));
    EXPECT(run("map", server, "orders", "--svg") == FINE);
    EXPECT(is_svg(output));
    cairn_client_close(client);
    service_stop(process);
    EXPECT(run("clients", server, NULL, NULL) == FAILED);
    EXPECT(says("no server at "));
}

static void a_shared_heap_of_a_server_is_looked_into(void)
{
    char server[600];
    pid_t process = service_start(serve_here, NULL);
    cairn_client *client = make_client(5);
    cairn_client_options options = {
        .socket = workspace_path("cairnd.sock"), .flags = CAIRN_CLIENT_CREATE, .bytes_max = 8 * MIB};
    cairn_heap *heap;

    REQUIRE_CALL(cairn_client_shared_open(&heap, "table", &options) == 0);
    for (int i = 0; i < 88; i++)
        REQUIRE_CALL(cairn_root_set(heap, "last", cairn_alloc(heap, 100)) == 0);
    snprintf(server, sizeof server, "--server=%s", workspace_path("cairnd.sock"));
    EXPECT(run("ls", server, NULL, NULL) == FINE);
    EXPECT(says("  orders\n") && says("     8 MiB ") && says("  table (shared, ") && says(" KiB taken)\n"));
    EXPECT(run("ls", server, "--json", NULL) == FINE);
    EXPECT(is_json("cairn.server.ls/1"));
    EXPECT(says("\"shared\":{\"address\":\"0x") && says("\"bytes\":8388608,\"bytes_taken\":"));
    EXPECT(run("stat", server, "table", NULL) == FINE);
    EXPECT(says("in 88 blocks") && says("last -> 0x") && says("1 attached for writing now"));
    EXPECT(run("stat", server, "table", "-j") == FINE);
    EXPECT(is_json("cairn.stat/1"));
    EXPECT(run("map", server, "table", NULL) == FINE);
    EXPECT(says("in 88 blocks") && says("1 cell = "));
    EXPECT(run("map", server, "table", "-j") == FINE);
    EXPECT(is_json("cairn.map/1"));
    EXPECT(run("check", server, "table", NULL) == FINE);
    EXPECT(says("table: sound, as far as can be seen while 1 process may be at work in it\n"));
    unsigned char *last = cairn_root_get(heap, "last"), *header = last - cairn_ref_of(heap, last);
    header[100] ^= 1;
    EXPECT(run("check", server, "table", NULL) == FAILED && says("table: 1 finding"));
    header[100] ^= 1;
    EXPECT(run("stat", server, "orders", NULL) == FINE);
    EXPECT(says("in 5 blocks, of which 1 is the heap's own"));
    EXPECT(run("check", server, "orders", NULL) == FAILED && says("of the other kind"));
    EXPECT(run("check", server, "nothing", NULL) == FAILED && says("nothing: the server has no"));
    EXPECT(blocks_live(heap) == 88 && stats_of(heap).attaches == 2); /* its maker's and ours: who looks is none */
    EXPECT(run("rm", server, "orders", "nothing") == FAILED && says("of the other kind") &&
           says("nothing: the server has no"));
    EXPECT(run("rm", server, "table", NULL) == FINE);
    EXPECT(run("ls", server, NULL, NULL) == FINE && says("orders") && !says("table"));
    EXPECT(blocks_live(heap) == 88); /* who has it open keeps it */
    cairn_heap_close(heap);
    cairn_client_close(client);
    service_stop(process);
}

/* Families one after the other, each with its type and its help before its samples, and the end. */
static bool is_open_metrics(void)
{
    char family[80] = "", type[20] = "", name[80], expected[100];
    const char *line = output;

    for (; *line != '\0' && strncmp(line, "# EOF\n", 6) != 0; line = strchr(line, '\n') + 1) {
        size_t length = strcspn(line, " {\n");

        if (strchr(line, '\n') == NULL)
            return false;
        if (sscanf(line, "# TYPE %79s %19s\n", name, type) == 2) {
            if (strcmp(name, family) == 0)
                return false;
            strcpy(family, name);
            continue;
        }
        snprintf(expected, sizeof expected, "# HELP %s ", family);
        if (strncmp(line, expected, strlen(expected)) == 0)
            continue;
        snprintf(expected, sizeof expected, "%s%s", family, strcmp(type, "counter") == 0 ? "_total" : "");
        if (length != strlen(expected) || strncmp(line, expected, length) != 0)
            return false;
        const char *value = line + length;

        if (*value == '{')
            value = strchr(value, '}') + 1;
        char *end;
        (void)strtod(value, &end);
        if (*value != ' ' || end == value || *end != '\n')
            return false;
    }
    return strcmp(line, "# EOF\n") == 0;
}

static void metrics_are_told(void)
{
    char server[600], told[100];
    pid_t process = service_start(serve_here, NULL);
    cairn_client *client = make_client(5);
    cairn_client_options options = {
        .socket = workspace_path("cairnd.sock"), .flags = CAIRN_CLIENT_CREATE, .bytes_max = 8 * MIB};
    cairn_heap *heap;
    cairn_block none;

    REQUIRE_CALL(cairn_client_shared_open(&heap, "a\"b\\c", &options) == 0);
    REQUIRE(cairn_client_root_get(client, "nothing", &none) == -ENOENT);
    snprintf(server, sizeof server, "--server=%s", workspace_path("cairnd.sock"));
    EXPECT(run("clients", server, "--metrics", NULL) == FINE);
    EXPECT(is_open_metrics());
    EXPECT(says("cairn_server_requests_refused_total 1\n") && says("cairn_server_connections_total 3\n"));
    snprintf(told, sizeof told, "cairn_user_bytes{user=\"%u\"} %zu\n", geteuid(), 12 * MIB);
    EXPECT(says(told));
    EXPECT(says("cairn_heap_blocks{heap=\"orders\"} 5\n") && says("cairn_heap_kept_blocks{heap=\"orders\"} 1\n"));
    EXPECT(says("cairn_shared_heap_bytes{heap=\"a\\\"b\\\\c\"} 8388608\n") && !says("cairn_heap_blocks{heap=\"a"));
    EXPECT(run("clients", server, "--metrics", "--json") == USAGE);
    cairn_heap_close(heap);
    cairn_client_close(client);
    service_stop(process);
    EXPECT(run("clients", server, "--metrics", NULL) == FAILED && says("no server at "));
}

static void what_a_server_does_not_hold_is_said(void)
{
    char server[600];

    service_configure("");
    pid_t process = service_start(serve_as_configured, NULL);
    cairn_client *first = make_client(1), *second = make_client(1);

    snprintf(server, sizeof server, "--server=%s", workspace_path("cairnd.sock"));
    EXPECT(run("stat", server, "bills", NULL) == FAILED);
    EXPECT(says("bills: the server has no such heap"));
    EXPECT(run("map", server, "bills", NULL) == FAILED);
    EXPECT(says("bills: the server has no heap or root of that name"));
    EXPECT(run("map", server, "a/b", NULL) == FAILED);
    EXPECT(run("map", server, "--svg", "orders") == FAILED);
    EXPECT(says("--svg draws one section"));
    EXPECT(run("ls", server, "--dir", "/tmp") == USAGE);
    EXPECT(run("serve", "--config", workspace_path("nothing"), NULL) == FAILED);
    EXPECT(run("serve", "a", "b", NULL) == USAGE);
    cairn_client_close(first);
    cairn_client_close(second);
    service_stop(process);
}

static void wrong_usage_is_2_and_says_what_is_wrong(void)
{
    EXPECT(run(NULL, NULL, NULL, NULL) == USAGE);
    EXPECT(run("paint", NULL, NULL, NULL) == USAGE);
    EXPECT(says("unknown command 'paint'") && says("cairn --help"));
    EXPECT(run("stat", NULL, NULL, NULL) == USAGE);
    EXPECT(run("stat", "one", "two", NULL) == USAGE);
    EXPECT(says("'two'"));
    EXPECT(run("ls", "--wrong", NULL, NULL) == USAGE);
    EXPECT(says("'--wrong'"));
    EXPECT(run("ls", "-x", NULL, NULL) == USAGE);
    EXPECT(run("ls", "--dir", NULL, NULL) == USAGE);
    EXPECT(run("rm", "--json", "orders", NULL) == USAGE);
    EXPECT(run("map", "--svg", "--json", "orders") == USAGE);
    EXPECT(run("demo", "--readers", "0", NULL) == USAGE);
    EXPECT(run("demo", "--readers", "4x", NULL) == USAGE);
    EXPECT(run("demo-reader", "name", "/", NULL) == FAILED);
}

static void help_and_version_are_fine(void)
{
    static const char *const commands[] = {"ls", "stat", "map", "check", "rm", "demo"};
    char version[64];

    EXPECT(run("--help", NULL, NULL, NULL) == FINE);
    EXPECT(!says("demo-reader"));
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        EXPECT(says(commands[i]));
        EXPECT(run(commands[i], "--help", NULL, NULL) == FINE);
        EXPECT(says("usage: cairn ") && says("--dir"));
        EXPECT(run("--help", NULL, NULL, NULL) == FINE);
    }
    snprintf(version, sizeof version, "cairn %s\n", cairn_version());
    EXPECT(run("--version", NULL, NULL, NULL) == FINE);
    EXPECT(strcmp(output, version) == 0);
}

static void a_full_disk_is_not_taken_for_success(void)
{
    int full = open("/dev/full", O_WRONLY), status;
    pid_t pid = fork();

    EXPECT(pid >= 0 && full >= 0);
    if (pid == 0) {
        dup2(full, STDOUT_FILENO);
        dup2(full, STDERR_FILENO);
        execl(tool, "cairn", "--help", (char *)NULL);
        _exit(127);
    }
    EXPECT(waitpid(pid, &status, 0) == pid);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == FAILED);
    close(full);
}

static const struct claim claims[] = {
    CLAIM(an_empty_directory_lists_nothing),
    CLAIM(ls_tells_who_is_attached),
    CLAIM(ls_tells_what_sections_have),
    CLAIM(sections_have_numbers_and_a_picture),
    CLAIM(stat_tells_numbers_and_roots),
    CLAIM(map_draws_on_a_pipe_without_colours),
    CLAIM(map_writes_an_svg),
    CLAIM(a_name_may_hold_anything),
    CLAIM(check_finds_nothing_in_a_sound_heap),
    CLAIM(a_damaged_heap_is_told_from_other_files),
    CLAIM(rm_removes_each_name_it_can),
    CLAIM(published_heaps_are_told),
    CLAIM(what_a_server_holds_is_told),
    CLAIM(a_shared_heap_of_a_server_is_looked_into),
    CLAIM(metrics_are_told),
    CLAIM(what_a_server_does_not_hold_is_said),
    CLAIM(wrong_usage_is_2_and_says_what_is_wrong),
    CLAIM(help_and_version_are_fine),
    CLAIM(a_full_disk_is_not_taken_for_success),
};

int main(void)
{
    if (!find_tool()) {
        printf("SKIPPED: the tool is not built (%s)\n", tool);
        return 77;
    }
    setenv("LC_ALL", "C", 1);
    return run_claims(claims, COUNT(claims), 30);
}
