#!/bin/busybox sh
# Runs the process of an OCI image as the one thing of a machine: its root file system stands in /root, the agent outside of it.
export PATH=/bin
for folder in proc sys dev tmp run etc; do mkdir -p "/root/$folder"; done
mkdir -p /dev/pts /dev/shm /run /seed
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
for folder in proc sys dev; do mount --rbind "/$folder" "/root/$folder"; done
mount -t tmpfs tmpfs /root/run
resize2fs /dev/vda >/dev/null 2>&1
for disk in /dev/vd?; do
  mount -t iso9660 -o ro "$disk" /seed 2>/dev/null && [ -f /seed/network.sh ] && break
  umount /seed 2>/dev/null
done
ip link set lo up
. /seed/network.sh
# Its number depends on the machine's other devices.
for port in /sys/class/virtio-ports/*; do
  [ "$(cat "$port/name")" = org.qemu.guest_agent.0 ] && agent=/dev/${port##*/}
done
qemu-ga --method virtio-serial --path "$agent" --statedir /run --pidfile /run/qga.pid >/run/qga.log 2>&1 &
sh /seed/process.sh &
main=$!
echo $main >/run/main.pid
wait $main
code=$?
echo "berth: the process ended with $code"
sync
umount /root/run
mount -o remount,ro /root
poweroff -f
