"""mkdocs hook: the repository's README is a page of the site too, with the links that it has there."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

SOURCE, PAGE = 'README.md', 'overview.md'
ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page; its links and pictures lie below docs/, where the site has its root."""
    text = (ROOT / SOURCE).read_text(encoding='utf-8')
    files.append(File.generated(config, PAGE, content=text.replace('](docs/', '](')))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Has links to the README, one folder up, lead to that page."""
    return markdown.replace('](../README.md', f']({PAGE}')
