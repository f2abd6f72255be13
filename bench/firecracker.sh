# Starts and configures Firecracker as in Firecracker's getting-started guide. Arguments: the program, a directory.
program=$1 dir=$2
socket=$dir/fc.sock
rm -f "$socket" "$dir/log"
"$program" --api-sock "$socket" --id bench --log-path "$dir/log" </dev/null >"$dir/console" 2>&1 &
until [ -S "$socket" ]; do sleep 0.01; done
put() { curl --silent --show-error --fail --unix-socket "$socket" -X PUT --data "$2" "http://localhost$1"; }
put /machine-config '{"vcpu_count":1,"mem_size_mib":128}'
put /boot-source "{\"kernel_image_path\":\"$dir/vmlinux\",\"boot_args\":\"console=ttyS0 reboot=k panic=1\"}"
put /drives/disk0 "{\"drive_id\":\"disk0\",\"path_on_host\":\"$dir/disk.img\",\"is_root_device\":false,\"is_read_only\":false}"
put /actions '{"action_type":"InstanceStart"}'
wait
