"""Print what pyproject.toml depends on, each at its lower bound: constraints for `pip install -c`.

Usage: ``python scripts/lowest_versions.py > lowest.txt``
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
# A package, its extras, its lower bound, and releases that are left out.
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?(?:>=([\w.]+)(?:,!=[\w.]+)*)?")


def lowest_versions(pyproject: str) -> dict[str, str]:
    """The lower bound of every package that a pyproject.toml names, in whichever extra.

    Args:
        pyproject: The text of the file.

    Returns:
        A version for each package.

    Raises:
        ValueError: A package has no lower bound, or two, of which one would not be tested.
    """
    project = tomllib.loads(pyproject)["project"]
    bounds: dict[str, set[str | None]] = {}
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        for requirement in requirements:
            found = REQUIREMENT.fullmatch(requirement)
            if found is None:
                raise ValueError(
                    f"A requirement should be like `name>=1.2,!=1.3`. Found `{requirement}`. "
                    "Write it so, or teach scripts/lowest_versions.py the other form."
                )
            name, bound = found.groups()
            if name != project["name"]:
                bounds.setdefault(name, set()).add(bound)
    for name, versions in bounds.items():
        if len(versions) > 1 or None in versions:
            raise ValueError(
                f"Every package should have one lower bound. Found {versions} for {name}. Write "
                "`>=` and the same version in every extra that names it."
            )
    return {name: version for name, [version] in bounds.items() if version is not None}


if __name__ == "__main__":
    for name, version in lowest_versions(PYPROJECT.read_text(encoding="utf-8")).items():
        print(f"{name}=={version}")
