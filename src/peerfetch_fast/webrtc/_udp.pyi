from collections.abc import Callable
from socket import socket as Socket
from typing import Any

MAX_SENT_DATAGRAM: int
RECEIVE_BUFFER: int
SEND_BUFFER: int

def kind(first_byte: int) -> str: ...

class Address:
    def __init__(self, host: str, port: int) -> None: ...

class Receiver: ...

class CallbackReceiver(Receiver):
    def __init__(self, callback: Callable[[bytes, tuple[str, int]], object]) -> None: ...

class UdpSocket:
    receiver: Receiver
    destination: Address | None
    gso: bool
    gro: bool
    receive_buffer: int
    send_buffer: int
    kernel_drops: int
    pending: int
    datagrams_received: int
    bytes_received: int
    receive_calls: int
    datagrams_sent: int
    bytes_sent: int
    send_calls: int
    send_drops: int

    def __init__(self, socket: Socket, receiver: Receiver) -> None: ...
    def fileno(self) -> int: ...
    def getsockname(self) -> Any: ...
    def close(self) -> None: ...
    def receive(self, budget: int) -> bool: ...
    def sendto(self, data: bytes | bytearray | memoryview, address: tuple[Any, ...]) -> None: ...
    def queue(self, data: bytes | bytearray | memoryview) -> bool: ...
    def flush(self) -> bool: ...
