"""A TLS terminator before taosAdapter, as nginx or the Cloud's gateway would be one; and certificates for it.

python tests/tls_terminator.py PORT TAOS_PORT CERTIFICATE listens on 127.0.0.1 and passes on what comes. With
`--token` it lets in who has that in the address, and logs in to taosAdapter itself, as the Cloud does.
"""

import argparse
import asyncio
import re
import ssl
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

LOGIN = b"Authorization: Basic cm9vdDp0YW9zZGF0YQ==\r\n"  # root:taosdata


def make_authority(folder: Path, name: str) -> Path:
    """Its certificate; the key is beside it."""
    made = folder / f"{name}.pem"
    openssl(
        "req",
        "-x509",
        *NEW_KEY,
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
        "-keyout",
        made.with_suffix(".key"),
        "-out",
        made,
    )
    return made


def make_certificate(authority: Path, name: str, days: int = 2) -> Path:
    """A certificate of the authority's for a host's name, with its key in the same file."""
    made = authority.with_name(f"{name}-{days}.pem")
    key, request, extensions = (made.with_suffix(end) for end in (".key", ".csr", ".ext"))
    extensions.write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=critical,CA:FALSE\n")
    openssl("req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    signer = ("-CA", authority, "-CAkey", authority.with_suffix(".key"), "-CAcreateserial")
    openssl("x509", "-req", "-in", request, *signer, "-extfile", extensions, "-days", str(days), "-out", made)
    made.write_text(made.read_text() + key.read_text())
    return made


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def admit(head: bytes, token: str) -> bytes | None:
    """A request's first lines as taosAdapter gets them, None without the token."""
    target = head.split(b" ", 2)[1].decode()
    given = parse_qs(urlsplit(target).query).get("token")
    if given != [token] or re.search(rb"^authorization:", head, re.IGNORECASE | re.MULTILINE):
        return None
    line, rest = head.split(b"\r\n", 1)
    return line + b"\r\n" + LOGIN + rest


async def serve(arguments: argparse.Namespace) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(arguments.certificate)
    if arguments.is_older:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    token = arguments.token

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b""
        if token:
            asked = await reader.readuntil(b"\r\n\r\n")
            # One request a connection, so that each shows its token.
            head = admit(asked, token)
            if head is None:
                writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 13\r\n\r\nwrong token\r\n")
                writer.close()
                return
        to_taos = await asyncio.open_connection("127.0.0.1", arguments.taos_port)
        to_taos[1].write(head)
        await asyncio.gather(pass_on(reader, to_taos[1]), pass_on(to_taos[0], writer))

    async with await asyncio.start_server(take, "127.0.0.1", arguments.port, ssl=context) as server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("taos_port", type=int)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("--token", default="")
    parser.add_argument("--tls-1.2", action="store_true", dest="is_older", help="no newer TLS")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
