"""The prefix tree against a plain list of everything that is in it."""

import random

import pytest

from offgrid.worker.prefix_tree import PrefixTree, common_length


class Holder:
    def __init__(self, tokens: list[int]):
        self.tokens = tokens


def best(tree: PrefixTree, tokens: list[int]) -> int:
    return next((n for _, n in tree.matches(tokens)), 0)


def test_the_longest_common_beginning_is_found_first():
    tree = PrefixTree()
    for tokens in ([1, 2, 3, 4], [1, 2, 9], [5]):
        tree.add(tokens, Holder(tokens))
    assert [n for _, n in tree.matches([1, 2, 3, 7])] == [3, 2]
    assert best(tree, [5, 5]) == 1
    assert best(tree, [6]) == 0
    assert best(tree, []) == 0


def test_two_holders_of_one_sequence_are_both_found():
    tree = PrefixTree()
    first, second = Holder([1, 2]), Holder([1, 2])
    tree.add([1, 2], first)
    tree.add([1, 2], second)
    tree.remove(first)
    assert [holder for holder, _ in tree.matches([1, 2, 3])] == [second]


def test_whole_sequences_that_begin_a_text_are_told_from_those_that_only_share_with_it():
    tree = PrefixTree()
    short, fork = Holder([1, 2]), Holder([1, 2, 4])
    tree.add([1, 2], short)
    tree.add([1, 2, 4], fork)
    assert tree.prefixes([1, 2, 3]) == [short]


@pytest.mark.parametrize("seed", range(5))
def test_random_additions_and_removals_agree_with_a_plain_search(seed):
    draw = random.Random(seed)
    tree, held = PrefixTree(), []
    for _ in range(600):
        if held and draw.random() < 0.45:
            tree.remove(held.pop(draw.randrange(len(held))))
        else:
            held.append(Holder(draw.choices([1, 2, 3], k=draw.randint(1, 12))))
            tree.add(held[-1].tokens, held[-1])
        tree.check()
        asked = draw.choices([1, 2, 3], k=draw.randint(1, 12))
        found = {id(holder): n for holder, n in tree.matches(asked)}
        plain = {id(h): n for h in held if (n := common_length(h.tokens, asked))}
        assert found == plain
        lengths = [n for _, n in tree.matches(asked)]
        assert lengths == sorted(lengths, reverse=True)
        whole = {id(h) for h in held if asked[: len(h.tokens)] == h.tokens}
        assert {id(h) for h in tree.prefixes(asked)} == whole


@pytest.mark.parametrize(("a", "b", "n"), [([], [], 0), ([1], [], 0), ([1, 2, 3], [1, 2, 3, 4], 3), ([1, 2], [2], 0)])
def test_common_length(a, b, n):
    assert common_length(a, b) == n


def test_common_length_of_long_lists_is_exact_at_every_point():
    a = list(range(200))
    for n in range(200):
        b = list(a)
        b[n] = -1
        assert common_length(a, b) == n
