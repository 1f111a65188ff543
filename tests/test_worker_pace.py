"""The pace: how many prompt tokens a step may take."""

from offgrid.worker.pace import MIN_CHUNK, MIN_CHUNK_ALONE, Pace


def learned(*, ms_per_token: float, decode_ms: float = 25.0) -> Pace:
    """A pace that has seen steps of this cost."""
    pace = Pace(120, 512)
    for _ in range(20):
        pace.observe(4, 0, decode_ms)
        pace.observe(0, 64, 64 * ms_per_token)
    return pace


def test_beside_running_streams_a_step_takes_less_than_three_times_their_usual_one():
    pace = learned(ms_per_token=3.5)
    n = pace.prompt_budget(4)
    assert 2 * 25 < 25 + 3.5 * n < 3 * 25


def test_a_step_of_prompts_alone_takes_about_the_target_time():
    pace = learned(ms_per_token=2.0)
    assert 100 <= 2.0 * pace.prompt_budget(0) <= 120


def test_a_quick_machine_takes_large_chunks_and_never_more_than_the_batch():
    assert learned(ms_per_token=0.01).prompt_budget(4) == 512 - 4


def test_a_slow_machine_still_takes_the_smallest_useful_chunk():
    assert learned(ms_per_token=500).prompt_budget(4) == MIN_CHUNK


def test_before_anything_was_measured_the_first_step_is_small():
    assert Pace(120, 512).prompt_budget(0) == MIN_CHUNK_ALONE
    assert Pace(120, 512).prompt_budget(3) == MIN_CHUNK


def test_streams_that_are_slow_by_themselves_do_not_starve_prompts():
    pace = learned(ms_per_token=3.5, decode_ms=200)
    assert pace.prompt_budget(4) * 3.5 >= 1.5 * 200


def test_a_batch_full_of_streams_leaves_no_room_for_prompts():
    assert Pace(120, 16).prompt_budget(16) == 0
