"""Addresses: which of them belong to the public internet, and which others the administrator allows besides.

Pure. Must stay true: an address is public only where no list here holds it, in whatever form it is written; what is not
understood is not public. The lists are IANA's special-purpose registries (2025) and the addresses at which clouds
answer questions about their machines. Written out here: what `ipaddress` calls global changes from one Python to the
next.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from offgrid.errors import PermissionDenied

USUAL_PORTS = (80, 443)

_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind a provider's address translation; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services for a machine
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")  # all that IANA has given out
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocols; Teredo, which holds an IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4, which holds an IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # how a network without IPv4 reaches it

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def read_address(text: str) -> Address | None:
    """The address that a connection would go to: one inside an IPv6 address is taken out. None for what is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address.scope_id is not None:
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet. False for what is no address."""
    found = read_address(address)
    if found is None:
        return False
    if isinstance(found, IPv4Address):
        return not any(found in network for network in _NOT_PUBLIC_4)
    return found in _GLOBAL_6 and not any(found in network for network in _NOT_PUBLIC_6)


@dataclass(frozen=True, slots=True)
class AddressRules:
    """What may be reached: the public internet at ports 80 and 443, and what is named here.

    `networks_setting` and `ports_setting` are the settings that named it, for whoever is refused; "" where none can.
    """

    networks: tuple[Network, ...] = ()
    ports: tuple[int, ...] = ()
    networks_setting: str = ""
    ports_setting: str = ""

    def check_port(self, port: int) -> None:
        """Raise PermissionDenied for a port that is not allowed."""
        if port not in USUAL_PORTS and port not in self.ports:
            hint = f" The setting {self.ports_setting} can allow it." if self.ports_setting else ""
            raise PermissionDenied(f"Port {port} is not one of 80 and 443.{hint}", code="port_refused", param="url")

    def check_addresses(self, host: str, addresses: Iterable[str]) -> None:
        """Raise PermissionDenied unless every one of them is allowed."""
        for address in addresses:
            if not is_public(address) and not self.names(address):
                raise self.refusal(host, address, "which is not on the public internet")

    def names(self, address: str) -> bool:
        """Whether an address is in one of the networks that are named."""
        found = read_address(address)
        return found is not None and any(found in network for network in self.networks)

    def refusal(self, host: str, address: str, why: str) -> PermissionDenied:
        """The error for an address that may not be reached; the caller raises it."""
        of = "" if address == host.strip("[]") else f"{host} has the address "
        hint = f" The setting {self.networks_setting} can allow it." if self.networks_setting else ""
        return PermissionDenied(f"{of}{address}, {why}.{hint}", code="address_refused", param="url")
