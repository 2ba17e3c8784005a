"""The edge: WebSockets in, NATS out, and back. Stateless: it can be killed at any moment and no message is lost.

    in    bytes -> wire -> proto.codec -> client (decides) -> connection (does) -> node -> broker_nats -> NATS
    out   NATS -> broker_nats -> node -> channel_log (position rule) -> fan-out -> one frame -> socket

Each arrow is one file of this package, and nothing flows the other way. State changes contain no `await`: decide,
then do.
"""
