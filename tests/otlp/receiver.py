"""An OTLP receiver over HTTP that decodes with OpenTelemetry's own package and prints each request as a line of JSON.

Usage: receiver.py. Prints its port first. What the package does not know is printed as unknown, whole requests are answered
in the protocol's own words.
"""

import http.server
import json
import sys

from google.protobuf.json_format import MessageToDict
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

KINDS = {
    "/v1/traces": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse),
    "/v1/metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
}


def unknown(message):
    """Counts fields that the package does not know, however deep."""
    count = len(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.message_type:
            repeated = not hasattr(value, "ListFields")
            count += sum(unknown(one) for one in value) if repeated else unknown(value)
    return count


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request, answer = (kind() for kind in KINDS[self.path])
        request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
        told = {"path": self.path, "unknown": unknown(request), "request": MessageToDict(request)}
        print(json.dumps(told), flush=True)
        body = answer.SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
