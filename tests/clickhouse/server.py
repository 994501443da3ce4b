"""ClickHouse's engine behind as much of its HTTP interface as the official client uses; what it does not know it refuses.

Usage: server.py PORT FOLDER USER PASSWORD [CERTIFICATE]. With a certificate (PEM, and its key) it speaks TLS. Bodies, formats and settings go to the engine as they came. POST /lose makes
the answers to the next so many inserts, which are done, never come.
"""

import http.server
import ssl
import sys
import threading
import urllib.parse

from chdb.session import Session

PORT, FOLDER, USER, PASSWORD = int(sys.argv[1]), *sys.argv[2:5]
TRANSPORT = {"query", "database", "default_format", "client_protocol_version"}
session = Session(FOLDER)
lock = threading.Lock()
lose = [0]


def engine(database, settings, text, body, form):
    chosen = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
    with lock:
        session.query(f"USE {database}")
        if body:
            before, form = text.rsplit(" FORMAT ", 1)
            assert before.startswith("INSERT INTO "), before
            session.query(f"{before} SETTINGS {chosen} FORMAT {form}\n".encode() + body)
            return b""
        if text.lstrip().upper().startswith(("CREATE", "ALTER", "DROP")):
            session.query(text)
            return b""
        return session.query(f"{text} SETTINGS {chosen}" if chosen else text, form).bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.read()
        path, _, query = self.path.partition("?")
        if path == "/lose":
            lose[0] = int(body)
            return self.answer(200, b"")
        given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        if path != "/":
            return self.answer(404, b"There is no handle " + path.encode())
        user, key = self.headers.get("x-clickhouse-user"), self.headers.get("x-clickhouse-key")
        if (user, key) != (USER, PASSWORD):
            return self.refuse(516, "Authentication failed. (AUTHENTICATION_FAILED)")
        settings = {name: value for name, value in given.items() if name not in TRANSPORT}
        text, rows = (given["query"], body) if "query" in given else (body.decode(), b"")
        try:
            form = given.get("default_format", "TabSeparated")
            answer = engine(given["database"], settings, text, rows, form)
        except Exception as error:
            return self.refuse(int(str(error).split("Code: ")[1].split(".")[0]), str(error))
        if rows and lose[0] > 0:
            lose[0] -= 1
            self.close_connection = True
            return self.connection.close()
        self.answer(200, answer)

    def read(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline().strip(), 16):
            parts.append(self.rfile.read(size))
            assert self.rfile.readline() == b"\r\n"
        assert self.rfile.readline() == b"\r\n"
        return b"".join(parts)

    def refuse(self, code, text):
        self.answer(500, f"Code: {code}. {text}".encode(), {"x-clickhouse-exception-code": str(code)})

    def answer(self, status, body, headers={}):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


session.query("CREATE DATABASE IF NOT EXISTS tercet")
server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
if len(sys.argv) > 5:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[5])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
