/* SPDX-License-Identifier: MIT */
#include "support/service.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/workspace.h"

void service_configure(const char *text)
{
    FILE *file = fopen(workspace_path("cairnd.conf"), "we");
    REQUIRE(file != NULL);
    fprintf(file, "# of a test\nsocket = %s\n%s", workspace_path("cairnd.sock"), text);
    REQUIRE(fclose(file) == 0);
}

pid_t service_start(void (*run)(void *arg), void *arg)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", workspace_path("notify"));
    int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    REQUIRE(notify >= 0 && bind(notify, (const struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(chmod(address.sun_path, 0666) == 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    pid_t server = start(run, arg);
    unsetenv("NOTIFY_SOCKET");
    char word[20] = {0};
    REQUIRE(read(notify, word, sizeof word - 1) > 0);
    REQUIRE(strcmp(word, "READY=1") == 0);
    close(notify);
    unlink(address.sun_path);
    return server;
}

void service_exec(void *program)
{
    execl(program, program, "--config", workspace_path("cairnd.conf"), (char *)NULL);
    _exit(127);
}

void service_stop(pid_t server)
{
    REQUIRE(kill(server, SIGTERM) == 0);
    finish(server);
    REQUIRE(access(workspace_path("cairnd.sock"), F_OK) < 0);
}
