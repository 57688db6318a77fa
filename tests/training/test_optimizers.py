"""torch.optim's optimisers under the textbook's numbers: f = x^2 + x y + 6 y^2 from (4, 1), rate 0.05, momentum 0.9."""

import pytest
import torch

from retrograd.errors import UnknownName
from retrograd.training.optimizers import OPTIMIZERS, make_optimizer


def path(name: str, steps: int) -> list[list[float]]:
    p = torch.nn.Parameter(torch.tensor([4.0, 1.0], dtype=torch.float64))
    optimizer = make_optimizer(name, [p], lr=0.05, momentum=0.9)
    points = []
    for _ in range(steps):
        optimizer.zero_grad()
        x, y = p
        (x**2 + x * y + 6 * y**2).backward()
        optimizer.step()
        buffer = optimizer.state[p].get("momentum_buffer")
        # torch keeps the look-ahead point; the textbook's x lies lr * momentum * buffer beside it
        points.append((p + (0.05 * 0.9 * buffer if buffer is not None else 0)).tolist())
    return points


def test_gradient_descent_walks_the_lectures_path():
    expected = [[3.55, 0.2], [3.185, -0.0975], [2.871375, -0.19825]]
    for point, truth in zip(path("sgd", 3), expected, strict=True):
        assert point == pytest.approx(truth, abs=1e-12)


def test_nesterov_walks_the_lectures_path():
    expected = [[3.55, 0.2], [2.8565, -0.36525], [2.05281375, -0.4612075]]
    for point, truth in zip(path("nesterov", 3), expected, strict=True):
        assert point == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down(name):
    end = path(name, 200)[-1]
    assert end[0] ** 2 + end[0] * end[1] + 6 * end[1] ** 2 < 26 * 0.5


def test_weights_decay_and_biases_do_not():
    weight, bias = (torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 2), (2,)))
    optimizer = make_optimizer("sgd", [weight, bias], lr=0.1, weight_decay=0.5)
    weight.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert weight.detach().flatten().tolist() == pytest.approx([0.95] * 4)
    assert bias.tolist() == [1.0, 1.0]


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(UnknownName, match="There are: sgd, nesterov, rmsprop, adam, adamw"):
        make_optimizer("lion", [torch.nn.Parameter(torch.zeros(1))], lr=1.0)
