"""What a report is made of, and how it becomes one offline HTML page or Markdown."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MARKS = {"held": "\N{CHECK MARK}", "reversed": "\N{BALLOT X}", "undecided": "?", "not run": "\N{EM DASH}"}


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A section's title."""

    text: str
    level: int = 2


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph; `code` in backquotes."""

    text: str
    state: str = ""
    """State of a verdict, empty for plain text."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the first column is left-aligned."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    words: bool = False
    """Cells are sentences: aligned to the left, and broken over lines."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as SVG text."""

    name: str
    """File name without suffix, unique in the report."""
    svg: str
    caption: str


Block = Heading | Text | Table | Figure


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """Return one page that needs no other file and no network."""
    sections = [(index, block.text) for index, block in enumerate(blocks) if isinstance(block, Heading)]
    links = " \N{MIDDLE DOT} ".join(f'<a href="#s{index}">{html.escape(text)}</a>' for index, text in sections)
    body = "\n".join(_html(index, block) for index, block in enumerate(blocks))
    style = (HERE / "report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body>\n</html>\n"
    )


def to_markdown(title: str, blocks: Sequence[Block], figures: str) -> str:
    """Return the same as Markdown; figures are linked as `figures/NAME.svg`.

    Args:
        title: first heading.
        blocks: the report.
        figures: folder of the figures, relative to the file.
    """
    return "\n\n".join([f"# {title}", *(_markdown(block, figures) for block in blocks)]) + "\n"


def _html(index: int, block: Block) -> str:
    if isinstance(block, Heading):
        return f'<h{block.level} id="s{index}">{html.escape(block.text)}</h{block.level}>'
    if isinstance(block, Text):
        text = _inline(block.text)
        text = re.sub(r"&lt;(https?://[^&\s]+)&gt;", r'<a href="\1">\1</a>', text)
        state = block.state.replace(" ", "-")
        mark = f"<b>{MARKS[block.state]}</b> " if block.state else ""
        return f'<p class="verdict {state}">{mark}{text}</p>' if block.state else f"<p>{text}</p>"
    if isinstance(block, Figure):
        svg = _own_ids(block.svg, block.name)
        caption = f"<figcaption>{html.escape(block.caption)}</figcaption>"
        return f'<figure id="{html.escape(block.name)}">{svg}{caption}</figure>'
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.header)
    rows = "\n".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in block.rows)
    caption = f"<caption>{html.escape(block.caption)}</caption>" if block.caption else ""
    words = ' class="words"' if block.words else ""
    table = f"<table{words}>{caption}<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _inline(text: str) -> str:
    """Escape a text, with what is in backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _own_ids(svg: str, name: str) -> str:
    """Give the figure's ids a prefix: ids are shared by all figures of a page."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="#)([^"]+)"', rf'\1{name}-\2"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)


def _markdown(block: Block, figures: str) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Text):
        return f"**{MARKS[block.state]}** {block.text}" if block.state else block.text
    if isinstance(block, Figure):
        return f"![{block.caption}]({figures}/{block.name}.svg)\n\n*{block.caption}*"
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (block.header, *block.rows)]
    align = [":--", *[":--" if block.words else "--:"] * (len(block.header) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (escaped[0], align, *escaped[1:])]
    return "\n".join([*([f"*{block.caption}*", ""] if block.caption else []), *lines])
