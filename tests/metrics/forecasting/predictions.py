"""Predictions for tests."""

from __future__ import annotations

from collections.abc import Sequence

from services.metrics.forecasting.demand import CONNECTIONS, EDGES
from services.metrics.forecasting.prediction import LEVELS, Answer, Prediction


def answer(start: int, medians: Sequence[float]) -> Answer:
    """Each hour's demand in edges is spread evenly around its median by half of it to each side; a thousand
    connections for an edge."""
    made = {
        name: Prediction(
            start=start, quantiles=[[scale * m * (0.5 + level) for level in LEVELS] for m in medians], error=1.0
        )
        for name, scale in ((EDGES, 1.0), (CONNECTIONS, 1000.0))
    }
    return Answer(predictions=made)
