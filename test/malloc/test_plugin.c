/* SPDX-License-Identifier: MIT */
/* A program in C loads and unloads a plugin in C++, with threads in it, and is called before and after main. */
#include <pthread.h>
#include <unistd.h>

#include "malloc/preloaded.h"

enum { LOADS = 200 };

static char *of_constructor, *of_main;
static void *tells_late;

__attribute__((constructor(101))) static void before_main(void)
{
    of_constructor = strdup("from before main");
    tells_late = calloc(100, 100);
}

__attribute__((destructor(101))) static void after_main(void)
{
    REQUIRE(strcmp(of_constructor, "from before main") == 0 && strcmp(of_main, "from main") == 0);
    free(of_constructor);
    free(of_main);
    free(tells_late);
    free(hidden(malloc(100000)));
}

static void at_the_end(void)
{
    of_main = realloc(of_main, 10000);
    REQUIRE(of_main != NULL);
}

static void *works(void *plugin)
{
    union {
        void *address;
        int (*call)(void);
    } work = {.address = dlsym(plugin, "plugin_work")};
    REQUIRE(work.address != NULL);
    REQUIRE(work.call() == 1);
    return NULL;
}

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    REQUIRE(atexit(at_the_end) == 0);
    of_main = strdup("from main");
    for (int i = 0; i < LOADS; i++) {
        void *plugin = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
        if (plugin == NULL)
            fprintf(stderr, "%s\n", dlerror());
        REQUIRE(plugin != NULL);
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, works, plugin) == 0);
        if (i >= LOADS / 2) /* from now on it stays: this thread has an object of it */
            works(plugin);
        REQUIRE(pthread_join(thread, NULL) == 0);
        REQUIRE(dlsym(plugin, "not there") == NULL && dlerror() != NULL);
        REQUIRE(dlclose(plugin) == 0);
        REQUIRE((dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD) != NULL) == (i >= LOADS / 2));
    }
    REQUIRE(dlopen("not there either", RTLD_NOW) == NULL);
    return 0;
}
