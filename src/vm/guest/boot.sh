#!/bin/busybox sh
# First process of a machine that boots berth's kernel: finds the root file system, and hands over to what is on it.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
n=0
until [ -b /dev/vda ] || [ $n -ge 200 ]; do n=$((n+1)); sleep 0.05; done
if ! mount -t ext4 -o rw,noatime /dev/vda /root; then
  echo "berth: the first disk has no ext4 file system to boot from"
  poweroff -f
fi
read -r cmdline </proc/cmdline
case " $cmdline " in *" berth.guest=oci "*) exec /bin/sh /oci.sh ;; esac
mount --move /dev /root/dev
umount /sys /proc
exec switch_root /root /sbin/init
