"""How much one caller may ask: token buckets, in a table that cannot grow without end."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

MOST = 10_000


class Buckets:
    """One token bucket a name (Turner, IEEE Communications Magazine 1986): `rate` tokens a second flow in, `burst` is where it overflows.

    The table holds `most` names; beyond them the one longest unused starts afresh.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._levels: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, name: str, rate: float, burst: float, now: float) -> float:
        """Take a token and return 0; without one, the seconds until there is one. A clock that went back lets nothing flow in."""
        bucket = self._levels.get(name)
        if bucket is None:
            if len(self._levels) >= self._most:
                self._levels.popitem(last=False)
            self._levels[name] = [burst - 1.0, now, rate, burst]
            return 0.0
        self._levels.move_to_end(name)
        level = min(burst, bucket[0] + max(0.0, now - bucket[1]) * rate)
        bucket[1:] = now, rate, burst
        if level < 1.0:
            bucket[0] = level
            return (1.0 - level) / rate
        bucket[0] = level - 1.0
        return 0.0

    def take_more(self, name: str, count: int, now: float) -> float:
        """Take `count` further tokens for what came with one, as its bucket was last filled, and return 0. Without them take none, and return the
        seconds until all would be there.

        What is larger than the whole bucket is let through by a full one, which then owes the rest.
        """
        bucket = self._levels.get(name)
        if bucket is None:  # forgotten since, or never counted
            return 0.0
        level, at, rate, burst = bucket
        level = min(burst, level + max(0.0, now - at) * rate)
        bucket[:2] = level, now
        wanted = min(count + 1.0, burst)  # with the one that was paid, and will be again
        if level + 1.0 < wanted:
            return (wanted - level) / rate
        bucket[0] = level - count
        return 0.0

    def empty(self, name: str, rate: float, now: float) -> float:
        """Seconds until `name` has a token, 0 when it has one; takes none."""
        bucket = self._levels.get(name)
        if bucket is None:
            return 0.0
        return max(0.0, (1.0 - bucket[0]) / rate - max(0.0, now - bucket[1]))

    def __len__(self) -> int:
        return len(self._levels)


def network(peer: str) -> str:
    """Whom a client address stands for: an IPv4 address itself, an IPv6 address its /64, which one host has whole."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return "elsewhere"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return (address.packed[:8]).hex()
    return str(address)
