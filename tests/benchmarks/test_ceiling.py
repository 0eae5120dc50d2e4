import torch

from benchmarks.ceiling import render_truth


def test_the_truth_is_found_where_points_are_rendered() -> None:
    truth = torch.zeros(32, 32, dtype=torch.int64)
    truth[:, 13:] = 1
    truth[:4] = 255
    coarse = torch.zeros(1, 2, 8, 8)
    coarse[:, 0, :, :4], coarse[:, 1, :, 4:] = 2, 2  # the boundary at 16
    assert torch.equal(render_truth(coarse, truth, 32 * 32)[4:], truth[4:])
    few = render_truth(coarse, truth, 1)[4:]
    assert (few != truth[4:]).any()
