#!/usr/bin/env bash
# gcsfs asks a server of the JSON API over gRPC first what kind each bucket is, and waits for most of a minute for an answer
# that such a server cannot give; it does not remember that there was none, so that each new question waits again.
#
# Seen: cat_file() of two small objects, on loopback and answered at once, takes more than 20 s each; the server finds TLS
# handshakes among its HTTP requests. GCSFileSystem of gcsfs.core, the class without the question, takes less than 2 s.
# A 503 is asked for six times by either class, which is some half a minute more.
# Expected: an endpoint that is plain http:// is asked by HTTP alone, or the question's failure is remembered.
# With: gcsfs 2026.10.1, fsspec 2026.9.0, google-cloud-storage-control 1.17.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check gcsfs==2026.10.1 fsspec==2026.9.0 google-cloud-storage-control==1.17.0
venv/bin/python - <<'END'
import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

asked, handshakes = [], []


class Storage(BaseHTTPRequestHandler):
    """One bucket of objects of five bytes, in Google's JSON API; ``busy`` is always 503."""

    def parse_request(self):
        if self.raw_requestline[:1] == b"\x16":  # a TLS record, not a request line
            handshakes.append(1)
            self.close_connection = True
            return False
        return super().parse_request()

    def do_GET(self):
        name = unquote(urlsplit(self.path).path).rpartition("/o/")[2]
        asked.append(name)
        answer = {"kind": "storage#object", "name": name, "bucket": "videos", "size": "5", "generation": "1"}
        body = b"video" if "alt=media" in self.path else json.dumps(answer).encode()
        self.send_response(503 if name == "busy" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):  # a client that has gone
        pass


server = Server(("127.0.0.1", 0), Storage)
threading.Thread(target=server.serve_forever, daemon=True).start()
logging.disable(logging.CRITICAL)

import fsspec
import gcsfs
from gcsfs.core import GCSFileSystem

options = {"token": "anon", "endpoint_url": f"http://127.0.0.1:{server.server_port}", "skip_instance_cache": True}


def seconds(system, name):
    began = time.monotonic()
    assert system.cat_file(f"videos/{name}") == b"video"
    return time.monotonic() - began


usual, plain = fsspec.filesystem("gs", **options), GCSFileSystem(**options)
waits = {kind: [seconds(system, name) for name in "ab"] for kind, system in (("usual", usual), ("plain", plain))}
print(f"gcsfs {gcsfs.__version__}")
print(f"fsspec.filesystem('gs'), {type(usual).__name__}: {waits['usual'][0]:.1f} s, then {waits['usual'][1]:.1f} s")
print(f"gcsfs.core.GCSFileSystem: {waits['plain'][0]:.1f} s, then {waits['plain'][1]:.1f} s")
print(f"TLS handshakes sent to the HTTP port: {len(handshakes)}")
try:
    plain.cat_file("videos/busy")
except Exception as error:
    print(f"503: {type(error).__name__} after {asked.count('busy')} requests")
assert min(waits["usual"]) > 20 and max(waits["plain"]) < 2, "gcsfs's behaviour has changed"
assert handshakes and asked.count("busy") >= 6, "gcsfs's behaviour has changed"
END
