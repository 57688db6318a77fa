"""Text from a model: seeded, bounded by its options, and never an unknown mark."""

from itertools import islice

import pytest
import torch

from retrograd.errors import UsageError
from retrograd.experiments.build import load
from retrograd.experiments.generation import generate, sample, tokens
from retrograd.tasks import tokenizers


def test_the_same_seed_writes_the_same_text_and_another_seed_another(trained):
    first, second, third = (generate(trained.run.path, length=80, seed=s) for s in (1, 1, 2))
    assert first == second != third
    assert len(first) == 80


def test_the_prompt_comes_first(trained):
    written = generate(trained.run.path, prompt="the cat", length=10, seed=0)
    assert written.startswith("the cat")
    assert len(written) == 17


def test_temperature_zero_takes_the_likeliest_as_does_a_single_choice(trained):
    greedy = generate(trained.run.path, length=30, temperature=0)
    assert greedy == generate(trained.run.path, length=30, top_k=1, seed=5)


def test_an_unknown_character_in_the_prompt_is_read_and_never_written(trained):
    written = generate(trained.run.path, prompt="\u00df", length=200, temperature=3.0, seed=0)
    assert written[0] == "\ufffd"
    assert "\ufffd" not in written[1:]


def test_tokens_follow_the_models_own_distribution(trained):
    model = load(trained.run.path)
    with torch.no_grad():
        expected = model(torch.tensor([[3]]))[0][0, 0].softmax(-1)
    drawn = torch.tensor([next(tokens(model, [3], seed=s)) for s in range(600)])
    counted = torch.bincount(drawn, minlength=len(expected)) / 600
    assert (counted - expected).abs().max() < 0.08


def test_the_state_is_carried_from_token_to_token(trained):
    model = load(trained.run.path)
    written = list(islice(tokens(model, [3], temperature=0), 12))
    with torch.no_grad():
        logits, _ = model(torch.tensor([[3, *written[:-1]]]).t())
    assert logits[:, 0].argmax(-1).tolist() == written


def test_generating_leaves_mode_and_random_state_alone(trained):
    model = load(trained.run.path).train()
    tokenizer = tokenizers.load(trained.run.path / "tokenizer.json")
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    sample(model, tokenizer, length=5)
    assert model.training
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": -1.0}, "must be 0, or from 0.001"),
        ({"top_k": 0}, "at least 1"),
        ({"length": 0}, "at least 1 character"),
    ],
)
def test_options_out_of_range_are_refused(trained, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        generate(trained.run.path, **options)
