"""Which addresses notifications may go to."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.notify import ANYWHERE, Reach

INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # refused, not listened on
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_not_public_is_refused(address: str) -> None:
    """This machine, private networks, links, and clouds' metadata services, in every way of writing them."""
    refusal = Reach().refusal(address)
    assert refusal is not None
    assert "delivery.allow_networks" in refusal


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::101:101"])
def test_the_internet_is_in_reach(address: str) -> None:
    """Public addresses need no word in the settings."""
    assert Reach().refusal(address) is None


def test_allowed_networks_are_in_reach_and_no_others() -> None:
    """A network that is allowed lets its own addresses through, however they are written."""
    reach = Reach((ip_network("10.1.0.0/16"), ip_network("fd00::/64")))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::5"):
        assert reach.refusal(address) is None
    for address in ("10.2.0.1", "127.0.0.1", "fd01::5"):
        assert reach.refusal(address) is not None


def test_what_is_no_address_is_refused() -> None:
    """Sockets of this machine's file system, and names, are no addresses."""
    for host in ("/run/docker.sock", "localhost", ""):
        assert Reach().refusal(host) is not None
        assert ANYWHERE.refusal(host) is not None


@given(st.ip_addresses())
def test_anywhere_reaches_every_address(address: object) -> None:
    """Tests reach whatever they need."""
    assert ANYWHERE.refusal(str(address)) is None
