"""Bytes of an OTLP logs request become Arrow batches per table, or a typed error. Pure: no I/O, no clock.

`wire` reads a request twice, as the protobuf runtime's objects and as columns (ptars); `columns` gives
these a shape that NumPy can index; `predictions`, `labels` and `logs` make the rows of one kind; `batches`
splits them. Whatever columns can not express (nested maps, mixed lists, repeated keys) is read from the
objects, row by row. `deep` saves the other records of a request in which the runtime can not read one.

A record may also be a whole table: `stream` reads its Arrow IPC stream within bounds, `arrow` turns arrays of
any type into the kinds of values that single records have, and `tables` makes their rows.

A request in JSON is first written anew in protobuf, by `json`.
"""

from lapwing_collector.decode.batches import decode_group, decode_logs
from lapwing_collector.decode.json import from_json

__all__ = ["decode_group", "decode_logs", "from_json"]
