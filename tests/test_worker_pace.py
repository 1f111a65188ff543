"""The pace: how many prompt tokens a step may take."""

from offgrid.worker.pace import LOOK_EVERY, MIN_CHUNK, STRETCH, TILE, Pace


def learned(*, tile_row_ms: float, single_row_ms: float, decode_ms: float = 25.0, n_decoding: int = 4) -> Pace:
    """A pace that has seen steps of this cost."""
    pace = Pace(120, 512)
    for _ in range(20):
        pace.observe(n_decoding, 0, decode_ms)
        pace.observe(0, TILE, TILE * tile_row_ms)
        pace.observe(0, 32, 32 * single_row_ms)
    return pace


def test_beside_running_streams_a_step_takes_less_than_three_times_their_usual_one():
    pace = learned(tile_row_ms=3.3, single_row_ms=3.5)
    assert 2 * 25 < 25 + 3.5 * pace.prompt_budget(4, 1) < 3 * 25


def test_prompts_alone_are_read_in_whole_tiles():
    assert learned(tile_row_ms=3.3, single_row_ms=6).prompt_budget(0, 1) == TILE
    assert learned(tile_row_ms=0.5, single_row_ms=1).prompt_budget(0, 1) == 3 * TILE


def test_while_more_people_wait_for_their_first_token_than_for_their_next_one_prompts_come_first():
    pace = learned(tile_row_ms=3.3, single_row_ms=6)
    assert pace.prompt_budget(4, 5) == TILE - 4
    assert pace.prompt_budget(4, 4) < TILE // 2


def test_a_tile_that_is_quick_enough_is_filled_beside_streams_too():
    pace = learned(tile_row_ms=3.3, single_row_ms=6, decode_ms=110, n_decoding=16)
    assert pace.prompt_budget(16, 1) == TILE - 16
    assert TILE * 3.3 < STRETCH * 110


def test_a_quick_machine_never_takes_more_than_the_batch():
    assert learned(tile_row_ms=0.01, single_row_ms=0.02).prompt_budget(4, 1) == 512 - 4


def test_a_slow_machine_still_takes_the_smallest_useful_chunk():
    assert learned(tile_row_ms=500, single_row_ms=500).prompt_budget(4, 1) == MIN_CHUNK


def test_before_anything_was_measured_the_first_step_is_small():
    assert Pace(120, 512).prompt_budget(0, 1) == TILE
    assert Pace(120, 512).prompt_budget(3, 1) == MIN_CHUNK


def test_streams_that_are_slow_by_themselves_do_not_starve_prompts():
    pace = learned(tile_row_ms=3.3, single_row_ms=3.5, decode_ms=200)
    assert pace.prompt_budget(4, 1) >= 2 * TILE - 4


def test_a_batch_full_of_streams_leaves_no_room_for_prompts():
    assert Pace(120, 16).prompt_budget(16, 1) == 0


def test_now_and_then_a_step_of_streams_only_shows_what_they_cost_by_now():
    pace = learned(tile_row_ms=3.3, single_row_ms=6)
    taken = []
    for _ in range(3 * LOOK_EVERY):
        taken.append(pace.prompt_budget(4, 1))
        pace.observe(4, taken[-1], 60)
    assert taken.count(0) == 2
    assert pace.prompt_budget(0, 1) > 0


def test_one_step_that_another_program_held_up_does_not_stop_the_prompts():
    pace = learned(tile_row_ms=3.3, single_row_ms=3.5)
    usual = pace.prompt_budget(4, 1)
    pace.observe(4, usual, 3000)
    assert pace.prompt_budget(4, 1) > usual // 2
