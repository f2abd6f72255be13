# Makes and removes the jail of bench/jail.ts with the commands that one would type.
# Arguments: base, kernel, image, library directory, uid, program.
base=$1 kernel=$2 image=$3 library=$4 uid=$5 program=$6
jail=$base/qemu/vm-1
root=$jail/root
for dir in "$base" "$base/qemu" "$jail"; do
  mkdir -p "$dir"
  chmod 0711 "$dir"
done
mkdir "$root"
chmod 0700 "$root"
mount --bind "$root" "$root"
mount --make-private "$root"
mount -o remount,bind,nosuid "$root"
for name in kernel rootfs; do
  touch "$root/$name"
  mount --bind "$kernel" "$root/$name"
  mount -o remount,bind,ro,nosuid,nodev,noexec "$root/$name"
done
cp --reflink=auto --sparse=auto "$image" "$root/drive"
chown "$uid:$uid" "$root/drive"
chmod 0600 "$root/drive"
mkdir "$root/dev"
chown "$uid:$uid" "$root/dev"
mknod "$root/dev/disk" b 7 250
chmod 0660 "$root/dev/disk"
chown "$uid:$uid" "$root/dev/disk"
cp "$program" "$root/vmm"
chmod 0755 "$root/vmm"
mkdir "$root/usr"
chmod 0755 "$root/usr"
ln -s usr/lib "$root/lib"
for name in usr/lib usr/lib64; do
  mkdir "$root/$name"
  mount --bind "$library" "$root/$name"
  mount -o remount,bind,ro,nosuid,nodev "$root/$name"
done
chown "$uid:$uid" "$root"

for name in usr/lib64 usr/lib rootfs kernel; do
  findmnt --noheadings "$root/$name" >/dev/null
  umount "$root/$name"
done
findmnt --noheadings "$root" >/dev/null
umount "$root"
! findmnt --noheadings "$root" >/dev/null
rm -rf --one-file-system "$jail"
