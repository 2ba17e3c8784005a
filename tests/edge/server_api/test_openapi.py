from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema

from services.edge.server_api.answers import METHODS
from services.edge.server_api.openapi import describe

FILE = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"


def test_the_file_in_docs_is_current():
    written = subprocess.run(
        [sys.executable, "-m", "services.edge.server_api.openapi"], stdout=subprocess.PIPE, check=True
    )
    again = "write it anew: .venv/bin/python -m services.edge.server_api.openapi > docs/openapi.json"
    assert FILE.read_bytes() == written.stdout, again


def test_every_method_is_described_and_every_schema_is_one():
    described = describe()
    assert described["paths"].keys() == {"/api", *(f"/api/{name}" for name in METHODS)}
    for schema in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(described)
    for name in described["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text, f"nothing refers to {name}"
