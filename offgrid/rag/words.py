"""Words: how text is put into the full-text index, and how a question is asked of it.

SQLite's tokenizer takes a run of letters for a word; Chinese, Japanese and Thai are written without gaps, so there each
character is made a word of its own, and a question asks for each two of them side by side. Must stay true: what a
question says is only ever words, in quotation marks: nothing in it is FTS5's syntax. `index_words` may not change for
text that is indexed already.
"""

import re
import unicodedata
from itertools import groupby

MAX_QUERY_WORDS = 32
MAX_QUERY_CHARS = 10_000

_ONE_GAPLESS = re.compile("([぀-ヿ㐀-䶿一-鿿豈-﫿฀-๿຀-໿က-႟ក-៿])")  # Kana, Han, Thai, Lao, Burmese, Khmer
# Words that nearly every passage has: they only cost time. Left in where a question is made of nothing else.
_ENGLISH = (
    "a about all also am an and any are as at be been but by can could did do does for from had has have how i if in "
    "into is it its me my no not of on one or our so some such than that the their them then there these they this to "
    "was we were what when where which who whom whose why will with would you your"
)
_GERMAN = "das dem den der des die ein eine einen einer es für ich im ist mit nicht oder sie sind und von wie wir zu"
_FRENCH = "avec ce cette dans de des du elle en est et il je la le les nous ou par pas pour que qui sont sur un une"
_SPANISH = "como con de del el en es la las lo los para por que se son su un una y"
_EMPTY_WORDS = frozenset(" ".join((_ENGLISH, _GERMAN, _FRENCH, _SPANISH)).split())


def index_words(heading: str, text: str) -> str | None:
    """What is indexed of a chunk, where that is not its heading and its text as they are."""
    both = f"{heading}\n{text}"
    return _spaced(both) if _ONE_GAPLESS.search(both) else None


def words_of(question: str) -> list[str]:
    """The words that are worth looking for, each once; of a script without gaps each two characters side by side."""
    kinds = groupby(question[:MAX_QUERY_CHARS], _kind)
    # Not casefold: it makes ß two letters, which the index leaves as it is.
    runs = ((kind, "".join(run).lower()) for kind, run in kinds if kind)
    found = dict.fromkeys(word for kind, run in runs for word in (_pairs(run) if kind == "gapless" else [run]))
    words = [word for word in found if any(c.isalnum() for c in word)]
    return ([word for word in words if word not in _EMPTY_WORDS] or words)[:MAX_QUERY_WORDS]


def match_query(question: str) -> str:
    """An FTS5 query for any of the question's words; "" when it has none."""
    return " OR ".join(f'"{_spaced(word).strip()}"' for word in words_of(question))


def _kind(character: str) -> str:
    """ "gapless", "word" for letters, digits and the marks on them, "" for everything else."""
    if _ONE_GAPLESS.match(character):
        return "gapless"
    return "word" if character.isalnum() or unicodedata.category(character)[0] == "M" else ""


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(max(1, len(run) - 1))]


def _spaced(text: str) -> str:
    return _ONE_GAPLESS.sub(r" \1 ", text)
