"""The contract: everything that travels between clients, edges, services, backends and the log.

| modules | what they define |
|---|---|
| `commands`, `replies`, `messages` | the client protocol: what clients send, what they receive, what both share |
| `codec` | what the two encodings have in common: frames and payloads |
| `codec_json` | JSON |
| `codec_protobuf` | Protobuf, from `layouts_protobuf` (structs) and `wire_protobuf` (numbers, lengths) |
| `fossil` | deltas between a publication and its predecessor |
| `codes` | every error, unsubscribe and close code |
| `subjects` | every NATS subject and stream name |
| `publications` | a publication as a NATS message: the payload as body, the rest in headers |
| `control`, `members` | what edges send each other: requests and answers, joins and leaves |
| `events` | the facts of the session log |
| `telemetry` | heartbeats |

It imports only the standard library and msgspec, and no other package of ours. `vectors/` holds golden bytes, also for
implementations in other languages.

Evolution: a new field has a default, a field never changes its type or meaning, and readers skip unknown fields. A
change that breaks this raises `CONTRACT_VERSION` and is listed in CHANGELOG.md under "Incompatible".
"""

CONTRACT_VERSION = 1
