"""The load: thousands of clients in a few processes, and a backend that publishes, in any system's protocol.

`fleet` starts the client processes (`worker`). Each opens its share on schedule (`pacing`, `generator`) with a client
that does as little as the protocol allows (`wire_client`, `frames`, `delivery_counter`), in the protocol of the
measured system (`dialects`). A backend publishes from a separate process (`publisher`, `publish_targets`). `delivery`
is one phase of a run: publish, wait, count.
"""
