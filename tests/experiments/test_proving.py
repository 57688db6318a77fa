"""Two trainings that differ in the remedy alone, against a plain loop; and the model is left as it was."""

import math
import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from retrograd.errors import ConfigError, NotMeasured, UnknownName, UsageError
from retrograd.experiments.proving import Half, Pair, Proof, prove

T, B, V = 12, 8, 6


class Recall(nn.Module):
    def __init__(self, **options) -> None:
        super().__init__()
        self.embedding, self.rnn, self.head = nn.Embedding(V, 8), nn.RNN(8, 24, **options), nn.Linear(24, V)

    def forward(self, tokens):
        return self.head(self.rnn(self.embedding(tokens))[0][-1])


def loss(model, tokens):
    return F.cross_entropy(model(tokens), tokens[0])


def right(model, tokens):
    return (model(tokens).argmax(-1) == tokens[0]).float().mean()


def batches(length=T, size=B):
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(V, (length, size), generator=generator)


def model(**options):
    torch.manual_seed(0)
    return Recall(**options)


def bits(module):
    return [p.detach().numpy().tobytes() for p in module.parameters()], [m.training for m in module.modules()]


def test_the_plain_half_is_a_plain_training_loop():
    proof = prove(model(), loss, "orthogonal", batches=batches, steps=20, lr=0.01)
    twin, supply = model(), batches()
    optimizer, curve = torch.optim.Adam(twin.parameters(), 0.01), []
    for _ in range(20):
        optimizer.zero_grad()
        value = loss(twin, next(supply))
        value.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        curve.append(float(value.detach()))
    with torch.no_grad():
        final = [float(loss(twin, next(supply))) for _ in range(8)]
    [pair] = proof.pairs
    assert pair.plain.curve == pytest.approx(curve, rel=1e-5)
    assert pair.plain.final == pytest.approx(final, rel=1e-4)
    assert pair.plain.loss == pytest.approx(sum(final) / 8, rel=1e-4)


def test_both_halves_begin_at_the_same_weights_and_meet_the_same_batches():
    """A remedy that changes nothing gives the same bits."""
    proof = prove(model(), loss, "clip-norm", 1e9, batches=batches, steps=10, seeds=(0, 5))
    for pair in proof.pairs:
        assert pair.plain.curve == pair.remedied.curve
        assert pair.plain.final == pair.remedied.final
        assert not pair.won
    assert proof.pairs[0].plain.curve != proof.pairs[1].plain.curve, "another seed has other batches"
    assert "That is no gain that could not be chance (0 of 2 seeds)." in repr(proof)


def test_what_a_loss_draws_by_itself_is_the_same_in_both_halves():
    def drawing(m):
        return loss(m, torch.randint(V, (T, B))) + 0 * random.random()

    seen = []

    def telling(m):
        seen.append(torch.randint(V, (T, B)))
        return loss(m, seen[-1])

    prove(model(), telling, "orthogonal", steps=4)
    halves = seen[8:20], seen[20:]  # 8 before any training; then 4 steps and 8 for the end of each half
    assert all(map(torch.equal, *halves)), "whatever the remedy has drawn"
    [pair] = prove(model(dropout=0.3, num_layers=2), drawing, "clip_norm", 1e9, steps=8).pairs
    assert pair.plain.curve == pair.remedied.curve
    assert len(set(pair.plain.curve)) == 8
    assert len(set(pair.plain.final)) == 8


def test_it_learns_with_the_remedy_alone():
    proof = prove(model(), loss, "calibrated", batches=lambda: batches(20, 32), steps=100, lr=0.01, score=right)
    [pair] = proof.pairs
    assert pair.remedied.loss < 0.5
    assert pair.plain.loss > 1.6
    assert pair.remedied.score > 0.8
    assert pair.plain.score < 0.4
    assert (pair.learns(pair.plain), pair.learns(pair.remedied), proof.won) == (False, True, True)
    assert proof.sentence.endswith("It learns with the remedy alone.")
    assert " The score is " in proof.sentence


@pytest.mark.parametrize("remedy", ["orthogonal", "gated_cell", "flossing"])
def test_the_model_is_as_it_was_also_where_a_step_fails(remedy):
    one, left = model(), 9
    one.eval()
    before, rng, parts = bits(one), torch.get_rng_state(), dict(one.named_modules())
    prove(one, loss, remedy, batches=batches, steps=3)

    def failing(m, tokens):
        nonlocal left
        left -= 1
        if not left:
            raise KeyError("half-way")
        return loss(m, tokens)

    with pytest.raises(KeyError):
        prove(one, failing, remedy, batches=batches, steps=3)
    assert bits(one) == before
    assert dict(one.named_modules()) == parts
    assert all(p.grad is None for p in one.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_short_supply_begins_again_and_nothing_is_fresh():
    few = [next(batches()), next(batches())]
    proof = prove(model(), loss, "orthogonal", batches=few, steps=5)
    assert not proof.fresh
    assert "the loss on the batches of the training is" in proof.sentence
    assert len(proof.pairs[0].plain.final) == 2


def test_a_loss_with_a_batch_of_its_own_is_said_to_have_nothing_fresh():
    tokens = next(batches())
    assert not prove(model(), lambda m: loss(m, tokens), "orthogonal", steps=2).fresh


def test_a_compiled_model_is_trained_as_it_was_written():
    compiled = torch.compile(model(), backend="eager")
    for remedy in ("clip_in_time", "gated_cell"):
        assert len(prove(compiled, loss, remedy, batches=batches, steps=2).pairs[0].remedied.curve) == 2


def test_every_seed_begins_at_the_weights_of_the_model():
    one, two = prove(model(), loss, "orthogonal", batches=[next(batches())], steps=5, seeds=(0, 1)).pairs
    assert one.start == two.start
    assert one.plain.curve == two.plain.curve
    assert one.remedied.curve != two.remedied.curve, "drawn under another seed"


def test_a_remedy_that_clips_is_not_hidden_behind_another_clipping():
    assert prove(model(), loss, "clip_norm", 0.1, batches=batches, steps=2).clip is None
    assert prove(model(), loss, "orthogonal", batches=batches, steps=2).clip == 1.0
    assert prove(model(), loss, "orthogonal", batches=batches, steps=2, clip=0).clip is None


def test_a_look_at_each_half_is_taken_when_it_has_been_trained():
    seen = []
    prove(model(), loss, "orthogonal", batches=batches, steps=2, look=lambda m: seen.append(bits(m)))
    assert len({str(weights) for weights in seen}) == 2


def half(*final):
    return Half((1.0,), final, None, {})


@pytest.mark.parametrize(
    ("plain", "remedied", "won"),
    [
        ((2.0, 2.1, 1.9), (1.0, 1.1, 0.9), True),
        ((1.0, 1.1, 0.9), (2.0, 2.1, 1.9), False),
        ((2.0, 1.0, 3.0), (1.9, 2.0, 1.0), False),  # 0.1, -1, 2: chance
        ((math.nan, math.nan), (1.0, 1.0), True),
        ((1.0, 1.0), (math.nan, 1.0), False),
        ((math.inf, 1.0), (1.0, 1.0), True),
        ((1.0,), (0.9,), False),  # of a single batch, where 0.25 would be a tenth of what it was
        ((1.0, 1.0), (0.7, 0.7), True),
    ],
)
def test_a_half_wins_by_more_than_chance(plain, remedied, won):
    assert Pair(0, 2.5, half(*plain), half(*remedied)).won == won


@pytest.mark.parametrize(
    ("plain", "remedied", "said"),
    [
        (2.4, 0.1, "It learns with the remedy alone (2 of 2 seeds)."),
        (1.0, 0.1, "It learns better with the remedy (2 of 2 seeds)."),
        (0.1, 1.0, "That is no gain that could not be chance (0 of 2 seeds)."),
    ],
)
def test_the_winner_is_said_in_a_sentence(plain, remedied, said):
    pairs = tuple(Pair(seed, 2.5, half(plain, plain), half(remedied, remedied)) for seed in (0, 1))
    proof = Proof("orthogonal", 100, 0.003, 1.0, pairs, True)
    assert repr(proof).endswith(said)
    assert f"is {remedied:.3g} with orthogonal and {plain:.3g} without it; it was 2.5 before." in repr(proof)


def test_a_training_that_diverges_is_numbers_and_no_crash():
    [pair] = prove(model(), lambda m, x: loss(m, x) * math.nan, "orthogonal", batches=batches, steps=2).pairs
    assert all(map(math.isnan, pair.plain.curve))
    assert not pair.won


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"steps": 0}, ConfigError, "at least 1; got 0"),
        ({"steps": 2.5}, ConfigError, "whole number of steps"),
        ({"lr": 0.0}, ConfigError, "must be positive"),
        ({"seeds": ()}, ConfigError, "At least one seed"),
        ({"batches": []}, UsageError, "There are no batches"),
        ({"batches": 3}, UsageError, "got int"),
    ],
)
def test_what_is_no_training_is_refused(options, error, sentence):
    with pytest.raises(error, match=sentence):
        prove(model(), loss, "orthogonal", **({"batches": batches} | options))
    with pytest.raises(UnknownName, match="nearest is 'orthogonal'"):
        prove(model(), loss, "ortogonal", batches=batches)


def test_a_model_without_anything_to_train_is_refused():
    frozen = model().requires_grad_(False)
    with pytest.raises(NotMeasured, match="none has requires_grad"):
        prove(frozen, loss, "orthogonal", batches=batches)
