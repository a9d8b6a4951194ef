"""Port mapping by the gateway's leave: PCP, NAT-PMP and UPnP IGD, the clients' side.

Nothing here opens a socket: `aio.portmap` does.
"""
