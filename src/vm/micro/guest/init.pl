#!/bin/perl
# First process of a microVM: kernel file systems, modules, the control link, the containers' namespaces; then it is the agent. It starts no program: each
# would have to be translated anew under emulation. Only the interpreter is there, without any module: numbers are those of Linux on x86-64.
my ($SYS_MOUNT, $SYS_REBOOT, $SYS_UNSHARE, $SYS_FINIT_MODULE) = (165, 169, 272, 313);
my ($MS_BIND, $POWER_OFF) = (4096, 0x4321fedc);
my %NAMESPACES = (net => 0x40000000, ipc => 0x08000000, uts => 0x04000000);
my ($LOOPBACK, $CONTROL) = (1, 2);
my ($RTM_SETLINK, $RTM_NEWADDR, $RTM_NEWNEIGH, $IFLA_IFNAME, $IFLA_NET_NS_FD, $IFF_UP) = (19, 20, 28, 3, 28, 1);

require '/netlink.pl';

mounted('proc', '/proc', 'proc');
mounted('sysfs', '/sys', 'sysfs');
mounted('devtmpfs', '/dev', 'devtmpfs');
mkdir($_) for '/dev/pts', '/dev/shm';
mounted('devpts', '/dev/pts', 'devpts', 0, 'ptmxmode=0666');
symlink('/proc/self/fd', '/dev/fd');
power_off() if lines('/proc/cmdline') =~ /\bberth\.probe\b/;
mounted('tmpfs', '/run', 'tmpfs');
mounted('cgroup2', '/sys/fs/cgroup', 'cgroup2');
insert($_) for split(/\n/, lines('/modules/order'));
open(my $controllers, '>', '/sys/fs/cgroup/cgroup.subtree_control');
syswrite($controllers, '+cpu +memory +pids +io');
close($controllers);
# 169.254.77.2/30, and who is at the other end: see agent.ts and network.ts.
my ($address, $peer, $peer_link) = (pack('C4', 169, 254, 77, 2), pack('C4', 169, 254, 77, 1), pack('C6', 2, 0xbe, 0x77, 0, 0, 1));
netlink(
  link_change($LOOPBACK, 1),
  link_change($CONTROL, 1, attribute($IFLA_IFNAME, "ctl0\0")),
  message($RTM_NEWADDR, 0x600, pack('C4 L', 2, 30, 0, 0, $CONTROL) . attribute(2, $address) . attribute(1, $address)),
  message($RTM_NEWNEIGH, 0x500, pack('C x3 l S C C', 2, $CONTROL, 0x80, 0, 0) . attribute(1, $peer) . attribute(2, $peer_link)),
) and die "no control link: $!";
namespaces();
require '/agent.pl';

sub mounted {
  my ($source, $target, $type, $flags, $data) = @_;
  $data //= '';
  syscall($SYS_MOUNT, $source, $target, $type, $flags || 0, $data) == 0 or die "mount $target: $!";
}

sub lines {
  my ($file) = @_;
  open(my $from, '<', $file) or die "$file: $!";
  local $/;
  return <$from>;
}

sub insert {
  my ($name) = @_;
  open(my $module, '<', "/modules/$name") or die "$name: $!";
  my $none = '';
  syscall($SYS_FINIT_MODULE, fileno($module), $none, 0) == 0 or die "$name: $!";
  unlink("/modules/$name");
}

# The host wanted to know no more than whether a guest runs.
sub power_off {
  syswrite(STDOUT, "berth-probe-answer\n");
  syscall($SYS_REBOOT, 0xfee1dead, 672274793, $POWER_OFF, 0);
}

# The namespaces that all containers share, kept by mounts; every card but the control link is moved there, and keeps its index.
sub namespaces {
  mkdir('/run/ns');
  my $flags = 0;
  for my $name (keys %NAMESPACES) {
    open(my $pin, '>', "/run/ns/$name");
    $flags |= $NAMESPACES{$name};
  }
  my $pid = fork();
  if (!$pid) {
    syscall($SYS_UNSHARE, $flags) == 0 or die "unshare: $!";
    mounted("/proc/self/ns/$_", "/run/ns/$_", 'none', $MS_BIND) for keys %NAMESPACES;
    netlink(link_change($LOOPBACK, 1));
    exit(0);
  }
  waitpid($pid, 0);
  open(my $network, '<', '/run/ns/net') or die "namespaces: $!";
  opendir(my $cards, '/sys/class/net');
  for my $name (readdir($cards)) {
    next if $name =~ /^\./;
    my $index = lines("/sys/class/net/$name/ifindex") + 0;
    next if $index <= $CONTROL;
    netlink(link_change($index, 0, attribute($IFLA_NET_NS_FD, pack('L', fileno($network)))));
  }
}

sub link_change {
  my ($index, $up, @attributes) = @_;
  return message($RTM_SETLINK, 0, pack('C x3 l L L', 0, $index, $up ? ($IFF_UP, $IFF_UP) : (0, 0)) . join('', @attributes));
}
