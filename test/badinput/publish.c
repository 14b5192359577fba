/* SPDX-License-Identifier: MIT */
/* Published heaps: wrong arguments, names that are taken, and publishers that are none. Rows 33 to 44 of
 * docs/publish.md. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "publish/publish.h"
#include "support/workspace.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static cairn_publisher *publisher = (cairn_publisher *)0x10;
static cairn_reader *reader = (cairn_reader *)0x10;

/* ---------------------------------------------------------------- arguments */

static void wrong_arguments_are_refused(void)
{
    char long_name[CAIRN_NAME_MAX + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const char *const wrong_names[] = {NULL, "", ".hidden", "a/b", "../x", "/"};
    for (size_t i = 0; i < COUNT(wrong_names); i++) {
        REFUSED(-EINVAL, cairn_publish(&publisher, wrong_names[i], NULL));
        REFUSED(-EINVAL, cairn_reader_open(&reader, wrong_names[i], NULL));
    }
    REFUSED(-ENAMETOOLONG, cairn_publish(&publisher, long_name, NULL));
    REFUSED(-ENAMETOOLONG, cairn_reader_open(&reader, long_name, NULL));
    long_name[150] = '\0'; /* a good name, but not for a socket */
    REFUSED(-ENAMETOOLONG, cairn_publish(&publisher, long_name, NULL));
    REFUSED(-ENAMETOOLONG, cairn_reader_open(&reader, long_name, NULL));
    REFUSED(-EINVAL, cairn_publish(NULL, "name", NULL));
    REFUSED(-ENOENT, cairn_reader_open(&reader, "nobody", NULL));

    const cairn_publish_options wrong[] = {
        {.size = 4},
        {.size = sizeof(cairn_publish_options) + 8},
        {.size = sizeof(cairn_publish_options) - 1},
        {.flags = 0x80},
        {.readers_max = CAIRN_READERS_MAX + 1},
        {.bytes_max = 1000},
        {.mode = 01777},
        {.users_count = 1},
        {.groups_count = 1},
    };
    for (size_t i = 0; i < COUNT(wrong); i++)
        REFUSED(-EINVAL, cairn_publish(&publisher, "name", &wrong[i]));
    cairn_publish_options nowhere = {.directory = "/nonexistent"};
    REFUSED(-ENOENT, cairn_publish(&publisher, "name", &nowhere));
    cairn_publish_options huge = {.bytes_max = UINT64_C(1) << 50};
    REFUSED_EITHER(-EINVAL, -EADDRINUSE, cairn_publish(&publisher, "name", &huge));

    const cairn_reader_options wrong_reader[] = {
        {.size = 4}, {.size = sizeof(cairn_reader_options) + 8}, {.flags = 2}, {.reserved = 1}};
    for (size_t i = 0; i < COUNT(wrong_reader); i++)
        REFUSED(-EINVAL, cairn_reader_open(&reader, "name", &wrong_reader[i]));
    REQUIRE(publisher == (cairn_publisher *)0x10 && reader == (cairn_reader *)0x10);

    cairn_publisher *real;
    REQUIRE_CALL(cairn_publish(&real, "name", NULL) == 0);
    cairn_publisher_stats stats = {.size = 7};
    REFUSED(-EINVAL, cairn_publisher_stats_get(real, &stats));
    cairn_publisher_close(real);
}

static void without_descriptors_nothing_is_left(void)
{
    int files[64], count = 0;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 64, .rlim_max = 64}) == 0);
    int spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    REQUIRE(spare >= 0);
    while (count < (int)COUNT(files) && (files[count] = fcntl(spare, F_DUPFD_CLOEXEC, 0)) >= 0)
        count++;
    /* One more each time, until it works. */
    for (int free_files = 0;; free_files++) {
        cairn_publisher *real;
        int result = cairn_publish(&real, "name", NULL);
        if (result == 0) {
            cairn_publisher_close(real);
            REQUIRE(free_files >= 5);
            break;
        }
        REQUIRE_EQUAL(result, -EMFILE);
        REQUIRE(count > 0);
        close(files[--count]);
    }
    while (count > 0)
        close(files[--count]);
    close(spare);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* ---------------------------------------------------------------- names */

static void what_is_no_socket_stays(void) /* 33 */
{
    int file = open(workspace_path("name.sock"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(file >= 0 && write(file, "mine", 4) == 4);
    close(file);
    REFUSED(-EEXIST, cairn_publish(&publisher, "name", NULL));
    REFUSED_EITHER(-ECONNREFUSED, -EPROTO, cairn_reader_open(&reader, "name", NULL));
    REQUIRE(unlink(workspace_path("name.sock")) == 0);
    REQUIRE(symlink("/dev/null", workspace_path("name.sock")) == 0);
    REFUSED(-EEXIST, cairn_publish(&publisher, "name", NULL));
    REQUIRE(mkdir(workspace_path("other.sock"), 0700) == 0);
    REFUSED(-EEXIST, cairn_publish(&publisher, "other", NULL));
}

static int listen_at(const char *name, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", workspace_path(name));
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(type != SOCK_SEQPACKET || listen(fd, 4) == 0);
    return fd;
}

static void a_socket_is_taken_over_from_the_dead_alone(void)
{
    int living = listen_at("name.sock", SOCK_SEQPACKET);
    REFUSED(-EADDRINUSE, cairn_publish(&publisher, "name", NULL)); /* 35 */
    close(living);
    cairn_publisher *real;
    REQUIRE_CALL(cairn_publish(&real, "name", NULL) == 0); /* 36 */
    cairn_publisher_close(real);
    REQUIRE_EQUAL(workspace_entries(), 0);
    /* A socket of another kind is somebody's. */
    int other = listen_at("name.sock", SOCK_DGRAM);
    REFUSED(-EADDRINUSE, cairn_publish(&publisher, "name", NULL));
    REFUSED(-EPROTO, cairn_reader_open(&reader, "name", NULL));
    close(other);
}

static void another_users_socket_stays(void) /* 34 */
{
    if (geteuid() != 0)
        skip("needs root, to have a socket of another user");
    close(listen_at("name.sock", SOCK_SEQPACKET));
    REQUIRE(chown(workspace_path("name.sock"), 1001, 1001) == 0);
    REFUSED(-EPERM, cairn_publish(&publisher, "name", NULL));
}

/* Puts a link to our file in the place of the socket as soon as that is there. */
static void *exchange_names(void *arg)
{
    const _Atomic bool *stop = arg;
    uintptr_t exchanged = 0;
    while (!atomic_load(stop))
        exchanged += syscall(SYS_renameat2, AT_FDCWD, "link", AT_FDCWD, "name.sock", 2 /* RENAME_EXCHANGE */) == 0;
    return (void *)exchanged;
}

static void a_link_in_the_place_of_the_socket_is_not_followed(void) /* 34a */
{
    _Atomic bool stop = false;
    pthread_t thread;
    REQUIRE(chdir(workspace_directory()) == 0);
    int file = open("ours", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    REQUIRE(file >= 0);
    REQUIRE(pthread_create(&thread, NULL, exchange_names, &stop) == 0);
    cairn_publish_options options = {.mode = 0666};
    int failures = 0, attempts = 0;
    for (time_t end = time(NULL) + 4; attempts < 2000 && time(NULL) < end; attempts++) {
        unlink("name.sock"); /* the link, or what the last one left */
        unlink("link");
        REQUIRE(symlink("ours", "link") == 0);
        cairn_publisher *real;
        int result = cairn_publish(&real, "name", &options);
        if (result == 0)
            cairn_publisher_close(real);
        else
            REQUIRE(result == -EEXIST || result == -ENOENT);
        failures += result != 0;
        struct stat status;
        REQUIRE(fstat(file, &status) == 0);
        REQUIRE_EQUAL(status.st_mode & 07777, 0600);
    }
    atomic_store(&stop, true);
    void *exchanged;
    pthread_join(thread, &exchanged);
    printf("        %d of %d times a link was there first; %ju exchanges\n", failures, attempts,
           (uintmax_t)(uintptr_t)exchanged);
    unlink("name.sock");
    unlink("link");
    unlink("ours");
    close(file);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void a_locked_directory_is_not_waited_for(void) /* 37 */
{
    int directory = open(workspace_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(directory >= 0 && flock(directory, LOCK_EX) == 0);
    REFUSED(-EAGAIN, cairn_publish(&publisher, "name", NULL));
    close(directory);
}

/* ---------------------------------------------------------------- publishers that are none */

/* What a false publisher sends. */
struct lie {
    struct wire_welcome message;
    size_t bytes;
    int files;
    int heap_seals;
    int pin_seals;
    bool heap_writable;
    bool pin_read_only;
    bool silent;
    struct public_image image;
    size_t image_bytes;
};

static int make_file(const void *contents, size_t bytes, off_t length, int seals)
{
    int file = memfd_create("lie", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(file >= 0 && ftruncate(file, length) == 0);
    REQUIRE(pwrite(file, contents, bytes, 0) == (ssize_t)bytes);
    REQUIRE(seals == 0 || fcntl(file, F_ADD_SEALS, seals) == 0);
    return file;
}

/* Another descriptor of the same file, in place of this one. */
static int read_only(int file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    REQUIRE(opened >= 0);
    close(file);
    return opened;
}

static void tell_lie(int listener, const struct lie *lie)
{
    int connection = accept(listener, NULL, NULL);
    REQUIRE(connection >= 0);
    char byte;
    if (lie->silent) {
        REQUIRE(read(connection, &byte, 1) == 0); /* until it has gone */
        return;
    }
    int heap = make_file(&lie->image, sizeof lie->image, (off_t)lie->image_bytes, lie->heap_seals);
    int pin = make_file("", 0, 4096, lie->pin_seals);
    if (!lie->heap_writable)
        heap = read_only(heap);
    if (lie->pin_read_only)
        pin = read_only(pin);
    int files[8] = {heap, pin, pin, pin, pin, pin, pin, pin};
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(sizeof files)];
    } control;
    memset(&control, 0, sizeof control);
    unsigned char message[4096] = {0};
    memcpy(message, &lie->message, sizeof lie->message);
    struct iovec part = {.iov_base = message, .iov_len = lie->bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (lie->files != 0) {
        size_t bytes = (size_t)lie->files * sizeof(int);
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(bytes);
        control.header =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(bytes), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), files, bytes);
    }
    REQUIRE(lie->bytes == 0 || sendmsg(connection, &header, MSG_NOSIGNAL) == (ssize_t)lie->bytes);
    if (lie->bytes == 0)
        close(connection);
    else
        REQUIRE(read(connection, &byte, 1) == 0);
}

/* Of a copy that an analyzer knows nothing of: it takes the bytes of a member for those of its first. */
static void set_checksum(struct public_image *image)
{
    static struct public_image copy;
    memcpy(&copy, image, sizeof copy);
    image->checksum = public_checksum(&copy);
}

/* What an honest publisher would send, to be made wrong in one place. */
static struct lie truth(void)
{
    struct lie lie = {
        .message = {.magic = WIRE_MAGIC, .version = PUBLIC_VERSION, .instance = 5},
        .bytes = sizeof(struct wire_welcome),
        .files = 2,
        .heap_seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_SEAL,
        .pin_seals = F_SEAL_SHRINK | F_SEAL_GROW,
        .image =
            {
                .magic = PUBLIC_MAGIC,
                .byte_order = IMAGE_BYTE_ORDER,
                .version = PUBLIC_VERSION,
                .fingerprint = public_fingerprint(),
                .instance = 5,
                .address = UINT64_C(0x480000000000) + (UNDER_TSAN ? UINT64_C(0xd0000000000) : 0),
                .bytes_max = 1 << 20,
                .public_offset = 1 << 16,
                .roots_offset = 4096,
                .units_offset = 1 << 17,
                .roots_max = 1024,
                .readers_max = 64,
            },
        .image_bytes = 1 << 18,
    };
    set_checksum(&lie.image);
    return lie;
}

static void require_refused(int line, const struct lie *lie, int error)
{
    int listener = listen_at("lie.sock", SOCK_SEQPACKET);
    fflush(NULL);
    pid_t liar = fork();
    REQUIRE(liar >= 0);
    if (liar == 0) {
        alarm(20);
        tell_lie(listener, lie);
        _exit(0);
    }
    close(listener);
    cairn_reader_options options = {.size = sizeof options, .timeout_ms = lie->silent ? 100 : 10000};
    refusal_begin();
    int result = cairn_reader_open(&reader, "lie", &options);
    if (result == 0)
        cairn_reader_close(reader);
    if (result != error)
        broken(__FILE__, line, "gives %d (%s) instead of %d", result, cairn_last_error(), error);
    if (error != 0)
        refusal_end(__FILE__, line, "cairn_reader_open", result, error, 0);
    finish(liar);
    unlink(workspace_path("lie.sock"));
}
#define LIE(error, ...)                                                                                                \
    do {                                                                                                               \
        struct lie lie = truth();                                                                                      \
        __VA_ARGS__;                                                                                                   \
        require_refused(__LINE__, &lie, error);                                                                        \
    } while (0)
#define IMAGE_LIE(error, ...) LIE(error, __VA_ARGS__; set_checksum(&lie.image))

static void what_a_false_publisher_sends_is_refused(void)
{
    LIE(0, (void)0);                    /* nothing is wrong: the others are refused for what is wrong with them */
    LIE(-ETIMEDOUT, lie.silent = true); /* 39 */
    LIE(-ECONNREFUSED, lie.bytes = 0);  /* 40 */
    LIE(-EPROTO, lie.bytes = 63);
    LIE(-EPROTO, lie.bytes = 65);
    LIE(-EPROTO, lie.bytes = 4096);
    LIE(-EPROTO, lie.bytes = 1);
    LIE(-EPROTO, lie.message.magic++);
    LIE(-EPROTO, lie.message.version++);
    LIE(-EPROTO, lie.message.status = 1);
    LIE(-EPROTO, lie.message.status = -EACCES); /* and yet descriptors */
    LIE(-EPROTO, lie.message.status = -5; lie.files = 0);
    LIE(-EACCES, lie.message.status = -EACCES; lie.files = 0);
    LIE(-EPROTO, lie.message.number = 64);
    LIE(-EPROTO, lie.message.number = UINT32_MAX);
    LIE(-EPROTO, lie.message.instance++);
    LIE(-EPROTO, lie.files = 0); /* 41 */
    LIE(-EPROTO, lie.files = 1);
    LIE(-EPROTO, lie.files = 3);
    LIE(-EPROTO, lie.files = 8);
    LIE(-EPROTO, lie.heap_seals = 0); /* 42 */
    LIE(-EPROTO, lie.heap_seals = F_SEAL_SHRINK | F_SEAL_SEAL);
    LIE(-EPROTO, lie.heap_seals = F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
    LIE(-EPROTO, lie.heap_seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK);
    LIE(-EPROTO, lie.heap_writable = true);
    LIE(-EPROTO, lie.pin_seals = 0); /* 43 */
    LIE(-EPROTO, lie.pin_seals = F_SEAL_GROW);
    LIE(-EPROTO, lie.pin_seals |= F_SEAL_FUTURE_WRITE); /* it could not be written */
    LIE(-EPROTO, lie.pin_read_only = true);
    IMAGE_LIE(-EPROTO, lie.image.magic++); /* 44 */
    IMAGE_LIE(-EPROTO, lie.image.version++);
    IMAGE_LIE(-EPROTO, lie.image.byte_order = 0x04030201);
    IMAGE_LIE(-EPROTO, lie.image.fingerprint++);
    LIE(-EUCLEAN, lie.image.checksum++);
    LIE(-EUCLEAN, lie.image.address += 4096);
    IMAGE_LIE(-EUCLEAN, lie.image.address += 1);
    IMAGE_LIE(-EUCLEAN, lie.image.address = 0);
    IMAGE_LIE(-EUCLEAN, lie.image.address = UINT64_C(0xfffffffffffff000));
    IMAGE_LIE(-EUCLEAN, lie.image.address = (UINT64_C(1) << 47) - 4096);
    IMAGE_LIE(-EUCLEAN, lie.image.bytes_max = 0);
    IMAGE_LIE(-EUCLEAN, lie.image.bytes_max = UINT64_MAX - 4095);
    IMAGE_LIE(-EUCLEAN, lie.image.bytes_max += 5);
    IMAGE_LIE(-EUCLEAN, lie.image.roots_offset = 0);
    IMAGE_LIE(-EUCLEAN, lie.image.roots_offset = 8192);
    IMAGE_LIE(-EUCLEAN, lie.image.roots_max = 0);
    IMAGE_LIE(-EUCLEAN, lie.image.roots_max = UINT32_MAX);
    IMAGE_LIE(-EUCLEAN, lie.image.units_offset = 4096);
    IMAGE_LIE(-EUCLEAN, lie.image.units_offset = 1 << 20);
    IMAGE_LIE(-EUCLEAN, lie.image.readers_max = 0);
    IMAGE_LIE(-EUCLEAN, lie.image.readers_max = READERS_LIMIT + 1);
    IMAGE_LIE(-EUCLEAN, lie.image.public_offset = UINT64_MAX - 4095);
    LIE(-EUCLEAN, lie.image_bytes = 65536);
    LIE(-EPROTO, lie.image_bytes = 0; lie.heap_seals = 0);
    /* Over something that is here already. */
    static void *here;
    here = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    IMAGE_LIE(-EADDRINUSE, lie.image.address = (uintptr_t)here);
}

/* Roots that lead outside: the library returns none. */
static void roots_of_a_false_publisher_are_looked_at(void)
{
    struct lie lie = truth();
    int file = memfd_create("roots", MFD_CLOEXEC);
    REQUIRE(file >= 0 && ftruncate(file, 1 << 18) == 0);
    unsigned char *bytes = mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    REQUIRE(bytes != MAP_FAILED);
    struct root_image *roots = (struct root_image *)(void *)(bytes + 4096);
    const uint64_t refs[] = {
        0, 1, 1 << 16, (1 << 16) + (1 << 17) - 1, (1 << 16) + (1 << 18), UINT64_MAX, UINT64_C(1) << 63};
    for (size_t i = 0; i < COUNT(refs); i++) {
        roots[i].word = UINT64_C(1) << 60 | UINT64_C(1) << ROOT_HEAP_SHIFT;
        snprintf(roots[i].name, sizeof roots[i].name, "wrong %zu", i);
        roots[i].ref = refs[i];
    }
    roots[COUNT(refs)].word = UINT64_C(1) << 60 | UINT64_C(1) << ROOT_HEAP_SHIFT;
    memset(roots[COUNT(refs)].name, 'x', ROOT_NAME_BYTES); /* without an end */
    roots[COUNT(refs)].ref = (1 << 16) + (1 << 17);
    struct public_image *image = (struct public_image *)(void *)bytes;
    *image = lie.image;
    image->bytes = UINT64_MAX;
    image->roots_end = UINT32_MAX;
    /* The checks that cairn_reader_root makes, on the same code, without a socket in between. */
    uint64_t ref;
    REQUIRE(root_find_in(roots, 64, MAIN_HEAP, "wrong 5", &ref) && ref == UINT64_MAX);
    char endless[ROOT_NAME_BYTES];
    memset(endless, 'x', sizeof endless);
    endless[ROOT_NAME_BYTES - 1] = '\0';
    REQUIRE(root_find_in(roots, 64, MAIN_HEAP, endless, &ref) && ref == (1 << 16) + (1 << 17));

    int listener = listen_at("lie.sock", SOCK_SEQPACKET);
    fflush(NULL);
    pid_t liar = fork();
    REQUIRE(liar >= 0);
    if (liar == 0) {
        alarm(20);
        REQUIRE(fchmod(file, 0400) == 0);
        int sealed = memfd_create("lie", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        REQUIRE(sealed >= 0 && write(sealed, bytes, 1 << 18) == 1 << 18);
        REQUIRE(fcntl(sealed, F_ADD_SEALS, lie.heap_seals) == 0);
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", sealed);
        int files[2] = {open(path, O_RDONLY | O_CLOEXEC), make_file("", 0, 4096, lie.pin_seals)};
        int connection = accept(listener, NULL, NULL);
        REQUIRE(socket_send(connection, &lie.message, sizeof lie.message, files, 2) == 0);
        char byte;
        REQUIRE(read(connection, &byte, 1) == 0);
        _exit(0);
    }
    close(listener);
    cairn_reader *opened;
    REQUIRE_CALL(cairn_reader_open(&opened, "lie", NULL) == 0);
    REQUIRE_EQUAL(cairn_read_begin(opened), 0);
    for (size_t i = 0; i < COUNT(refs); i++) {
        char name[32];
        snprintf(name, sizeof name, "wrong %zu", i);
        const void *found = cairn_reader_root(opened, name);
        /* The end of the file is not told by the header of a liar: inside of the view is all that can be promised. */
        if (found != NULL)
            REQUIRE((uintptr_t)found >= image->address + (1 << 17) &&
                    (uintptr_t)found < image->address + image->bytes_max);
        REQUIRE(found == NULL || refs[i] == (1 << 16) + (1 << 18));
    }
    REQUIRE(cairn_reader_root(opened, endless) != NULL);
    REQUIRE(cairn_reader_root(opened, "") == NULL);
    REQUIRE_EQUAL(cairn_read_end(opened), 0);
    cairn_reader_close(opened);
    finish(liar);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(wrong_arguments_are_refused),
        CLAIM(without_descriptors_nothing_is_left),
        CLAIM(what_is_no_socket_stays),
        CLAIM(a_socket_is_taken_over_from_the_dead_alone),
        CLAIM(another_users_socket_stays),
        CLAIM(a_link_in_the_place_of_the_socket_is_not_followed),
        CLAIM(a_locked_directory_is_not_waited_for),
        CLAIM(what_a_false_publisher_sends_is_refused),
        CLAIM(roots_of_a_false_publisher_are_looked_at),
    };
    return run_claims(claims, COUNT(claims), 30);
}
