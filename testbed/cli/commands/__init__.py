"""What the larger commands do, behind the words of `testbed.cli`."""
