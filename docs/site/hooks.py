"""Files outside of docs/ that belong to the site, under the links that work in a checkout, too."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "deploy/*")
EXAMPLES = ("examples/*.py", "examples/existing_project/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for pattern in OUTSIDE + EXAMPLES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links from docs/ to files beside it, and from those into docs/, as the site has them."""
    if page.file.generated_by is None:
        return re.sub(r"\]\(\.\./(?!README)", "](", markdown)
    return re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)
