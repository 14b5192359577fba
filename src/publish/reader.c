/* SPDX-License-Identifier: MIT */
/*
 * reader: the processes that read. Everything that the publisher sent is looked at before it is used, as if a stranger
 * had sent it; afterwards it is taken for what a publisher of this library wrote.
 */
#include <errno.h>
#include <string.h>

#include "publish/publish.h"

enum {
    TIMEOUT_DEFAULT = 5000,
    WAIT_AT_ONCE = 100, /* milliseconds; then look whether the publisher lives: a killed one wakes nobody */
};

/* What this process has of one generation: one view for all its readers. */
struct reader_view {
    struct reader_view *next;
    const struct public_image *image;
    uint64_t device;
    uint64_t inode;
    uint32_t handles;
    char name[CAIRN_NAME_MAX + 1]; /* for people */
    /* Checked once, so that no later byte leads outside the view. */
    uint64_t bytes_max;
    uint64_t public_offset;
    uint64_t units_offset;
    uint32_t roots_max;
    const struct root_image *roots;
};

struct cairn_reader {
    struct pin_image *pin;
    const struct public_image *image;
    const atomic_u64 *cut; /* this reader's word */
    uint64_t cut_at_begin;
    uint32_t assignment;
    uint32_t depth; /* of read_begin */
    bool has_ended; /* the publisher: known so far */
    uint32_t forks;
    uint32_t number;
    int socket;
    struct socket_identity identity; /* its number may be the program's file by now */
    struct socket_peer publisher;
    struct wire_welcome welcome;
    struct reader_view *view;
    struct cairn_reader *next;
};

static struct mutex readers_lock; /* no lock is taken with it held */
static struct cairn_reader *readers;
static struct reader_view *views;

/* ---------------------------------------------------------------- fork */

static void before_fork(void)
{
    mutex_lock(&readers_lock);
}

static void parent_after_fork(void)
{
    mutex_unlock(&readers_lock);
}

static void close_connection(struct cairn_reader *reader)
{
    if (socket_is(reader->socket, &reader->identity))
        file_close(reader->socket);
    reader->socket = -1;
}

/* A copy of the connection would keep the publisher from seeing that its reader has gone. */
static void child_after_fork(void)
{
    for (struct cairn_reader *r = readers; r != NULL; r = r->next) {
        close_connection(r);
        r->pin = NULL; /* the page was not inherited: something else may lie there by now */
    }
    mutex_unlock(&readers_lock);
}

static int watch_forks(void)
{
    static bool watching;
    mutex_lock(&process_lock);
    int error = process_watch();
    mutex_unlock(&process_lock);
    mutex_lock(&readers_lock);
    if (error == 0 && !watching) {
        error = process_on_fork(before_fork, parent_after_fork, child_after_fork);
        watching = error == 0;
    }
    mutex_unlock(&readers_lock);
    return error;
}

/* ---------------------------------------------------------------- views */

/* The view of a file that this process has, or a new one; readers_lock is held. */
static int view_get(struct reader_view **ret_view, const char *name, int file, const struct file_status *status,
                    const struct public_image *header)
{
    for (struct reader_view *view = views; view != NULL; view = view->next) {
        if (view->device == status->device && view->inode == status->inode) {
            view->handles++;
            *ret_view = view;
            return 0;
        }
    }
    struct reader_view *view = pool_get(sizeof *view);
    if (view == NULL)
        return -ENOMEM;
    void *base;
    int error = file_map(&base, file, header->address, header->bytes_max, true);
    if (error < 0) {
        pool_give(view, sizeof *view);
        return error;
    }
    *view = (struct reader_view){
        .next = views,
        .image = base,
        .device = status->device,
        .inode = status->inode,
        .handles = 1,
        .bytes_max = header->bytes_max,
        .public_offset = header->public_offset,
        .units_offset = header->units_offset,
        .roots_max = header->roots_max,
        .roots = (const struct root_image *)(const void *)((const unsigned char *)base + header->roots_offset),
    };
    memcpy(view->name, name, strlen(name) + 1); /* was checked to fit */
    views = view;
    *ret_view = view;
    return 0;
}

/* What lies where a heap has to be mapped; readers_lock is held. */
static int refuse_address(const char *name, const struct public_image *header)
{
    uint64_t end = header->address + header->bytes_max;
    for (const struct reader_view *view = views; view != NULL; view = view->next) {
        uint64_t begin = (uintptr_t)view->image;
        if (begin < end && header->address < begin + view->bytes_max)
            return error_set(-EADDRINUSE, "%s: cannot be mapped at %#llx: %s \"%s\" lies there, which is open here",
                             name, (unsigned long long)header->address,
                             strcmp(view->name, name) == 0 ? "another generation of" : "the published heap",
                             view->name);
    }
    return error_set(-EADDRINUSE, "%s: cannot be mapped at %#llx: something of this process lies there", name,
                     (unsigned long long)header->address);
}

static void view_give(struct reader_view *view)
{
    if (view == NULL || --view->handles != 0)
        return;
    struct reader_view **link = &views;
    while (*link != view)
        link = &(*link)->next;
    *link = view->next;
    memory_release((void *)(uintptr_t)view->image, view->bytes_max);
    pool_give(view, sizeof *view);
}

/* ---------------------------------------------------------------- opening */

/* What came by the socket. */
struct received {
    struct wire_welcome welcome;
    int files[2]; /* the heap, the pin page; -1: none */
};

static int refused(const char *name, int status)
{
    return error_set(status, "%s: %s", name,
                     status == -EACCES   ? "the publisher does not let this user in"
                     : status == -EAGAIN ? "the publisher has all the readers that it lets in"
                                         : "the publisher has no memory or no descriptor for a reader");
}

/* Gets the publisher's one message. A refusal comes without descriptors, and so is not of the form that is asked for.
 */
static int receive(const char *name, int socket, struct received *ret_received)
{
    int error = socket_receive(socket, &ret_received->welcome, sizeof ret_received->welcome, ret_received->files, 2);
    const struct wire_welcome *welcome = &ret_received->welcome;
    bool came = error == 0;
    if (error == -ETIMEDOUT)
        return error_set(error, "%s: the publisher does not answer", name);
    if (error == -ECONNRESET)
        return error_set(-ECONNREFUSED, "%s: the publisher ended just now", name);
    bool is_ours = welcome->magic == WIRE_MAGIC && welcome->version == PUBLIC_VERSION;
    if (error == -EPROTO && is_ours &&
        (welcome->status == -EACCES || welcome->status == -EAGAIN || welcome->status == -ENOMEM))
        error = refused(name, welcome->status);
    else if (error == 0 && is_ours && welcome->status == 0 && welcome->number < READERS_LIMIT)
        return 0;
    else
        error = error_set(-EPROTO, "%s: what listens there is no publisher of this version", name);
    if (came) {
        file_close(ret_received->files[0]);
        file_close(ret_received->files[1]);
    }
    return error;
}

/* A file that could get shorter, or that somebody else could write, is not what a publisher publishes. */
static int check_files(const char *name, const struct received *received, struct public_image *ret_header,
                       struct file_status *ret_status)
{
    struct file_status pin;
    uint32_t heap_seals = FILE_SEAL_SHRINK | FILE_SEAL_FUTURE_WRITE | FILE_SEAL_SEAL;
    uint32_t pin_seals = FILE_SEAL_SHRINK | FILE_SEAL_GROW;
    if (!file_has_usual_pages(received->files[0]) || !file_has_usual_pages(received->files[1]))
        return error_set(-EPROTO, "%s: what the publisher sent is no memory file of usual pages", name);
    if (file_status_get(received->files[0], ret_status) < 0 || file_status_get(received->files[1], &pin) < 0 ||
        (file_seals(received->files[0]) & heap_seals) != heap_seals || !file_is_read_only(received->files[0]) ||
        (file_seals(received->files[1]) & pin_seals) != pin_seals || pin.bytes != platform_page_size())
        return error_set(-EPROTO, "%s: what the publisher sent is not sealed as a published heap is", name);
    if (file_read_at(received->files[0], 0, ret_header, sizeof *ret_header) < 0)
        return error_set(-EPROTO, "%s: what the publisher sent is not a published heap", name);
    const char *reason;
    int error = public_image_check(ret_header, ret_status->bytes, &reason);
    if (error == 0 && ret_header->instance != received->welcome.instance) {
        error = -EPROTO;
        reason = "the publisher sent another heap than it said";
    }
    if (error == 0 && received->welcome.number >= ret_header->readers_max) {
        error = -EPROTO;
        reason = "the publisher gave a number that it does not have";
    }
    return error < 0 ? error_set(error, "%s: %s", name, reason) : 0;
}

static int check_publisher(const char *name, struct cairn_reader *reader, const struct cairn_reader_options *options)
{
    struct socket_peer peer;
    int error = socket_peer_get(reader->socket, &peer);
    if (error < 0)
        return error_set(error, "%s: it cannot be told who publishes it", name);
    reader->publisher = peer;
    if (peer.user != process_user() && peer.user != 0 && (options->flags & CAIRN_READER_ANY_OWNER) == 0)
        return error_set(-EPERM, "%s: published by user %u", name, peer.user);
    return 0;
}

static int attach(const char *name, struct cairn_reader *reader, const struct received *received)
{
    struct public_image header = {0};
    struct file_status status = {0};
    int error = check_files(name, received, &header, &status);
    if (error < 0)
        return error;
    /* Under the lock, so that the child of a fork knows of the page, which it does not inherit. */
    mutex_lock(&readers_lock);
    void *pin = NULL;
    error = file_map_part(&pin, received->files[1], 0, platform_page_size(), false);
    if (error == 0)
        error = memory_not_for_children(pin, platform_page_size());
    reader->pin = pin;
    if (error == 0)
        error = view_get(&reader->view, name, received->files[0], &status, &header);
    if (error == -EADDRINUSE)
        error = refuse_address(name, &header);
    else if (error == -ENOMEM)
        error = error_set(-ENOMEM, "%s: no memory to map it", name);
    else if (error < 0)
        error = error_set(-EPROTO, "%s: what the publisher sent cannot be mapped: %s", name, cairn_strerror(error));
    mutex_unlock(&readers_lock);
    if (error < 0)
        return error;
    reader->image = reader->view->image;
    reader->welcome = received->welcome;
    reader->number = received->welcome.number;
    reader->assignment = received->welcome.assignment;
    reader->cut = &reader->image->cut[reader->number];
    return 0;
}

/* From here on the child of a fork closes the connection, which would keep the publisher from seeing its end. */
static int link_reader(struct cairn_reader *reader)
{
    mutex_lock(&readers_lock);
    int error = socket_create(&reader->socket);
    reader->identity = socket_identify(reader->socket);
    reader->next = readers;
    readers = reader;
    mutex_unlock(&readers_lock);
    return error;
}

static void unlink_reader(struct cairn_reader *reader)
{
    mutex_lock(&readers_lock);
    struct cairn_reader **link = &readers;
    while (*link != reader)
        link = &(*link)->next;
    close_connection(reader);
    *link = reader->next;
    view_give(reader->view);
    mutex_unlock(&readers_lock);
}

static void give_reader(struct cairn_reader *reader)
{
    memory_release(reader->pin, platform_page_size());
    pool_give(reader, sizeof *reader);
}

static int options_take(struct cairn_reader_options *ret_options, const struct cairn_reader_options *options)
{
    struct cairn_reader_options o = {0};
    size_t size = options != NULL ? structure_size("options", options->size, sizeof o) : 0;
    if (options != NULL && size == 0)
        return -EINVAL;
    if (options != NULL)
        memcpy(&o, options, size);
    if ((o.flags & ~CAIRN_READER_ANY_OWNER) != 0 || o.reserved != 0)
        return error_set(-EINVAL, "unknown flags in options");
    o.timeout_ms = o.timeout_ms != 0 ? o.timeout_ms : TIMEOUT_DEFAULT;
    *ret_options = o;
    return 0;
}

static int connect_to(const char *name, const struct cairn_reader_options *options, int socket)
{
    char directory[DIRECTORY_BYTES];
    char socket_name[SOCKET_NAME_BYTES];
    int error = directory_get(options->directory, false, directory, NULL);
    if (error < 0)
        return error;
    wire_socket_name(socket_name, name);
    error = socket_connect(socket, directory, socket_name, options->timeout_ms);
    if (error < 0)
        return error_set(error == -ENOTDIR      ? -ENOENT
                         : error == -EPROTOTYPE ? -EPROTO
                                                : error,
                         "%s: not published in %s: %s", name, directory,
                         error == -ECONNREFUSED   ? "its publisher has ended"
                         : error == -ENAMETOOLONG ? "directory and name together are too long for a socket"
                         : error == -ETIMEDOUT    ? "the publisher does not answer"
                                                  : cairn_strerror(error));
    return 0;
}

CAIRN_API int cairn_reader_open(struct cairn_reader **ret_reader, const char *name,
                                const struct cairn_reader_options *options)
{
    struct cairn_reader_options o = {0};
    int error = name_check(name);
    if (error == 0)
        error = options_take(&o, options);
    if (error < 0)
        return error;
    if (ret_reader == NULL)
        return error_set(-EINVAL, "%s: a reader needs a variable to be stored to", name);
    struct cairn_reader *reader = watch_forks() < 0 ? NULL : pool_get(sizeof *reader);
    if (reader == NULL)
        return error_set(-ENOMEM, "%s: no memory for a reader", name);
    reader->forks = process_forks();
    reader->socket = -1;
    struct received received = {.files = {-1, -1}};
    error = link_reader(reader);
    if (error < 0)
        error_set(error, "%s: no descriptor for a connection", name);
    if (error == 0)
        error = connect_to(name, &o, reader->socket);
    if (error == 0)
        error = check_publisher(name, reader, &o);
    if (error == 0) {
        error = receive(name, reader->socket, &received);
        if (error == 0) {
            error = attach(name, reader, &received);
            file_close(received.files[0]);
            file_close(received.files[1]);
        }
    }
    if (error < 0) {
        unlink_reader(reader);
        give_reader(reader);
        return error;
    }
    *ret_reader = reader;
    return 0;
}

CAIRN_API void cairn_reader_close(struct cairn_reader *reader)
{
    if (reader == NULL)
        return;
    unlink_reader(reader);
    give_reader(reader);
}

/* ---------------------------------------------------------------- reading */

CAIRN_API int cairn_read_begin(struct cairn_reader *reader)
{
    if (UNLIKELY(reader->forks != process_forks()))
        return error_set(-EINVAL, "a reader of the process from which this one was forked");
    bool has_ended = reader->has_ended || load_relaxed(&reader->image->closed) != 0;
    if (reader->depth++ != 0)
        return has_ended;
    uint64_t cut;
    for (;;) {
        cut = load_acquire(reader->cut); /* before the epoch: who sees a new cut sees the epoch that came before it */
        uint64_t epoch = load_acquire(&reader->image->epoch);
        if (UNLIKELY(cut >> 32 != reader->assignment))
            break;
        store_relaxed(&reader->pin->epoch, epoch);
        atomic_thread_fence(memory_order_seq_cst); /* with the one in earliest_pin */
        if (LIKELY(load_acquire(reader->cut) == cut))
            break;
    }
    if (UNLIKELY(cut >> 32 != reader->assignment)) {
        reader->depth = 0;
        store_release(&reader->pin->epoch, 0);
        return error_set(-ENOTCONN, "the publisher does not count this reader any more");
    }
    reader->cut_at_begin = cut;
    return has_ended;
}

CAIRN_API int cairn_read_end(struct cairn_reader *reader)
{
    if (UNLIKELY(reader->forks != process_forks() || reader->depth == 0))
        return error_set(-EINVAL, "the end of a read that did not begin");
    if (--reader->depth != 0)
        return 0;
    atomic_thread_fence(memory_order_acquire); /* all that was read was read before the cut is */
    bool is_cut = load_relaxed(reader->cut) != reader->cut_at_begin;
    store_release(&reader->pin->epoch, 0);
    if (UNLIKELY(is_cut))
        return error_set(-ESTALE, "the reader was cut off: what it read may have been changed meanwhile");
    return 0;
}

CAIRN_API const void *cairn_reader_root(struct cairn_reader *reader, const char *name)
{
    if (root_name_check(name) < 0)
        return NULL;
    if (reader->depth == 0 || reader->forks != process_forks()) {
        error_set(-EINVAL, "root \"%s\": outside of a read nothing stays as it is", name);
        return NULL;
    }
    const struct reader_view *view = reader->view;
    uint64_t ref;
    uint32_t end = load_acquire(&reader->image->roots_end);
    if (!root_find_in(view->roots, (uint32_t)min_u64(end, view->roots_max), MAIN_HEAP, name, &ref))
        return NULL;
    /* The publisher commits before it tells: what is behind the end is nothing that it could have told. */
    uint64_t offset = ref - view->public_offset;
    uint64_t bytes = min_u64(load_acquire(&reader->image->bytes), view->bytes_max);
    if (ref < view->public_offset || offset < view->units_offset || offset >= bytes)
        return NULL;
    return (const unsigned char *)reader->image + offset;
}

CAIRN_API uint32_t cairn_reader_version(const struct cairn_reader *reader)
{
    return load_acquire(&reader->image->changes);
}

static bool has_no_connection(const struct cairn_reader *reader)
{
    return !socket_is(reader->socket, &reader->identity) || socket_is_hung_up(reader->socket);
}

CAIRN_API bool cairn_reader_is_current(struct cairn_reader *reader)
{
    if (!reader->has_ended && reader->forks == process_forks())
        reader->has_ended = load_acquire(&reader->image->closed) != 0 || has_no_connection(reader);
    return !reader->has_ended && reader->forks == process_forks();
}

CAIRN_API int cairn_reader_wait(struct cairn_reader *reader, uint32_t seen, int timeout_ms)
{
    uint64_t begin = time_passed();
    const atomic_u32 *word = &reader->image->changes;
    if (reader->forks != process_forks())
        return error_set(-EINVAL, "a reader of the process from which this one was forked");
    for (;;) {
        if (load_acquire(word) != seen && load_acquire(&reader->image->closed) == 0)
            return 0;
        if (!cairn_reader_is_current(reader))
            return error_set(-ENOTCONN, "the publisher has ended");
        uint64_t passed = time_passed() - begin;
        if (timeout_ms >= 0 && passed >= (uint64_t)timeout_ms)
            return error_set(-ETIMEDOUT, "no root was changed in %d ms", timeout_ms);
        uint64_t left = timeout_ms < 0 ? WAIT_AT_ONCE : (uint64_t)timeout_ms - passed;
        word_wait(word, seen, (uint32_t)min_u64(left, WAIT_AT_ONCE));
    }
}

CAIRN_API int cairn_reader_fd(const struct cairn_reader *reader)
{
    return reader->socket;
}

CAIRN_API int cairn_reader_info_get(struct cairn_reader *reader, struct cairn_reader_info *ret_info)
{
    size_t size = structure_size("information", ret_info->size, sizeof *ret_info);
    if (size == 0)
        return -EINVAL;
    const struct public_image *image = reader->image;
    struct cairn_reader_info info = {
        .size = ret_info->size,
        .generation = image->instance,
        .address = (uintptr_t)image,
        .units_address = (uintptr_t)image + reader->view->units_offset,
        .bytes = min_u64(load_acquire(&image->bytes), reader->view->bytes_max),
        .bytes_max = reader->view->bytes_max,
        .created_at = image->created_at,
        .version = load_acquire(&image->changes),
        .number = reader->number,
        .user = reader->publisher.user,
        .process = reader->publisher.process,
        .everyone = reader->welcome.everyone,
        .users_count = reader->welcome.users_count,
        .groups_count = reader->welcome.groups_count,
        .readers_max = image->readers_max,
    };
    memcpy(ret_info, &info, size);
    return 0;
}

/* ---------------------------------------------------------------- names */

struct names_walk {
    cairn_name_fn *visit;
    void *arg;
    int result; /* of visit */
};

static int visit_socket(const char *socket_name, void *arg)
{
    struct names_walk *walk = arg;
    char name[CAIRN_NAME_MAX + 1];
    size_t length = strlen(socket_name), suffix = sizeof ".sock" - 1;
    if (length <= suffix || length - suffix > CAIRN_NAME_MAX || socket_name[0] == '.' ||
        strcmp(socket_name + length - suffix, ".sock") != 0)
        return 0;
    memcpy(name, socket_name, length - suffix);
    name[length - suffix] = '\0';
    walk->result = walk->visit(name, walk->arg);
    return walk->result;
}

CAIRN_API int cairn_publish_names(const char *directory, cairn_name_fn *visit, void *arg)
{
    char resolved[DIRECTORY_BYTES];
    bool is_default;
    int error = directory_get(directory, false, resolved, &is_default);
    if (error < 0)
        return error;
    struct names_walk walk = {.visit = visit, .arg = arg};
    int result = directory_walk_sockets(resolved, visit_socket, &walk);
    if (walk.result != 0)
        return walk.result; /* the program's own, also where it looks like an error */
    if (result == -ENOENT && is_default)
        return 0;
    return result < 0 ? error_set(result, "%s: cannot be read: %s", resolved, cairn_strerror(result)) : result;
}
