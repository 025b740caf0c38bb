/**
 * What runs as process 1 of a microVM: a shell script under busybox. It mounts what a guest needs, configures the network from a file in the share and
 * then carries out commands, one line each, that come over the control port. Everything a command leaves (exit code, log) it leaves in the share, where
 * the host finds it, whether or not a daemon was there at the time.
 *
 * Layout of the share (a virtiofs mount at /share):
 *
 *     network      shell commands for interfaces and routes
 *     ready        written when the guest takes commands
 *     p/ID/command what to run for process ID (a shell script)
 *     p/ID/ports   names of its ports: stdin, stdout, stderr, or console
 *     p/ID/exit    its exit code, written last
 */
export const CONTROL_PORT = "berth.control";

export function initScript(modules: readonly string[]): string {
  return `#!/bin/busybox sh
export PATH=/bin:/usr/bin:/sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
${modules.map((name) => `insmod /modules/${name}`).join("\n")}
mkdir -p /dev/pts /dev/shm /run /tmp /share /sys/fs/cgroup
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
ln -sf /proc/self/fd /dev/fd
mount -t cgroup2 cgroup /sys/fs/cgroup
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c > /sys/fs/cgroup/cgroup.subtree_control; done
mount -t virtiofs share /share || { echo "berth: no share"; poweroff -f; }
ip link set lo up
[ -f /share/network ] && . /share/network

port() {
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat $p/name 2>/dev/null)" = "$1" ] && { echo /dev/\${p##*/}; return; }
  done
  return 1
}

# A port that was plugged in just now takes a moment to appear.
await_port() {
  n=0
  while ! port "$1"; do n=$((n + 1)); [ $n -gt 500 ] && return 1; usleep 10000; done
}

run() {
  d=/share/p/$1
  in=/dev/null out=/dev/null err=/dev/null tty=
  while read -r kind name; do
    case $kind in
      stdin) in=$(await_port "$name") ;;
      stdout) out=$(await_port "$name") ;;
      stderr) err=$(await_port "$name") ;;
      console) tty=$(await_port "$name") ;;
    esac
  done < $d/ports
  if [ -n "$tty" ]; then setsid -c sh $d/command < $tty > $tty 2>&1
  else sh $d/command < $in > $out 2> $err
  fi
  echo $? > $d/exit.new
  mv $d/exit.new $d/exit
}

control=$(await_port ${CONTROL_PORT})
echo 1 > /share/ready.new && mv /share/ready.new /share/ready
while true; do
  # The port ends whenever the daemon goes away; another one will come.
  while read -r verb id; do
    case $verb in
      run) run "$id" & ;;
      off) poweroff -f ;;
    esac
  done < $control
  usleep 50000
done
`;
}
