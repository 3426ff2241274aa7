"""What every integration asks of its arguments in the same way."""

from __future__ import annotations

import pytest

from alhena_async.integrations._serving import checked_path


@pytest.mark.parametrize("name", ["script_path", "health_path"])
def test_a_path_must_be_one(name: str) -> None:
    """Or None, where nothing is served."""
    assert checked_path(name, "/static/v.js") == "/static/v.js"
    assert checked_path(name, None) is None
    with pytest.raises(ValueError, match=f"^{name} must begin with a slash"):
        checked_path(name, "alhena-visitor.js")
