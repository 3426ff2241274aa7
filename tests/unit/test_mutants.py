"""The mutants themselves: each must fit the code it breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif("mutant-" in str(ROOT), reason="this copy is broken on purpose")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_it_breaks(mutant: Mutant) -> None:
    """The text that a mutant changes stands in the code exactly once, and the result compiles."""
    file = ROOT / "alhena_async" / mutant.file
    compile(mutant.apply(file.read_text()), str(file), "exec")
