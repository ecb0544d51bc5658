"""Vocabulary check of the prose: `python -m docs.vocabulary [FILE …]`, part of `make lint`.

Reads the comments and strings of Python files and the whole text of other files. Strings without a blank are names.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

# Pattern → suggestion. Patterns match whole words in any case and across line breaks; "^" is the start of a string.
WORDS = {
    "mend(s|ed|ing)?": "fix",
    "(go|goes|going|went|gone) on": "resume, continue",
    "(be|been|is|are|was|were) had": "available, obtain",
    "for want of|lacks?|lacked|lacking": "without, has no, missing",
    "besides?": "next to, alongside, in addition to",
    "(who|whom|what|which|where)ever": "any, regardless of",
    "told|said|(is|are|was|were|been) asked|asked for": "report, request, or name the message",
    "hand(s|ed|ing)? (\\w+ )?over": "submit, pass",
    "so many": "the number of",
    "of (its|their) own|by (itself|themselves)": "its own, separate, alone, automatically",
    "stands?(?! for)|stood|lies|lay|(come|comes|came|coming) up": "is, appears, occurs",
    "puts? back|putting back": "restore",
    "(is|are|was|were) there|(that|where|which) there (is|are|was|were)": "exists, if … exists",
    "as (it is|they are)|the same as before": "unchanged",
    "what (it is|they are)": "use the noun",
    "ways? of analy[sz]ing": "analysis, analysis settings",
    "(the same|give the) command again|given? again": "rerun",
    "likeness": "similarity",
    "(a|an|one) (file|image|line|number|point|process|row|second|step|YAML) (a|an|each)": "one … per …",
    "afresh|anew|hitherto|lest|thereof|whereof|therein|wherein": "plain modern English",
    "analys(e|ed|ing|er)|cent(re|res|red|ring)|(dis)?colour\\w*|greys?|(lab|mod)ell(ed|ing)": "American spelling",
    "\\w*(behaviour|favour|honour|neighbour)\\w*": "American spelling",
    "\\w*(al|ard|el|er|gan|gn|im|ken|lar|mar|ndom|nt|or|phas|ron|til)is(e|ed|es|ers?|ing|ations?)": "American spelling",
    "^(what|which|who|whose|whom|how|where|that)": "open with a verb or a noun phrase",
}
PATTERNS = [
    (re.compile((r"\A" if words[0] == "^" else r"\b") + rf"(?:{words.strip('^')})\b".replace(" ", r"\s+"), re.I), write)
    for words, write in WORDS.items()
]
SUFFIXES = {"", ".css", ".ipynb", ".j2", ".js", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
EXEMPT = {"LICENSE", "docs/vocabulary.py", "tests/docs/test_vocabulary.py"}


def findings(file: Path) -> Iterator[str]:
    """Yield `FILE:LINE: "go on": write "resume, continue"` for each match in the prose of a file."""
    for first, last, text in passages(file):
        for pattern, write in PATTERNS:
            for match in pattern.finditer(text):
                line = min(first + text.count("\n", 0, match.start()), last)
                yield f'{file}:{line}: "{" ".join(match[0].split())}": write "{write}"'


def passages(file: Path) -> Iterator[tuple[int, int, str]]:
    """Yield (first line, last line, text) of each comment and string of a Python file, or of a whole other file."""
    source = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        yield 1, source.count("\n") + 1, source
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.end[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.end_lineno or node.lineno, node.value


if __name__ == "__main__":
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    names = sys.argv[1:] or [name for name in tracked if Path(name).suffix in SUFFIXES and name not in EXEMPT]
    lines = [line for name in names if Path(name).exists() for line in findings(Path(name))]
    sys.exit("\n".join(lines) or 0)
