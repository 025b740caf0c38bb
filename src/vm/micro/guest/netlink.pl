# Requests to the kernel's rtnetlink(7), in the network namespace of the process.
my ($AF_NETLINK, $RAW, $REQUEST_ACK, $ERROR) = (16, 3, 5, 2);

# Sends messages, each of which asks to be acknowledged. The number of the first error, 0 for none; $! says it too.
sub netlink {
  socket(my $kernel, $AF_NETLINK, $RAW, 0) or return $! + 0;
  for my $request (@_) {
    syswrite($kernel, $request);
    sysread($kernel, my $answer, 8192);
    my ($length, $type, $flags, $sequence, $port, $code) = unpack('L S S L L l', $answer);
    next unless $type == $ERROR && $code;
    $! = -$code;
    return -$code;
  }
  return 0;
}

sub message {
  my ($type, $flags, $body) = @_;
  return pack('L S S L L', 16 + length $body, $type, $flags | $REQUEST_ACK, 1, 0) . $body;
}

sub attribute {
  my ($type, $value) = @_;
  return pack('S S', 4 + length $value, $type) . $value . "\0" x (-length($value) & 3);
}

1;
