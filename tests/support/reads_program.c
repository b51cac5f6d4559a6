/* Use a file in one way: PROGRAM WAY PATH. What a way cannot do here it leaves undone. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *path;
static int out = 1;

static void pour(int fd)
{
    char data[4096];
    ssize_t count;
    while (fd >= 0 && (count = read(fd, data, sizeof data)) > 0)
        if (write(out, data, count) < 0)
            exit(3);
}

static void *in_thread(void *unused)
{
    pour(open(path, O_RDONLY));
    return unused;
}

static int by_openat2(uint64_t resolve)
{
    uint64_t how[3] = {O_RDONLY, 0, resolve};
    return syscall(437, AT_FDCWD, path, how, sizeof how);
}

static int by_io_uring(int opcode)
{
    struct io_uring_params params;
    static struct statx found;
    memset(&params, 0, sizeof params);
    int ring = syscall(425, 4, &params);
    if (ring < 0)
        return -1;
    char *sq = mmap(0, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                    IORING_OFF_SQ_RING);
    char *cq = mmap(0, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
                    MAP_SHARED, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *sqe = mmap(0, params.sq_entries * sizeof *sqe, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                                    IORING_OFF_SQES);
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = opcode;
    sqe->fd = AT_FDCWD;
    sqe->addr = (uint64_t)path;
    if (opcode == IORING_OP_STATX) {
        sqe->len = STATX_SIZE;
        sqe->off = (uint64_t)&found;
    }
    *(uint32_t *)(sq + params.sq_off.array) = 0;
    __sync_fetch_and_add((uint32_t *)(sq + params.sq_off.tail), 1);
    syscall(426, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
    int result = ((struct io_uring_cqe *)(cq + params.cq_off.cqes))->res;
    if (opcode == IORING_OP_STATX)
        dprintf(out, "%d %llu\n", result, (unsigned long long)found.stx_size);
    return result;
}

static void pass_over_socket(void)
{
    int line[2];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte = 0;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {0, 0, &piece, 1, &control, sizeof control, 0};
    socketpair(AF_UNIX, SOCK_DGRAM, 0, line);
    if (fork() == 0) {
        int fd = open(path, O_RDONLY);
        control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        sendmsg(line[0], &message, 0);
        _exit(0);
    }
    int fd;
    recvmsg(line[1], &message, 0);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    wait(0);
    pour(fd);
}

static void tell_status(int result, struct stat *found)
{
    dprintf(out, "%d %lld\n", result, result ? 0LL : (long long)found->st_size);
}

static int is(const char *way, const char *name) { return strcmp(way, name) == 0; }

int main(int count, char **words)
{
    const char *way = words[1];
    struct stat found;
    char data[4096];
    path = words[count - 1];
    if (count < 3)
        return 2;
    if (is(way, "open")) pour(open(path, O_RDONLY));
    else if (is(way, "open-write")) pour(open(path, O_RDWR));
    else if (is(way, "open-append")) close(open(path, O_WRONLY | O_APPEND));
    else if (is(way, "open-noatime")) pour(open(path, O_RDONLY | O_NOATIME));
    else if (is(way, "open-nothing")) close(open(path, O_RDONLY));
    else if (is(way, "open-directory")) dprintf(out, "%d\n", open(path, O_RDONLY | O_DIRECTORY) >= 0);
    else if (is(way, "create-exclusive")) dprintf(out, "%d\n", open(path, O_CREAT | O_EXCL | O_WRONLY, 0600) >= 0);
    else if (is(way, "openat2")) pour(by_openat2(0));
    else if (is(way, "openat2-beneath")) pour(by_openat2(8));
    else if (is(way, "openat2-in-root")) pour(by_openat2(16));
    else if (is(way, "openat2-cached")) dprintf(out, "%d\n", by_openat2(32) >= 0);
    else if (is(way, "openat")) pour(openat(open(".", O_PATH | O_DIRECTORY), path, O_RDONLY));
    else if (is(way, "path-descriptor")) fstat(open(path, O_PATH), &found), tell_status(0, &found);
    else if (is(way, "reopen")) {
        snprintf(data, sizeof data, "/proc/self/fd/%d", open(path, O_PATH));
        pour(open(data, O_RDONLY));
    } else if (is(way, "mmap")) {
        int fd = open(path, O_RDONLY);
        char *memory = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
        if (write(out, memory, 4) < 0) return 3;
    } else if (is(way, "execute")) {
        execl(path, path, (char *)0);
    } else if (is(way, "execveat")) {
        char *none[] = {(char *)path, 0};
        syscall(322, open(path, O_PATH), "", none, none, AT_EMPTY_PATH);
    } else if (is(way, "access")) dprintf(out, "%d\n", access(path, R_OK));
    else if (is(way, "faccessat2")) dprintf(out, "%ld\n", syscall(439, AT_FDCWD, path, X_OK, 0));
    else if (is(way, "stat")) tell_status(stat(path, &found), &found);
    else if (is(way, "lstat")) tell_status(lstat(path, &found), &found);
    else if (is(way, "statx")) {
        struct statx more;
        statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_SIZE, &more);
        dprintf(out, "%llu\n", (unsigned long long)more.stx_size);
    } else if (is(way, "statfs")) {
        struct statfs system;
        dprintf(out, "%d\n", statfs(path, &system));
    } else if (is(way, "readlink")) dprintf(out, "%zd\n", readlink(path, data, sizeof data));
    else if (is(way, "getxattr")) dprintf(out, "%zd\n", getxattr(path, "user.none", data, sizeof data));
    else if (is(way, "listxattr")) dprintf(out, "%zd\n", listxattr(path, data, sizeof data));
    else if (is(way, "truncate")) truncate(path, 1);
    else if (is(way, "chmod")) chmod(path, 0600);
    else if (is(way, "same-mode")) chmod(path, 0644);
    else if (is(way, "chown")) chown(path, 0, 0);
    else if (is(way, "utimes")) utimensat(AT_FDCWD, path, 0, 0);
    else if (is(way, "link")) link(path, "linked");
    else if (is(way, "linkat-descriptor")) {
        snprintf(data, sizeof data, "/proc/self/fd/%d", open(path, O_PATH));
        linkat(AT_FDCWD, data, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW);
    } else if (is(way, "symlink")) symlink(path, "pointer");
    else if (is(way, "rename")) rename(path, "renamed");
    else if (is(way, "rename-back")) rename(path, "renamed"), rename("renamed", path);
    else if (is(way, "rename-onto")) rename("spare", path);
    else if (is(way, "rename-refused")) dprintf(out, "%ld\n", syscall(316, AT_FDCWD, "spare", AT_FDCWD, path, 1));
    else if (is(way, "exchange")) syscall(316, AT_FDCWD, "spare", AT_FDCWD, path, 2);
    else if (is(way, "unlink")) unlink(path);
    else if (is(way, "read-and-unlink")) pour(open(path, O_RDONLY)), unlink(path);
    else if (is(way, "restore")) {
        int fd = open(path, O_RDONLY);
        ssize_t length = read(fd, data, sizeof data);
        unlink(path);
        if (write(open(path, O_CREAT | O_WRONLY, 0644), data, length) < 0) return 3;
    } else if (is(way, "inotify")) dprintf(out, "%d\n", inotify_add_watch(inotify_init(), path, IN_OPEN) >= 0);
    else if (is(way, "handle")) {
        struct file_handle *handle = calloc(1, sizeof *handle + 128);
        int mount;
        handle->handle_bytes = 128;
        name_to_handle_at(AT_FDCWD, path, handle, &mount, 0);
    } else if (is(way, "sendfile")) sendfile(out, open(path, O_RDONLY), 0, 4096);
    else if (is(way, "copy_file_range")) {
        copy_file_range(open(path, O_RDONLY), 0, open("copied", O_CREAT | O_WRONLY, 0644), 0, 4096, 0);
    } else if (is(way, "splice")) {
        int ends[2];
        if (pipe(ends)) return 3;
        close(ends[1] + 0 * splice(open(path, O_RDONLY), 0, ends[1], 0, 4096, 0));
        pour(ends[0]);
    } else if (is(way, "readv")) {
        struct iovec piece = {data, sizeof data};
        ssize_t length = readv(open(path, O_RDONLY), &piece, 1);
        if (write(out, data, length < 0 ? 0 : length) < 0) return 3;
    } else if (is(way, "thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, in_thread, 0);
        pthread_join(thread, 0);
    } else if (is(way, "vfork")) {
        if (vfork() == 0) {
            execl("/bin/cat", "cat", path, (char *)0);
            _exit(1);
        }
        wait(0);
    } else if (is(way, "child")) {
        if (fork() == 0) { pour(open(path, O_RDONLY)); _exit(0); }
        wait(0);
    } else if (is(way, "orphan")) {
        int ends[2];
        if (pipe(ends)) return 3;
        if (fork() == 0) {
            if (fork() == 0) { usleep(200000); out = ends[1]; pour(open(path, O_RDONLY)); _exit(0); }
            _exit(0);
        }
        wait(0);
        close(ends[1]);
        pour(ends[0]);
    } else if (is(way, "left-behind")) { /* reads when the command has ended, or is killed before that */
        if (fork() == 0) { setsid(); usleep(50000); pour(open(path, O_RDONLY)); _exit(0); }
    } else if (is(way, "passed")) pass_over_socket();
    else if (is(way, "io_uring-open")) pour(by_io_uring(IORING_OP_OPENAT));
    else if (is(way, "io_uring-stat")) by_io_uring(IORING_OP_STATX);
    else if (is(way, "chroot")) { if (chroot(".")) return 3; snprintf(data, sizeof data, "/%s", path); pour(open(data, O_RDONLY)); }
    else if (is(way, "chdir-back")) { if (chdir("d") || chdir("..")) return 3; pour(open(path, O_RDONLY)); }
    else if (is(way, "list")) {
        DIR *directory = opendir(".");
        struct dirent *item;
        int names = 0;
        while ((item = readdir(directory))) names += item->d_type != DT_DIR;
        dprintf(out, "%d\n", names > 0);
    } else return 2;
    return 0;
}
