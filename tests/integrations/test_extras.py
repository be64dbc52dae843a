"""A stack that is not installed is named at import, with the line that installs it."""

import subprocess
import sys

import pytest

PACKAGES = {
    "accelerate": "accelerate",
    "lightning": "pytorch_lightning",
    "sklearn": "sklearn",
    "timm": "timm",
    "transformers": "transformers",
}


@pytest.mark.parametrize("stack", PACKAGES)
def test_a_missing_stack_is_named_with_its_extra(stack: str) -> None:
    program = (
        f"import sys; sys.modules['{PACKAGES[stack]}'] = None; "
        f"import data_parameters.integrations.{stack}"
    )
    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert failed.returncode != 0
    assert failed.stderr.splitlines()[-1].startswith("ModuleNotFoundError")
    assert f"pip install 'data-parameters[{stack}]'" in failed.stderr.splitlines()[-1]
