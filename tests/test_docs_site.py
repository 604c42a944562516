"""Every page is in the site's menu, and every link between files leads somewhere; `make docs` itself is stricter."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.site_hook import LINK, in_site

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
STUDIES = sorted(ROOT.glob("experiments/*/README.md"))
PAGES = sorted(DOCS.rglob("*.md"))
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def in_menu(nav: Any) -> Iterator[str]:
    """The pages of `mkdocs.yml`'s nav, as it names them."""
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for part in entry.values():
                yield from in_menu([part] if isinstance(part, str) else part)


def test_every_page_is_in_the_menu() -> None:
    menu = list(in_menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    there = {str(page.relative_to(DOCS)) for page in PAGES} | {str(study.relative_to(ROOT)) for study in STUDIES}
    missing, gone = sorted(there - set(menu)), sorted(set(menu) - there)
    assert not missing, f"add to `nav` in mkdocs.yml, under the heading where a reader would look: {missing}"
    assert not gone, f"take out of `nav` in mkdocs.yml, as there is no such page: {gone}"
    assert len(menu) == len(set(menu)), "a page is in mkdocs.yml's nav twice"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES, *STUDIES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(CODE.sub("", page.read_text()))
    broken = [link for link in links if not (page.parent / link).exists()]
    assert not broken, f"{page.relative_to(ROOT)} links to files that are not there: {broken}"


def test_the_example_of_the_front_page(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    exec(example, {})
    assert "p99" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("latency.md", "validation.md", "validation.md"),
        ("validation.md", "../experiments/accuracy/README.md", "experiments/accuracy/README.md"),
        ("tutorial/6-provisioning.md", "../../experiments/lmetric/README.md", "../experiments/lmetric/README.md"),
        ("experiments/lmetric/README.md", "../../docs/recipes/api.md", "../../recipes/api.md"),
        ("experiments/lmetric/README.md", "img/sweep.png", "img/sweep.png"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page: str, link: str, expected: str) -> None:
    assert in_site(page, link) == expected
