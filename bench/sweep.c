// sweep: removes dead sockets with the same system calls as src/host/sockets, in the same order.
// one-by-one: connects to each socket, waits at most a second, and unlinks those that refuse.
// make: makes dead, live and wedged sockets (full backlog), says "ready" and keeps them until standard input ends.
// Arguments: sweep|one-by-one DIR, or make DIR DEAD LIVE WEDGED. bench/sweep.ts builds it.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BATCH 64
#define SWEEP_UID 1899999999
#define MASK (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

struct linux_dirent64 { uint64_t ino; int64_t off; unsigned short len; unsigned char type; char name[]; };
struct pinned { int fd; char name[256]; struct statx st; };

static int ok(int result, const char *what) { if (result < 0) { perror(what); exit(1); } return result; }
static struct statx look(int fd) {
  struct statx st;
  ok(statx(fd, "", AT_EMPTY_PATH, MASK, &st), "statx");
  return st;
}
static struct sockaddr_un at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  return address;
}

static int remove_exactly(int dir, struct pinned *one) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct own[2], less[2];
  ok(syscall(SYS_capget, &header, own), "capget");
  memcpy(less, own, sizeof own);
  less[0].effective = 1 << CAP_CHOWN | 1 << CAP_DAC_OVERRIDE;
  less[1].effective = 0;
  setfsuid(SWEEP_UID);
  if (setfsuid(-1) != SWEEP_UID) exit(1);
  ok(syscall(SYS_capset, &header, less), "capset");
  ok(fchownat(one->fd, "", SWEEP_UID, -1, AT_EMPTY_PATH), "fchownat");
  int removed = unlinkat(dir, one->name, 0) == 0;
  if (look(one->fd).stx_nlink > 0) fchownat(one->fd, "", one->st.stx_uid, -1, AT_EMPTY_PATH);
  setfsuid(0);
  ok(syscall(SYS_capset, &header, own), "capset");
  return removed;
}

static int judge(int dir, int barrier, int probe, struct pinned *pinned, int count) {
  char few[512], path[64], lock[300];
  int removed = 0;
  ok(lseek(barrier, 0, SEEK_SET), "lseek");
  syscall(SYS_getdents64, barrier, few, sizeof few);
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "/proc/self/fd/%d", pinned[i].fd);
    struct sockaddr_un address = at(path);
    if (connect(probe, (struct sockaddr *)&address, 2 + strlen(path) + 1) < 0 && errno == ECONNREFUSED) {
      snprintf(lock, sizeof lock, "%s.lock", pinned[i].name);
      if (openat(dir, lock, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) < 0 && errno == ENOENT)
        removed += remove_exactly(dir, &pinned[i]);
    }
    close(pinned[i].fd);
  }
  return removed;
}

static void sweep(const char *path) {
  static char buffer[32 * 1024];
  static struct pinned pinned[BATCH];
  struct statfs fs;
  int dir = ok(open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), "open");
  int barrier = ok(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open");
  ok(fstatfs(dir, &fs), "fstatfs");
  int probe = ok(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  int removed = 0, count = 0;
  for (int length; (length = syscall(SYS_getdents64, dir, buffer, sizeof buffer)) > 0;) {
    for (int pos = 0; pos < length;) {
      struct linux_dirent64 *entry = (void *)(buffer + pos);
      pos += entry->len;
      if (entry->type != DT_SOCK) continue;
      int fd = openat(dir, entry->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
      if (fd < 0) continue;
      pinned[count].fd = fd;
      pinned[count].st = look(fd);
      strcpy(pinned[count++].name, entry->name);
      if (count == BATCH) { removed += judge(dir, barrier, probe, pinned, count); count = 0; }
    }
    if (count) { removed += judge(dir, barrier, probe, pinned, count); count = 0; }
  }
  printf("%d removed\n", removed);
}

static void one_by_one(const char *path) {
  DIR *dir = opendir(path);
  if (!dir || chdir(path)) exit(1);
  struct timeval second = {1, 0};
  int removed = 0;
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (entry->d_type != DT_SOCK) continue;
    struct sockaddr_un address = at(entry->d_name);
    int fd = ok(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED)
      removed += unlink(entry->d_name) == 0;
    close(fd);
  }
  printf("%d removed\n", removed);
}

static void make_one(const char *kind, int number) {
  char name[32];
  snprintf(name, sizeof name, "%s-%d", kind, number);
  struct sockaddr_un address = at(name);
  int fd = ok(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
  ok(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
  ok(listen(fd, *kind == 'w' ? 0 : 64), "listen");
  if (*kind == 'd') close(fd);
  while (*kind == 'w') {
    int client = ok(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    if (connect(client, (struct sockaddr *)&address, sizeof address) == 0) continue;
    close(client);
    break;
  }
}

static void make(const char *path, int dead, int live, int wedged) {
  struct rlimit files = {100000, 100000};
  setrlimit(RLIMIT_NOFILE, &files);
  if (chdir(path)) exit(1);
  // Mixed, as in a real directory.
  for (int i = 0; i < dead || i < live || i < wedged; i++) {
    if (i < dead) make_one("dead", i);
    if (i < live) make_one("live", i);
    if (i < wedged) make_one("wedged", i);
  }
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "sweep")) sweep(argv[2]);
  else if (argc == 3 && !strcmp(argv[1], "one-by-one")) one_by_one(argv[2]);
  else if (argc == 6) {
    make(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {}
  } else return 2;
  return 0;
}
