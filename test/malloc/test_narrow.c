/* SPDX-License-Identifier: MIT */
/* Where a program has little: the smallest and a large stack, no descriptor at all, little address space. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "malloc/preloaded.h"

enum { MIB = 1 << 20, ADDRESS_SPACE = 1024, AT_LEAST = 350 /* MiB */ };

static void use_all_calls(void)
{
    for (size_t size = 1; size < (size_t)8 << 20; size = size * 2 + 1) {
        char *block = malloc(size);
        REQUIRE(block != NULL);
        block[0] = block[size - 1] = 1;
        block = realloc(block, size + size / 2);
        REQUIRE(block != NULL && block[0] == 1 && block[size - 1] == 1);
        block = realloc(block, 1);
        REQUIRE(block != NULL && block[0] == 1);
        free(block);
        block = calloc(1, size);
        REQUIRE(block != NULL && block[size - 1] == 0);
        free(block);
        void *aligned;
        REQUIRE(posix_memalign(&aligned, 1 << 16, size) == 0);
        free(aligned);
        REQUIRE(posix_memalign(&aligned, (size_t)4 << 20, size) == 0);
        free(aligned);
    }
    errno = 0;
    REQUIRE(hidden(malloc((size_t)1 << 62)) == NULL && errno == ENOMEM); /* a reason is written down, on the stack */
}

static void *works(void *arg)
{
    use_all_calls();
    return arg;
}

static void run_in_thread(size_t stack_bytes)
{
    pthread_attr_t attributes;
    pthread_t thread;
    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstacksize(&attributes, stack_bytes) == 0);
    REQUIRE(pthread_create(&thread, &attributes, works, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE(pthread_attr_destroy(&attributes) == 0);
}

/* What a daemon does when it begins; afterwards other files have the lowest numbers. */
static void close_all(void)
{
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        for (int file = 0; file < 1024; file++)
            close(file);
        int pipe_of_ours[2];
        if (pipe(pipe_of_ours) < 0 || pipe_of_ours[0] != 0)
            _exit(3);
        use_all_calls();
        run_in_thread((size_t)PTHREAD_STACK_MIN);
        _exit(write(pipe_of_ours[1], "x", 1) == 1 && close(0) == 0 && close(1) == 0 ? 0 : 4);
    }
    int status;
    REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
}

/* The limit is there from the start, as with a shell's ulimit -v. */
static void limit_address_space(const char *self, const char *which)
{
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        struct rlimit limit = {.rlim_cur = (rlim_t)ADDRESS_SPACE * MIB, .rlim_max = (rlim_t)ADDRESS_SPACE * MIB};
        if (setrlimit(RLIMIT_AS, &limit) == 0)
            execl(self, self, which, "limited", (char *)NULL);
        _exit(3);
    }
    int status;
    REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
}

static int be_limited(void)
{
    static void *block[ADDRESS_SPACE];
    int count = 0;
    errno = 0;
    while (count < ADDRESS_SPACE && (block[count] = malloc(MIB)) != NULL)
        count++;
    REQUIRE(count < ADDRESS_SPACE && errno == ENOMEM);
    REQUIRE(count >= AT_LEAST);
    for (int i = 0; i < count; i++)
        free(block[i]);
    run_in_thread((size_t)10 * MIB); /* there is room for what the program maps */
    return 0;
}

int main(int argc, char **argv)
{
    require_preload(argc == 3 ? 2 : argc, argv);
    if (argc == 3)
        return be_limited();
    for (int i = 0; i < 5; i++)
        run_in_thread((size_t)PTHREAD_STACK_MIN);
    run_in_thread((size_t)10 * MIB);
    close_all();
    limit_address_space(argv[0], argv[1]);
    return 0;
}
