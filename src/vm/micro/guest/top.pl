# The processes of a container of this guest as `ps -ef` shows them, its columns set apart by tabs: top.pl CONTAINER
my ($id) = @ARGV;
open(my $group, '<', "/sys/fs/cgroup/$id/cgroup.procs") or die "no container $id\n";
my ($boot) = map { /^btime (\d+)/ ? $1 : () } lines('/proc/stat');
my $TICKS = 100;
for my $pid (<$group>) {
  chomp $pid;
  # The name may hold blanks and parentheses.
  my ($stat) = lines("/proc/$pid/stat");
  next unless defined $stat && $stat =~ /\((.*)\) (.*)/s;
  my ($name, @fields) = ($1, split(/ /, $2));
  my ($uid) = map { /^Uid:\s+(\d+)/ ? $1 : () } lines("/proc/$pid/status");
  my $command = join('', lines("/proc/$pid/cmdline"));
  $command =~ s/\0+$//;
  $command =~ tr/\0\t\n/   /;
  my ($parent, $terminal, $user, $system, $started) = @fields[1, 4, 11, 12, 19];
  my @at = gmtime($boot + int($started / $TICKS));
  my $seconds = int(($user + $system) / $TICKS);
  my $time = sprintf('%02d:%02d:%02d', $seconds / 3600, $seconds / 60 % 60, $seconds % 60);
  my $tty = $terminal ? 'pts/' . ($terminal & 0xff) : '?';
  print join("\t", $uid || 'root', $pid, $parent, 0, sprintf('%02d:%02d', @at[2, 1]), $tty, $time, $command eq '' ? "[$name]" : $command), "\n";
}

sub lines { open(my $file, '<', $_[0]) or return; return <$file> }
