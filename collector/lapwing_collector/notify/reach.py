"""Which network addresses notifications may go to. Pure.

Whoever may write an address into the notify file could otherwise have the collector call what only it can
reach: the metadata service of a cloud, a database without a password, a router.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

_NAT64: Final = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: Final = tuple(
    ip_network(each)
    for each in (
        "168.63.129.16/32",  # where Azure answers its machines
        "192.0.0.0/24",  # where Oracle does, among others; older Pythons call it global
        "64:ff9b:1::/48",
    )
)


class Reach:
    """The public internet, and the networks that somebody allowed beside it."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        """Reach public addresses and those in `allowed`."""
        self._allowed = tuple(allowed)

    def refusal(self, host: str) -> str | None:
        """Why nothing may be sent to `host`, an address in digits; None where it may.

        What decides is the address that a connection is made to, never the name that led there: a name may
        lead elsewhere when it is asked for again.
        """
        try:
            address = _plain(ip_address(host.partition("%")[0]))
        except ValueError:
            return f"{host} is not an address on a network"
        if _is_public(address) or any(address in network for network in self._allowed):
            return None
        return (
            f"{address} is not on the public internet; "
            f"if it is meant, add {ip_network(address)} or its network to delivery.allow_networks"
        )


ANYWHERE: Final = Reach((ip_network("0.0.0.0/0"), ip_network("::/0")))


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The address of version 4 that one of version 6 stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    special = address.is_multicast or any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not special
