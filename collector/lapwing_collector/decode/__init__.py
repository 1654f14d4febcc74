"""Bytes of an OTLP logs request become Arrow batches per table, or a typed error. Pure: no I/O, no clock.

`wire` reads a request twice, as the protobuf runtime's objects and as columns (ptars); `columns` gives
these a shape that NumPy can index; `predictions`, `labels` and `logs` make the rows of one kind; `batches`
splits them. Whatever columns can not express (nested maps, mixed lists, repeated keys) is read from the
objects, row by row.
"""

from lapwing_collector.decode.batches import decode_logs

__all__ = ["decode_logs"]
