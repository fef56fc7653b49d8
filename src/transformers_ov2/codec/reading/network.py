# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Downloads of http(s) URLs within limits: which hosts, how long, how many bytes.

A URL often comes from a data set or from a user of a service, and the machine that fetches it may reach more than its
author can: metadata services, databases, other machines. So the name of each host on the way, redirects included, is
resolved once, every address of it must be public, and the connection goes to the address that was looked at: a second
answer of the name server changes nothing.
"""

import contextlib
import http.client
import io
import ipaddress
import queue
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from .containers import VideoError


MAX_REDIRECTS = 10
# Characters that stand for themselves in the path and query of a URL.
_SAFE = "%/:=&?~#+!$,;'@()*[]|"


@dataclass(frozen=True)
class NetworkLimits:
    """
    What may be fetched.

    Attributes:
        allow_network (`bool`): fetch http(s) URLs at all.
        allow_private_network (`bool`): also from loopback, private, link-local and reserved addresses.
        download_seconds (`float`): most seconds that a download may take in all, redirects included.
        max_download_bytes (`int`): most bytes of a download.
    """

    allow_network: bool = False
    allow_private_network: bool = False
    download_seconds: float = 600.0
    max_download_bytes: int = 2**32

    def __post_init__(self):
        for name in ("download_seconds", "max_download_bytes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must be a positive number, got {getattr(self, name)}.")


class Download:
    """The body of a response: `read(size)` gives at most `size` bytes, and none at its end."""

    def __init__(self, name: str, response: http.client.HTTPResponse, limits: NetworkLimits, clock: "_Clock"):
        self._name, self._response, self._limits, self._clock = name, response, limits, clock
        self._received, self._length = 0, response.length
        if self._length is not None and self._length > limits.max_download_bytes:
            raise VideoError(f"{name}: {self._length} bytes exceed the limit (`max_download_bytes`).")

    def read(self, size: int) -> bytes:
        chunk = self._response.read1(size)
        self._clock.check()
        self._received += len(chunk)
        if self._received > self._limits.max_download_bytes:
            raise VideoError(f"{self._name}: is longer than the limit (`max_download_bytes`).")
        if not chunk and self._length is not None and self._received < self._length:
            raise VideoError(f"{self._name}: the connection ended after {self._received} of {self._length} bytes.")
        return chunk


@contextlib.contextmanager
def fetch(name: str, url: str, limits: NetworkLimits) -> Iterator[Download]:
    """
    Downloads a URL: `with fetch(name, url, limits) as download`.

    A proxy named by the environment (`http_proxy`, `https_proxy`, `no_proxy`) is used. It resolves names itself, so
    that only what this machine resolves to other addresses can be refused.

    Args:
        name (`str`): what messages call the video.
        url (`str`): an http or https URL.
        limits ([`NetworkLimits`]): what may be fetched.

    Raises:
        VideoError: the network is off, an address is refused, a limit is exceeded, or the server does not answer with
            a file.
    """
    if not limits.allow_network:
        raise VideoError(f"{name}: network access is off; pass `allow_network=True` to fetch http(s) URLs.")
    clock = _Clock(name, limits.download_seconds)
    connection = response = None
    try:
        for _ in range(MAX_REDIRECTS + 1):
            connection, response = _request(name, url, limits, clock)
            location = response.headers.get("location")
            if response.status in (301, 302, 303, 307, 308) and location:
                response.close()
                connection.close()
                url = urljoin(url, location)
                continue
            if response.status != 200:
                raise VideoError(f"{name}: the server answers {response.status} {response.reason}.")
            yield Download(name, response, limits, clock)
            return
        raise VideoError(f"{name}: more than {MAX_REDIRECTS} redirects.")
    except (OSError, http.client.HTTPException, ValueError) as error:
        clock.check()
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{name}: {error or type(error).__name__}.") from error
    finally:
        clock.stop()
        if response is not None:
            response.close()
            connection.close()


def fetch_bytes(name: str, url: str, limits: NetworkLimits) -> bytes:
    """The whole body of a URL, as [`fetch`] gives it piece by piece."""
    content = io.BytesIO()
    with fetch(name, url, limits) as download:
        while chunk := download.read(2**18):
            content.write(chunk)
    return content.getvalue()


class _Clock:
    """Shuts the socket of a download when its time is over, whatever it is waiting for."""

    def __init__(self, name: str, seconds: float):
        self.name, self.seconds, self.end = name, seconds, time.monotonic() + seconds
        self.socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True
        self._timer.start()

    @property
    def left(self) -> float:
        return max(self.end - time.monotonic(), 1e-3)

    def check(self):
        if time.monotonic() >= self.end:
            raise VideoError(
                f"{self.name}: the download took longer than {self.seconds:g} seconds (`download_seconds`)."
            )

    def stop(self):
        self._timer.cancel()

    def _shut(self):
        if self.socket is not None:
            with contextlib.suppress(OSError):
                # Not that of `ssl.SSLSocket`, which would take the encryption away from a read that goes on.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was chosen before, for the host that the URL names."""

    def __init__(self, url: SplitResult, addresses: list[tuple], clock: _Clock):
        super().__init__(url.hostname, url.port or (443 if url.scheme == "https" else 80))
        self.default_port = 443 if url.scheme == "https" else 80
        self.context = ssl.create_default_context() if url.scheme == "https" else None
        self.addresses, self.clock = addresses, clock

    def connect(self):
        for number, address in enumerate(self.addresses):
            try:
                self.sock = socket.create_connection(address[:2], timeout=self.clock.left)
                break
            except OSError:
                if number + 1 == len(self.addresses):
                    raise
        if self.context is not None:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.clock.socket = self.sock
        if self.context is not None:
            self.sock.do_handshake()


def _request(
    name: str, url: str, limits: NetworkLimits, clock: _Clock
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise VideoError(f"{name}: a redirect to protocol {parts.scheme!r} is refused.")
    if not parts.hostname:
        raise VideoError(f"{name}: {url!r} names no host.")
    if parts.username is not None:
        raise VideoError(f"{name}: a URL with a user name is not supported.")
    proxy = None if urllib.request.proxy_bypass(parts.netloc) else urllib.request.getproxies().get(parts.scheme)
    addresses = _resolve(name, parts, limits, clock, required=proxy is None)
    target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    if proxy is None:
        connection = _Connection(parts, addresses, clock)
    else:
        via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(via.hostname, via.port, timeout=clock.left)
            connection.set_tunnel(parts.hostname, parts.port or 443)
        else:
            connection = http.client.HTTPConnection(via.hostname, via.port, timeout=clock.left)
            target = f"http://{parts.netloc}{target}"
    try:
        connection.connect()
        clock.socket = connection.sock
        connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "transformers_ov2"})
        return connection, connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _resolve(name: str, url: SplitResult, limits: NetworkLimits, clock: _Clock, required: bool) -> list[tuple]:
    """Socket addresses of a host, none of which is refused."""
    answer: queue.SimpleQueue = queue.SimpleQueue()

    def resolve():
        try:
            answer.put(socket.getaddrinfo(url.hostname, url.port or url.scheme, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    # In a thread of its own: the system's resolver knows no deadline.
    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=clock.left)
    except queue.Empty:
        found = []
        clock.check()
    if isinstance(found, Exception):
        if required:
            raise VideoError(f"{name}: host {url.hostname!r} is not found ({found}).")
        return []
    addresses = [entry[4] for entry in found]
    if not limits.allow_private_network:
        for address in addresses:
            if not _is_public(address[0]):
                raise VideoError(
                    f"{name}: host {url.hostname!r} has the address {address[0]}, which is not public; pass "
                    "`allow_private_network=True` if you trust every URL."
                )
    return addresses


# Prefixes of IPv6 addresses that stand for the IPv4 address in their last 32 bits (NAT64, IPv4-compatible).
_EMBEDDING = [ipaddress.ip_network(prefix) for prefix in ("64:ff9b::/96", "::/96")]
# NAT64 of a local network; Python counts it as private only since 3.12.4.
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    if ip.version == 6:
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        inner += [ipaddress.ip_address(int(ip) & 0xFFFFFFFF) for network in _EMBEDDING if ip in network]
        if ip in _LOCAL_NAT64 or any(each is not None and not _is_public(str(each)) for each in inner):
            return False
    return ip.is_global and not ip.is_multicast
