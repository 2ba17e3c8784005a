"""`python -m services.metrics.forecasting.worker`: reads a task from standard input, writes the answer, and ends.

It is a separate process, since numpy holds the interpreter's lock for seconds, and the memory of the library is
released with the process.
"""

from __future__ import annotations

import contextlib
import os
import sys

import msgspec

from services.metrics.forecasting.prediction import Answer, Prediction, Task

_NICENESS = 10  # heartbeats and clients come first


def answer(task: Task) -> Answer:
    """Predicts every series of the task. Raises ImportError without the extra."""
    from services.metrics.forecasting.seasonal import TooShort, predict

    predictions: dict[str, Prediction] = {}
    problems: dict[str, str] = {}
    for name, series in task.series.items():
        try:
            predictions[name] = predict(series, task.horizon)
        except TooShort as error:
            problems[name] = str(error)
    return Answer(predictions=predictions, problems=problems)


def main() -> None:
    """Exits with 3 if the extra is not installed."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        answered = answer(task)
    except ImportError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the service reads it
        sys.exit(3)
    sys.stdout.buffer.write(msgspec.json.encode(answered))


if __name__ == "__main__":
    main()
