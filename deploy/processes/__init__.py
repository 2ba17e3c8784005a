"""Starts, watches and stops the processes of servers: for the local stack, for perf, and for the tests.

A `Process` is one program with its output in a log file. `ports` finds free ports, `readiness` asks whether a server is
ready, `process_tree` adds up what a program and its children use; `nats` and `postgres` run these two from their
wheels. Nothing here depends on Fairlead's services, perf or the tests.
"""
