"""Settings of the documentation; warnings are errors (`make docs`)."""

from importlib.metadata import version as installed_version
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

project = "data-parameters"
author = "The data-parameters developers"
project_copyright = "2026, the data-parameters developers"
version = release = installed_version("data-parameters")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = "data-parameters"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature shows them; the text says shapes and units
napoleon_use_ivar = True
napoleon_use_rtype = False


def mathml(display: str) -> Any:
    """A renderer that writes formulas as MathML, which needs neither a script nor a network."""

    def visit(translator: Any, node: nodes.Element) -> None:
        translator.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (mathml("inline"), None), (mathml("block"), None))
