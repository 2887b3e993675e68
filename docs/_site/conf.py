"""Sphinx's settings for the site of docs/; see docs/project/documentation.md."""

import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from gpunn.version import __version__

gc.disable()  # the build creates millions of nodes that stay, which the collector would visit

project = "gpunn"
author = "gpunn developers"
version = release = __version__
language = "en"
exclude_patterns = ["_site"]
smartquotes = False  # keeps "relu" as typed

# Blocks without a language, such as formulas, get no colors.
highlight_language = "text"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_click",
    "sphinx_copybutton",
    "pages",
    "docstrings",
]

# Headings get the same anchors as on repository hosts.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 6

# Backquotes in docstrings are names of gpunn, or code.
default_role = "py:obj"
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # the base class documents overrides
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the Parameters section describes types
autosummary_generate = False
add_module_names = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
toc_object_entries_show_parents = "hide"

# The copy button copies input without prompts, and no output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div:not(.highlight-text) > div.highlight pre"

html_theme = "furo"
html_title = project
html_favicon = "static/icon.svg"
html_static_path = ["static"]
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
html_css_files = ["site.css"]
html_js_files = [("versions.js", {"defer": "defer"}), ("site.js", {"defer": "defer"})]
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
templates_path = ["templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/versions.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
