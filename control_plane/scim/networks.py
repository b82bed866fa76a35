"""Networks, as CIDR or single addresses, of IPv4 and IPv6: what a credential is accepted from, or a setting names."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def networks_in(text: str) -> tuple[Network, ...]:
    """Return comma-separated networks; ValueError names the one that is none."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def unmapped(address: Address) -> Address:
    """Return the IPv4 address that ``::ffff:a.b.c.d`` wraps: so a dual-stack socket tells IPv4 peers."""
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def normal_network(text: str) -> str:
    """Return a network as it is stored, such as "10.0.0.0/8" or "2001:db8::1/128"; ValueError says what is wrong.

    Bits behind the prefix are refused rather than cut off: who writes 10.1.2.3/8 may mean one address.
    """
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        network = None
    if network is None or "%" in text:
        raise ValueError(f"{text!r} is not a network such as 203.0.113.0/24 or 2001:db8::/32, nor an address") from None
    try:
        ip_network(text.strip(), strict=True)
    except ValueError:
        raise ValueError(f"{text!r} has bits behind its prefix; write {network}, or the address alone") from None
    return str(_unmapped(network))


@dataclass(frozen=True, slots=True)
class Networks:
    """An allow list; empty: every address is in it."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Networks":
        """Return the list of ``texts``; ValueError if one is no network."""
        return cls(tuple(_unmapped(ip_network(text, strict=True)) for text in texts))

    def covers(self, address: str) -> bool:
        """Tell whether ``address`` is in the list. What is no address is in no list but the empty one."""
        if not self.networks:
            return True
        try:
            found: Address = ip_address(address)
        except ValueError:
            return False
        found = unmapped(found)
        return any(found in network for network in self.networks)


def _unmapped(network: Network) -> Network:
    """Return the IPv4 network behind ``::ffff:a.b.c.d/n``, else the network itself."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network
