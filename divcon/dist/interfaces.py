"""The network interface through which the ranks of several hosts reach each other."""

import contextlib
import fcntl
import os
import socket
import struct
from ipaddress import ip_address

from torch._C._distributed_c10d import Store

from ..ranks import LOOPBACK, Place

VARIABLE = "GLOO_SOCKET_IFNAME"
SIOCGIFADDR = 0x8915  # asks Linux for the address of an interface


def choose_interface(store: Store, at: Place) -> None:
    """Tell gloo its interface, unless the user has. All ranks call this.

    By itself gloo takes the address of the host's own name. On many hosts this is 127.0.1.1, where no other host comes through.
    """
    store.set(f"address/{at.rank}", _address_towards(at.address, at.port))
    addresses = [told.decode() for told in store.multi_get([f"address/{rank}" for rank in range(at.world)])]
    if name := _interface(_reachable(addresses, at)):
        os.environ.setdefault(VARIABLE, name)


def _reachable(addresses: list[str], at: Place) -> str:
    """The address of this host that the others can reach. On the host where all meet, the way to that place is a loopback."""
    mine = addresses[at.rank]
    if len(set(addresses)) == 1:
        return "127.0.0.1"  # all ranks are on this host
    others = [address for address in addresses if address and not ip_address(address).is_loopback]
    return _address_towards(others[0], at.port) if others and ip_address(mine or "::1").is_loopback else mine


def _address_towards(host: str, port: int) -> str:
    """The address of this host on the way to another one; nothing is sent. An empty text where there is no way."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as way:
                way.connect(address)
                return str(way.getsockname()[0]).partition("%")[0]
    return ""


def _interface(address: str) -> str:
    """The name of the interface with this address; an empty text where it isn't found: gloo then looks itself."""
    if address and ip_address(address).is_loopback:
        return LOOPBACK
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""
