"""Addresses that others can reach, and what must protect them."""

import pytest

from lapwing_collector.auth import is_loopback, refuse_open_addresses
from lapwing_collector.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "only_here"),
    [
        ("127.0.0.1:4318", True),
        ("127.8.9.10:4318", True),
        ("localhost:4318", True),
        ("[::1]:4318", True),
        ("0.0.0.0:4318", False),
        ("[::]:4318", False),
        ("10.0.0.5:4318", False),
        ("collector.example.org:4318", False),
        ("localhost.example.org:4318", False),
    ],
)
def test_loopback_is_told_from_other_addresses(address: str, only_here: bool) -> None:
    """Only loopback addresses and localhost are this machine's own; names may mean anything."""
    assert is_loopback(address) is only_here


def test_an_open_address_without_protection_is_refused() -> None:
    """Who listens beyond the machine without tokens is refused, and told what to do."""
    addresses = {"http.listen": "0.0.0.0:4318", "grpc.listen": "127.0.0.1:4317"}
    with pytest.raises(ConfigError) as refused:
        refuse_open_addresses(addresses, protected=False, insecure=False)
    told = str(refused.value)
    assert told.startswith("http.listen (0.0.0.0:4318) can be reached from other machines")
    assert not [way for way in ("auth.tokens", "tls.client_authority", "--insecure") if way not in told]
    refuse_open_addresses(addresses, protected=True, insecure=False)
    refuse_open_addresses(addresses, protected=False, insecure=True)
    refuse_open_addresses({"http.listen": "127.0.0.1:4318"}, protected=False, insecure=False)
