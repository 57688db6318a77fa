"""Greedy and beam search, beside every sentence there is."""

from itertools import product

import pytest
import torch
from torch import nn

from retrograd.errors import ConfigError, NonFinite
from retrograd.models.decoding import Ending, Hypothesis, beam, greedy

V, FIRST, LAST = 4, 0, 1
LONGEST = 5
ENDING = Ending(FIRST, LAST, LONGEST)


class Chain(nn.Module):
    """A small recurrent model of B sentences, each of which begins in a state of its own."""

    def __init__(self, seed, batch=3, sharp=2.0):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.start = torch.randn(batch, 6, generator=g, dtype=torch.float64)
        self.read = torch.randn(V, 6, generator=g, dtype=torch.float64)
        self.turn = torch.randn(6, 6, generator=g, dtype=torch.float64)
        self.say = sharp * torch.randn(6, V, generator=g, dtype=torch.float64)
        self.calls = 0

    def step(self, tokens, state):
        self.calls += 1
        [h] = state or (self.start,)
        h = torch.tanh(h @ self.turn + self.read[tokens[0]])
        return (h @ self.say)[None], (h,)

    def ln_p(self, b, tokens):
        """ln p of one sentence, its end included where it has one, token by token."""
        h, before, total = self.start[b], FIRST, 0.0
        for token in tokens:
            h = torch.tanh(h @ self.turn + self.read[before])
            total += float((h @ self.say).log_softmax(-1)[token])
            before = token
        return total

    def best_of_all(self, b, longest, power, never=()):
        """Every sentence of up to so many tokens that ends, one by one."""
        words = [token for token in range(V) if token != LAST and token not in never]
        found = [
            ((self.ln_p(b, (*sentence, LAST)) / (n + 1) ** power), sentence)
            for n in range(longest)
            for sentence in product(words, repeat=n)
        ]
        return max(found)


def alone(model, b):
    """The step function of one sentence of the batch."""

    def step(tokens, state):
        [h] = state or (model.start[b : b + 1],)
        h = torch.tanh(h @ model.turn + model.read[tokens[0]])
        return (h @ model.say)[None], (h,)

    return step


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("power", [0.0, 0.6, 1.0])
def test_a_beam_as_wide_as_there_are_sentences_finds_the_best_of_all(seed, power):
    model = Chain(seed)
    found = beam(model.step, 3, ENDING, width=V**LONGEST, power=power)
    for b, hypothesis in enumerate(found):
        score, sentence = model.best_of_all(b, LONGEST, power)
        assert hypothesis.tokens == sentence
        assert hypothesis.score == pytest.approx(score, abs=1e-12)
        assert hypothesis.ended


def one_at_a_time(model, b, width, longest):
    """Beam search with lists: the best of all continuations, and one place less for each that has ended."""
    begun, ended = [(0.0, ())], []
    for _ in range(longest):
        longer = [(model.ln_p(b, (*s, token)), (*s, token)) for _, s in begun for token in range(V)]
        best = sorted(longer, reverse=True)[: width - len(ended)]
        begun = [each for each in best if each[1][-1] != LAST]
        ended += [each for each in best if each[1][-1] == LAST]
    score, sentence = max((score / len(s), s) for score, s in ended or begun)
    return score, sentence[:-1] if ended else sentence


@pytest.mark.parametrize("width", [2, 3, 5, 9])
@pytest.mark.parametrize("seed", range(8))
def test_a_narrow_beam_keeps_what_a_search_with_lists_keeps(width, seed):
    model = Chain(seed, sharp=1.0)
    for b, hypothesis in enumerate(beam(model.step, 3, ENDING, width=width)):
        score, sentence = one_at_a_time(model, b, width, LONGEST)
        assert hypothesis.tokens == sentence
        assert hypothesis.score == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_of_width_one_is_greedy(seed):
    model = Chain(seed)
    ending = Ending(FIRST, LAST, 12)
    assert [h.tokens for h in beam(model.step, 3, ending, width=1)] == greedy(model.step, 3, ending)


@pytest.mark.parametrize("seed", range(6))
def test_greedy_takes_the_likeliest_token_each_time(seed):
    model = Chain(seed)
    for b, found in enumerate(greedy(model.step, 3, Ending(FIRST, LAST, 12))):
        sentence = ()
        while len(sentence) < 12:
            best = max(range(V), key=lambda token: model.ln_p(b, (*sentence, token)))
            if best == LAST:
                break
            sentence = (*sentence, best)
        assert found == sentence


@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_sentences_side_by_side_are_searched_as_alone(width, seed):
    model = Chain(seed)
    together = beam(model.step, 3, ENDING, width=width)
    for b, hypothesis in enumerate(together):
        [single] = beam(alone(model, b), 1, ENDING, width=width)
        assert single.tokens == hypothesis.tokens
        assert single.score == pytest.approx(hypothesis.score, abs=1e-12)


@pytest.mark.parametrize("width", [1, 2, 4, 16])
def test_the_score_is_the_mean_ln_p_of_what_was_written(width):
    model = Chain(3)
    for b, h in enumerate(beam(model.step, 3, ENDING, width=width)):
        whole = (*h.tokens, LAST) if h.ended else h.tokens
        assert h.score == pytest.approx(model.ln_p(b, whole) / len(whole), abs=1e-12)


def test_a_beam_finds_what_greedy_passes_by():
    better = 0
    for seed in range(20):
        model = Chain(seed)
        wide, narrow = (beam(model.step, 3, ENDING, width=width) for width in (V**LONGEST, 1))
        assert all(a.score >= b.score - 1e-12 for a, b in zip(wide, narrow, strict=True) if b.ended)
        better += sum(a.score > b.score + 1e-12 for a, b in zip(wide, narrow, strict=True) if b.ended)
    assert better > 0


class TestTheEnd:
    @staticmethod
    def always(token):
        """Says the same token again and again."""

        def step(tokens, state):
            logits = torch.zeros(1, tokens.shape[1], V)
            logits[..., token] = 5.0
            return logits, (torch.zeros(tokens.shape[1], 1),)

        return step

    @staticmethod
    def saying(*script):
        """Says these tokens one after another; the state counts."""

        def step(tokens, state):
            at = 0 if state is None else int(state[0][0])
            logits = torch.zeros(1, tokens.shape[1], V)
            logits[..., script[at]] = 9.0
            return logits, (torch.full((tokens.shape[1], 1), at + 1),)

        return step

    def test_it_stops_where_the_sentence_ends_and_leaves_the_end_out(self):
        step = self.saying(2, 3, LAST, 2, 2)
        assert greedy(step, 2, ENDING) == [(2, 3), (2, 3)]
        [found] = beam(step, 1, ENDING, width=1)
        assert (found.tokens, found.ended) == ((2, 3), True)

    def test_one_that_ends_at_once_is_empty(self):
        assert greedy(self.always(LAST), 2, ENDING) == [(), ()]
        assert [h.tokens for h in beam(self.always(LAST), 1, ENDING, width=3)] == [()]

    @pytest.mark.parametrize("longest", [1, 4])
    def test_one_that_never_ends_is_taken_as_it_stands(self, longest):
        ending = Ending(FIRST, LAST, longest)
        assert greedy(self.always(3), 2, ending) == [(3,) * longest] * 2
        [found] = beam(self.always(3), 1, ending, width=1)
        assert found == Hypothesis((3,) * longest, found.score, False)

    def test_one_that_ended_goes_before_a_likelier_one_that_did_not(self):
        found = [beam(self.always(3), 1, Ending(FIRST, LAST, n), width=3)[0] for n in (2, 3)]
        assert [h.ended for h in found] == [True, True]

    def test_sentences_that_have_ended_cost_no_more_steps(self):
        model = Chain(0)
        greedy(model.step, 3, Ending(FIRST, LAST, 1000))
        assert model.calls < 1000


@pytest.mark.parametrize("width", [1, 4, V**LONGEST])
@pytest.mark.parametrize("seed", range(4))
def test_what_must_not_be_written_is_not(width, seed):
    model, ending = Chain(seed), Ending(FIRST, LAST, LONGEST, never=(2,))
    assert not any(2 in sentence for sentence in greedy(model.step, 3, ending))
    found = beam(model.step, 3, ending, width=width)
    assert not any(2 in h.tokens for h in found)


def test_scores_that_are_no_numbers_are_refused():
    def step(tokens, state):
        return torch.full((1, tokens.shape[1], V), torch.nan), (torch.zeros(tokens.shape[1], 1),)

    for search in (lambda: greedy(step, 2, ENDING), lambda: beam(step, 2, ENDING, width=2)):
        with pytest.raises(NonFinite, match="cannot write"):
            search()


def test_a_beam_without_width_is_refused():
    with pytest.raises(ConfigError, match="1 wide at least; got 0"):
        beam(Chain(0).step, 3, ENDING, width=0)
