"""The drafter: what it guesses, and how it learns whether its guesses are right."""

import random

from offgrid.worker.draft import MOST_CANDIDATES, N_GRAM, Drafter


def drafter_of(text: str) -> tuple[Drafter, list[int]]:
    tokens = list(text.encode())
    return Drafter(tokens), tokens


def guess(drafter: Drafter, n: int) -> str:
    return bytes(drafter.guess(n)).decode()


def write(drafter: Drafter, tokens: list[int], text: str) -> None:
    for token in text.encode():
        tokens.append(token)
        drafter.advance()


def test_what_followed_the_same_tokens_is_guessed():
    drafter, _ = drafter_of("the harbour opens at six. And the harbour")
    assert guess(drafter, 8) == " opens a"


def test_a_text_without_repeats_gives_no_guess():
    drafter, tokens = drafter_of("abcdefghij")
    write(drafter, tokens, "klmnopqrstuvwxyz")
    assert not drafter.has_guess
    assert drafter.guess(5) == ()


def test_fewer_common_tokens_than_it_takes_give_no_guess():
    drafter, tokens = drafter_of("abcdefgh" + "xyz" + "abcdefgh"[: N_GRAM - 1])
    assert not drafter.has_guess
    write(drafter, tokens, "abcdefgh"[N_GRAM - 1])
    assert guess(drafter, 2) == "ef"


def test_the_longest_common_text_wins_over_a_later_one():
    drafter, _ = drafter_of("first name: Ada. last name: Bo. first name:")
    assert guess(drafter, 4) == " Ada"


def test_of_two_equally_long_ones_the_later_wins():
    drafter, _ = drafter_of("?name: Ada. ?name: Bob. ?name:")
    assert guess(drafter, 4) == " Bob"


def test_a_text_that_repeats_its_very_end_is_guessed_to_go_on_so():
    drafter, _ = drafter_of("tick tock tick tock ")
    assert guess(drafter, 25) == "tick tock tick tock tick "


def test_a_guess_is_followed_while_it_is_right_and_dropped_when_it_is_not():
    drafter, tokens = drafter_of("the harbour opens at six. And the harbour")
    write(drafter, tokens, " open")
    assert guess(drafter, 5) == "s at "
    write(drafter, tokens, "!")
    assert not drafter.has_guess


def test_the_chance_follows_how_often_guesses_come_true():
    drafter, tokens = drafter_of("abcdefghijklmnopqrstuvwxyz abcd")
    first = drafter.chance
    write(drafter, tokens, "efgh")
    assert first < drafter.chance < 1
    high = drafter.chance
    write(drafter, tokens, "!")
    assert drafter.chance < high


def test_the_match_grows_with_every_right_guess_and_ends_with_a_wrong_one():
    drafter, tokens = drafter_of("the harbour opens at six. And the harbour")
    assert drafter.n_matched == len("the harbour")
    write(drafter, tokens, " open")
    assert drafter.n_matched == len("the harbour open")
    write(drafter, tokens, "!")
    assert drafter.n_matched == 0


def test_prompt_and_answer_are_one_text():
    text = "to and fro and to and fro and away. " * 3
    whole, _ = drafter_of(text)
    grown, tokens = drafter_of(text[:7])
    write(grown, tokens, text[7:])
    assert grown.guess(20) == whole.guess(20)


def test_every_guess_is_what_followed_the_longest_of_the_latest_places():
    draw = random.Random(1)
    tokens: list[int] = []
    drafter = Drafter(tokens)
    n_guesses = 0
    for _ in range(3000):
        had_guess = drafter.has_guess
        tokens.append(drafter.guess(1)[0] if had_guess and draw.random() < 0.7 else draw.randrange(4))
        is_new = not had_guess or drafter.guess(1)[0] != tokens[-1]
        drafter.advance()
        if is_new:
            places = [p for p in range(len(tokens) - 1, N_GRAM - 1, -1) if tokens[p - N_GRAM : p] == tokens[-N_GRAM:]]
            assert drafter.has_guess == bool(places)
            if places:
                best = max(places[:MOST_CANDIDATES], key=lambda p: n_common(tokens, p))
                assert drafter.guess(1)[0] == tokens[best]
                n_guesses += 1
    assert n_guesses > 100


def n_common(tokens: list[int], place: int) -> int:
    """Tokens before `place` that are the same as the last ones, of 32."""
    n = 0
    while n < min(place, 32) and tokens[place - n - 1] == tokens[-n - 1]:
        n += 1
    return n
