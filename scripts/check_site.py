"""Check a built site: every link inside it leads somewhere, nothing is loaded from elsewhere, and
every public name has its entry.  ``python scripts/check_site.py site`` prints what is wrong.
"""

from __future__ import annotations

import pathlib
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Page(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(values["href"])
        elif tag in ("script", "img", "iframe", "source") and "src" in values:
            self.loads.append(values["src"])


def broken(site: pathlib.Path) -> list[str]:
    """A line for every link that leads nowhere, and for everything loaded over a network."""
    pages = {path.resolve(): Page(path.read_text()) for path in site.rglob("*.html")}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme == "data" or (parts.netloc and link in page.links):
                continue
            if parts.netloc:
                faults.append(f"{name}: loads {link}")
                continue
            if parts.scheme:  # mailto
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                faults.append(f"{name}: {link}: no such file")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                faults.append(f"{name}: {link}: no such place there")
    return sorted(set(faults))


def unnamed(site: pathlib.Path) -> list[str]:
    """A line for every public name that the site's index lacks."""
    from sphinx.util.inventory import InventoryFile

    sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
    from public_names import homes, public_names

    with (site / "objects.inv").open("rb") as file:
        content = InventoryFile.load(file, "", lambda base, name: name)
    there = {name for kind, names in content.items() if kind.startswith("py:") for name in names}
    pages = set(homes(public_names()).values())
    return [f"{name}: not in the reference" for name in sorted(pages - there)]


def main() -> int:
    site = pathlib.Path(sys.argv[1])
    faults = broken(site) + unnamed(site)
    print("\n".join(faults) or f"{site}: {len(list(site.rglob('*.html')))} pages, nothing amiss")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
