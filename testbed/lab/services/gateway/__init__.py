"""A small gateway of the testbed's own: NAT-PMP, PCP and UPnP IGD as the RFCs have them.

It is a program by itself, of Python's standard library alone, so that it runs in a fork of the
testbed, in a container and in a compose project alike.  Protocols are functions from a request
to an answer over one table of mappings; `serve` has the sockets and `kernel` the rules.  What
real devices do otherwise is a field of `Settings`.
"""
