"""The contract: what travels between clients, edges, services and the log.

Message types (`messages`), their JSON form (`codec`), every code (`codes`), every NATS subject (`subjects`), the facts
of the session log (`events`) and heartbeats (`telemetry`). It imports the standard library and msgspec, and nothing of
ours. `vectors/` holds golden bytes for each of them.

Evolution: a new field has a default, a field never changes its type or meaning, unknown fields are skipped by whoever
reads. A change that breaks this raises `CONTRACT_VERSION` and is listed in CHANGELOG.md under "Incompatible".
"""

CONTRACT_VERSION = 1
