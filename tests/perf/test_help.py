"""What someone asks first: which modes there are."""

from __future__ import annotations

import pytest

from perf import modes
from perf.__main__ import main


@pytest.mark.parametrize("arguments", [["--help"], *([mode, "--help"] for mode in modes.NAMES)], ids=" ".join)
def test_it_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    wanted = modes.NAMES if len(arguments) == 1 else [f"python -m perf {arguments[0]}"]
    assert all(name in printed for name in wanted)
    assert "%%" not in printed
