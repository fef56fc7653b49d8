# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What is downloaded and what is not, from a server on this machine."""

import contextlib
import http.server
import socket
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from synth import clip_bytes

from transformers_ov2.codec.reading import network
from transformers_ov2.codec.reading.network import NetworkLimits, _is_public
from transformers_ov2.codec.reading.source import VideoError, open_source


CLIP = clip_bytes(5)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append((self.path, self.headers["Host"]))
        url = urlsplit(self.path)
        with contextlib.suppress(OSError):
            getattr(self, url.path.strip("/").split(".")[0].replace(" ", "_").replace("%20", "_"))(parse_qs(url.query))

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def a_clip(self, query):
        self.head(content_length=len(CLIP))
        self.wfile.write(CLIP)

    def chunked(self, query):
        self.head(transfer_encoding="chunked")
        self.wfile.write(f"{len(CLIP):x}\r\n".encode() + CLIP + b"\r\n0\r\n\r\n")

    def missing(self, query):
        self.head(404, content_length=0)

    def redirect(self, query):
        self.head(302, location=query["to"][0], content_length=0)

    def circle(self, query):
        self.head(307, location="/circle", content_length=0)

    def large(self, query):
        self.head(content_length=10**9)

    def endless(self, query):
        self.head(connection="close")
        while True:
            self.wfile.write(bytes(2**16))

    def short(self, query):
        self.head(content_length=len(CLIP), connection="close")
        self.wfile.write(CLIP[:100])
        self.close_connection = True

    def slow_body(self, query):
        self.head(content_length=len(CLIP))
        for byte in CLIP:
            self.wfile.write(bytes([byte]))
            time.sleep(0.02)

    def slow_head(self, query):
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
            self.wfile.write(bytes([byte]))
            time.sleep(0.02)

    def silent(self, query):
        time.sleep(2)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close, server.requests = True, False, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def get(server):
    def get(path, **options):
        options = {"allow_network": True, "allow_private_network": True, **options}
        return open_source(f"http://127.0.0.1:{server.server_port}{path}", **options)

    return get


@pytest.mark.parametrize(
    "path", ["/a clip.mp4", "/a%20clip.mp4", "/chunked", "/redirect?to=/redirect?to%3D/a%2520clip"]
)
def test_downloads(get, path):
    assert get(path).fingerprint() == open_source(CLIP).fingerprint()


def test_nothing_is_fetched_unless_allowed(get, server):
    before = len(server.requests)
    with pytest.raises(VideoError, match="network access is off; pass `allow_network=True`"):
        get("/a clip.mp4", allow_network=False)
    with pytest.raises(VideoError, match="has the address 127.0.0.1, which is not public"):
        get("/a clip.mp4", allow_private_network=False)
    assert len(server.requests) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing", "answers 404"),
        ("/circle", "more than 10 redirects"),
        ("/redirect?to=file:///etc/passwd", "redirect to protocol 'file' is refused"),
        ("/redirect?to=ftp://127.0.0.1/x", "redirect to protocol 'ftp' is refused"),
        ("/redirect?to=http://user:word@127.0.0.1/", "user name"),
        ("/large", r"1000000000 bytes exceed the limit \(`max_download_bytes`\)"),
        ("/endless", r"longer than the limit \(`max_download_bytes`\)"),
        ("/short", f"the connection ended after 100 of {len(CLIP)} bytes"),
    ],
)
def test_what_is_no_download(get, path, message):
    with pytest.raises(VideoError, match=message):
        get(path, max_download_bytes=2**20)


@pytest.mark.parametrize("path", ["/slow_body", "/slow_head", "/silent"])
def test_deadline_is_total(get, path):
    """However often a byte comes."""
    start = time.monotonic()
    with pytest.raises(VideoError, match=r"took longer than 0.3 seconds \(`download_seconds`\)"):
        get(path, download_seconds=0.3)
    assert time.monotonic() - start < 1.5


def test_slow_name_servers_are_not_waited_for(get, monkeypatch):
    monkeypatch.setattr(network.socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(2))
    with pytest.raises(VideoError, match="took longer than 0.2 seconds"):
        get("/a clip.mp4", download_seconds=0.2)


def test_every_redirect_is_looked_at(server, monkeypatch):
    """A public host that leads to a private one. Names are resolved by a table; all connections end up here."""
    table = {"public.example": "93.184.216.34", "private.example": "10.1.2.3", "metadata.example": "169.254.169.254"}
    asked, connected = [], []
    connect = socket.create_connection

    def getaddrinfo(host, port, *args, **kwargs):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (table.get(host, host), server.server_port))]

    def create_connection(address, **kwargs):
        connected.append(address[0])
        return connect(("127.0.0.1", server.server_port), **kwargs)

    monkeypatch.setattr(network.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(network.socket, "create_connection", create_connection)
    url = "http://public.example/a clip.mp4"
    assert open_source(url, allow_network=True).fingerprint() == open_source(CLIP).fingerprint()
    # The name server is asked once, and the connection goes where it said.
    assert asked.count("public.example") == 1 and connected == ["93.184.216.34"]
    assert server.requests[-1] == ("/a%20clip.mp4", "public.example")
    for target in ("private.example", "metadata.example", "127.0.0.1", "[::1]"):
        with pytest.raises(VideoError, match="which is not public"):
            open_source(f"http://public.example/redirect?to=http://{target}/a", allow_network=True)
        assert set(connected) == {"93.184.216.34"}


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("::127.0.0.1", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address, public):
    assert _is_public(address) == public


def test_no_host():
    with pytest.raises(VideoError, match="names no host"):
        open_source("http:///x.mp4", allow_network=True)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "localhost"])
def test_other_spellings_of_this_machine(host):
    with pytest.raises(VideoError, match="which is not public|is not found"):
        open_source(f"http://{host}:9/x.mp4", allow_network=True)


def test_proxies_of_the_environment_are_used(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    source = open_source("http://93.184.216.34/chunked", allow_network=True)
    assert source.fingerprint() == open_source(CLIP).fingerprint()
    assert server.requests[-1][0] == "http://93.184.216.34/chunked"
    with pytest.raises(VideoError, match="which is not public"):
        open_source("http://10.0.0.1/x.mp4", allow_network=True)


@pytest.mark.parametrize("options", [{"download_seconds": 0}, {"max_download_bytes": -1}])
def test_limits_are_positive(options):
    with pytest.raises(ValueError, match="positive number"):
        NetworkLimits(**options)
