"""A report can be published: it names the machine, and no secret, path or address of it."""

from __future__ import annotations

import msgspec
import pytest

from perf.report import machine


def test_the_command_holds_no_secret_and_no_path() -> None:
    arguments = ["connect", "--token-secret", "hush", "--nats-url=nats://u:hush@127.0.0.1", "--json", "/home/me/o.json"]
    shown = machine.command([*arguments, "--channel", "perf:{i}"])
    assert shown == "python -m perf connect --token-secret ... --nats-url=... --json o.json --channel 'perf:{i}'"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--target-api-key", "hush"], "--target-api-key ..."),
        (["--target-api-key=hush"], "--target-api-key=..."),
        (["--target-a", "hush"], "--target-a ..."),  # argparse takes abbreviations
        (["--token-s=hush"], "--token-s=..."),
        (["--results", "/home/me/results/today"], "--results today"),
        (["--chart", "/home/me/edges.png", "--before", "/home/me/old"], "--chart edges.png --before old"),
        (["--results=/home/me/results/today/"], "--results=today"),
        (["--res", "/home/me/today"], "--res today"),
        (["--target", "x=ws://hush@127.0.0.1:1/c?cf_connect=hush"], "--target x=ws://...@127.0.0.1:1/c"),
        (["--url=ws://127.0.0.1:1/c?cf_connect=hush"], "--url=ws://127.0.0.1:1/c"),
        (["--target-channel", "a:{name}"], "--target-channel 'a:{name}'"),
        (["--rate", "5", "--quick"], "--rate 5 --quick"),
    ],
)
def test_no_option_of_compare_shows_a_secret_or_a_path(arguments: list[str], shown: str) -> None:
    assert machine.command(["compare", *arguments]) == f"python -m perf compare {shown}"


def test_machine_and_versions_are_complete() -> None:
    told = msgspec.to_builtins(machine.machine()) | machine.versions()
    assert told["cores"] >= 1 and told["memory_bytes"] > 0 and told["cpu"]
    assert told["fairlead"] != "not installed" and told["python"].startswith("3.")
