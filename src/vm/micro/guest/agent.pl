# The agent of a microVM, process 1 (see init.pl). It listens on the control link (port 1), one line of header per connection:
#
#   sh                     a shell script follows until end of input; the answer is its output and a last line "exit CODE"
#   identity SECONDS NANOS HEX
#                          the time and fresh entropy; tasks follow until end of input (see identity.pl); the answer is as that of sh
#   io TOKEN               stdin and stdout of the process TOKEN
#   err TOKEN              its stderr
#   run TOKEN tty|pipe ROWSxCOLUMNS ...
#                          starts it once all three are there; "size ROWS COLUMNS" may follow; the answer is "exit CODE"
#
# Only the interpreter is there, without any module: numbers are those of Linux on x86-64 and arm64.
my ($AF_INET, $STREAM, $WNOHANG) = (2, 1, 1);
my ($TIOCSPTLCK, $TIOCGPTN, $TIOCSWINSZ, $SYS_SETSID) = (0x40045431, 0x80045430, 0x5414, 112);
my ($SYS_PIDFD_OPEN, $SYS_PIDFD_GETFD) = (434, 438);
my ($TCGETS, $TCSETS) = (0x5401, 0x5402);
my ($SYS_MEMFD_CREATE, $MFD_ALLOW_SEALING, $F_ADD_SEALS, $ALL_SEALS) = (319, 2, 1033, 15);
my $MAX_HEADER = 65536;
# Orphans that ended a moment before it slept are waited for then.
my $REAP_SECONDS = 5;

require '/identity.pl';
# Kept over exec, unlike what is opened later.
$^F = 1000;
my $runtime = seal('/bin/crun');
$^F = 2;
$SIG{PIPE} = 'IGNORE';
# Ends a select, so that who ended is waited for at once.
$SIG{CHLD} = sub { };

socket(my $listener, $AF_INET, $STREAM, 0) or die "socket: $!";
setsockopt($listener, 1, 2, 1);
bind($listener, pack('S n N x8', $AF_INET, 1, 0)) or die "bind: $!";
listen($listener, 128) or die "listen: $!";
my $console = "berth-agent-ready\n";
syswrite(STDOUT, $console);

my (%headers, %waiting);
for (;;) {
  my $bits = '';
  vec($bits, fileno($listener), 1) = 1;
  vec($bits, fileno($_->{socket}), 1) = 1 for values %headers;
  my $found = select($bits, undef, undef, $REAP_SECONDS);
  1 while waitpid(-1, $WNOHANG) > 0;
  next if $found <= 0;
  if (vec($bits, fileno($listener), 1) && accept(my $socket, $listener)) {
    $headers{fileno($socket)} = { socket => $socket, text => '' };
    next;
  }
  for my $key (keys %headers) {
    my $entry = $headers{$key};
    next unless vec($bits, $key, 1);
    # Byte by byte: what follows the line belongs to somebody else.
    my $got = sysread($entry->{socket}, my $byte, 1);
    if (!$got || length($entry->{text}) > $MAX_HEADER) { delete $headers{$key}; next }
    if ($byte ne "\n") { $entry->{text} .= $byte; redo if more($entry->{socket}); next }
    delete $headers{$key};
    dispatch($entry->{socket}, split(/ /, $entry->{text}));
  }
}

sub more {
  my $bits = '';
  vec($bits, fileno($_[0]), 1) = 1;
  return select($bits, undef, undef, 0) > 0;
}

sub dispatch {
  my ($socket, $verb, $token, @rest) = @_;
  if ($verb eq 'identity') { identity($socket, $token, @rest); return }
  if ($verb eq 'sh') { apart(sub { script($socket) }); return }
  return unless defined $token && $verb =~ /^(io|err|run)$/;
  my $set = $waiting{$token} ||= {};
  $set->{$verb} = $socket;
  $set->{argv} = [@rest] if $verb eq 'run';
  return unless $set->{io} && $set->{err} && $set->{run};
  delete $waiting{$token};
  apart(sub { serve($set->{io}, $set->{err}, $set->{run}, @{ $set->{argv} }) });
}

sub identity {
  my ($socket, @fresh) = @_;
  my $refreshed = eval { refresh(@fresh); 1 };
  my $error = $@;
  apart(sub {
    my $done = $refreshed && eval { identify(whole($socket)); 1 };
    syswrite($socket, $done ? "\nexit 0\n" : ($error || $@) . "\nexit 1\n");
  });
}

# Runs a task in a child that holds none of the other connections.
sub apart {
  my ($task) = @_;
  my $pid = fork();
  return if !defined $pid || $pid;
  $SIG{CHLD} = 'DEFAULT';
  close($listener);
  close($_->{socket}) for values %headers;
  for my $set (values %waiting) { close($set->{$_}) for grep { $set->{$_} } qw(io err run) }
  $task->();
  exit(0);
}

sub script {
  my ($socket) = @_;
  my $text = whole($socket);
  my $pid = fork();
  if (!$pid) {
    open(STDIN, '<', '/dev/null');
    open(STDOUT, '>&', $socket);
    open(STDERR, '>&', $socket);
    exec('/bin/sh', '-c', $text) or exit(127);
  }
  waitpid($pid, 0);
  syswrite($socket, "\nexit " . code($?) . "\n");
}

# All that comes until the end of input.
sub whole {
  my ($socket) = @_;
  my $text = '';
  1 while sysread($socket, $text, 65536, length $text);
  return $text;
}

sub code { my ($status) = @_; return $status & 127 ? 128 + ($status & 127) : $status >> 8 }

# One process between its pipes (or terminal) and its three connections.
sub serve {
  my ($io, $err, $control, $mode, $size, @argv) = @_;
  my ($in_write, $out_read, $err_read, $pid);
  if ($mode eq 'tty') {
    open($out_read, '+<', '/dev/ptmx') or return;
    ioctl($out_read, $TIOCSPTLCK, my $unlock = pack('i', 0));
    ioctl($out_read, $TIOCGPTN, my $number = pack('i', 0));
    my $slave = '/dev/pts/' . unpack('i', $number);
    $in_write = $out_read;
    resize($out_read, split(/x/, $size));
    $pid = fork();
    if (!$pid) {
      syscall($SYS_SETSID);
      open(my $tty, '+<', $slave);
      raw($tty);
      become($tty, $tty, $tty, @argv);
    }
  } else {
    pipe(my $in_read, $in_write);
    pipe($out_read, my $out_write);
    pipe($err_read, my $err_write);
    $pid = fork();
    if (!$pid) { become($in_read, $out_write, $err_write, @argv) }
  }
  pump($pid, $io, $err, $control, $in_write, $out_read, $err_read);
}

# The runtime copies itself into sealed memory each time it starts, that no container may overwrite it: ours is there from the beginning.
sub seal {
  my ($file) = @_;
  open(my $from, '<', $file) or die "$file: $!";
  my $name = "runtime\0";
  my $fd = syscall($SYS_MEMFD_CREATE, $name, $MFD_ALLOW_SEALING);
  open(my $to, '+<&=', $fd) or die "memfd: $!";
  while (sysread($from, my $chunk, 65536)) { syswrite($to, $chunk) }
  fcntl($to, $F_ADD_SEALS, $ALL_SEALS) or die "seal: $!";
  return $to;
}

sub become {
  my ($in, $out, $err, @argv) = @_;
  open(STDIN, '<&', $in);
  open(STDOUT, '>&', $out);
  open(STDERR, '>&', $err);
  $SIG{PIPE} = 'DEFAULT';
  my $program = $argv[0] eq 'crun' ? '/proc/self/fd/' . fileno($runtime) : $argv[0];
  exec({ $program } @argv) or exit(127);
}

sub pump {
  my ($pid, $io, $err, $control, $in_write, $out_read, $err_read) = @_;
  my ($exit, $line, $pending) = (undef, '', '');
  my $tty = fileno($in_write) == fileno($out_read);
  my ($io_open, $control_open) = (1, 1);
  my $ended = process($pid);
  while (defined $out_read || defined $err_read || !defined $exit) {
    my ($reads, $writes) = ('', '');
    vec($reads, fileno($_), 1) = 1 for grep { defined } $out_read, $err_read;
    vec($reads, fileno($io), 1) = 1 if $io_open && $pending eq '';
    vec($reads, fileno($control), 1) = 1 if $control_open;
    vec($writes, fileno($in_write), 1) = 1 if defined $in_write && $pending ne '';
    vec($reads, fileno($ended), 1) = 1 if !defined $exit;
    # Who inherited its output may keep it open for ever.
    my $found = select($reads, $writes, undef, defined $exit ? 0.1 : undef);
    last if defined $exit && $found == 0;
    next if $found <= 0;
    if (!defined $exit && ready($ended, $reads)) { waitpid($pid, 0); $exit = code($?) }
    $out_read = copy($out_read, $io) if ready($out_read, $reads);
    $err_read = copy($err_read, $err) if ready($err_read, $reads);
    if ($io_open && ready($io, $reads) && !sysread($io, $pending, 65536)) {
      $io_open = 0;
      if (!$tty) { close($in_write); undef $in_write }
    }
    if (defined $in_write && $pending ne '' && ready($in_write, $writes)) {
      my $written = syswrite($in_write, $pending, 4096);
      $pending = defined $written ? substr($pending, $written) : '';
    }
    if ($control_open && ready($control, $reads)) {
      $control_open = sysread($control, $line, 256, length $line);
      while ($line =~ s/^([^\n]*)\n//) {
        my ($verb, @size) = split(/ /, $1);
        next unless $tty && defined $out_read && $verb eq 'size';
        resize($_, @size) for $out_read, terminals($pid);
      }
      # Nobody waits for the process any more.
      kill('KILL', $pid) if !$control_open;
    }
  }
  waitpid($pid, 0), $exit = code($?) if !defined $exit;
  syswrite($control, "exit $exit\n");
}

sub resize {
  my ($terminal, $rows, $columns) = @_;
  ioctl($terminal, $TIOCSWINSZ, my $size = pack('S4', $rows, $columns, 0, 0));
}

# The terminals that a process keeps the upper ends of: the runtime hands no size on to that of its container.
sub terminals {
  my ($pid) = @_;
  my $process = process($pid) or return;
  my @found;
  opendir(my $folder, "/proc/$pid/fd") or return;
  for my $number (readdir($folder)) {
    next unless (readlink("/proc/$pid/fd/$number") // '') =~ m{/ptmx$};
    my $fd = syscall($SYS_PIDFD_GETFD, fileno($process), $number + 0, 0);
    push @found, handle($fd) if $fd >= 0;
  }
  return @found;
}

# Readable when the process has ended.
sub process {
  my ($pid) = @_;
  my $fd = syscall($SYS_PIDFD_OPEN, $pid, 0);
  return $fd < 0 ? undef : handle($fd);
}

sub handle { my ($fd) = @_; open(my $handle, '+<&=', $fd); return $handle }

# The runtime has a terminal of its own for the process; this one only carries its bytes, from the first on.
sub raw {
  my ($terminal) = @_;
  my $state = "\0" x 60;
  ioctl($terminal, $TCGETS, $state) or return;
  my ($input, $output, $mode, $local, $line, @keys) = unpack('L4 C C19', $state);
  @keys[5, 6] = (0, 1);
  $state = pack('L4 C C19', $input & ~0x5eb, $output & ~1, $mode, $local & ~0x804b, $line, @keys) . "\0" x 24;
  ioctl($terminal, $TCSETS, $state);
}

sub ready { my ($handle, $bits) = @_; return defined $handle && vec($bits, fileno($handle), 1) }

sub copy {
  my ($from, $to) = @_;
  my $got = sysread($from, my $chunk, 65536);
  return undef unless $got;
  for (my $at = 0; $at < $got;) {
    my $written = syswrite($to, $chunk, $got - $at, $at);
    last unless defined $written;
    $at += $written;
  }
  return $from;
}
