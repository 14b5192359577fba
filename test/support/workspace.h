/* SPDX-License-Identifier: MIT */
/*
 * workspace: a directory of its own for each claim that a test makes, processes to play with, and a look at what a call
 * may have left behind. Uses the public header only.
 *
 * A program is a list of claims. Each runs in a process of its own with a clock that ends it; whatever it leaves in its
 * directory is removed. The directory is in CAIRN_DIR, so plain names lead there.
 */
#ifndef CAIRN_TEST_WORKSPACE_H
#define CAIRN_TEST_WORKSPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cairn.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif
#define UNDER_SANITIZER (UNDER_TSAN + UNDER_ASAN)

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---------------------------------------------------------------- claims */

struct claim {
    const char *name;
    void (*run)(void);
};
#define CLAIM(function)                                                                                                \
    {                                                                                                                  \
#function, function                                                                                            \
    }

/* Runs each claim, at most `seconds` long (more under a sanitizer); returns the program's exit status: 77 when any was
 * skipped. CAIRN_CLAIM in the environment: only those with that in their names. */
int run_claims(const struct claim *claims, size_t count, unsigned seconds);

/* Ends the claim: not as promised. */
_Noreturn void broken(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Ends the claim: this system cannot show it. */
_Noreturn void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            broken(__FILE__, __LINE__, "not true: %s", #condition);                                                    \
    } while (0)

#define REQUIRE_EQUAL(left, right)                                                                                     \
    do {                                                                                                               \
        long long left_ = (long long)(left), right_ = (long long)(right);                                              \
        if (left_ != right_)                                                                                           \
            broken(__FILE__, __LINE__, "%s is %lld, %s is %lld", #left, left_, #right, right_);                        \
    } while (0)

/* As REQUIRE, and the library's reason is told. */
#define REQUIRE_CALL(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            broken(__FILE__, __LINE__, "not true: %s (%s)", #condition, cairn_last_error());                           \
    } while (0)

/* cairn_check finds nothing; what it finds is told. */
#define REQUIRE_SOUND(heap) require_sound(__FILE__, __LINE__, heap)
void require_sound(const char *file, int line, cairn_heap *heap);

/* ---------------------------------------------------------------- the directory */

/* Makes a directory and points CAIRN_DIR to it; run_claims does it for each claim. */
void workspace_enter(void);
/* Removes it with all that is in it. */
void workspace_leave(void);

const char *workspace_directory(void);
/* The path of a name in it; good until the eighth next call. */
const char *workspace_path(const char *name);
/* How many entries it has. */
int workspace_entries(void);

/* Creates a shared heap, or opens it with the flags; requires success. */
cairn_heap *create_shared(const char *name, uint64_t bytes_max);
cairn_heap *open_shared(const char *name, uint64_t flags);
cairn_heap *create_private(uint64_t bytes_max);

/* Creates a shared heap whose name is gone already, for programs that will not live to remove it. */
cairn_heap *create_nameless(const char *name);

/* Opens a shared heap and closes it again; the error when it is refused, which leaves ret_heap as it was. */
int open_and_close(const char *name, const cairn_options *options);

/* Bytes of a file in the workspace. */
void write_file_at(const char *name, uint64_t offset, const void *bytes, size_t count);
void read_file_at(const char *name, uint64_t offset, void *bytes, size_t count);

cairn_stats stats_of(cairn_heap *heap);
uint64_t blocks_live(cairn_heap *heap);

/* ---------------------------------------------------------------- processes */

/* Memory that forked children share with their parent. */
void *shared_memory(size_t bytes);

/* Waits until the word is at least that much, by futex; the claim's clock bounds it. */
void wait_for(_Atomic uint32_t *word, uint32_t at_least);
void advance(_Atomic uint32_t *word);

/* Forks a child that dies with us; it runs and exits with 0. */
pid_t start(void (*run)(void *arg), void *arg);
/* Requires that it exits with 0. A 77 skips the claim. */
void finish(pid_t child);
/* Requires that it dies by a signal. */
void finish_by(pid_t child, int signal);

/* A process of its own: this program executed anew with "role argument"; talks through its standard input and output.
 */
struct peer {
    pid_t pid;
    int to;
    int from;
};
struct peer peer_start(const char *role, const char *argument);
void peer_tell(const struct peer *peer, char word);
/* Requires that this is what the peer says next. */
void peer_hear(const struct peer *peer, char word);
/* Tells it the end of its input and requires exit status 0. */
void peer_finish(struct peer *peer);

/* The peer's side. hear returns -1 at the end of the input. */
int hear(void);
void tell(char word);

/* ---------------------------------------------------------------- refusals */

/*
 * REFUSED(error, call): the call returns the error and a sentence about it, and nothing else has changed: no
 * descriptor, no view of a file in the directory, nothing in the directory.
 */
#define REFUSED(error, call)                                                                                           \
    do {                                                                                                               \
        refusal_begin();                                                                                               \
        long result_ = (long)(call);                                                                                   \
        refusal_end(__FILE__, __LINE__, #call, result_, error, 0);                                                     \
    } while (0)

/* Either of two errors is as promised. */
#define REFUSED_EITHER(error, other, call)                                                                             \
    do {                                                                                                               \
        refusal_begin();                                                                                               \
        long result_ = (long)(call);                                                                                   \
        refusal_end(__FILE__, __LINE__, #call, result_, error, other);                                                 \
    } while (0)

/* For calls that return NULL or false. */
#define REFUSED_NULL(error, call)                                                                                      \
    do {                                                                                                               \
        refusal_begin();                                                                                               \
        if (call)                                                                                                      \
            broken(__FILE__, __LINE__, "%s: not refused", #call);                                                      \
        refusal_end(__FILE__, __LINE__, #call, error, error, 0);                                                       \
    } while (0)

/* For calls that return nothing. */
#define REFUSED_VOID(error, call)                                                                                      \
    do {                                                                                                               \
        refusal_begin();                                                                                               \
        call;                                                                                                          \
        refusal_end(__FILE__, __LINE__, #call, error, error, 0);                                                       \
    } while (0)

void refusal_begin(void);
void refusal_end(const char *file, int line, const char *call, long result, int error, int other);

/* A value for ret_heap that must still be there after a refusal. */
extern cairn_heap *const untouched;

/* Descriptors, views of the directory's files, and the directory with contents, as one text; free it. */
char *look_around(void);
/* Requires that nothing changed since; frees it. */
void require_unchanged(const char *file, int line, const char *what, char *before);

/* A number for a file's bytes. */
uint64_t hash_of_file(const char *path);

enum { OWN_FILES = 12 };

struct own_files {
    int files[OWN_FILES];
};

/* As closefrom(3), which not every C library has; then files of the program's own take the numbers. */
void close_all_and_open_own(struct own_files *ret_own);
/* They are open, and what was written to them is all that is in them. */
void require_own_unharmed(const struct own_files *own);

#endif
