/* SPDX-License-Identifier: MIT */
/* cairnd: the heap server; see cairnd(8). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/server.h"

static int usage(void)
{
    fputs("usage: cairnd [--config FILE] [--socket PATH] [--check-config]\n", stderr);
    return 2;
}

static const char *why_not_listening(int error)
{
    switch (error) {
    case -EADDRINUSE:
        return "another server listens there";
    case -EEXIST:
        return "what lies there is no socket";
    case -EPERM:
        return "the socket there belongs to another user";
    case -ENOENT:
        return "there is no such directory";
    case -EAGAIN:
        return "the directory is kept locked";
    default:
        return cairn_strerror(error);
    }
}

static int serve(struct server *server)
{
    int stop = -1;
    int activated = -1;
    int count = service_listener(&activated);
    if (count < 0) {
        server_log(server, LOG_ERROR, "the service manager's sockets are not one listening SOCK_SEQPACKET socket");
        return 1;
    }
    int error = service_stop_create(&stop);
    if (error == 0)
        error = service_reload_create(&server->reload);
    if (error == 0)
        error = server_listen(server, activated);
    if (error < 0) {
        server_log(server, LOG_ERROR, "%s: cannot listen: %s", server->config.socket, why_not_listening(error));
        return 1;
    }
    server_log(server, LOG_INFO, "version %d.%d.%d serves %s", CAIRN_VERSION_MAJOR, CAIRN_VERSION_MINOR,
               CAIRN_VERSION_PATCH, count == 1 ? "a socket of the service manager's" : server->config.socket);
    if (service_notify("READY=1") < 0)
        server_log(server, LOG_WARNING, "the service manager cannot be told that we are ready");
    error = server_run(server, stop);
    (void)service_notify("STOPPING=1");
    if (error < 0)
        server_log(server, LOG_ERROR, "the loop ended: %s", cairn_strerror(error));
    else
        server_log(server, LOG_INFO, "asked to end");
    file_close(stop);
    file_close(server->reload);
    return error < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct server server;
    struct server_config config;
    const char *path = NULL;
    const char *socket = NULL;
    bool only_check = false;
    char reason[1200] = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--check-config") == 0)
            only_check = true;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[++i];
        else if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc)
            socket = argv[++i];
        else
            return usage();
    }
    config_defaults(&config);
    if (path != NULL && config_read(&config, path, reason, sizeof reason) < 0) {
        fprintf(stderr, "<%d>%s\n", LOG_ERROR, reason);
        return 1;
    }
    if (socket != NULL) {
        size_t length = strlen(socket);
        if (socket[0] != '/' || length >= sizeof config.socket || socket[length - 1] == '/')
            return usage();
        memcpy(config.socket, socket, length + 1);
    }
    if (only_check)
        return 0;
    /* A checked heap writes around its blocks, which are not memory here. */
    unsetenv("CAIRN_CHECKED");
    process_not_traced();
    if (server_init(&server, &config) < 0) {
        fprintf(stderr, "<%d>no memory\n", LOG_ERROR);
        return 1;
    }
    server.config_path = path;
    int status = serve(&server);
    server_close(&server);
    return status;
}
