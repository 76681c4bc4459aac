"""How many callers fit: the rule, the plan, and the simulation."""

import pytest

from avatarify_plus.errors import ConfigError
from avatarify_plus.service.capacity import Plan, callers_per_gpu, callers_per_process, plan, random_phases, simulate


@pytest.mark.parametrize(
    ("fps", "turn_ms", "per_gpu", "per_process"),
    [
        (10, 31, 700 / 310, 700 / 310),
        (10, 7, 10, 10),
        (25, 3, 700 / 75, 4),  # Python ends before the GPU
        (10, 1, 70, 10),
    ],
)
def test_turns_fill_a_part_of_the_time_and_python_carries_so_many_pictures(
    fps: float, turn_ms: float, per_gpu: float, per_process: float
) -> None:
    assert callers_per_gpu(fps, turn_ms) == pytest.approx(per_gpu)
    assert callers_per_process(fps, turn_ms) == pytest.approx(per_process)


@pytest.mark.parametrize(
    ("callers", "fps", "turn_ms", "expected"),
    [
        (1, 10, 31, Plan(1, 1, 1)),
        (2, 10, 31, Plan(1, 1, 2)),
        (3, 10, 31, Plan(2, 2, 2)),
        (4, 25, 3, Plan(1, 1, 4)),
        (5, 25, 3, Plan(1, 2, 3)),  # a second process on the same GPU
        (9, 25, 3, Plan(1, 3, 3)),
        (10, 25, 3, Plan(2, 4, 3)),  # spread evenly
        (1000, 25, 3, Plan(112, 336, 3)),
    ],
)
def test_a_plan_has_the_fewest_gpus(callers: int, fps: float, turn_ms: float, expected: Plan) -> None:
    assert plan(callers, fps, turn_ms) == expected


@pytest.mark.parametrize("callers", range(1, 60))
def test_a_plan_holds_all_callers_and_overfills_nothing(callers: int) -> None:
    found = plan(callers, 25, 3)
    assert found.processes * found.callers >= callers
    assert found.callers <= callers_per_process(25, 3)
    assert -(-callers // found.gpus) <= callers_per_gpu(25, 3)


@pytest.mark.parametrize(("fps", "turn_ms", "most"), [(25, 31, "22.6"), (101, 1, "100.0")])
def test_what_no_process_holds_is_one_line(fps: float, turn_ms: float, most: str) -> None:
    with pytest.raises(ConfigError, match=f"{fps} frames a second with turns of {turn_ms} ms .* at most {most}"):
        plan(1, fps, turn_ms)


def test_phases_are_repeated_by_their_seed() -> None:
    assert random_phases(5, seed=3) == random_phases(5, seed=3) != random_phases(5, seed=4)
    assert random_phases(5, seed=3)[:2] == random_phases(2, seed=3)
    assert all(0 <= phase < 1 for phase in random_phases(50))


def test_a_caller_alone_waits_for_its_own_turn_only() -> None:
    assert simulate([0.5], 10, 40, jitter=0) == pytest.approx((40, 40, 10, 0))


def test_callers_at_the_same_moment_wait_for_each_other() -> None:
    found = simulate([0.0, 0.0], 10, 40, jitter=0)
    assert (found.pictures_per_s, found.left_out) == (10, 0)
    assert found.p50_ms == pytest.approx(60)  # half of the turns end after 40 ms, half after 80
    assert found.p95_ms == pytest.approx(80)


def test_callers_in_turns_do_not_wait() -> None:
    assert simulate([0.0, 0.5], 10, 40, jitter=0) == pytest.approx((40, 40, 10, 0))


def test_the_newest_frame_wins() -> None:
    # frames at 0, 100, 200 ...; turns of 250 ms begin at 0, 250 (frame 200), 500 (frame 500, that comes just then) ...
    found = simulate([0.0], 10, 250, seconds=1.0, jitter=0)
    assert found.pictures_per_s == pytest.approx(5)  # frames 0, 2, 5 (or 4), 7, and 9
    assert found.left_out == pytest.approx(0.5)


def test_beyond_the_limit_everybody_gets_as_much_and_waits_for_about_all_turns() -> None:
    found = simulate(random_phases(4), 10, 50, jitter=0)
    assert found.pictures_per_s == pytest.approx(5, abs=0.1)  # 1000 / 50 turns a second for four
    assert found.p95_ms <= 4 * 50 + 50


def test_turns_are_shorter_or_longer_by_the_jitter() -> None:
    found = simulate([0.0], 10, 50, jitter=0.1)
    assert 45 <= found.p50_ms <= found.p95_ms <= 55
    assert found == simulate([0.0], 10, 50, jitter=0.1)
