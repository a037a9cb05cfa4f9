"""Requests that a gateway must not let through, as raw bytes."""

from __future__ import annotations

import socket

TOKEN = "a-token-for-tests-only"
_AUTH = f"Authorization: Bearer {TOKEN}"


def request(
    line: str, *headers: str, auth: bool = True, body: bytes = b"", ending: str = "HTTP/1.1"
) -> bytes:
    """One request."""
    lines = [f"{line} {ending}", "Host: gateway", *headers]
    if auth:
        lines.append(_AUTH)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def hostile(service: str, version: int, other: str) -> dict[str, bytes]:
    """Name to request. `service` is one that opted in, as last read; `other` one that did not."""
    change = f"/v1/services/{service}/replicas"
    good = f"{change}?count=2&version={version}"
    spec = b'{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/"}]}}}'
    length = f"Content-Length: {len(spec)}"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(spec), spec)
    return {
        "container create": request("POST /v1.41/containers/create", length, body=spec),
        "container start": request("POST /v1.41/containers/abc/start"),
        "exec create": request("POST /v1.41/containers/abc/exec", length, body=spec),
        "exec start": request("POST /v1.41/exec/abc/start"),
        "attach by upgrade": request(
            "POST /v1.41/containers/abc/attach", "Upgrade: tcp", "Connection: Upgrade"
        ),
        "service create": request("POST /v1.41/services/create", length, body=spec),
        "service update with an image": request(
            f"POST /v1.41/services/{service}/update?version={version}", length, body=spec
        ),
        "service delete": request(f"DELETE /v1.41/services/{service}"),
        "delete by our path": request(f"DELETE /v1/services/{service}"),
        "secret create": request("POST /v1.41/secrets/create", length, body=spec),
        "secret list": request("GET /v1.41/secrets"),
        "config list": request("GET /v1.41/configs"),
        "image pull": request("POST /v1.41/images/create?fromImage=evil"),
        "build": request("POST /v1.41/build?remote=http://evil"),
        "volume create": request("POST /v1.41/volumes/create", length, body=spec),
        "node update": request("POST /v1.41/nodes/abc/update?version=1", length, body=spec),
        "swarm leave": request("POST /v1.41/swarm/leave?force=1"),
        "service logs": request(f"GET /v1.41/services/{service}/logs?stdout=1"),
        "another service": request(f"POST /v1/services/{other}/replicas?count=2&version=1"),
        "above the maximum": request(f"POST {change}?count=5000&version={version}"),
        "below the minimum": request(f"POST {change}?count=0&version={version}"),
        "a negative count": request(f"POST {change}?count=-1&version={version}"),
        "a count that is none": request(f"POST {change}?count=1e3&version={version}"),
        "a further field": request(f"POST {good}&image=evil"),
        "a field twice": request(f"POST {good}&count=5000"),
        "a version never read": request(f"POST {change}?count=2&version={version + 1000}"),
        "path upwards": request(f"GET /v1/services/../../v1.41/secrets?x={service}"),
        "path upwards, escaped": request("GET /v1/services/%2e%2e%2f%2e%2e%2fv1.41%2fsecrets"),
        "path with a second slash": request(f"POST //v1/services/{service}/replicas?count=2"),
        "path with a newline": request(f"GET /v1/services/{service}%0d%0aX:%20y"),
        "absolute address": request(f"POST http://docker{good}"),
        "a long path": request("GET /v1/services/" + "a" * 5000),
        "a body": request(f"POST {good}", length, body=spec),
        "an oversized body": request(
            f"POST {good}", "Content-Length: 10000000", body=b"x" * 100_000
        ),
        "a chunked body": request(f"POST {good}", "Transfer-Encoding: chunked", body=chunks),
        "both lengths": request(
            f"POST {good}", "Content-Length: 0", "Transfer-Encoding: chunked", body=chunks
        ),
        "two lengths": request(f"POST {good}", "Content-Length: 0", length, body=spec),
        "a second request behind a refused one": request(
            "POST /v1.41/swarm/leave", "Content-Length: 9", body=request(f"POST {good}")
        ),
        "an expectation": request(f"POST {good}", "Expect: 100-continue"),
        "no token": request(f"POST {good}", auth=False),
        "a wrong token": request(f"POST {good}", "Authorization: Bearer wrong", auth=False),
        "another method": request(f"PUT {good}"),
        "a method that is none": request(f"SCALE {good}"),
        "many headers": request(f"POST {good}", *(f"X-{n}: y" for n in range(200))),
        "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    }


def send(port: int, raw: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
        except OSError:
            pass  # refused before all of it was sent
    return answer
