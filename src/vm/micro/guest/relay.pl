# The host's end of one process in a microVM: relay.pl tty|pipe COMMAND... . Its stdio, terminal size and exit code are the process'.
#
# Three connections to the agent carry stdin and stdout, stderr, and control (see agent.pl). Only the interpreter is there, without any module.
my ($AF_INET, $STREAM) = (2, 1);
my ($TCGETS, $TCSETS, $TIOCGWINSZ) = (0x5401, 0x5402, 0x5413);
my $AGENT = pack('S n C4 x8', $AF_INET, 1, 169, 254, 77, 2);
my ($mode, @command) = @ARGV;
my $tty = $mode eq 'tty';
$SIG{PIPE} = 'IGNORE';

open(my $random, '<', '/proc/sys/kernel/random/uuid') or die;
chomp(my $token = <$random>);
raw() if $tty;
my $io = dial("io $token");
my $err = dial("err $token");
# The size goes with the command, so that the process never sees another.
my $control = dial(join(' ', 'run', $token, $mode, $tty ? size() : '0x0', @command));
my $resized = 0;
$SIG{WINCH} = sub { $resized = 1 };

my ($stdin_open, $io_open, $err_open, $answer) = (1, 1, 1, '');
my $to_guest = '';
while ($io_open || $err_open || $answer !~ /\n/) {
  if ($resized) { $resized = 0; send_all($control, 'size ' . join(' ', split(/x/, size())) . "\n") }
  my ($reads, $writes) = ('', '');
  vec($reads, fileno(STDIN), 1) = 1 if $stdin_open && $to_guest eq '';
  vec($reads, fileno($io), 1) = 1 if $io_open;
  vec($reads, fileno($err), 1) = 1 if $err_open;
  vec($reads, fileno($control), 1) = 1;
  vec($writes, fileno($io), 1) = 1 if $to_guest ne '';
  next if select($reads, $writes, undef, undef) < 0;
  $io_open = copy($io, \*STDOUT) if $io_open && vec($reads, fileno($io), 1);
  $err_open = copy($err, \*STDERR) if $err_open && vec($reads, fileno($err), 1);
  if ($stdin_open && vec($reads, fileno(STDIN), 1) && !sysread(STDIN, $to_guest, 65536)) {
    $stdin_open = 0;
    shutdown($io, 1);
  }
  if ($to_guest ne '' && vec($writes, fileno($io), 1)) {
    # What fits: the guest may wait for its output to be taken before it takes input.
    my $written = syswrite($io, $to_guest, 4096);
    if (defined $written) { $to_guest = substr($to_guest, $written) } else { $to_guest = ''; $stdin_open = 0 }
  }
  last if vec($reads, fileno($control), 1) && !sysread($control, $answer, 256, length $answer);
}
# Without an answer the machine has gone.
exit($answer =~ /^exit (\d+)\n/ ? $1 : 137);

sub dial {
  my ($header) = @_;
  socket(my $socket, $AF_INET, $STREAM, 0) or die "socket: $!";
  connect($socket, $AGENT) or die "the microVM's agent cannot be reached: $!\n";
  send_all($socket, "$header\n");
  return $socket;
}

sub send_all {
  my ($to, $text) = @_;
  for (my $at = 0; $at < length $text;) {
    my $written = syswrite($to, $text, length($text) - $at, $at);
    next if !defined $written && $! == 4;
    return 0 unless defined $written;
    $at += $written;
  }
  return 1;
}

sub copy {
  my ($from, $to) = @_;
  my $got = sysread($from, my $chunk, 65536);
  return 1 if !defined $got && $! == 4;
  return $got ? (send_all($to, $chunk), 1)[1] : 0;
}

# The terminal belongs to the process in the guest: this end changes nothing of what passes.
sub raw {
  my $state = "\0" x 60;
  ioctl(STDIN, $TCGETS, $state) or return;
  my ($input, $output, $mode, $local, $line, @keys) = unpack('L4 C C19', $state);
  @keys[5, 6] = (0, 1);
  $state = pack('L4 C C19', $input & ~0x5eb, $output & ~1, $mode, $local & ~0x804b, $line, @keys) . "\0" x 24;
  ioctl(STDIN, $TCSETS, $state);
}

sub size {
  my $state = "\0" x 8;
  ioctl(STDIN, $TIOCGWINSZ, $state) or return '0x0';
  my ($rows, $columns) = unpack('S2', $state);
  return "${rows}x$columns";
}
