"""Exit 0 when the program in this container is healthy. Light: it runs every few seconds."""

import os
import socket
import sys

port = int(os.environ.get("HTTP_PORT", "0"))
path = os.environ.get("HEALTH_PATH", "/-/healthy")
try:
    connection = socket.create_connection(("127.0.0.1", port), timeout=25)
    if os.environ.get("HTTP_TLS_CERT_FILE"):
        import ssl

        # The certificate names the service, not the loopback address; only liveness is asked.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode())
    answer = connection.recv(1024).decode("utf-8", "replace")
except OSError as error:
    sys.exit(f"no answer on port {port}: {error}")
if " 200 " not in answer.partition("\r\n")[0]:
    sys.exit(answer)
