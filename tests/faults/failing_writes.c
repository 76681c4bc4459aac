/* Lets one call that writes below a folder fail, to be preloaded: LD_PRELOAD=failing_writes.so FAULTS_BELOW=/folder.

   Calls are counted from 1 once `fault_at` was called: opening a file to write, writing, cutting, syncing, renaming,
   linking and closing what was opened so, and making a folder. What native code writes by stdio or into mapped memory
   is not seen. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SHORT = -1, KILL = -2 };                /* instead of an errno; a short write is half of what was asked for */
enum { KILLED = 137 };
enum { TAKES_SPACE = 1, CHANGES = 2, CLOSES = 4 };
#define MAX_FILES 4096

static int wanted_call, wanted_fault, lasts, is_counting, calls, unsynced_renames;
static char is_watched[MAX_FILES], is_dirty[MAX_FILES];
static struct { dev_t device; ino_t inode; } dirty[MAX_FILES];
static int dirty_count;

/* Count from now on, and let call number `call` fail with an errno, SHORT or KILL; 0: none. lasting: later calls too. */
void fault_at(int call, int fault, int lasting) {
    wanted_call = call, wanted_fault = fault, lasts = lasting;
    calls = unsynced_renames = dirty_count = 0, is_counting = 1; /* numbers of files that are gone are used again */
}

int fault_calls(void) { return calls; }

/* How many files took a name before the disk had all that was written to them. */
int fault_unsynced_renames(void) { return unsynced_renames; }

static void *original(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static int is_below(int folder, const char *path) {
    const char *root = getenv("FAULTS_BELOW");
    char whole[2 * PATH_MAX + 2] = "";
    if (!root || !path) return 0;
    if (path[0] != '/') {
        char link[64];
        if (folder == AT_FDCWD) {
            if (!getcwd(whole, PATH_MAX)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t length = readlink(link, whole, PATH_MAX);
            if (length < 0) return 0;
            whole[length] = 0;
        }
        strcat(whole, "/");
    }
    strncat(whole, path, PATH_MAX);
    size_t length = strlen(root);
    return !strncmp(whole, root, length) && (whole[length] == '/' || !whole[length]);
}

static int watched(int file) { return file >= 0 && file < MAX_FILES && is_watched[file]; }

/* Return what this call is to do: 0 as always, SHORT, KILL, or an errno. */
static int fault_of(int kind) {
    if (!is_counting) return 0;
    calls++;
    if (!wanted_call || calls < wanted_call) return 0;
    if (calls > wanted_call) {
        int reaches = wanted_fault == EROFS ? !(kind & CLOSES) : kind & TAKES_SPACE;
        return lasts && reaches && wanted_fault > 0 ? wanted_fault : 0;
    }
    if ((kind & CLOSES) && (wanted_fault == ENOSPC || wanted_fault == EROFS)) return 0;
    if (wanted_fault == SHORT) return kind & TAKES_SPACE ? SHORT : 0;
    return wanted_fault;
}

static int fails(int kind) {
    int fault = fault_of(kind);
    if (fault == KILL) _exit(KILLED);
    if (fault <= 0) return 0;
    errno = fault;
    return 1;
}

static int place_of(const struct stat *state) {
    for (int i = 0; i < dirty_count; i++)
        if (dirty[i].device == state->st_dev && dirty[i].inode == state->st_ino) return i;
    return -1;
}

static void note(int file, int has_news) {
    struct stat state;
    if (fstat(file, &state)) return;
    int place = place_of(&state);
    if (place < 0 && dirty_count < MAX_FILES) {
        place = dirty_count++;
        dirty[place].device = state.st_dev, dirty[place].inode = state.st_ino;
    }
    if (place >= 0) is_dirty[place] = has_news;
}

static void note_rename(const char *path) {
    struct stat state;
    if (!is_counting || stat(path, &state) || !S_ISREG(state.st_mode)) return;
    int place = place_of(&state);
    if (place >= 0 && is_dirty[place]) unsynced_renames++;
}

static int opened(int file, int is_ours) {
    if (file >= 0 && file < MAX_FILES) is_watched[file] = is_ours;
    return file;
}

static int is_for_writing(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define MODE_OF(flags)                                        \
    mode_t mode = 0;                                          \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                    \
        va_list more;                                         \
        va_start(more, flags);                                \
        mode = va_arg(more, mode_t);                          \
        va_end(more);                                         \
    }

#define OPEN(name)                                                                         \
    int name(const char *path, int flags, ...) {                                           \
        int (*next)(const char *, int, ...) = original(#name);                             \
        MODE_OF(flags)                                                                     \
        int is_ours = is_for_writing(flags) && is_below(AT_FDCWD, path);                   \
        if (is_ours && fails(flags & O_CREAT ? TAKES_SPACE | CHANGES : CHANGES)) return -1; \
        return opened(next(path, flags, mode), is_ours);                                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                       \
    int name(int folder, const char *path, int flags, ...) {                               \
        int (*next)(int, const char *, int, ...) = original(#name);                        \
        MODE_OF(flags)                                                                     \
        int is_ours = is_for_writing(flags) && is_below(folder, path);                     \
        if (is_ours && fails(flags & O_CREAT ? TAKES_SPACE | CHANGES : CHANGES)) return -1; \
        return opened(next(folder, path, flags, mode), is_ours);                           \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                              \
    FILE *name(const char *path, const char *mode) {                             \
        FILE *(*next)(const char *, const char *) = original(#name);             \
        if (mode[strcspn(mode, "wa+")] && is_below(AT_FDCWD, path) && fails(TAKES_SPACE | CHANGES)) return NULL; \
        return next(path, mode);                                                 \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* Write as `whole` does, or the first half as `half` does: before a kill, too, since a torn file is the harder case. */
#define WRITING(file, whole, half)                     \
    int fault = watched(file) ? fault_of(TAKES_SPACE | CHANGES) : 0; \
    if (fault > 0) {                                   \
        errno = fault;                                 \
        return -1;                                     \
    }                                                  \
    if (watched(file)) note(file, 1);                  \
    if (!fault) return whole;                          \
    ssize_t written = half;                            \
    if (fault == KILL) _exit(KILLED);                  \
    return written;

ssize_t write(int file, const void *data, size_t count) {
    ssize_t (*next)(int, const void *, size_t) = original("write");
    WRITING(file, next(file, data, count), next(file, data, (count + 1) / 2))
}

#define PWRITE(name)                                                               \
    ssize_t name(int file, const void *data, size_t count, off_t place) {          \
        ssize_t (*next)(int, const void *, size_t, off_t) = original(#name);       \
        WRITING(file, next(file, data, count, place), next(file, data, (count + 1) / 2, place)) \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int file, const struct iovec *parts, int count) {
    ssize_t (*next)(int, const struct iovec *, int) = original("writev");
    WRITING(file, next(file, parts, count), next(file, parts, (count + 1) / 2))
}

ssize_t sendfile(int file, int from, off_t *place, size_t count) {
    ssize_t (*next)(int, int, off_t *, size_t) = original("sendfile");
    WRITING(file, next(file, from, place, count), next(file, from, place, (count + 1) / 2))
}

ssize_t sendfile64(int file, int from, off_t *place, size_t count) {
    ssize_t (*next)(int, int, off_t *, size_t) = original("sendfile64");
    WRITING(file, next(file, from, place, count), next(file, from, place, (count + 1) / 2))
}

#define CUT(name)                                                      \
    int name(int file, off_t length) {                                 \
        int (*next)(int, off_t) = original(#name);                     \
        if (watched(file) && fails(CHANGES)) return -1;                \
        return next(file, length);                                     \
    }
CUT(ftruncate)
CUT(ftruncate64)

#define SYNC(name)                                           \
    int name(int file) {                                     \
        int (*next)(int) = original(#name);                  \
        if (watched(file)) {                                 \
            if (fails(TAKES_SPACE | CHANGES)) return -1;     \
            note(file, 0);                                   \
        }                                                    \
        return next(file);                                   \
    }
SYNC(fsync)
SYNC(fdatasync)

/* As Linux does it, a file whose closing fails is closed all the same. */
int close(int file) {
    int (*next)(int) = original("close");
    int is_ours = watched(file);
    opened(file, 0);
    int is_failing = is_ours && fails(CLOSES);
    int found = next(file);
    if (!is_failing) return found;
    errno = wanted_fault;
    return -1;
}

int rename(const char *from, const char *to) {
    int (*next)(const char *, const char *) = original("rename");
    if (is_below(AT_FDCWD, to)) {
        if (fails(CHANGES)) return -1;
        note_rename(from);
    }
    return next(from, to);
}

int link(const char *from, const char *to) {
    int (*next)(const char *, const char *) = original("link");
    if (is_below(AT_FDCWD, to) && fails(CHANGES)) return -1;
    return next(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    int (*next)(int, const char *, int, const char *, int) = original("linkat");
    if (is_below(to_folder, to) && fails(CHANGES)) return -1;
    return next(from_folder, from, to_folder, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    int (*next)(const char *, mode_t) = original("mkdir");
    if (is_below(AT_FDCWD, path) && fails(TAKES_SPACE | CHANGES)) return -1;
    return next(path, mode);
}
