"""The files that Grafana reads are those that the descriptions make, and every picture explains itself."""

from __future__ import annotations

import json
import re

import pytest

from deploy.observe.boards.board import Board
from deploy.observe.dashboards import BOARDS, FOLDER, grafana, render


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_file_is_the_one_that_is_described(board: Board) -> None:
    assert (FOLDER / f"{board.name}.json").read_text() == render(board), "run: python -m deploy.observe.dashboards"


def test_there_are_no_other_files() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {board.name for board in BOARDS}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_panels_lie_side_by_side_and_say_what_to_look_for(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in grafana(board)["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["description"].endswith(".")
        assert panel["targets"] and all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_reader_chooses_edges_exactly_where_a_query_uses_the_choice(board: Board) -> None:
    names = [variable["name"] for variable in grafana(board)["templating"]["list"]]
    used = set(re.findall(r"\$(?!__)(\w+)", json.dumps([panel["targets"] for panel in grafana(board)["panels"]])))
    assert used == set(names) == ({"edge"} if board.by_edge else set())
