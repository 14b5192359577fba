/* SPDX-License-Identifier: MIT */
/*
 * What this prints is for wine.sh, one thing a line, its parts between tabs:
 *   CLAIM name   DIFFERS claim words values   ASSERTED claim count   TOLD claims
 */
#include "claims.h"

enum { CLAIMS_MAX = 100, SECONDS = 100 };

static struct {
    const char *name;
    void (*run)(void);
} claims[CLAIMS_MAX];
static struct {
    const char *name;
    int (*run)(void);
} parts[CLAIMS_MAX];
static int claim_count, part_count;
static void (*fixture_begin)(void), (*fixture_end)(void);

static const char *running = "";
static long asserted, differing;
static int at_line;

/* ---------------------------------------------------------------- a claim in its process */

bool claim_check(int line, bool holds, const char *words, long long value, long long other)
{
    at_line = line;
    asserted++;
    if (!holds) {
        differing++;
        printf("DIFFERS\t%s\t%s\t0x%llx and 0x%llx\n", running, words, value, other);
        (void)fflush(stdout);
    }
    return holds;
}

void claim_last_error(int line, bool holds, const char *call, const char *failure, const char *error, long long value,
                      unsigned seen)
{
    at_line = line;
    asserted++;
    if (!holds) {
        differing++;
        printf("DIFFERS\t%s\t%s\tgives 0x%llx and %u, not %s and %s\n", running, call, value, seen, failure, error);
        (void)fflush(stdout);
    }
}

static int said(void)
{
    printf("ASSERTED\t%s\t%ld\n", running, asserted);
    (void)fflush(stdout);
    return differing != 0;
}

void claim_stop(void)
{
    exit(said());
}

static LONG WINAPI crashed(EXCEPTION_POINTERS *pointers)
{
    differing++;
    printf("DIFFERS\t%s\t(ends)\tby exception 0x%lx, behind line %d\n", running,
           pointers->ExceptionRecord->ExceptionCode, at_line);
    ExitProcess((UINT)said());
}

static int run_claim(const char *name)
{
    running = name;
    SetUnhandledExceptionFilter(crashed);
    for (int i = 0; i < claim_count; i++)
        if (strcmp(claims[i].name, name) == 0) {
            if (fixture_begin != NULL)
                fixture_begin();
            claims[i].run();
            if (fixture_end != NULL)
                fixture_end();
            return said();
        }
    return 99;
}

static int run_part(const char *name)
{
    for (int i = 0; i < part_count; i++)
        if (strcmp(parts[i].name, name) == 0)
            return parts[i].run();
    return 99;
}

/* ---------------------------------------------------------------- processes */

/* Runs this program with two arguments; returns what it says, or 98 when it takes too long. */
static int spawn(const char *how, const char *name)
{
    char program[MAX_PATH], line[MAX_PATH + 200];
    STARTUPINFOA start = {.cb = sizeof start};
    PROCESS_INFORMATION process;
    GetModuleFileNameA(NULL, program, sizeof program);
    snprintf(line, sizeof line, "\"%s\" %s %s", program, how, name);
    (void)fflush(stdout);
    if (!CreateProcessA(program, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process))
        return 97;
    DWORD result = 98;
    if (WaitForSingleObject(process.hProcess, SECONDS * 1000) == WAIT_OBJECT_0)
        GetExitCodeProcess(process.hProcess, &result);
    else
        TerminateProcess(process.hProcess, 98);
    CloseHandle(process.hThread);
    CloseHandle(process.hProcess);
    return (int)result;
}

int elsewhere_run(const char *part)
{
    return spawn("--part", part);
}

/* ---------------------------------------------------------------- suites */

struct Suite {
    int unused;
};
struct TCase {
    int unused;
};

Suite *suite_create(const char *name)
{
    static Suite suite;
    (void)name;
    return &suite;
}

TCase *suite_case(Suite *suite, const char *name, double seconds)
{
    static TCase tests;
    (void)suite, (void)name, (void)seconds;
    return &tests;
}

void tcase_add_checked_fixture(TCase *tests, void (*begin)(void), void (*end)(void))
{
    (void)tests;
    fixture_begin = begin;
    fixture_end = end;
}

void claim_add(const char *name, void (*run)(void))
{
    if (claim_count == CLAIMS_MAX)
        exit(96);
    claims[claim_count].name = name;
    claims[claim_count++].run = run;
}

void part_add(const char *name, int (*run)(void))
{
    if (part_count == CLAIMS_MAX)
        exit(96);
    parts[part_count].name = name;
    parts[part_count++].run = run;
}

int suite_run(Suite *suite)
{
    (void)suite;
    if (__argc == 3 && strcmp(__argv[1], "--claim") == 0)
        return run_claim(__argv[2]);
    if (__argc == 3 && strcmp(__argv[1], "--part") == 0)
        return run_part(__argv[2]);
    for (int i = 0; i < claim_count; i++) {
        printf("CLAIM\t%s\n", claims[i].name);
        int result = spawn("--claim", claims[i].name);
        if (result != 0 && result != 1)
            printf("DIFFERS\t%s\t(ends)\twith 0x%x\n", claims[i].name, result);
    }
    printf("TOLD\t%d\n", claim_count);
    return 0;
}

/* ---------------------------------------------------------------- files */

static const char *file_path(void)
{
    static char path[MAX_PATH + 20];
    if (path[0] == '\0') {
        GetTempPathA(MAX_PATH, path);
        strcat(path, "cairn-claim");
    }
    return path;
}

HANDLE file_open(bool writes)
{
    HANDLE file = CreateFileA(file_path(), GENERIC_READ | (writes ? GENERIC_WRITE : 0),
                              FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    return file != INVALID_HANDLE_VALUE ? file : NULL;
}

int file_byte(long at)
{
    HANDLE file = file_open(false);
    unsigned char byte;
    DWORD got = 0;
    SetFilePointer(file, at, NULL, FILE_BEGIN);
    BOOL read = ReadFile(file, &byte, 1, &got, NULL);
    CloseHandle(file);
    return read && got == 1 ? byte : -1;
}

void file_end(void)
{
    ck_assert(DeleteFileA(file_path()));
}
