"""GBNF texts are read strictly: what llama.cpp would refuse, misread or not survive is named with line and column."""

import pytest
from grammar_acceptor import Acceptor

from offgrid.errors import BadRequest
from offgrid.grammar import gbnf
from offgrid.grammar.syntax import Chars, Repeat, Seq, Text, to_text

GOOD = [
    ('root ::= "a"', ["a"], ["", "b", "aa"]),
    ('root ::= "a" | [b-d]+ # or so\n\n# more\n', ["a", "bcd"], ["ab"]),
    ('root ::= (\n "x"\n | y\n)\ny ::= "y" |\n "z"', ["x", "y", "z"], ["xy"]),
    ('root ::= [^a\\]"]{2,3} "\\x41\\u00e4\\U0001F642"', ["bcAä🙂", "é,-Aä🙂"], ["b]Aä🙂", "bcde"]),
    ("root ::= .{0,2} [a-]", ["a", "xy-", "é\n-"], ["xyz-"]),
    (r'root ::= "\"" [^"\\\x7F\x00-\x1F]* "\""', ['""', '"aä🙂"'], ['"', '"\n"', '"\x7f"']),  # as llama.cpp's own JSON
    (r"root ::= [\x00-\x1Fa]", ["\x01", "\n", "a"], [" ", "b"]),
    (r"root ::= [^\x00]", ["\x01", "a", "🙂"], ["", "aa"]),
    ('root ::= "" | "a"?', ["", "a"], ["b"]),
    ('root ::= item{2} ("," item){1,}\nitem ::= "ab"', ["abab,ab", "abab,ab,ab"], ["abab", "ab,ab"]),
    ('root ::= "(" root ")" | "x"', ["x", "((x))"], ["((x)"]),
    ('root ::= "ab"* "c"', ["c", "ababc"], ["abbc"]),
]
BAD = [  # text, line, column, a word of the message
    ('root = "a"', 1, 6, "::="),
    ('root ::= "a', 1, 10, 'closing "'),
    ('root ::= "a"\n "b"', 2, 2, "name"),
    ('root ::= ("a" | "b"', 1, 10, "closing )"),
    ("root ::= [a", 1, 10, "closing ]"),
    ("root ::= []", 1, 10, "at least one"),
    ("root ::= [z-a]", 1, 11, "before its beginning"),
    ('root ::= "\\d"', 1, 11, "no escape"),
    ('root ::= "\\x4"', 1, 11, "2 hexadecimal"),
    ("root ::= [\\U00110000]", 1, 11, "no character"),
    ("root ::= [\\x00]", 1, 11, "character 0"),
    ('root ::= "a" "\0"', 1, 15, "character 0"),
    ("root ::= [^\0]", 1, 12, "character 0"),  # not as an escape it would end the text for llama.cpp
    ('root ::= a # \0\na ::= "x"', 1, 14, "character 0"),
    ("root ::= *", 1, 10, "nothing before"),
    ('root ::= ""*', 1, 12, "nothing before"),
    ('root ::= "a"{3,2}', 1, 13, "not before"),
    ('root ::= "a"{0}', 1, 13, "at least 1"),
    ('root ::= "a"{1,5000}', 1, 16, "2000"),
    ('root ::= "a"{99999999999999999999}', 1, 14, "2000"),
    ('root ::= (("a"{0,100}) "b"){0,100}', 1, 28, "2000"),
    ('root ::= "a"{x}', 1, 14, "a number"),
    ("root ::= <think>", 1, 10, "tokens"),
    ("root ::= a\n", 1, 10, "no rule a"),
    ('a ::= "a"', 1, 1, "no rule root"),
    ('root ::= "a"\nroot ::= "b"', 2, 1, "twice"),
    ('ro_ot ::= "a"', 1, 3, "::="),
    ("root ::= " + "(" * 65 + '"a"' + ")" * 65, 1, 74, "64 deep"),
    ("", 1, 1, "no rule root"),
]
UNSOUND = [  # what is written well and would still cost llama.cpp its process or its time
    ('root ::= root "a" | "b"', "begin with itself"),
    ('root ::= a\na ::= e a "x" | "y"\ne ::= f f\nf ::= "z"?', "begin with itself"),
    ('root ::= ("a" | )*', "can be empty"),
    ('root ::= ([a-z]* ","?)+', "can be empty"),
    ('root ::= "a"?{0,1000}', "can be empty"),
    ('root ::= "a" root', "never ends"),
    ('root ::= a | "b"\na ::= "(" b ")"\nb ::= "x" a', "never ends"),
    ("root ::= r0\n" + "".join(f'r{i} ::= r{i + 1} "x" | r{i + 1} "y"\n' for i in range(16)) + 'r16 ::= "z"', "ways"),
    ("root ::= " + " | ".join(['"a"'] * 5000), "ways"),
]


@pytest.mark.parametrize(("text", "accepted", "others"), GOOD, ids=[row[0] for row in GOOD])
def test_a_grammar_means_what_llama_cpp_takes_it_for(text, accepted, others):
    gbnf.check_grammar(text, "grammar")
    acceptor = Acceptor(text)
    assert [t for t in accepted if not acceptor.accepts(t)] == []
    assert [t for t in others if acceptor.accepts(t)] == []


@pytest.mark.parametrize(("text", "line", "column", "reason"), BAD, ids=[row[0][:40] for row in BAD])
def test_a_mistake_is_named_with_its_line_and_column(text, line, column, reason):
    with pytest.raises(BadRequest) as caught:
        gbnf.check_grammar(text, "grammar")
    assert caught.value.message.startswith(f"grammar, line {line}, column {column}: ")
    assert reason in caught.value.message
    assert caught.value.param == "grammar"


@pytest.mark.parametrize(("text", "reason"), UNSOUND, ids=[row[0][:40] for row in UNSOUND])
def test_what_llama_cpp_would_not_survive_is_refused(text, reason):
    with pytest.raises(BadRequest, match=reason):
        gbnf.check_grammar(text, "grammar")


def test_a_long_text_and_half_a_character_are_refused():
    with pytest.raises(BadRequest, match="65536 bytes"):
        gbnf.check_grammar('root ::= "' + "a" * 65536 + '"', "grammar")
    with pytest.raises(BadRequest, match="surrogate"):
        gbnf.check_grammar('root ::= "\ud800"', "grammar")


def test_a_chain_of_three_thousand_rules_is_checked_without_deep_recursion():
    rules = "root ::= r0\n" + "".join(f'r{i}::="a"r{i + 1}\n' for i in range(3000)) + 'r3000::="x"'
    gbnf.check_grammar(rules, "grammar")


def test_what_is_written_is_read_again_as_the_same():
    odd = "".join(map(chr, [*range(1, 128), 0xE9, 0xD7FF, 0x1F642]))
    classes = Chars(tuple((c, c) for c in range(1, 128, 2)))
    rules = {"root": Seq((Text(odd), classes, Repeat(Seq((Text("x"), classes)), 2, 5), Repeat(classes, 1, None)))}
    assert gbnf.read(to_text(rules)) == rules
