# What makes a machine somebody's own. The header of a connection brings the time and fresh entropy, taken before anything else; then one task a line:
#
#   share               mounts what the host serves
#   hostname NAME       of the containers' namespace
#   sysctl PATH VALUE   below /proc/sys, in the containers' namespaces
#   netlink HEX         a request to rtnetlink in the containers' network namespace
my ($SYS_MOUNT, $SYS_SETHOSTNAME, $SYS_CLOCK_SETTIME, $SYS_SETNS) = (165, 170, 227, 308);
my ($RNDADDENTROPY, $RNDRESEEDCRNG) = (0x40085203, 0x5207);
# A card that was put in a moment ago may not be there yet.
my ($SHARE_TRIES, $SHARE_WAIT) = (400, 0.01);

sub refresh {
  my ($seconds, $nanos, $hex) = @_;
  my $seed = pack('H*', $hex);
  open(my $random, '+<', '/dev/urandom') or die "random: $!";
  ioctl($random, $RNDADDENTROPY, my $entropy = pack('i i a*', 8 * length $seed, length $seed, $seed)) or die "entropy: $!";
  ioctl($random, $RNDRESEEDCRNG, my $none = pack('i', 0)) or die "reseed: $!";
  syscall($SYS_CLOCK_SETTIME, 0, my $time = pack('q q', $seconds, $nanos)) == 0 or die "clock: $!";
}

# Carries the tasks out in a process that may leave its namespaces.
sub identify {
  my ($text) = @_;
  for my $name (qw(net ipc uts)) {
    open(my $namespace, '<', "/run/ns/$name") or die "$name: $!";
    syscall($SYS_SETNS, fileno($namespace), 0) == 0 or die "setns $name: $!";
  }
  for my $line (split(/\n/, $text)) {
    my ($verb, $word, $rest) = split(/ /, $line, 3);
    if ($verb eq 'share') { share() }
    elsif ($verb eq 'hostname') { syscall($SYS_SETHOSTNAME, $word, length $word) == 0 or die "hostname: $!" }
    elsif ($verb eq 'sysctl') { set("/proc/sys/$word", $rest) }
    elsif ($verb eq 'netlink') { netlink(pack('H*', $word)) and die "network, $word: $!" }
    else { die "unknown task $verb" }
  }
}

sub share {
  my ($source, $target, $type, $data) = ('berth', '/share', 'virtiofs', '');
  for (1 .. $SHARE_TRIES) {
    return if syscall($SYS_MOUNT, $source, $target, $type, 0, $data) == 0;
    select(undef, undef, undef, $SHARE_WAIT);
  }
  die "the shared files cannot be mounted: $!";
}

sub set {
  my ($file, $value) = @_;
  open(my $to, '>', $file) or die "$file: $!";
  defined syswrite($to, $value) or die "$file: $!";
}

1;
