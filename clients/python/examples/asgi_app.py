"""A service of FastAPI that Countersign protects.

    python examples/asgi_app.py LISTEN COUNTERSIGN

LISTEN is an address such as 127.0.0.1:8080, COUNTERSIGN a URL such as http://127.0.0.1:50051.
"""

import sys

import uvicorn

from countersign import Verifier
from countersign.asgi import Middleware
from fastapi import FastAPI, Request

LISTEN, COUNTERSIGN = sys.argv[1:]

verifier = Verifier([COUNTERSIGN], audience="internal")
app = FastAPI()
app.add_middleware(Middleware, verifier=verifier, public=["/health"])


@app.get("/orders")
async def orders(request: Request):
    return f"orders of {request.state.principal.user_id}"


@app.get("/health")
async def health():
    return "ok"


if __name__ == "__main__":
    verifier.ready(timeout=10)
    host, _, port = LISTEN.rpartition(":")
    uvicorn.run(app, host=host, port=int(port), log_level="warning")
