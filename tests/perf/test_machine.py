"""A report can be published: it names the machine, and no secret, path or address of it."""

from __future__ import annotations

import json

from perf import machine


def test_the_command_holds_no_secret_and_no_path() -> None:
    arguments = ["connect", "--token-secret", "hush", "--nats-url=nats://u:hush@127.0.0.1", "--json", "/home/me/o.json"]
    shown = machine.command([*arguments, "--channel", "perf:{i}"])
    assert shown == "python -m perf connect --token-secret ... --nats-url=... --json o.json --channel 'perf:{i}'"


def test_machine_and_versions_are_json_and_complete() -> None:
    told = json.loads(json.dumps({**machine.machine(), **machine.versions()}))
    assert told["cores"] >= 1 and told["memory_bytes"] > 0 and told["cpu"]
    assert told["fairlead"] != "not installed" and told["python"].startswith("3.")
