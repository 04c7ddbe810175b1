"""Proxies that are told of revocations, without Envoy: streams that take all that they are sent.

    subscribers.py ADDRESS COUNT

Prints a line once each has heard its lists. For each line that it reads: how many recent lists were
pushed, and the bytes of the last one.
"""

import asyncio
import sys

import grpc

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
KIND = b"type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
RECENT = b"countersign-recent"
NAMES = [b"countersign-tokens", b"countersign-base-0-of-1", RECENT, b"countersign-opened"]
# A confirmation is shorter, and a list longer.
LIST_BYTES = 500


def field(number, content):
    """A field of a message that is shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def fields(message):
    """The fields of a message that are texts or messages."""
    place = 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while place < len(message):
        number, kind = divmod(varint(), 8)
        assert kind == 2, kind
        length = varint()
        yield number, message[place : place + length]
        place += length


class Subscriber:
    def __init__(self, channel, number):
        self.call = channel.stream_stream(METHOD)()
        self.number, self.pushed, self.bytes, self.heard = number, 0, 0, asyncio.Event()

    async def run(self):
        node = field(1, field(1, f"subscriber-{self.number}".encode()))
        await self.call.write(node + field(2, KIND) + b"".join(field(3, name) for name in NAMES))
        async for message in self.call:
            nonce = next(content for number, content in fields(message) if number == 5)
            if RECENT in message and len(message) > LIST_BYTES:
                self.pushed, self.bytes = self.pushed + 1, len(message)
                self.heard.set()
            await self.call.write(field(2, KIND) + field(6, nonce))


async def main(address, count):
    # Each proxy has a connection of its own.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(count)]
    subscribers = [Subscriber(channel, number) for number, channel in enumerate(channels)]
    tasks = [asyncio.create_task(subscriber.run()) for subscriber in subscribers]
    await asyncio.gather(*(subscriber.heard.wait() for subscriber in subscribers))
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        assert not any(task.done() for task in tasks), "a stream has ended"
        print(sum(subscriber.pushed for subscriber in subscribers), subscribers[0].bytes, flush=True)
    for task in tasks:
        task.cancel()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
