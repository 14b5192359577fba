/* SPDX-License-Identifier: MIT */
/*
 * client: the client's side. It asks, and waits for the reply; what it is told is checked before it is believed, for a
 * wrong server must not make a client write where it should not.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/process.h"
#include "server/wire.h"

enum { TIMEOUT_DEFAULT = 5000, PATH_BYTES = 108 };

#define SECTION_BYTES_DEFAULT (UINT64_C(64) << 20)
#define SHARED_BYTES_AT_SERVER (UINT64_C(1) << 30)
#define FLAGS_OF_SERVER (CAIRN_CLIENT_CREATE | CAIRN_CLIENT_READ_ONLY | CAIRN_CLIENT_EVERYONE)

/* A section as this process has it; several clients of one heap share it. process_lock guards the list and the counts.
 */
struct view {
    struct view *next;
    void *address;
    uint64_t bytes;
    uint64_t device;
    uint64_t inode;
    uint32_t holds;
    uint32_t forks; /* process_forks() when it was made: a child has none of its parent's */
};
static struct view *views;

struct hold {
    struct hold *next; /* of one client */
    struct view *view;
    uint64_t serial;
};

struct cairn_client {
    int socket;
    struct socket_identity identity; /* its number may be the program's file by now */
    uint32_t number;
    uint64_t sequence;
    uint64_t messages;
    uint64_t own_serial;  /* of the own section; 0: read-only */
    uint64_t seen_serial; /* all sections up to here are mapped */
    struct hold *holds;
    uint32_t forks; /* process_forks() when it was opened */
    bool has_failed;
    struct wire_request request;
    struct wire_reply reply;
    char name[WIRE_NAME_BYTES];
};

static int fail(struct cairn_client *client, int error, const char *reason)
{
    client->has_failed = true;
    return error_set(error, "%s: %s", client->name, reason);
}

static struct wire_request *begin(struct cairn_client *client, enum wire_operation operation)
{
    client->request = (struct wire_request){
        .magic = SERVER_MAGIC,
        .version = SERVER_VERSION,
        .operation = operation,
        .sequence = ++client->sequence,
    };
    return &client->request;
}

static const char *sentence(int status)
{
    switch (status) {
    case -EACCES:
        return "the server does not allow this user to do so";
    case -EDQUOT:
        return "the user has all that the server lets it have";
    case -EAGAIN:
        return "the user has made all requests of this second";
    case -ESTALE:
        return "no block of this client's: freed, handed over, or another's";
    case -EROFS:
        return "opened for reading only";
    case -ENOMEM:
        return "the server has no memory for it, or the client's section is full";
    case -ENOENT:
        return "the server has no heap or root of that name";
    case -EEXIST:
        return "the server has a heap of that name, of the other kind";
    case -EMFILE:
        return "the server has no descriptor left";
    case -EINVAL: /* all else was looked at here */
        return "bytes_max is no multiple of a page, below 1 MiB, or above what the server lets a section have";
    case -ENODATA:
        return "nothing was handed over that this client has not taken";
    case -ESRCH:
        return "the heap has no such client that may write, or it is this one";
    case -ENOSPC:
        return "the heap has all the roots that it may";
    default:
        return cairn_strerror(status);
    }
}

/* Sends the request and waits for its reply, with a descriptor where one is wanted. Sets the reason. */
static int ask(struct cairn_client *client, uint32_t blocks, int *ret_file)
{
    struct wire_request *request = &client->request;
    struct wire_reply *reply = &client->reply;
    int files[1] = {-1};
    if (client->forks != process_forks())
        return error_set(-EINVAL, "%s: a client of the process from which this one was forked", client->name);
    if (client->has_failed)
        return error_set(-ECONNRESET, "%s: the connection to the server has ended", client->name);
    if (!socket_is(client->socket, &client->identity))
        return fail(client, -ECONNRESET, "the application closed the connection to the server");
    *reply = (struct wire_reply){0};
    client->messages++;
    int error = socket_send(client->socket, request, sizeof *request, NULL, 0);
    /* Who was refused when it connected has a message waiting that says why. */
    if (error < 0 && error != -EPIPE && error != -ECONNRESET)
        return fail(client, error == -EAGAIN ? -ETIMEDOUT : -ECONNRESET, "the server takes no request");
    uint32_t count = ret_file != NULL ? 1 : 0;
    error = socket_receive(client->socket, reply, sizeof *reply, files, count);
    if (error == -ECONNRESET && client->messages == 1) /* the system says so first */
        error = socket_receive(client->socket, reply, sizeof *reply, files, count);
    if (error == -ETIMEDOUT)
        return fail(client, error, "the server does not answer");
    bool is_refusal = error == -EPROTO && ret_file != NULL && reply->status < 0; /* which comes without a descriptor */
    if (error < 0 && !is_refusal)
        return fail(client, error == -EPROTO ? -EPROTO : -ECONNRESET,
                    error == -EPROTO ? "what answers is no server of this version"
                                     : "the server has ended, or dropped this client");
    bool was_refused =
        client->messages == 1 && reply->operation == WIRE_OPEN && reply->sequence == 0 && reply->status < 0;
    bool is_answer = reply->operation == request->operation && reply->sequence == request->sequence;
    bool is_ours = reply->magic == SERVER_MAGIC && reply->version == SERVER_VERSION && (is_answer || was_refused) &&
                   reply->status <= 0 && reply->status > -4096 &&
                   reply->count == (reply->status == 0 ? blocks : reply->count);
    if (!is_ours) {
        file_close(files[0]);
        return fail(client, -EPROTO, "what answers is no server of this version");
    }
    if (reply->status < 0) {
        file_close(files[0]);
        return error_set(reply->status, "%s: %s", client->name, sentence(reply->status));
    }
    if (ret_file != NULL)
        *ret_file = files[0];
    return 0;
}

static cairn_block block_of(const struct wire_block *block)
{
    return (cairn_block){(void *)(uintptr_t)block->address, block->size, block->handle};
}

static int name_set(char ret_name[WIRE_NAME_BYTES], const char *name, const char *what)
{
    char padded[WIRE_NAME_BYTES] = {0};
    if (name == NULL)
        return error_set(-EINVAL, "%s must have a name", what);
    size_t length = strlen(name);
    if (length > CAIRN_CLIENT_NAME_MAX)
        return error_set(-ENAMETOOLONG, "%s: longer than %d bytes", name, CAIRN_CLIENT_NAME_MAX);
    memcpy(padded, name, length);
    if (!wire_name_is_good(padded))
        return error_set(-EINVAL, "\"%s\": a name is of printable ASCII without spaces and '/'", name);
    memcpy(ret_name, padded, sizeof padded);
    return 0;
}

/* ---------------------------------------------------------------- sections */

static bool section_is_possible(const struct wire_block *section)
{
    uint64_t page = platform_page_size();
    uint64_t last = UINT64_C(1) << 47;
    return section->address != 0 && section->address % page == 0 && section->size != 0 && section->size % page == 0 &&
           section->address < last && section->size <= last - section->address;
}

/* Finds or makes the view of a section; process_lock is held. */
static int view_get(struct view **ret_view, int file, const struct file_status *status,
                    const struct wire_block *section, bool read_only)
{
    struct view *view = views;
    while (view != NULL &&
           (view->forks != process_forks() || view->device != status->device || view->inode != status->inode))
        view = view->next;
    if (view != NULL) {
        if ((uintptr_t)view->address != section->address || view->bytes != section->size)
            return -EADDRINUSE;
    } else {
        view = pool_get(sizeof *view);
        if (view == NULL)
            return -ENOMEM;
        *view = (struct view){
            .bytes = section->size, .device = status->device, .inode = status->inode, .forks = process_forks()};
        int error = file_map(&view->address, file, section->address, section->size, read_only);
        /* The child of a fork would write to what is its parent's, and cannot have a view of its own there. */
        if (error == 0)
            error = memory_not_for_children(view->address, view->bytes);
        if (error < 0) {
            memory_release(view->address, view->bytes);
            pool_give(view, sizeof *view);
            return error;
        }
        view->next = views;
        views = view;
    }
    view->holds++;
    *ret_view = view;
    return 0;
}

static void view_give(struct view *view)
{
    if (--view->holds != 0)
        return;
    struct view **link = &views;
    while (*link != view)
        link = &(*link)->next;
    *link = view->next;
    memory_release(view->address, view->bytes);
    pool_give(view, sizeof *view);
}

/* Maps a section that the reply tells of; the descriptor is closed. */
static int map_section(struct cairn_client *client, int file, bool read_only)
{
    struct wire_block section = client->reply.blocks[0];
    struct file_status status;
    if (!section_is_possible(&section) || file_status_get(file, &status) < 0 || status.bytes != section.size ||
        (file_seals(file) & FILE_SEAL_SHRINK) == 0) {
        file_close(file);
        return fail(client, -EPROTO, "the server sent a section that is impossible");
    }
    struct hold *hold = pool_get(sizeof *hold);
    int error = -ENOMEM;
    if (hold != NULL) {
        mutex_lock(&process_lock);
        error = view_get(&hold->view, file, &status, &section, read_only);
        mutex_unlock(&process_lock);
    }
    file_close(file);
    if (error < 0) {
        if (hold != NULL)
            pool_give(hold, sizeof *hold);
        return error_set(error, "%s: the section at 0x%llx cannot be mapped: %s", client->name,
                         (unsigned long long)section.address,
                         error == -EADDRINUSE ? "something else lies there" : cairn_strerror(error));
    }
    hold->serial = section.handle;
    hold->next = client->holds;
    client->holds = hold;
    return 0;
}

/* Maps what sections the heap has got since the last time. */
static int map_new_sections(struct cairn_client *client, uint64_t latest)
{
    while (client->seen_serial < latest) {
        int file = -1;
        begin(client, WIRE_SECTION)->value = client->seen_serial;
        int error = ask(client, 1, &file);
        if (error == -ENODATA)
            break; /* the latest has gone */
        if (error < 0)
            return error;
        uint64_t serial = client->reply.blocks[0].handle;
        if (serial <= client->seen_serial) {
            file_close(file);
            return fail(client, -EPROTO, "the server sent a section again");
        }
        if (serial == client->own_serial)
            file_close(file);
        else
            error = map_section(client, file, true);
        if (error < 0)
            return error;
        client->seen_serial = serial;
    }
    return 0;
}

/* ---------------------------------------------------------------- opening */

static int options_take(cairn_client_options *ret_options, const cairn_client_options *options)
{
    cairn_client_options o = {0};
    size_t size = options != NULL ? structure_size("options", options->size, sizeof o) : 0;
    if (options != NULL && size == 0)
        return -EINVAL;
    if (options != NULL)
        memcpy(&o, options, size);
    if ((o.flags & ~(FLAGS_OF_SERVER | CAIRN_CLIENT_ANY_OWNER)) != 0)
        return error_set(-EINVAL, "unknown flags in options");
    if (o.access_count > CAIRN_CLIENT_ACCESS_MAX || (o.access_count != 0 && o.access == NULL))
        return error_set(-EINVAL, "an access list of %u entries", o.access_count);
    o.socket = o.socket != NULL ? o.socket : SERVER_SOCKET;
    o.timeout_ms = o.timeout_ms != 0 ? o.timeout_ms : TIMEOUT_DEFAULT;
    *ret_options = o;
    return 0;
}

static int connect_to(struct cairn_client *client, const cairn_client_options *options)
{
    char directory[PATH_BYTES];
    const char *slash = options->socket != NULL ? strrchr(options->socket, '/') : NULL;
    if (slash == NULL || slash[1] == '\0')
        return error_set(-EINVAL, "%s: no path of a socket", options->socket);
    if (strlen(options->socket) >= sizeof directory)
        return error_set(-ENAMETOOLONG, "%s: too long for a socket", options->socket);
    snprintf(directory, sizeof directory, "%.*s", slash == options->socket ? 1 : (int)(slash - options->socket),
             options->socket);
    int error = socket_create(&client->socket);
    if (error < 0)
        return error_set(error, "%s: no descriptor for a connection", client->name);
    client->identity = socket_identify(client->socket);
    error = socket_connect(client->socket, directory, slash + 1, options->timeout_ms);
    if (error < 0)
        return error_set(error == -ENOTDIR ? -ENOENT : error, "%s: no server at %s: %s", client->name, options->socket,
                         error == -ECONNREFUSED ? "it has ended" : cairn_strerror(error));
    return 0;
}

static void begin_opening(struct cairn_client *client, enum wire_operation operation,
                          const cairn_client_options *options, uint64_t bytes)
{
    struct wire_request *request = begin(client, operation);
    memcpy(request->name, client->name, sizeof request->name);
    request->flags = options->flags & FLAGS_OF_SERVER;
    request->value = bytes;
    request->count = options->access_count;
    for (uint32_t i = 0; i < options->access_count; i++)
        request->words[i] = options->access[i].id | (options->access[i].is_group ? WIRE_IS_GROUP : 0) |
                            (options->access[i].may_write ? WIRE_MAY_WRITE : 0);
}

/* A name is for who comes first: a heap that somebody else made under it may be there to lead this program astray. */
static int check_maker(const struct cairn_client *client, uint64_t flags)
{
    struct socket_peer server;
    uint32_t maker = client->reply.user;
    if (maker == process_user() || maker == 0 || (flags & CAIRN_CLIENT_ANY_OWNER) != 0)
        return 0;
    if (socket_peer_get(client->socket, &server) == 0 && server.user == maker)
        return 0;
    return error_set(-EPERM, "%s: made by user %u", client->name, maker);
}

static int open_heap(struct cairn_client *client, const cairn_client_options *options)
{
    bool read_only = (options->flags & CAIRN_CLIENT_READ_ONLY) != 0;
    uint64_t bytes = options->bytes_max != 0 ? options->bytes_max : SECTION_BYTES_DEFAULT;
    begin_opening(client, WIRE_OPEN, options, read_only ? 0 : bytes);
    int file = -1;
    int error = ask(client, read_only ? 0 : 1, read_only ? NULL : &file);
    if (error < 0)
        return error;
    client->number = client->reply.number;
    error = check_maker(client, options->flags);
    if (error < 0)
        file_close(file);
    if (error < 0 || read_only)
        return error;
    error = map_section(client, file, false);
    if (error < 0)
        return error;
    begin(client, WIRE_MAPPED);
    error = ask(client, 0, NULL);
    if (error < 0)
        return error;
    if (client->reply.serial == 0)
        return fail(client, -EPROTO, "the server did not number the section");
    client->own_serial = client->holds->serial = client->reply.serial;
    return 0;
}

/* What a call was given to name a heap of a server, checked. */
static int call_take(char ret_name[WIRE_NAME_BYTES], cairn_client_options *ret_options, const char *heap,
                     const cairn_client_options *options)
{
    int error = name_set(ret_name, heap, "a heap");
    return error < 0 ? error : options_take(ret_options, options);
}

/* Connects; errand is what sentences call it. NULL: the reason is set. */
static struct cairn_client *connect_for(const char *errand, const cairn_client_options *options)
{
    struct cairn_client *client = pool_get(sizeof *client);
    if (client == NULL) {
        error_set(-ENOMEM, "%s: no memory for a client", errand);
        return NULL;
    }
    *client = (struct cairn_client){.socket = -1, .forks = process_forks()};
    snprintf(client->name, sizeof client->name, "%s", errand);
    if (connect_to(client, options) == 0)
        return client;
    cairn_client_close(client);
    return NULL;
}

CAIRN_API int cairn_client_open(cairn_client **ret_client, const char *heap, const cairn_client_options *options)
{
    cairn_client_options o = {0};
    char name[WIRE_NAME_BYTES];
    int error = call_take(name, &o, heap, options);
    if (error < 0)
        return error;
    if (ret_client == NULL)
        return error_set(-EINVAL, "%s: a client needs a variable to be stored to", heap);
    mutex_lock(&process_lock);
    error = process_watch();
    mutex_unlock(&process_lock);
    struct cairn_client *client = error == 0 ? connect_for(name, &o) : NULL;
    if (client == NULL)
        return error < 0 ? error : cairn_last_errno();
    error = open_heap(client, &o);
    if (error < 0) {
        cairn_client_close(client);
        return error;
    }
    *ret_client = client;
    return 0;
}

CAIRN_API void cairn_client_close(cairn_client *client)
{
    if (client == NULL)
        return;
    if (socket_is(client->socket, &client->identity))
        file_close(client->socket);
    if (client->forks == process_forks()) {
        mutex_lock(&process_lock);
        while (client->holds != NULL) {
            struct hold *hold = client->holds;
            client->holds = hold->next;
            view_give(hold->view);
            pool_give(hold, sizeof *hold);
        }
        mutex_unlock(&process_lock);
    }
    pool_give(client, sizeof *client);
}

CAIRN_API uint32_t cairn_client_number(const cairn_client *client)
{
    return client->number;
}

CAIRN_API int cairn_client_fd(const cairn_client *client)
{
    return client->socket;
}

/* ---------------------------------------------------------------- blocks */

/* What the client is to write to lies in its own section, whatever the server says. */
static bool is_own_place(const struct cairn_client *client, const struct wire_block *block)
{
    const struct hold *hold = client->holds;
    while (hold != NULL && hold->serial != client->own_serial)
        hold = hold->next;
    if (hold == NULL || client->own_serial == 0)
        return false;
    uint64_t start = (uintptr_t)hold->view->address;
    return block->address >= start && block->address - start < hold->view->bytes &&
           block->size <= hold->view->bytes - (block->address - start);
}

CAIRN_API int cairn_client_alloc_batch(cairn_client *client, const size_t *sizes, uint32_t count,
                                       cairn_block *ret_blocks)
{
    if (count == 0 || count > CAIRN_BATCH_MAX)
        return error_set(-EINVAL, "%s: a batch of %u blocks", client->name, count);
    struct wire_request *request = begin(client, WIRE_ALLOC);
    request->count = count;
    for (uint32_t i = 0; i < count; i++)
        request->words[i] = sizes[i];
    int error = ask(client, count, NULL);
    if (error < 0)
        return error;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_own_place(client, &client->reply.blocks[i]) || client->reply.blocks[i].size < sizes[i])
            return fail(client, -EPROTO, "the server gave a block that is not in this client's section");
    }
    for (uint32_t i = 0; i < count; i++)
        ret_blocks[i] = block_of(&client->reply.blocks[i]);
    return 0;
}

CAIRN_API int cairn_client_alloc(cairn_client *client, size_t size, cairn_block *ret_block)
{
    return cairn_client_alloc_batch(client, &size, 1, ret_block);
}

/* ---------------------------------------------------------------- spans */

/* The memory of a heap in a span: the view that it lies in, which it holds as a client does. */
struct grant {
    void *address;
    uint64_t bytes;
    struct view *view;
    bool *ret_has_ended; /* while the heap is being made: it may end before there is one */
};

static void *grant_reserve(void *arg, size_t bytes)
{
    const struct grant *grant = arg;
    return bytes == grant->bytes ? grant->address : NULL;
}

/* The server has committed it, but others' bytes may be there. */
static int grant_commit(void *arg, void *address, size_t bytes)
{
    (void)arg;
    memset(address, 0, bytes);
    return 0;
}

static void grant_release(void *arg, void *address, size_t bytes)
{
    struct grant *grant = arg;
    (void)address, (void)bytes;
    if (grant->ret_has_ended != NULL)
        *grant->ret_has_ended = true;
    mutex_lock(&process_lock);
    view_give(grant->view);
    mutex_unlock(&process_lock);
    pool_give(grant, sizeof *grant);
}

static int span_options(struct cairn_client *client, cairn_options *ret_options, const cairn_options *options)
{
    cairn_options o = {0};
    size_t size = options == NULL ? 0 : options->size != 0 ? options->size : sizeof o;
    if (size < sizeof o.size || size > sizeof o || size % sizeof(uint64_t) != 0)
        return error_set(-EINVAL, "%s: a span with options of %zu bytes", client->name, size);
    memcpy(&o, options, size);
    if (o.name != NULL || o.directory != NULL || o.parent != NULL || o.memory != NULL || o.calls != NULL ||
        o.access != NULL || o.bytes_start != 0)
        return error_set(-EINVAL, "%s: an option that a span does not have", client->name);
    if (o.bytes_max < CAIRN_SPAN_BYTES_MIN || o.bytes_max > SIZE_MAX / 2)
        return error_set(-EINVAL, "%s: a span of %llu bytes", client->name, (unsigned long long)o.bytes_max);
    o.size = sizeof o;
    o.bytes_max = align_up(o.bytes_max, platform_page_size());
    *ret_options = o;
    return 0;
}

/* Makes the heap in a block that the server has allocated. NULL: the reason is set. */
static cairn_heap *make_heap(struct cairn_client *client, const cairn_block *span, cairn_options *options)
{
    struct grant *grant = pool_get(sizeof *grant);
    if (grant == NULL) {
        error_set(-ENOMEM, "%s: no memory for a heap", client->name);
        return NULL;
    }
    const struct hold *hold = client->holds;
    while (hold->serial != client->own_serial)
        hold = hold->next;
    bool has_ended = false;
    *grant = (struct grant){
        .address = span->address, .bytes = options->bytes_max, .view = hold->view, .ret_has_ended = &has_ended};
    mutex_lock(&process_lock);
    grant->view->holds++;
    mutex_unlock(&process_lock);
    cairn_memory calls = {.reserve = grant_reserve, .commit = grant_commit, .release = grant_release, .arg = grant};
    options->calls = &calls;
    cairn_heap *heap = NULL;
    int error = cairn_heap_create(&heap, options);
    if (error == 0) {
        grant->ret_has_ended = NULL;
        heap_is_of_client(heap);
        return heap;
    }
    if (!has_ended)
        grant_release(grant, span->address, options->bytes_max);
    error_set(error, "%s: no heap can be made in a span: %s", client->name, cairn_strerror(error));
    return NULL;
}

CAIRN_API int cairn_client_heap_create(cairn_client *client, cairn_heap **ret_heap, cairn_block *ret_span,
                                       const cairn_options *options)
{
    cairn_options o = {0};
    cairn_block span = {0};
    int error = span_options(client, &o, options);
    if (error == 0)
        error = cairn_client_alloc(client, o.bytes_max, &span);
    if (error < 0)
        return error;
    cairn_heap *heap = make_heap(client, &span, &o);
    if (heap == NULL) {
        error = cairn_last_errno();
        (void)cairn_client_free(client, &span);
        return error;
    }
    *ret_heap = heap;
    *ret_span = span;
    return 0;
}

CAIRN_API int cairn_client_free_batch(cairn_client *client, const cairn_block *blocks, uint32_t count)
{
    if (count == 0 || count > CAIRN_BATCH_MAX)
        return error_set(-EINVAL, "%s: a batch of %u blocks", client->name, count);
    struct wire_request *request = begin(client, WIRE_FREE);
    request->count = count;
    for (uint32_t i = 0; i < count; i++)
        request->words[i] = blocks[i].handle;
    return ask(client, 0, NULL);
}

CAIRN_API int cairn_client_free(cairn_client *client, const cairn_block *block)
{
    return cairn_client_free_batch(client, block, 1);
}

static int ask_about(struct cairn_client *client, enum wire_operation operation, const cairn_block *block,
                     uint64_t value, uint32_t blocks)
{
    struct wire_request *request = begin(client, operation);
    request->count = 1;
    request->words[0] = block->handle;
    request->value = value;
    return ask(client, blocks, NULL);
}

static bool is_mapped(const struct cairn_client *client, const struct wire_block *block)
{
    for (const struct hold *hold = client->holds; hold != NULL; hold = hold->next) {
        uint64_t start = (uintptr_t)hold->view->address;
        if (block->address >= start && block->address - start < hold->view->bytes &&
            block->size <= hold->view->bytes - (block->address - start))
            return true;
    }
    return false;
}

CAIRN_API int cairn_client_realloc(cairn_client *client, cairn_block *block, size_t size)
{
    int error = ask_about(client, WIRE_EXPAND, block, size, 1);
    if (error == 0) {
        const struct wire_block *reply = &client->reply.blocks[0];
        if (reply->address != (uintptr_t)block->address || reply->size < size || !is_mapped(client, reply))
            return fail(client, -EPROTO, "the server says that a block reaches to where it cannot");
        block->size = reply->size;
        return 0;
    }
    if (error != -ENOSPC)
        return error;
    cairn_block larger = {0};
    error = cairn_client_alloc(client, size, &larger);
    if (error < 0)
        return error;
    if (larger.address != NULL && block->address != NULL)
        memcpy(larger.address, block->address, min_u64(block->size, larger.size));
    error = cairn_client_free(client, block);
    if (error < 0)
        return error;
    *block = larger;
    return 0;
}

CAIRN_API int cairn_client_give(cairn_client *client, cairn_block *block, uint32_t to)
{
    int error = ask_about(client, WIRE_GIVE, block, to, 1);
    if (error == 0)
        block->handle = client->reply.blocks[0].handle;
    return error;
}

/* A block in another's section is of use only when that is mapped. -ENOENT: the section has gone meanwhile, and so had
 * the block before. */
static int get_block(struct cairn_client *client, cairn_block *ret_block)
{
    struct wire_block block = client->reply.blocks[0];
    int error = map_new_sections(client, client->reply.serial);
    if (error < 0)
        return error;
    if (!is_mapped(client, &block))
        return error_set(-ENOENT, "%s: the block was freed meanwhile", client->name);
    *ret_block = block_of(&block);
    return 0;
}

/* What this client owns cannot have gone. */
static int get_own_block(struct cairn_client *client, cairn_block *ret_block)
{
    int error = get_block(client, ret_block);
    return error == -ENOENT ? fail(client, -EPROTO, "the server gave a block that is in no section") : error;
}

CAIRN_API int cairn_client_take(cairn_client *client, cairn_block *ret_block)
{
    begin(client, WIRE_TAKE);
    int error = ask(client, 1, NULL);
    return error < 0 ? error : get_own_block(client, ret_block);
}

CAIRN_API int cairn_client_take_from_heap(cairn_client *client, cairn_block *block)
{
    int error = ask_about(client, WIRE_TAKE_BACK, block, 0, 1);
    return error < 0 ? error : get_own_block(client, block);
}

/* ---------------------------------------------------------------- roots */

CAIRN_API int cairn_client_root_set(cairn_client *client, const char *name, const cairn_block *block)
{
    struct wire_request *request = begin(client, WIRE_ROOT_SET);
    int error = name_set(request->name, name, "a root");
    if (error < 0)
        return error;
    if (block != NULL && block->handle == 0)
        return error_set(-ESTALE, "%s: %s", client->name, sentence(-ESTALE));
    request->count = 1;
    request->words[0] = block != NULL ? block->handle : 0;
    return ask(client, 0, NULL);
}

CAIRN_API int cairn_client_root_get(cairn_client *client, const char *name, cairn_block *ret_block)
{
    struct wire_request *request = begin(client, WIRE_ROOT_GET);
    int error = name_set(request->name, name, "a root");
    if (error == 0)
        error = ask(client, 1, NULL);
    return error < 0 ? error : get_block(client, ret_block);
}

CAIRN_API int cairn_client_stats_get(cairn_client *client, cairn_client_stats *ret_stats)
{
    size_t size = structure_size("statistics", ret_stats->size, sizeof *ret_stats);
    if (size == 0)
        return -EINVAL;
    begin(client, WIRE_STATS);
    int error = ask(client, 3, NULL);
    if (error < 0)
        return error;
    const struct wire_block *b = client->reply.blocks;
    cairn_client_stats stats = {
        .size = ret_stats->size,
        .heap_clients = b[0].address,
        .heap_sections = b[0].size,
        .heap_blocks = b[0].handle,
        .user_blocks = b[1].address,
        .user_bytes = b[1].size,
        .user_blocks_max = b[1].handle,
        .user_bytes_max = b[2].address,
        .own_blocks = b[2].size,
        .messages = client->messages,
    };
    memcpy(ret_stats, &stats, size);
    return 0;
}

/* ---------------------------------------------------------------- shared heaps */

/* Gets the descriptor of a shared heap. */
static int ask_for_shared(const char *heap, const cairn_client_options *options, int *ret_file)
{
    struct cairn_client *client = connect_for(heap, options);
    if (client == NULL)
        return cairn_last_errno();
    begin_opening(client, WIRE_SHARED, options, options->bytes_max != 0 ? options->bytes_max : SHARED_BYTES_AT_SERVER);
    int file = -1;
    int error = ask(client, 0, &file);
    if (error == 0)
        error = check_maker(client, options->flags);
    cairn_client_close(client);
    if (error < 0)
        file_close(file);
    else
        *ret_file = file;
    return error;
}

CAIRN_API int cairn_client_shared_open(cairn_heap **ret_heap, const char *heap, const cairn_client_options *options)
{
    cairn_client_options o = {0};
    char name[WIRE_NAME_BYTES];
    int file = -1;
    int error = call_take(name, &o, heap, options);
    if (error < 0)
        return error;
    if (ret_heap == NULL)
        return error_set(-EINVAL, "%s: a heap needs a variable to be stored to", heap);
    error = ask_for_shared(name, &o, &file);
    if (error < 0)
        return error;
    /* The file is the server's user's, who is trusted with what is in it as whoever writes there is. */
    cairn_options opening = {
        .size = sizeof opening,
        .name = name[0] != '.' ? name : NULL,
        .flags = CAIRN_ANY_OWNER | ((o.flags & CAIRN_CLIENT_READ_ONLY) != 0 ? CAIRN_READ_ONLY : 0),
    };
    error = cairn_heap_open_fd(ret_heap, file, &opening);
    file_close(file);
    return error;
}

CAIRN_API int cairn_client_shared_drop(const char *heap, const cairn_client_options *options)
{
    cairn_client_options o = {0};
    char name[WIRE_NAME_BYTES];
    int error = call_take(name, &o, heap, options);
    struct cairn_client *client = error == 0 ? connect_for(name, &o) : NULL;
    if (client == NULL)
        return cairn_last_errno();
    memcpy(begin(client, WIRE_DROP)->name, name, sizeof name);
    error = ask(client, 0, NULL);
    cairn_client_close(client);
    return error;
}

/* ---------------------------------------------------------------- looking at a server */

/* Connects, to look at a heap, whose name is wanted filled up, or NULL. NULL: the reason is set. */
static struct cairn_client *open_looker(const cairn_client_options *options, const char *heap,
                                        char ret_name[WIRE_NAME_BYTES])
{
    cairn_client_options o = {0};
    if ((heap != NULL && name_set(ret_name, heap, "a heap") < 0) || options_take(&o, options) < 0)
        return NULL;
    return connect_for(heap != NULL ? heap : "clients and heaps", &o);
}

/* Gets the next thing of a kind; -ENODATA: there is no more. */
static int look(struct cairn_client *client, enum wire_operation operation, const char *heap, uint64_t from)
{
    struct wire_request *request = begin(client, operation);
    memcpy(request->name, heap, sizeof request->name);
    request->value = from;
    return ask(client, 0, NULL);
}

/* What follows must come after what was before, so that a walk ends whatever the server says. */
static int out_of_order(struct cairn_client *client)
{
    return fail(client, -EPROTO, "the server goes in circles");
}

static bool ends(const char name[WIRE_NAME_BYTES])
{
    return memchr(name, '\0', WIRE_NAME_BYTES) != NULL;
}

static void *pointer_of(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

static cairn_server_quota quota_of(const struct wire_quota *quota)
{
    return (cairn_server_quota){quota->clients, quota->sections, quota->bytes, quota->blocks};
}

/* The end of a walk, which is none of the visitor's. */
static int close_looker(struct cairn_client *client, int result)
{
    cairn_client_close(client);
    return result == -ENODATA ? 0 : result;
}

CAIRN_API int cairn_server_client_walk(const cairn_client_options *options, cairn_server_client_fn *visit, void *arg)
{
    static const char none[WIRE_NAME_BYTES];
    uint64_t from = 0;
    int result = 0;
    struct cairn_client *client = open_looker(options, NULL, NULL);
    if (client == NULL)
        return cairn_last_errno();
    while (result == 0 && (result = look(client, WIRE_LOOK_CLIENTS, none, from)) == 0) {
        const struct wire_seen_client *seen = &client->reply.client;
        if (client->reply.number <= from || !ends(seen->heap)) {
            result = out_of_order(client);
            break;
        }
        from = client->reply.number;
        cairn_server_client told = {
            .number = seen->number,
            .user = seen->user,
            .process = seen->process,
            .heap = seen->heap[0] != '\0' ? seen->heap : NULL,
            .section = pointer_of(seen->address),
            .section_bytes = seen->bytes,
            .blocks = seen->blocks,
            .user_has = quota_of(&seen->has),
            .user_max = quota_of(&seen->most),
        };
        result = visit(&told, arg);
    }
    return close_looker(client, result);
}

CAIRN_API int cairn_server_heap_walk(const cairn_client_options *options, cairn_server_heap_fn *visit, void *arg)
{
    char last[WIRE_NAME_BYTES] = {0};
    int result = 0;
    struct cairn_client *client = open_looker(options, NULL, NULL);
    if (client == NULL)
        return cairn_last_errno();
    while (result == 0 && (result = look(client, WIRE_LOOK_HEAPS, last, 0)) == 0) {
        const struct wire_seen_heap *seen = &client->reply.heap;
        if (!wire_name_is_good(seen->name) || strcmp(seen->name, last) <= 0) {
            result = out_of_order(client);
            break;
        }
        memcpy(last, seen->name, sizeof last);
        cairn_server_heap told = {
            .name = last,
            .user = seen->user,
            .access_count = seen->access_count,
            .everyone = seen->everyone != 0,
            .clients = seen->clients,
            .sections = seen->sections,
            .section_bytes = seen->bytes,
            .roots = seen->roots,
            .blocks = seen->blocks,
            .bytes_live = seen->bytes_live,
            .blocks_kept = seen->blocks_kept,
            .shared = seen->shared_address != 0,
            .shared_address = pointer_of(seen->shared_address),
            .shared_bytes = seen->shared_bytes,
            .shared_bytes_taken = seen->shared_bytes_taken,
        };
        result = visit(&told, arg);
    }
    return close_looker(client, result);
}

CAIRN_API int cairn_server_section_walk(const cairn_client_options *options, const char *heap,
                                        cairn_server_section_fn *visit, void *arg)
{
    char name[WIRE_NAME_BYTES] = {0};
    uint64_t last = 0;
    int result = 0;
    struct cairn_client *client = open_looker(options, heap != NULL ? heap : "", name);
    if (client == NULL)
        return cairn_last_errno();
    while (result == 0 && (result = look(client, WIRE_LOOK_SECTIONS, name, last)) == 0) {
        const struct wire_seen_section *seen = &client->reply.section;
        if (seen->address <= last) {
            result = out_of_order(client);
            break;
        }
        last = seen->address;
        cairn_server_section told = {
            .address = pointer_of(seen->address),
            .bytes = seen->bytes,
            .unit_bytes = seen->unit_bytes,
            .user = seen->user,
            .client = seen->client,
            .blocks = seen->blocks,
            .bytes_live = seen->bytes_live,
        };
        result = visit(&told, arg);
    }
    return close_looker(client, result);
}

CAIRN_API int cairn_server_root_walk(const cairn_client_options *options, const char *heap, cairn_server_root_fn *visit,
                                     void *arg)
{
    char name[WIRE_NAME_BYTES] = {0};
    uint64_t from = 0;
    int result = 0;
    struct cairn_client *client = open_looker(options, heap != NULL ? heap : "", name);
    if (client == NULL)
        return cairn_last_errno();
    while (result == 0 && (result = look(client, WIRE_LOOK_ROOTS, name, from)) == 0) {
        const struct wire_seen_root *seen = &client->reply.root;
        if (client->reply.number <= from || !wire_name_is_good(seen->name)) {
            result = out_of_order(client);
            break;
        }
        from = client->reply.number;
        cairn_server_root told = {
            .name = seen->name, .block = pointer_of(seen->address), .size = seen->size, .client = seen->client};
        result = visit(&told, arg);
    }
    return close_looker(client, result);
}

CAIRN_API int cairn_server_info_get(const cairn_client_options *options, cairn_server_info *ret_info)
{
    static const char none[WIRE_NAME_BYTES];
    size_t size = structure_size("information", ret_info->size, sizeof *ret_info);
    if (size == 0)
        return -EINVAL;
    struct cairn_client *client = open_looker(options, NULL, NULL);
    if (client == NULL)
        return cairn_last_errno();
    int error = look(client, WIRE_LOOK_SERVER, none, 0);
    const struct wire_seen_server *seen = &client->reply.server;
    cairn_server_info info = {
        .size = ret_info->size,
        .milliseconds = seen->milliseconds,
        .connections = seen->connections,
        .connections_refused = seen->connections_refused,
        .clients_dropped = seen->dropped,
        .requests = seen->requests,
        .requests_refused = seen->requests_refused,
    };
    if (error == 0)
        memcpy(ret_info, &info, size);
    cairn_client_close(client);
    return error;
}

/* Hands the spans of a reply to the visitor, and moves *from to behind them. */
static int visit_spans(struct cairn_client *client, uint64_t *from, cairn_span_fn *visit, void *arg)
{
    uint32_t count = client->reply.number;
    int result = count == 0 || count > WIRE_SPANS_MAX ? out_of_order(client) : 0;
    for (uint32_t i = 0; i < count && result == 0; i++) {
        const struct wire_seen_span *seen = &client->reply.spans[i];
        if (seen->address < *from || seen->bytes == 0 || seen->bytes > UINT64_MAX - seen->address ||
            seen->kind > CAIRN_SPAN_OTHER)
            return out_of_order(client);
        *from = seen->address + seen->bytes;
        cairn_span span = {
            .kind = (cairn_span_kind)seen->kind,
            .address = pointer_of(seen->address),
            .bytes = seen->bytes,
            .block_bytes = seen->block_bytes,
            .blocks = seen->blocks,
            .blocks_live = seen->blocks_live,
        };
        result = visit(&span, arg);
    }
    return result;
}

CAIRN_API int cairn_server_span_walk(const cairn_client_options *options, const char *heap, const void *section,
                                     cairn_span_fn *visit, void *arg)
{
    char name[WIRE_NAME_BYTES] = {0};
    uint64_t from = (uintptr_t)section;
    int result = 0;
    struct cairn_client *client = open_looker(options, heap != NULL ? heap : "", name);
    if (client == NULL)
        return cairn_last_errno();
    while (result == 0 && (result = look(client, WIRE_LOOK_SPANS, name, from)) == 0)
        result = visit_spans(client, &from, visit, arg);
    return close_looker(client, result);
}
