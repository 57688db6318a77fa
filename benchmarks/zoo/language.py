"""Language models as people write them: tied weights, dropped weights, a state carried between windows."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.zoo.size import SMALL, Made, Size

V = 20


class WordModel(nn.Module):
    """Embedding, a stacked LSTM, and a decoder that is the embedding again."""

    def __init__(self, n_tokens, n_hidden, n_layers, dropout=0.2):
        super().__init__()
        self.n_hidden, self.n_layers = n_hidden, n_layers
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(n_tokens, n_hidden)
        self.rnn = nn.LSTM(n_hidden, n_hidden, n_layers, dropout=dropout)
        self.decoder = nn.Linear(n_hidden, n_tokens)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)

    def init_hidden(self, batch):
        weight = next(self.parameters())
        return tuple(weight.new_zeros(self.n_layers, batch, self.n_hidden) for _ in range(2))

    def forward(self, tokens, hidden):
        output, hidden = self.rnn(self.drop(self.encoder(tokens)), hidden)
        decoded = self.decoder(self.drop(output))
        return F.log_softmax(decoded.view(-1, decoded.size(2)), dim=1), hidden


def tied_language_model(size: Size = SMALL) -> Made:
    model = WordModel(V, size.hidden, 2)
    text = torch.randint(V, (size.steps + 1, size.batch))

    def loss(m):
        hidden = m.init_hidden(text.size(1))
        log_probs, hidden = m(text[:-1], hidden)
        return F.nll_loss(log_probs, text[1:].view(-1), reduction="none").view(-1, text.size(1))

    return model, loss


class WeightDrop(nn.Module):
    """Dropout on the hidden-to-hidden weights of a wrapped module, drawn anew before each forward pass."""

    def __init__(self, module, weights=("weight_hh_l0",), dropout=0.5):
        super().__init__()
        self.module, self.weights, self.dropout = module, weights, dropout
        module.flatten_parameters = lambda: None
        for name in weights:
            raw = module._parameters.pop(name)
            module.register_parameter(name + "_raw", nn.Parameter(raw.data))
            setattr(module, name, raw.data.clone())

    def forward(self, *args):
        for name in self.weights:
            raw = getattr(self.module, name + "_raw")
            setattr(self.module, name, F.dropout(raw, p=self.dropout, training=self.training))
        return self.module(*args)


class LockedDropout(nn.Module):
    """One mask for all time steps."""

    def forward(self, x, dropout=0.3):
        if not self.training or not dropout:
            return x
        mask = x.new_empty(1, x.size(1), x.size(2)).bernoulli_(1 - dropout) / (1 - dropout)
        return x * mask.expand_as(x)


class WeightDroppedModel(nn.Module):
    """Three LSTMs with dropped weights, the same mask at each step between them, states kept from window to window."""

    def __init__(self, n_tokens, n_embedded, n_hidden, n_layers=3):
        super().__init__()
        sizes = [n_embedded, *[n_hidden] * (n_layers - 1), n_embedded]
        self.lockdrop = LockedDropout()
        self.encoder = nn.Embedding(n_tokens, n_embedded)
        self.rnns = nn.ModuleList(WeightDrop(nn.LSTM(a, b)) for a, b in itertools.pairwise(sizes))
        self.decoder = nn.Linear(n_embedded, n_tokens)
        self.decoder.weight = self.encoder.weight
        self.hidden = None

    def reset(self):
        self.hidden = None

    def forward(self, tokens):
        x = self.lockdrop(self.encoder(tokens))
        hidden = self.hidden or [None] * len(self.rnns)
        kept = []
        for rnn, state in zip(self.rnns, hidden, strict=True):
            x, (h, c) = rnn(x, state)
            kept.append((h.detach(), c.detach()))
            x = self.lockdrop(x)
        self.hidden = kept
        return self.decoder(x)


def weight_dropped(size: Size = SMALL) -> Made:
    model = WeightDroppedModel(V, size.hidden // 2 * 2, size.hidden + 2)
    text = torch.randint(V, (size.steps + 1, size.batch))
    criterion = nn.CrossEntropyLoss(reduction="none")

    def loss(m):
        return criterion(m(text[:-1]).permute(0, 2, 1), text[1:])

    loss(model)  # a window before this one: a state is kept, and the dropped weights are no leaves
    return model, loss


class CharRNN(nn.Module):
    """One sequence, one-hot characters, the hidden state kept on the model and detached."""

    def __init__(self, n_chars, n_hidden):
        super().__init__()
        self.n_chars = n_chars
        self.rnn = nn.RNN(n_chars, n_hidden, nonlinearity="relu", batch_first=True)
        self.fc = nn.Linear(n_hidden, n_chars)
        self.hidden = None

    def forward(self, x):
        one_hot = F.one_hot(x, self.n_chars).to(self.fc.weight.dtype)
        out, hidden = self.rnn(one_hot, self.hidden)
        self.hidden = hidden.detach()
        return self.fc(out)


def char_rnn(size: Size = SMALL) -> Made:
    model = CharRNN(V, size.hidden)
    text = torch.randint(V, (1, 2 * size.steps + 1))
    model(text[:, : size.steps])
    x, y = text[:, size.steps : -1], text[:, size.steps + 1 :]
    return model, lambda m: F.cross_entropy(m(x).squeeze(0), y.squeeze(0), reduction="none")


class WaveForecaster(nn.Module):
    """The next value of a wave; the first state is learned; everything in float64."""

    def __init__(self, n_hidden):
        super().__init__()
        self.h0 = nn.Parameter(torch.randn(2, 1, n_hidden) * 0.1)
        self.gru = nn.GRU(1, n_hidden, num_layers=2, batch_first=True)
        self.out = nn.Linear(n_hidden, 1)

    def forward(self, x):
        h0 = self.h0.expand(-1, x.size(0), -1).contiguous()
        y, _ = self.gru(x.unsqueeze(-1), h0)
        return self.out(y).squeeze(-1)


def learned_first_state(size: Size = SMALL) -> Made:
    model = WaveForecaster(size.hidden).double()
    phase = torch.rand(size.batch, 1, dtype=torch.float64) * 6
    wave = torch.sin(torch.arange(size.steps + 1, dtype=torch.float64) * 0.3 + phase)

    def loss(m):
        return F.mse_loss(m(wave[:, :-1]), wave[:, 1:], reduction="none").t()

    return model, loss
