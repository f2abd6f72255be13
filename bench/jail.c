// Stages and tears down a jail with the same system calls as src/host/jail, once for each line on standard input.
// Arguments: base, id, kernel, image, library directory, uid. bench/jail.ts builds it.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
#define DIRFLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define RO 1
#define NOSUID 2
#define NODEV 4
#define NOEXEC 8
#define NOSYMFOLLOW 0x200000

static void die(const char *what) { fprintf(stderr, "%s: %s\n", what, strerror(errno)); exit(1); }
static int ok(int result, const char *what) { if (result < 0) die(what); return result; }

static int open2(int dir, const char *name, int flags, int mode, int resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  return syscall(SYS_openat2, dir, name, &how, sizeof how);
}
static struct statx look(int dir, const char *name) {
  struct statx st;
  ok(statx(dir, name, *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st), "statx");
  return st;
}
static void modify(int tree, uint64_t set, uint64_t clear) {
  struct mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = MS_PRIVATE};
  ok(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr), "mount_setattr");
}
static int clone_tree(int fd) {
  return ok(syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), "open_tree");
}
static void attach(int tree, int target) {
  ok(syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH), "move_mount");
}
static void change_mode(int fd, int mode) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  ok(fchmodat(AT_FDCWD, path, mode, 0), "fchmodat");
}
static void change_owner(int fd, int uid) { ok(fchownat(fd, "", uid, uid, AT_EMPTY_PATH), "fchownat"); }

static int pin(const char *path) {
  char copy[4096], *save;
  snprintf(copy, sizeof copy, "%s", path);
  int fd = ok(open("/", DIRFLAGS), "open");
  look(fd, "");
  for (char *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
    int next = ok(openat(fd, part, O_PATH | O_NOFOLLOW | O_CLOEXEC), part);
    close(fd);
    fd = next;
    look(fd, "");
  }
  return fd;
}
static int ensure(int parent, const char *name, int mode) {
  if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST) die(name);
  int fd = ok(open2(parent, name, DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV), name);
  if ((look(fd, "").stx_mode & 07777) != mode) change_mode(fd, mode);
  return fd;
}
static int make(int root, const char *name) {
  int dir = ok(open2(root, ".", O_PATH | O_DIRECTORY, 0, BENEATH | RESOLVE_NO_XDEV), ".");
  int fd = ok(open2(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, BENEATH | RESOLVE_NO_XDEV), name);
  close(dir);
  return fd;
}
static void bind_at(int source, int dir, const char *name, int attributes) {
  look(source, "");
  int tree = clone_tree(source);
  modify(tree, attributes, 0);
  int target = ok(open2(dir, name, O_PATH | O_NOFOLLOW, 0, BENEATH | RESOLVE_NO_XDEV), name);
  look(target, "");
  attach(tree, target);
  close(target);
  close(tree);
  int mounted = ok(open2(dir, name, O_PATH | O_NOFOLLOW, 0, BENEATH), name);
  look(mounted, "");
  look(dir, "");
  close(mounted);
}
static int source_of(const char *path) {
  int fd = ok(open2(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0, RESOLVE_NO_MAGICLINKS), path);
  look(fd, "");
  look(fd, "");
  return fd;
}
static void bind_file(int root, const char *name, const char *path) {
  int from = source_of(path);
  close(make(root, name));
  int dir = ok(open2(root, ".", O_PATH | O_DIRECTORY, 0, BENEATH | RESOLVE_NO_XDEV), ".");
  bind_at(from, dir, name, RO | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW);
  close(dir);
  close(from);
}
static void copy_file(int root, const char *name, const char *path, int uid) {
  int from = source_of(path);
  int to = make(root, name);
  if (ioctl(to, FICLONE, from) < 0) {
    off_t size = look(from, "").stx_size;
    for (off_t at = lseek(from, 0, SEEK_DATA); at >= 0 && at < size; at = lseek(from, at, SEEK_DATA)) {
      off_t end = lseek(from, at, SEEK_HOLE);
      lseek(from, at, SEEK_SET);
      lseek(to, at, SEEK_SET);
      while (at < end) {
        ssize_t count = copy_file_range(from, NULL, to, NULL, end - at, 0);
        if (count <= 0) die("copy_file_range");
        at += count;
      }
    }
    ok(ftruncate(to, size), "ftruncate");
  }
  change_owner(to, uid);
  close(to);
  close(from);
}

static void stage(const char *base_path, const char *id, char **files, int uid) {
  char stage_name[256];
  snprintf(stage_name, sizeof stage_name, ".stage-%s", id);
  char parent_path[4096];
  snprintf(parent_path, sizeof parent_path, "%.*s", (int)(strrchr(base_path, '/') - base_path), base_path);
  int parent = pin(parent_path);
  int base = ensure(parent, strrchr(base_path, '/') + 1, 0711);
  close(parent);
  int vmm = ensure(base, "qemu", 0711);
  ok(mkdirat(base, stage_name, 0700), stage_name);
  int outer = ok(open2(base, stage_name, DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV), stage_name);
  ok(mkdirat(outer, "root", 0700), "root");
  int root = ok(open2(outer, "root", DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV), "root");
  look(root, "");
  int tree = clone_tree(root);
  modify(tree, NOSUID | NODEV | NOEXEC, RO);
  attach(tree, root);
  bind_file(tree, "kernel", files[0]);
  bind_file(tree, "rootfs", files[0]);
  copy_file(tree, "drive", files[1], uid);
  modify(tree, 0, NODEV);
  ok(mkdirat(tree, "dev", 0700), "dev");
  int dev = ok(open2(tree, "dev", DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV), "dev");
  change_mode(dev, 0700);
  change_owner(dev, uid);
  ok(mknodat(dev, "disk", S_IFBLK | 0600, makedev(7, 250)), "disk");
  int node = ok(open2(dev, "disk", O_PATH | O_NOFOLLOW, 0, BENEATH | RESOLVE_NO_XDEV), "disk");
  look(node, "");
  change_mode(node, 0660);
  change_owner(node, uid);
  close(node);
  close(dev);
  modify(tree, 0, NOEXEC);
  copy_file(tree, "vmm", files[0], 0);
  ok(symlinkat("usr/lib", tree, "lib"), "lib");
  for (const char *name = "lib"; name; name = strcmp(name, "lib") ? NULL : "lib64") {
    for (int pass = 0; pass < 2; pass++) {
      if (mkdirat(tree, "usr", 0755) < 0 && errno != EEXIST) die("usr");
      int usr = ok(open2(tree, "usr", DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV), "usr");
      look(usr, "");
      if (pass == 0) {
        ok(mkdirat(usr, name, 0755), name);
        int made = ok(open2(usr, name, DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV), name);
        look(made, "");
        close(made);
      } else {
        int library = ok(open(files[2], DIRFLAGS), files[2]);
        bind_at(library, usr, name, RO | NOSUID | NODEV);
        close(library);
      }
      close(usr);
    }
  }
  change_mode(outer, 0711);
  change_owner(root, uid);
  ok(renameat2(base, stage_name, vmm, id, RENAME_NOREPLACE), id);
  close(tree); close(root); close(outer); close(vmm); close(base);
}

// The mount points below a path, in the order of the mount table. Like banger, it parses every line of the whole table.
static int mounts_below(const char *path, char points[64][512]) {
  static char text[1 << 20];
  int fd = ok(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), "mountinfo"), size = 0, count = 0;
  for (ssize_t n; (n = read(fd, text + size, sizeof text - size - 1)) > 0;) size += n;
  close(fd);
  text[size] = 0;
  char *save;
  size_t length = strlen(path);
  for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
    char point[512];
    if (sscanf(line, "%*s %*s %*s %*s %511s", point) != 1) continue;
    if (strncmp(point, path, length) || (point[length] && point[length] != '/')) continue;
    if (count < 64) strcpy(points[count++], point);
  }
  return count;
}
static void detach(int base, const char *beneath) {
  char copy[512], *save, *next, path[600];
  snprintf(copy, sizeof copy, "%s", beneath);
  int fd = ok(open2(base, ".", O_PATH | O_DIRECTORY, 0, BENEATH), ".");
  char *part = strtok_r(copy, "/", &save);
  while ((next = strtok_r(NULL, "/", &save))) {
    int inner = ok(open2(fd, part, DIRFLAGS, 0, BENEATH), part);
    close(fd);
    fd = inner;
    part = next;
  }
  look(fd, part);
  snprintf(path, sizeof path, "/proc/self/fd/%d/%s", fd, part);
  ok(umount2(path, UMOUNT_NOFOLLOW), path);
  close(fd);
}
static void empty(int trash, const char *name) {
  static int count = 0;
  char moved[64][64], buffer[32768];
  int waiting = 0;
  int fd = ok(open2(trash, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, BENEATH | RESOLVE_NO_XDEV), name);
  for (int found = 1; found;) {
    found = 0;
    lseek(fd, 0, SEEK_SET);
    for (long n; (n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0;) {
      for (long at = 0; at < n;) {
        struct { uint64_t ino; int64_t off; unsigned short length; unsigned char type; char name[]; } *entry = (void *)(buffer + at);
        at += entry->length;
        if (!strcmp(entry->name, ".") || !strcmp(entry->name, "..")) continue;
        found++;
        if (entry->type == DT_DIR) {
          snprintf(moved[waiting], 64, "moved-%d-%d", getpid(), count++);
          ok(renameat2(fd, entry->name, trash, moved[waiting++], RENAME_NOREPLACE), entry->name);
        } else ok(unlinkat(fd, entry->name, 0), entry->name);
      }
    }
  }
  close(fd);
  while (waiting > 0) empty(trash, moved[--waiting]);
  ok(unlinkat(trash, name, AT_REMOVEDIR), name);
}
static void tear_down(const char *base_path, const char *id) {
  static char points[64][512];
  char path[4096], stage_name[256];
  snprintf(path, sizeof path, "%s/qemu/%s", base_path, id);
  snprintf(stage_name, sizeof stage_name, ".stage-%s", id);
  int base = pin(base_path);
  int trash = ensure(base, ".trash", 0700);
  if (open2(base, stage_name, DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV) >= 0) die("a stage");
  int vmm = ok(open2(base, "qemu", DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV), "qemu");
  int dir = ok(open2(vmm, id, DIRFLAGS, 0, BENEATH | RESOLVE_NO_XDEV), id);
  look(dir, "root");
  for (int count; (count = mounts_below(path, points)) > 0;)
    while (count > 0) detach(base, points[--count] + strlen(base_path) + 1);
  look(dir, "root");
  close(dir);
  if (mounts_below(path, points)) die("mounts");
  ok(renameat2(vmm, id, trash, id, RENAME_NOREPLACE), id);
  snprintf(path, sizeof path, "%s/.trash/%s", base_path, id);
  if (mounts_below(path, points)) die("mounts in the trash");
  empty(trash, id);
  struct statx st;
  if (statx(vmm, id, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) == 0) die("still there");
  close(vmm); close(trash); close(base);
}

int main(int count, char **arguments) {
  char line[16];
  if (count != 7) return 2;
  while (read(0, line, sizeof line) > 0) {
    stage(arguments[1], arguments[2], arguments + 3, atoi(arguments[6]));
    tear_down(arguments[1], arguments[2]);
    ok(write(1, "done\n", 5), "write");
  }
  return 0;
}
