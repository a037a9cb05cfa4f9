"""Exit 0 when the program in this container says it is healthy. Standard library only."""

import http.client
import os
import ssl
import sys

port = int(os.environ.get("HTTP_PORT", "0"))
connection: http.client.HTTPConnection
if os.environ.get("HTTP_TLS_CERT_FILE"):
    # The certificate names the service, not the loopback address; only liveness is asked here.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=4, context=context)
else:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
try:
    connection.request("GET", os.environ.get("HEALTH_PATH", "/-/healthy"))
    answer = connection.getresponse()
except OSError as error:
    sys.exit(f"no answer on port {port}: {error}")
if answer.status != 200:
    sys.exit(answer.read(400).decode("utf-8", "replace"))
