import time

import pytest
import torch

from benchmarks.measure import MIB, Measurement, as_rows, compare, peak_memory

CPU = torch.device("cpu")


def test_sides_take_turns_after_a_run_to_warm_up() -> None:
    order = []
    results = compare({name: lambda name=name: order.append(name) for name in "ab"}, CPU, rounds=3)
    assert "".join(order[-6:]) == "ababab"
    assert set(order[:-6]) == {"a", "b"}
    assert [len(result.seconds) for result in results.values()] == [3, 3]


def test_times_are_those_of_the_runs() -> None:
    results = compare({"slow": lambda: time.sleep(0.02), "quick": lambda: None}, CPU, rounds=3)
    assert min(results["slow"].seconds) >= 0.02
    assert results["quick"].median < results["slow"].median


def test_peak_memory_is_what_was_held_at_a_time() -> None:
    def one_after_another() -> None:
        for _ in range(3):
            torch.empty(2 * MIB, dtype=torch.uint8)

    def side_by_side() -> None:
        held = [torch.empty(2 * MIB, dtype=torch.uint8) for _ in range(3)]
        del held

    assert peak_memory(one_after_another, CPU) == 2 * MIB
    assert peak_memory(side_by_side, CPU) == 6 * MIB


def test_ratios_are_to_the_first_side() -> None:
    rows = as_rows(
        {
            "ours": Measurement([0.1, 0.3, 0.2], 4 * MIB),
            "theirs": Measurement([0.8, 0.8, 0.8], 10 * MIB, {"labels": "all"}),
        }
    )
    assert rows["ours"]["median ms"] == pytest.approx(200)
    assert rows["theirs"]["time ratio"] == pytest.approx(4)
    assert rows["theirs"]["memory ratio"] == pytest.approx(2.5)
    assert rows["theirs"]["labels"] == "all"


def test_ratios_of_times_are_those_within_a_round() -> None:
    # between the first round and the last the machine became ten times slower
    rows = as_rows({"ours": Measurement([1, 2, 10]), "theirs": Measurement([3, 2, 10])})
    assert rows["theirs"]["time ratio"] == pytest.approx(1)
