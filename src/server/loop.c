/* SPDX-License-Identifier: MIT */
/*
 * loop: the server's sockets. Each turn takes one message at most of each client, so that a flood of one delays the
 * others by one message. Sending never waits: who does not read its replies is dropped when the system's buffer of its
 * socket is full.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/server.h"

enum {
    TAGS_AT_ONCE = 32,
    ACCEPTS_AT_ONCE = 16,
    DRAIN_TURNS = 1000,
    LISTEN_AGAIN = 100, /* milliseconds */
    LOG_LINES_MAX = 50, /* in a second */
    TAG_LISTENER = SERVER_CLIENTS_LIMIT,
    TAG_STOP,
    TAG_RELOAD,
};

/* Who can make us write a line can make us write many; so there is a limit. */
void server_log(struct server *server, int priority, const char *format, ...)
{
    uint64_t second = time_passed() / 1000;
    if (second != server->log_second) {
        server->log_second = second;
        server->log_lines = 0;
    }
    if (++server->log_lines > LOG_LINES_MAX)
        return;
    char text[512], line[sizeof text + 64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(line, sizeof line, "<%d>%s%s\n", priority, text,
             server->log_lines == LOG_LINES_MAX ? " (no more lines in this second)" : "");
    service_log(line);
}

static void drop(struct server *server, struct client *client, const char *reason)
{
    server->counts.dropped += reason != NULL;
    if (reason != NULL)
        server_log(server, LOG_WARNING, "client %u (user %u, process %u) dropped: it %s", client->number,
                   client->peer.user, client->peer.process, reason);
    events_remove(server->events, client->socket);
    file_close(client->socket);
    server_part(server, client);
}

static void serve_one(struct server *server, struct client *client)
{
    static struct wire_request request;
    static struct wire_reply reply;
    int no_files[1];
    int file = -1;
    int error = socket_receive(client->socket, &request, sizeof request, no_files, 0);
    if (error == -ETIMEDOUT)
        return;
    if (error == -ECONNRESET) {
        drop(server, client, NULL);
        return;
    }
    const char *reason = error < 0 ? "sent a message of another length or with descriptors"
                                   : server_dispatch(server, client, &request, &reply, &file);
    int sent = reason == NULL ? socket_send(client->socket, &reply, sizeof reply, &file, file >= 0 ? 1 : 0) : 0;
    file_close(file);
    if (sent < 0)
        reason = "does not read its replies";
    bool has_gone = sent == -EPIPE || sent == -ECONNRESET;
    if (reason != NULL)
        drop(server, client, has_gone ? NULL : reason);
}

/* Who is refused gets the reason, as the reply to a request that it has not sent yet. */
static void refuse(struct server *server, int socket, const struct socket_peer *peer, int status)
{
    struct wire_reply reply = {
        .magic = SERVER_MAGIC, .version = SERVER_VERSION, .operation = WIRE_OPEN, .status = status};
    (void)socket_send(socket, &reply, sizeof reply, NULL, 0);
    file_close(socket);
    server_log(server, LOG_WARNING, "user %u (process %u) refused: %s", peer->user, peer->process,
               status == -EACCES ? "not on the list of who may connect" : "has all the connections that it may");
}

static void listen_again(struct server *server)
{
    if (!server->is_listening && events_add(server->events, server->listener.socket, TAG_LISTENER) == 0)
        server->is_listening = true;
}

static void accept_some(struct server *server)
{
    for (uint32_t i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int socket;
        struct socket_peer peer;
        int error = socket_accept(&server->listener, &server->spare, &socket);
        if (error == -EMFILE && server->spare < 0) {
            /* The listener would stay readable, and we would turn in circles. */
            events_remove(server->events, server->listener.socket);
            server->is_listening = false;
        }
        if (error < 0)
            return;
        if (socket_peer_get(socket, &peer) < 0) {
            file_close(socket);
            continue;
        }
        int status;
        struct client *client = server_admit(server, socket, &peer, &status);
        if (client == NULL) {
            refuse(server, socket, &peer, status);
        } else if (events_add(server->events, socket, (uint64_t)(client - server->clients)) < 0) {
            file_close(socket);
            server_part(server, client);
        }
    }
}

/* Who is on a list needs to find the door open. */
static uint32_t socket_mode(const struct server *server)
{
    const struct server_config *config = &server->config;
    return config->everyone || config->users_count != 0 || config->groups_count != 0 ? 0666 : 0600;
}

/* Takes the access lists of the configuration as it is by now; whoever is on none any more is dropped. */
static void reload(struct server *server)
{
    struct server_config config;
    char reason[1200] = "there is none";
    service_reload_hear(server->reload);
    (void)service_notify("RELOADING=1");
    config_defaults(&config);
    int error =
        server->config_path != NULL ? config_read(&config, server->config_path, reason, sizeof reason) : -ENOENT;
    if (error < 0) {
        server_log(server, LOG_ERROR, "the access lists stay, for the configuration cannot be read: %s", reason);
    } else {
        memcpy(server->config.users, config.users, sizeof config.users);
        memcpy(server->config.groups, config.groups, sizeof config.groups);
        server->config.users_count = config.users_count;
        server->config.groups_count = config.groups_count;
        server->config.everyone = config.everyone;
        if (!server->is_activated)
            error = listener_set_mode(&server->listener, server->directory, server->name, socket_mode(server));
        if (error < 0)
            server_log(server, LOG_WARNING, "%s: its mode cannot be set", server->config.socket);
        for (uint64_t i = 0; i < server->config.clients_max; i++) {
            struct client *client = &server->clients[i];
            if (client->socket >= 0 && !server_may_connect(server, client->socket, &client->peer))
                drop(server, client, "is on no list any more");
        }
        server_log(server, LOG_NOTICE, "has read its access lists again");
    }
    (void)service_notify("READY=1");
}

int server_listen(struct server *server, int activated)
{
    char *slash = strrchr(server->config.socket, '/');
    snprintf(server->directory, sizeof server->directory, "%.*s",
             slash == server->config.socket ? 1 : (int)(slash - server->config.socket), server->config.socket);
    snprintf(server->name, sizeof server->name, "%s", slash + 1);
    server->is_activated = activated >= 0;
    int error = 0;
    if (activated >= 0)
        server->listener.socket = activated;
    else
        error = socket_listen(&server->listener, server->directory, server->name, socket_mode(server));
    if (error == 0)
        error = events_create(&server->events);
    if (error == 0)
        error = socket_spare(&server->spare);
    if (error == 0)
        error = events_add(server->events, server->listener.socket, TAG_LISTENER);
    server->is_listening = error == 0;
    return error;
}

/* One turn: waits at most so long, and serves who has something to say. Returns how many had, or an error. */
static int turn(struct server *server, int milliseconds, bool *ret_is_stopped)
{
    uint64_t tags[TAGS_AT_ONCE];
    int count = events_wait(server->events, tags, TAGS_AT_ONCE, milliseconds);
    bool is_called = false;
    bool is_to_reload = false;
    for (int i = 0; i < count; i++) {
        if (tags[i] == TAG_LISTENER)
            is_called = true;
        else if (tags[i] == TAG_STOP)
            *ret_is_stopped = true;
        else if (tags[i] == TAG_RELOAD)
            is_to_reload = true;
        else if (server->clients[tags[i]].socket >= 0)
            serve_one(server, &server->clients[tags[i]]);
    }
    if (is_called && !*ret_is_stopped) { /* last: until now a tag was of who had the number before */
        (void)server_sweep(server);      /* who comes may be who has just gone, and has a quota */
        accept_some(server);
    }
    if (is_to_reload) /* after those that it may drop were served */
        reload(server);
    return count;
}

/* What was asked before the end is answered; what comes later is not waited for. */
static void drain(struct server *server)
{
    events_remove(server->events, server->stop);
    events_remove(server->events, server->listener.socket);
    bool is_stopped = true;
    for (uint32_t i = 0; i < DRAIN_TURNS && turn(server, 0, &is_stopped) > 0; i++)
        continue;
}

int server_run(struct server *server, int stop)
{
    bool is_stopped = false;
    server->stop = stop;
    int error = events_add(server->events, stop, TAG_STOP);
    if (error >= 0 && server->reload >= 0)
        error = events_add(server->events, server->reload, TAG_RELOAD);
    while (error >= 0 && !is_stopped) {
        bool has_more = server_sweep(server);
        listen_again(server);
        error = turn(server, has_more ? 0 : server->is_listening ? -1 : LISTEN_AGAIN, &is_stopped);
    }
    if (error < 0)
        return error;
    drain(server);
    return 0;
}

void server_close(struct server *server)
{
    for (uint64_t i = 0; i < server->config.clients_max; i++) {
        if (server->clients[i].socket >= 0)
            drop(server, &server->clients[i], NULL);
    }
    if (server->is_activated)
        file_close(server->listener.socket);
    else
        listener_close(&server->listener, server->directory, server->name);
    file_close(server->spare);
    file_close(server->events);
    server_end(server);
}
