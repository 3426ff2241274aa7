"""`alhena schema` prints what ships with the package."""

import json
from importlib.resources import files

import pytest
from click.testing import CliRunner

from alhena_async.cli._commands import alhena
from alhena_async.cli._schema import KINDS


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(alhena, ["schema", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_whole_document_is_the_file_of_the_package() -> None:
    """Byte for byte, so that it may be kept beside a shop's own code."""
    assert printed() == files("alhena_async").joinpath("schema.json").read_text()


def test_every_kind_of_the_document_can_be_asked_for() -> None:
    """And no other."""
    assert set(json.loads(printed())["$defs"]) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_is_complete_in_itself(kind: str) -> None:
    """Nothing in it points elsewhere."""
    assert json.loads(printed(kind))["title"] == kind
    assert "$ref" not in printed(kind)
