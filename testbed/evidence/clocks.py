"""How far the times that peers tell may be from those of their packets."""

# From a packet to the step that tells of it, and back: a process waits for a processor so
# long.  Less than the way through the relay and back (80 ms) plus that of its answer.
SLACK_NS = 100_000_000
STAMPED_NS = 1_000_000  # a step's time is a float of seconds, told before the packet is sent
