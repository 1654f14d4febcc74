"""What one request, and all of them together, may use."""

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the receiver.

    Attributes:
        body_bytes: The size of a request's body, as sent and also after decompression; beyond it is 413.
            OTLP asks for 64 MiB.
        in_flight_bytes: What the bodies of all requests in hand may hold, as far as they have arrived;
            a request that finds no room waits, and its client with it. One counts as three quarters of that
            at most.
        room_wait_s: How long a request waits for room among those before it is answered 503.
        answer_s: How long the collector's own work on a request, waiting for room included, may take before
            it is answered 503; stock clients give up after 10 seconds, and try again until then.
        held_s: The same for a request that comes while the collector starts.
        idle_s: How long a client may send nothing of a request, or read nothing of an answer.
        turn_wait_s: How long a gRPC call waits for its turn to be read, which counts as waiting for room.
        message_s: How long the message of a gRPC call may take to arrive (half of `turn_wait_s` is enough
            when others wait to be read), and what is left of a request that was answered before its end.
        connections: How many may be open, over HTTP and over gRPC each.
        drain_bytes: How much of a refused body is read, so that a client that is still sending gets to read
            the answer instead of seeing its connection reset.
    """

    body_bytes: int = 64 * _MIB
    in_flight_bytes: int = 40 * _MIB
    room_wait_s: float = 1.0
    turn_wait_s: float = 2.0
    answer_s: float = 3.0
    held_s: float = 5.0
    idle_s: float = 10.0
    message_s: float = 60.0
    connections: int = 4096
    drain_bytes: int = 256 * _MIB
