"""What `mkdocs.yml` adds to the site: the studies, whose pages are the READMEs of experiments/.

A page's links are those of the repository, so that they work where the files are read as they are. In the site docs/
is the root and experiments/ a folder of it, so links between the two lose their `docs/` or one `../`.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

ROOT = Path(__file__).parents[1]
STUDY_FILES = (".md", ".png", ".yaml")
LINK = re.compile(r"\]\((?!\w+:|#|/)([^)#\s]+)")


def on_files(files: Any, config: Any) -> Any:
    """The READMEs of the studies and what they show become files of the site."""
    from mkdocs.structure.files import File

    for path in sorted((ROOT / "experiments").rglob("*")):
        if path.suffix in STUDY_FILES:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with its links as they are in the site."""
    return LINK.sub(lambda link: f"]({in_site(page.file.src_uri, link[1])}", markdown)


def in_site(page: str, link: str) -> str:
    """A relative ``link`` of the repository's page that is ``page`` in the site, as a link of the site."""
    folder = PurePosixPath(page).parent
    in_repository = folder if folder.parts[:1] == ("experiments",) else PurePosixPath("docs") / folder
    target = normpath(in_repository / link)
    return relpath(target.removeprefix("docs/"), folder)
