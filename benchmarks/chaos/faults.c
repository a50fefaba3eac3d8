/* A seam between a process and its disk: the n-th call on files below one folder fails, is cut short, or is the last.
 *
 * Loaded with LD_PRELOAD. It wraps what Python, SQLite and torch call: open, read, write, fsync, rename, truncate,
 * unlink. faults_arm() starts the count; until then, and on all other files, nothing changes. A clock can be set, too:
 * of this process by faults_arm(), of a whole tree of processes by a number of seconds (a long) in the file that
 * MIDDO_CHAOS_CLOCK names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { READ = 1, WRITE = 2, SYNC = 4, RENAME = 8, TRUNCATE = 16, UNLINK = 32, OPEN = 64 };
enum mode { COUNT, ERROR, SHORT, TORN, DIE_BEFORE, DIE_AFTER, POWER, CLOCK };

static char folder[PATH_MAX];
static size_t folder_length;
static int kinds, mode, error_number, failing;
static long at, seen, clock_off;

/* Files with bytes that no fsync has followed, by inode. */
#define DIRTY 512
static ino_t dirty[DIRTY];

static void mark(ino_t inode, int on)
{
    if (!on) {
        for (int i = 0; i < DIRTY; i++)
            if (dirty[i] == inode)
                dirty[i] = 0;
        return;
    }
    for (int i = 0; i < DIRTY; i++)
        if (dirty[i] == inode || !dirty[i]) {
            dirty[i] = inode;
            return;
        }
}

static int is_dirty(ino_t inode)
{
    for (int i = 0; i < DIRTY; i++)
        if (inode && dirty[i] == inode)
            return 1;
    return 0;
}

void faults_arm(const char *path, int which, int how, int number, long n, int times)
{
    strncpy(folder, path, sizeof folder - 1);
    folder_length = strlen(folder);
    kinds = which;
    mode = how;
    error_number = number;
    at = n;
    failing = times;
    seen = 0;
    clock_off = 0;
    memset(dirty, 0, sizeof dirty);
}

long faults_seen(void) { return seen; }

static int below(const char *path)
{
    return folder_length && path && !strncmp(path, folder, folder_length);
}

static int own(int fd)
{
    char link[64], path[PATH_MAX];
    if (!folder_length)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return below(path);
}

/* Whether this call is the one (or one of those) to disturb. */
static int due(enum kind kind)
{
    if (!(kinds & kind))
        return 0;
    seen++;
    if (mode == CLOCK) {  /* error_number: hours */
        if (seen == at)
            clock_off = error_number * 3600L;
        return 0;
    }
    return mode != COUNT && seen >= at && seen < at + failing;
}

static void die(void) { kill(getpid(), SIGKILL); }

#define REAL(type, name, ...)                      \
    static type (*real)(__VA_ARGS__);              \
    if (!real)                                     \
        real = dlsym(RTLD_NEXT, name)

static ino_t inode_of(int fd)
{
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

#define WRITES(call, half)                         \
    if (!own(fd))                                  \
        return call;                               \
    mark(inode_of(fd), 1);                         \
    if (!due(WRITE))                               \
        return call;                               \
    switch (mode) {                                \
    case ERROR:                                    \
        errno = error_number;                      \
        return -1;                                 \
    case SHORT:                                    \
        return half;                               \
    case TORN:                                     \
        (void)!half;                               \
        die();                                     \
        return -1;                                 \
    case DIE_AFTER: {                              \
        ssize_t done = call;                       \
        die();                                     \
        return done;                               \
    }                                              \
    default:                                       \
        die();                                     \
        return -1;                                 \
    }

static size_t part(size_t size) { return size > 1 ? size / 2 : size; }

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    WRITES(real(fd, data, size), real(fd, data, part(size)))
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    WRITES(real(fd, data, size, place), real(fd, data, part(size), place))
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place)
{
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    WRITES(real(fd, data, size, place), real(fd, data, part(size), place))
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    WRITES(real(fd, parts, count), real(fd, parts, count > 1 ? count / 2 : count))
}

/* All others: they fail, or the process dies before or after them. */
#define OTHER(kind, ours, call)                    \
    if (!(ours) || !due(kind))                     \
        return call;                               \
    if (mode == ERROR) {                           \
        errno = error_number;                      \
        return -1;                                 \
    }                                              \
    if (mode == SHORT)                             \
        return call;                               \
    if (mode != DIE_AFTER) {                       \
        die();                                     \
        return -1;                                 \
    }                                              \
    int done = (int)call;                          \
    die();                                         \
    return done;

int fsync(int fd)
{
    REAL(int, "fsync", int);
    if (own(fd))
        mark(inode_of(fd), 0);
    OTHER(SYNC, own(fd), real(fd))
}

int fdatasync(int fd)
{
    REAL(int, "fdatasync", int);
    if (own(fd))
        mark(inode_of(fd), 0);
    OTHER(SYNC, own(fd), real(fd))
}

int ftruncate(int fd, off_t size)
{
    REAL(int, "ftruncate", int, off_t);
    OTHER(TRUNCATE, own(fd), real(fd, size))
}

int ftruncate64(int fd, off64_t size)
{
    REAL(int, "ftruncate64", int, off64_t);
    OTHER(TRUNCATE, own(fd), real(fd, size))
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    OTHER(UNLINK, below(path), real(path))
}

static int lose(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    (void)where;
    if (kind == FTW_F && is_dirty(found->st_ino))
        (void)!truncate(path, 0);
    return 0;
}

/* POWER: what a power cut may leave of files that were renamed before their bytes were on the disk. */
int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    if (mode == POWER && below(to) && (kinds & RENAME)) {
        if (++seen == at) {
            int done = real(from, to);
            nftw(to, lose, 16, FTW_PHYS);
            die();
            return done;
        }
        return real(from, to);
    }
    OTHER(RENAME, below(to), real(from, to))
}

ssize_t read(int fd, void *data, size_t size)
{
    REAL(ssize_t, "read", int, void *, size_t);
    if ((mode != ERROR && mode != COUNT) || !own(fd) || !due(READ))
        return real(fd, data, size);
    errno = error_number;
    return -1;
}

ssize_t pread64(int fd, void *data, size_t size, off64_t place)
{
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    if ((mode != ERROR && mode != COUNT) || !own(fd) || !due(READ))
        return real(fd, data, size, place);
    errno = error_number;
    return -1;
}

static int made(int flags) { return (flags & O_CREAT) == O_CREAT; }

#define OPENS(symbol)                              \
    REAL(int, symbol, const char *, int, ...);     \
    mode_t rights = 0;                             \
    if (made(flags)) {                             \
        va_list more;                              \
        va_start(more, flags);                     \
        rights = va_arg(more, mode_t);             \
        va_end(more);                              \
    }                                              \
    OTHER(OPEN, below(path), real(path, flags, rights))

int open(const char *path, int flags, ...) { OPENS("open") }

int open64(const char *path, int flags, ...) { OPENS("open64") }

static volatile long *shared_off;

__attribute__((constructor)) static void share_clock(void)
{
    const char *path = getenv("MIDDO_CHAOS_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    shared_off = found == MAP_FAILED ? NULL : found;
    close(fd);
}

static long off(void) { return clock_off + (shared_off ? *shared_off : 0); }

int clock_gettime(clockid_t which, struct timespec *now)
{
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int done = real(which, now);
    if (!done && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        now->tv_sec += off();
    return done;
}

int gettimeofday(struct timeval *now, void *zone)
{
    REAL(int, "gettimeofday", struct timeval *, void *);
    int done = real(now, zone);
    if (!done && now)
        now->tv_sec += off();
    return done;
}

time_t time(time_t *into)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into)
        *into = now.tv_sec;
    return now.tv_sec;
}
