#!/bin/busybox sh
# First process of a microVM: kernel file systems, modules, the control link; then it becomes the agent.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
read -r cmdline </proc/cmdline
case " $cmdline " in *" berth.probe "*)
  echo berth-probe-answer
  poweroff -f
  ;;
esac
while read -r module; do insmod "/modules/$module"; done </modules/order
echo "+cpu +memory +pids +io" >/sys/fs/cgroup/cgroup.subtree_control
ip link set lo up
ip link set eth0 name ctl0
ip addr add 169.254.77.2/30 dev ctl0
ip link set ctl0 up
exec /bin/perl /agent.pl
