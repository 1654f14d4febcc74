"""Bytes of OTLP logs requests become Arrow batches per table, or a typed error. Pure: no I/O, no clock.

The usual records of a service look alike. `group` opens the envelopes of requests that came together and lays
their records side by side (`envelope`, `records`); `plan` learns from one record what all of its shape look
like, `lockstep` reads these in step, and `alike` makes their rows, without an object per record or value.

Whatever does not follow a plan is read the general way, request by request: `wire` reads it twice, as the
protobuf runtime's objects and as columns (ptars); `columns` gives these a shape that NumPy can index;
`batches` splits them into rows of one kind. What columns can not express (nested maps, mixed lists, repeated
keys) is read from the objects, row by row, and `deep` saves the other records of a request in which the
runtime can not read one. `merge` joins what was read in different ways.

`predictions`, `labels` and `logs` say what the rows of each kind are. A record may also be a whole table:
`stream` reads its Arrow IPC stream within bounds, `arrow` turns arrays of any type into the kinds of values
that single records have, and `tables` makes their rows.

`descriptors` adds what can be told of texts that files of models declare. `references` makes rows of files
that production is compared with.

A request in JSON is first written anew in protobuf, by `json`.
"""

from lapwing_collector.decode.descriptors import describe_texts
from lapwing_collector.decode.group import decode_group, decode_logs
from lapwing_collector.decode.json import from_json
from lapwing_collector.decode.references import reference_batch

__all__ = ["decode_group", "decode_logs", "describe_texts", "from_json", "reference_batch"]
