"""What an IP address says by itself: whether strangers may dial it, and with whom it counts."""

import ipaddress

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PARTY_BITS = 56  # what one customer of a provider may hold of IPv6 (RFC 6177)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_NO_DESTINATION = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.88.99.0/24",  # 6to4 relays (RFC 7526)
            "2002::/16",  # 6to4, with an IPv4 address within
            "2001::/32",  # Teredo, the same
            "64:ff9b:1::/48",  # NAT64 of one network (RFC 8215)
            "fec0::/10",  # site-local (RFC 3879)
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)


def party(ip: IpAddress) -> str:
    """Who an address counts with under limits: IPv4 alone, IPv6 with its /56.

    Otherwise one customer is as many parties as there are addresses in its prefix.
    """
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    host_bits = 128 - _PARTY_BITS
    return str(ipaddress.IPv6Network((int(ip) >> host_bits << host_bits, _PARTY_BITS)))


def is_destination(ip: IpAddress) -> bool:
    """Whether a packet can go there and to one host alone."""
    return not (ip.is_unspecified or ip.is_multicast or ip == _BROADCAST)


def is_public(ip: IpAddress) -> bool:
    """Whether it is a global unicast address; one of NAT64 is what the IPv4 address in it is."""
    if isinstance(ip, ipaddress.IPv6Address) and ip in _NAT64:
        return is_public(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    return not any(ip in network for network in _NO_DESTINATION if network.version == ip.version)
