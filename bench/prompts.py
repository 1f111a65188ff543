"""Texts that no server has seen: random words drawn by a key, so that another key gives another text.

Every word is common enough to be one token in usual vocabularies: the number of words is about the number of tokens.
"""

import json
import random

WORDS = """
river stone lantern harbor winter copper garden signal window market silver bridge forest engine paper mountain cloud
letter island candle orchard thunder velvet compass meadow harvest village kitchen doctor farmer teacher captain sailor
hammer bottle basket blanket pocket mirror ladder tunnel valley desert canyon shadow summer morning evening journey
promise secret question answer number color music painting story song dance flower tree leaf root seed water fire earth
wind rain snow ice storm light night star moon sun sky road path gate door wall roof floor table chair clock bell drum
horn knife spoon plate bread butter cheese apple orange lemon pepper salt sugar honey coffee wine boat ship train wheel
rope anchor carry build open find follow remember gather watch listen write read travel return begin finish cross climb
repair measure count hide borrow trade plant cook clean paint mend guard visit welcome
""".split()  # noqa: SIM905 (quotes around every word would only hide them)


def text(key: str, n_words: int) -> str:
    """`n_words` words; the same key always gives the same text."""
    return " ".join(random.Random(key).choices(WORDS, k=n_words))


def table(key: str, n_rows: int) -> str:
    """JSON with `n_rows` objects of about 25 tokens each; the same key always gives the same table."""
    draw = random.Random(key)
    rows = [
        {"id": i, "name": draw.choice(WORDS), "place": draw.choice(WORDS), "points": draw.randrange(100)}
        for i in range(1, n_rows + 1)
    ]
    return "[\n  " + ",\n  ".join(map(json.dumps, rows)) + "\n]"


def seed(key: str) -> int:
    """A sampling seed for the request of this key."""
    return random.Random(f"seed of {key}").randrange(2**31)
