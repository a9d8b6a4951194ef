"""qh3's own asyncio streams, as the two programs of `testbed.bench.ways`; runs where qh3 is."""

import asyncio
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qh3.asyncio import connect, serve
from qh3.quic.configuration import QuicConfiguration

CHUNK = 65536
ALPN = "sink"


async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    counted = 0
    while data := await reader.read(CHUNK):
        counted += len(data)
    writer.write(counted.to_bytes(8, "big"))
    writer.write_eof()


async def receive(host: str, port: int) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
    with tempfile.TemporaryDirectory() as name:
        key, certificate = Path(name, "key.pem"), Path(name, "certificate.pem")
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-subj",
                "/CN=sink",
                "-keyout",
                str(key),
                "-out",
                str(certificate),
            ],
            check=True,
            capture_output=True,
        )
        configuration.load_cert_chain(str(certificate), str(key))
    running: set[asyncio.Future[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.ensure_future(count(reader, writer)))

    await serve(host, port, configuration=configuration, stream_handler=accept)
    print(f"{host}:{port}", flush=True)
    await asyncio.Event().wait()


async def send(address: str, size: int) -> None:
    host, _, port = address.partition(":")
    configuration = QuicConfiguration(alpn_protocols=[ALPN], verify_mode=ssl.CERT_NONE)
    chunk = bytes(CHUNK)
    async with connect(host, int(port), configuration=configuration) as client:
        reader, writer = await client.create_stream()
        print("open", flush=True)
        start = time.perf_counter()
        for _ in range(size // CHUNK):
            writer.write(chunk)
            await asyncio.sleep(0)  # its writers know no pause: `drain` fails
        writer.write_eof()
        assert int.from_bytes(await reader.readexactly(8), "big") == size
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    role, host, port, *rest = sys.argv[1:]
    if role == "receive":
        asyncio.run(receive(host, int(port)))
    else:
        asyncio.run(send(rest[0], int(rest[1])))
