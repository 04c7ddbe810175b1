"""A service of grpc.aio that Countersign protects.

    python examples/grpc_service.py LISTEN COUNTERSIGN

LISTEN is an address such as 127.0.0.1:8080, COUNTERSIGN a URL such as http://127.0.0.1:50051.
"""

import asyncio
import sys

import grpc

from countersign import Verifier
from countersign.grpc_interceptor import AioInterceptor, current_principal
from google.protobuf.wrappers_pb2 import StringValue

LISTEN, COUNTERSIGN = sys.argv[1:]


async def orders(request, context):
    caller = current_principal()
    return StringValue(value=f"orders of {caller.user_id}")


async def serve():
    verifier = Verifier([COUNTERSIGN], audience="internal")
    await verifier.aready(timeout=10)
    guard = AioInterceptor(verifier, public=["/grpc.health.v1.Health/Check"])
    server = grpc.aio.server(interceptors=[guard])
    handler = grpc.unary_unary_rpc_method_handler(orders, StringValue.FromString, StringValue.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", {"List": handler}),))
    server.add_insecure_port(LISTEN)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
