"""Addresses that others can reach need protection."""

import ipaddress
from collections.abc import Mapping

from lapwing_collector.errors import ConfigError


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches `address`, a host and port."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open_addresses(addresses: Mapping[str, str], *, protected: bool, insecure: bool) -> None:
    """Refuse to let everybody in by oversight.

    Args:
        addresses: Where servers listen, by setting.
        protected: Whether clients must show a token or a certificate.
        insecure: Whether somebody said that they need not.

    Raises:
        ConfigError: Others can reach an address, and nothing keeps them from sending and asking.
    """
    open_ = [f"{setting} ({address})" for setting, address in addresses.items() if not is_loopback(address)]
    if open_ and not protected and not insecure:
        raise ConfigError(
            f"{', '.join(open_)} can be reached from other machines, and nothing says who may send and ask. "
            "Name a file of tokens in auth.tokens, or who vouches for clients in tls.client_authority; or "
            "listen on 127.0.0.1; or say --insecure if everybody in the network may"
        )
