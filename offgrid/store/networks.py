"""What an address says about who somebody is, where nothing else does."""

from functools import lru_cache
from ipaddress import ip_address, ip_network


@lru_cache(4096)
def network_of(address: str) -> str:
    """An IPv4 address as it is; of an IPv6 address its /64, because one machine may use all the addresses of that.

    Link-local addresses are all of one /64, whoever's they are, so they are told apart, as is the machine itself.
    """
    try:
        ip = ip_address(address.partition("%")[0])  # fe80::1%eth0
    except ValueError:
        return address
    if ip.version == 4 or ip.is_link_local or ip.is_loopback:
        return str(ip)
    return str(ip_network((ip, 64), strict=False))
