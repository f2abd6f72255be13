# shellcheck shell=sh disable=SC2154  # scripts/host has images, codename, files and instance
# One host that runs: its directory has `lock`, which QEMU holds as long as it lives, `pid`, `qmp`, `serial.log`, `ssh_config`.

say() { printf 'host: %s\n' "$*" >&2; }

refuse() {
  say "$@"
  exit 1
}

# Whether a host runs in this directory.
lives() { [ -f "$1/lock" ] && ! flock --nonblock "$1/lock" true; }

# Boots a host in $instance, and waits until one can log in. What `boot` booted stays; else it ends with this shell, however that
# ends.
start_host() {
  need_packages qemu-system-x86_64 qemu-system-x86 mkfs.ext4 e2fsprogs ssh openssh-client setpriv util-linux
  image=$(scripts/debian/make "$codename" "$images") || return 1
  clear_dead
  mkdir -p "$instance"
  exec 7> "$instance/lock" 6< "$image"
  flock --nonblock 7 && flock --shared 6 || return 1
  : > "$instance/serial.log"
  case $1 in
    boot) start_qemu 8h ;;
    *) start_qemu 3h setpriv --pdeathsig KILL ;;
  esac
  exec 6<&- 7>&-
  wait_until_up 1 || return 1
  # QEMU has it open.
  rm -f "$instance/files"
  write_ssh_config && connect
}

# Cuts the power, and waits until the host is up again.
reset_host() {
  boots=$(times_up)
  disconnect
  qmp reset && wait_until_up $((boots + 1)) && connect
}

# Has the host shut down and start again, as its administrator would, and waits until it is up again.
reboot_host() {
  boots=$(times_up)
  ssh -F "$instance/ssh_config" root@host 'systemctl --no-block reboot'
  disconnect
  wait_until_up $((boots + 1)) && connect
}

# Ends the host of this directory, where one runs, and removes the directory.
end_host() {
  if lives "$1" && [ -s "$1/pid" ]; then
    read -r qemu < "$1/pid"
    kill "$qemu" 2> /dev/null || true
    timeout 15 flock "$1/lock" true || kill -KILL "$qemu"
  fi
  rm -rf "$1"
}

# --- internal ---

# Its arguments: how long it may run at most, and a command that it starts through.
start_qemu() {
  limit=$1
  shift
  drives="-drive file=$image/disk,format=raw,if=virtio,snapshot=on"
  if [ -n "$files" ]; then
    mkfs.ext4 -q -F -d "$files" "$instance/files" "$(($(du -sm "$files" | cut -f 1) * 11 / 10 + 32))M" > /dev/null
    drives="$drives -drive file=$instance/files,format=raw,if=virtio,readonly=on"
  fi
  # shellcheck disable=SC2086  # lists of words
  setsid "$@" timeout --kill-after 5 "$limit" setpriv --pdeathsig KILL qemu-system-x86_64 \
    -M q35,accel=tcg -cpu EPYC-v3,+svm,+npt -smp 2 -m 3G -nodefaults -no-user-config -display none \
    -kernel "$image/vmlinux" -initrd "$image/initrd" \
    -append "root=/dev/vda rw console=ttyS0 mitigations=off quiet systemd.show_status=0" \
    $drives -serial "file:$instance/serial.log" -qmp "unix:$instance/qmp,server=on,wait=off" -device virtio-rng-pci -device pvpanic-pci \
    -netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22 -device virtio-net-pci,netdev=net \
    > "$instance/qemu.log" 2>&1 < /dev/null &
  echo $! > "$instance/pid"
}

# Directories of hosts that ended with nobody to remove them.
clear_dead() {
  for dir in "$images"/run/*; do
    [ ! -f "$dir/lock" ] || lives "$dir" || rm -rf "$dir"
  done
}

# Says what a host that is gone said last: a panic of its kernel ends it.
host_ended() {
  say "the host said last:"
  grep -h -e BUG: -e 'Kernel panic' "$instance/serial.log" >&2 || tail -n 5 "$instance/serial.log" "$instance/qemu.log" >&2
}

times_up() { grep -c '^host is up' "$instance/serial.log" || true; }

wait_until_up() {
  for _ in $(seq 600); do
    [ "$(times_up)" -lt "$1" ] || return 0
    lives "$instance" || break
    sleep 0.2
  done
  host_ended
  say "the host did not boot"
  return 1
}

qmp() { bun scripts/debian/qmp.ts "$instance/qmp" "$1"; }

write_ssh_config() {
  port=$(qmp port) || return 1
  cat > "$instance/ssh_config" << CONFIG
Host host
  HostName 127.0.0.1
  Port $port
  HostKeyAlias host
  UserKnownHostsFile $image/known_hosts
  StrictHostKeyChecking yes
  IdentityFile $image/key
  IdentitiesOnly yes
  LogLevel ERROR
  ConnectTimeout 30
  ServerAliveInterval 15
  ControlPath $instance/ssh-%r
CONFIG
}

disconnect() {
  for who in root alice; do ssh -F "$instance/ssh_config" -O exit "$who@host" 2> /dev/null || true; done
}

# One connection for each user, which every command goes through: a new one takes seconds. They end with QEMU.
connect() {
  for who in root alice; do
    timeout 60 ssh -F "$instance/ssh_config" -fN -o ControlMaster=yes "$who@host" > "$instance/ssh.log" 2>&1 < /dev/null \
      || { cat "$instance/ssh.log" >&2 && return 1; }
  done
}
