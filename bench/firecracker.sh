# Starts a guest that resets at once, by hand. Arguments: the way, the directory with firecracker and jailer, a work directory.
bin=$2 dir=$3 socket=$3/fc.sock
put() { curl --silent --show-error --fail --unix-socket "$socket" -X PUT --data "$2" "http://localhost$1"; }

case $1 in
file) # Firecracker alone, with a configuration file.
  exec "$bin/firecracker" --no-api --config-file "$dir/bare.json" </dev/null >"$dir/console" 2>&1
  ;;
jailer) # The jailer with a configuration file, and the jail removed again.
  root=$dir/jails/firecracker/bench/root
  mkdir -p "$root"
  cp "$dir/vmlinux" "$dir/disk.img" "$dir/jailed.json" "$root"
  chown -R 1899999999:1899999999 "$root"
  "$bin/jailer" --id bench --exec-file "$bin/firecracker" --uid 1899999999 --gid 1899999999 \
    --chroot-base-dir "$dir/jails" -- --no-api --config-file jailed.json </dev/null >"$dir/console" 2>&1
  rm -r "$dir/jails/firecracker/bench"
  ;;
curl) # Firecracker's getting-started guide: no jail, a request a setting.
  rm -f "$socket" "$dir/log"
  "$bin/firecracker" --api-sock "$socket" --id bench --log-path "$dir/log" </dev/null >"$dir/console" 2>&1 &
  until [ -S "$socket" ]; do sleep 0.01; done
  # The socket is there before it is listened on.
  until put /machine-config '{"vcpu_count":1,"mem_size_mib":128}' 2>/dev/null; do :; done
  put /boot-source "{\"kernel_image_path\":\"$dir/vmlinux\",\"boot_args\":\"console=ttyS0 reboot=k panic=1\"}"
  put /drives/disk0 "{\"drive_id\":\"disk0\",\"path_on_host\":\"$dir/disk.img\",\"is_root_device\":false,\"is_read_only\":false}"
  put /actions '{"action_type":"InstanceStart"}'
  wait
  ;;
firectl)
  rm -f "$socket"
  exec firectl --firecracker-binary="$bin/firecracker" --socket-path="$socket" --kernel="$dir/vmlinux" \
    --root-drive="$dir/disk.img" --memory=128 --ncpus=1 </dev/null >"$dir/console" 2>&1
  ;;
esac
