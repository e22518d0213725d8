# Cases of nbd_suite that need libnbd's handle: requests no well-behaved client sends, and what must come of them.
# Each function is one case; NBD_URI says where. libnbd's own checks are switched off where they would hide the server's.
import errno
import os
import socket
import struct
import sys
from urllib.parse import parse_qs, urlparse

import nbd

URI = os.environ["NBD_URI"]
SOCKET = parse_qs(urlparse(URI).query)["socket"][0]
EXPORT = urlparse(URI).path.lstrip("/")


def connect(setup=None, strict=False):
    handle = nbd.NBD()
    handle.set_strict_mode(nbd.STRICT_MASK if strict else 0)
    handle.add_meta_context("base:allocation")
    if setup:
        setup(handle)
    handle.connect_uri(URI)
    return handle


def block_of(handle):
    return handle.get_block_size(nbd.SIZE_MINIMUM)


def refused(expected, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except nbd.Error as error:
        assert error.errnum == expected, "expected %s, got %s" % (errno.errorcode[expected], error)
        return
    raise AssertionError("was not refused")


def alive(handle):
    block = block_of(handle)
    assert len(handle.pread(block, 0)) == block


def unaligned():
    h = connect()
    block = block_of(h)
    refused(errno.EINVAL, h.pread, block, 1)
    refused(errno.EINVAL, h.pread, block + 1, 0)
    refused(errno.EINVAL, h.pwrite, b"x" * block, 7)
    refused(errno.EINVAL, h.pwrite, b"x" * (block - 1), 0)
    if h.can_trim():
        refused(errno.EINVAL, h.trim, block, 1)
    if h.can_zero():
        refused(errno.EINVAL, h.zero, block // 2, 0)
    alive(h)


def past_the_end():
    h = connect()
    block, size = block_of(h), h.get_size()
    refused(errno.EINVAL, h.pread, block, size)
    refused(errno.EINVAL, h.pread, 2 * block, size - block)
    refused(errno.EINVAL, h.pread, block, (1 << 63) - block)
    refused(errno.ENOSPC, h.pwrite, b"x" * block, size)
    refused(errno.ENOSPC, h.pwrite, b"x" * 2 * block, size - block)
    if h.can_zero():
        refused(errno.ENOSPC, h.zero, block, size)
    if h.can_trim():
        refused(errno.EINVAL, h.trim, block, size)
    alive(h)


def unknown_export():
    h = nbd.NBD()
    h.set_export_name("there is no such thing")
    try:
        h.connect_unix(SOCKET)
    except nbd.Error as error:
        assert error.errnum == errno.ENOENT, error
        return
    raise AssertionError("an export that is not there was opened")


def too_large():
    h = connect()
    block = block_of(h)
    refused(errno.EINVAL, h.pread, (32 << 20) + block, 0)
    refused(errno.EINVAL, h.pwrite, b"x" * ((32 << 20) + block), 0)
    alive(h)


def raw_client():
    """A socket that is through the handshake by EXPORT_NAME, as old clients did it."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(SOCKET)
    assert s.recv(18, socket.MSG_WAITALL)[:16] == b"NBDMAGICIHAVEOPT"
    s.sendall(struct.pack(">I", 3))
    name = EXPORT.encode()
    s.sendall(b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
    size, flags = struct.unpack(">QH", s.recv(10, socket.MSG_WAITALL))
    assert flags & 1
    return s, size


def raw_request(s, command, flags=0, cookie=1, offset=0, length=0, payload=b""):
    s.sendall(struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length) + payload)
    magic, error, back = struct.unpack(">IIQ", s.recv(16, socket.MSG_WAITALL))
    assert magic == 0x67446698 and back == cookie
    return error


def unknown_commands():
    s, size = raw_client()
    assert raw_request(s, 99, cookie=5) == errno.EINVAL
    assert raw_request(s, 0, flags=1 << 12, cookie=6, length=4096) == errno.EINVAL
    assert raw_request(s, 7, cookie=7, length=4096) == errno.EINVAL  # status was not agreed on
    assert raw_request(s, 3, cookie=8) == 0
    s.sendall(b"this is no request, it is garbage")
    try:
        assert s.recv(1) == b""
    except ConnectionResetError:
        pass


def export_name():
    s, size = raw_client()
    assert size > 0
    assert raw_request(s, 1, length=4096, cookie=2, payload=b"e" * 4096) == 0
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 3, 0, 4096))
    assert struct.unpack(">IIQ", s.recv(16, socket.MSG_WAITALL)) == (0x67446698, 0, 3)
    assert s.recv(4096, socket.MSG_WAITALL) == b"e" * 4096
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 4, 0, 0))
    assert s.recv(1) == b""


def starttls():
    if not nbd.NBD().supports_tls():
        return
    h = connect(lambda handle: handle.set_tls(nbd.TLS_ALLOW))
    assert not h.get_tls_negotiated()
    alive(h)


def simple_replies():
    h = connect(lambda handle: handle.set_request_structured_replies(False), strict=True)
    assert not h.get_structured_replies_negotiated()
    data = os.urandom(65536)
    h.pwrite(data, 65536, nbd.CMD_FLAG_FUA)
    assert h.pread(65536, 65536) == data
    h.flush()
    if h.can_zero():
        h.zero(65536, 65536)
        assert h.pread(65536, 65536) == bytes(65536)
    if h.can_trim():
        h.trim(65536, 0)
    if h.can_cache():
        h.cache(65536, 0)
    h.shutdown()


def status_of_one():
    h = connect(strict=True)
    seen = []

    def extents(context, offset, entries, error):
        seen.append((context, offset, list(entries)))

    h.block_status(1 << 20, 0, extents, nbd.CMD_FLAG_REQ_ONE)
    assert len(seen) == 1 and seen[0][0] == "base:allocation" and len(seen[0][2]) == 2 and seen[0][2][0] <= 1 << 20, seen


def many_in_flight():
    h = connect(strict=True)
    blocks = [os.urandom(4096) for _ in range(256)]
    pending = [h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b)), i * 4096) for i, b in enumerate(blocks)]
    while not all(h.aio_command_completed(c) for c in list(pending[-1:])):
        h.poll(-1)
    for c in pending[:-1]:
        while not h.aio_command_completed(c):
            h.poll(-1)
    buffers = [nbd.Buffer(4096) for _ in blocks]
    pending = [h.aio_pread(b, i * 4096) for i, b in enumerate(buffers)]
    for c in pending:
        while not h.aio_command_completed(c):
            h.poll(-1)
    assert all(bytes(buffer.to_bytearray()) == block for buffer, block in zip(buffers, blocks))


def vanish():
    for payload in (b"", b"x" * 1000):
        s, size = raw_client()
        for cookie in range(64):
            s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, cookie, 0, 65536))
        s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 99, 0, 4096) + payload)
        s.close()
    alive(connect())


def two_connections():
    a, b = connect(strict=True), connect(strict=True)
    data = os.urandom(8192)
    a.pwrite(data, 8192)
    b.flush()
    assert b.pread(8192, 8192) == data


def read_only():
    h = connect()
    assert h.is_read_only()
    refused(errno.EPERM, h.pwrite, b"x" * 512, 0)
    refused(errno.EPERM, h.zero, 512, 0)
    refused(errno.EPERM, h.trim, 512, 0)
    alive(h)


def blocks_of_4k():
    h = connect()
    assert block_of(h) == 4096
    refused(errno.EINVAL, h.pread, 512, 0)
    refused(errno.EINVAL, h.pwrite, b"x" * 512, 4096)
    alive(h)


if __name__ == "__main__":
    {f.__name__: f for f in (unaligned, past_the_end, unknown_export, too_large, unknown_commands, export_name, starttls,
                             simple_replies, status_of_one, many_in_flight, vanish, two_connections, read_only,
                             blocks_of_4k)}[sys.argv[1]]()
