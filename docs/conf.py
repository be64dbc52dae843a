"""Settings of the documentation; warnings are errors (`make docs`)."""

from importlib.metadata import version as installed_version

project = "data-parameters"
author = "The data-parameters developers"
project_copyright = "2026, the data-parameters developers"
version = release = installed_version("data-parameters")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "data-parameters"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature shows them; the text says shapes and units
napoleon_use_rtype = False
