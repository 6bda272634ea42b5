"""route: asks `driver` over gRPC and answers with what it said.

Nothing here knows of baggage: `opentelemetry-instrument` carries the context. The messages are protobuf's own `Struct`,
so that no generated code is needed.
"""

import os

import grpc
from fastapi import FastAPI
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

ME = {"service": "route", "version": os.environ.get("VERSION", "baseline")}
CHANNEL = grpc.insecure_channel(
    os.environ["DRIVER_ADDRESS"],
    # A refused connection is tried again at once by the next case, instead of after gRPC's back-off of minutes.
    options=[("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)],
)
FIND = CHANNEL.unary_unary(
    "/bellhop.tests.Driver/Find",
    request_serializer=Empty.SerializeToString,
    response_deserializer=Struct.FromString,
)

app = FastAPI()


@app.get("/ready")
def ready():
    return ME


@app.get("/route")
def route():
    return {**ME, "calls": [ask_driver()]}


def ask_driver():
    try:
        return MessageToDict(FIND(Empty(), timeout=20))
    except grpc.RpcError as error:
        return {"service": "driver", "failed": f"{error.code().name}: {error.details()}"}
