"""What is recurrent in an unusual way: parametrised, projected, in half precision, compiled, or without a cell."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from benchmarks.zoo.size import SMALL, Made, Size

X, V = 4, 20


class Parametrised(nn.Module):
    """Weights under torch's own parametrisations: normalised, orthogonal, of a bounded largest singular value."""

    def __init__(self, n_hidden):
        super().__init__()
        self.lstm = weight_norm(nn.LSTM(X, n_hidden), "weight_hh_l0")
        self.rnn = orthogonal(nn.RNN(n_hidden, n_hidden), "weight_hh_l0")
        self.gru = spectral_norm(nn.GRU(n_hidden, n_hidden), "weight_hh_l0")
        self.fc = nn.Linear(n_hidden, 1)

    def forward(self, x):
        for layer in (self.lstm, self.rnn, self.gru):
            x, _ = layer(x)
        return self.fc(x).squeeze(-1)


def parametrised(size: Size = SMALL) -> Made:
    model = Parametrised(size.hidden)
    with torch.no_grad():
        model.lstm.parametrizations.weight_hh_l0.original0.mul_(1.5)  # it has been trained a little
    x, y = torch.randn(size.steps, size.batch, X), torch.randn(size.steps, size.batch)
    return model.eval(), lambda m: (m(x) - y).square()


class Projected(nn.Module):
    """An LSTM whose output is a projection of its hidden state, as in speech."""

    def __init__(self, n_hidden, n_out):
        super().__init__()
        self.rnn = nn.LSTM(X, n_hidden, num_layers=2, batch_first=True, proj_size=n_hidden // 2)
        self.norm = nn.LayerNorm(n_hidden // 2)
        self.classifier = nn.Linear(n_hidden // 2, n_out)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.classifier(self.norm(out))


def projected(size: Size = SMALL) -> Made:
    x, y = torch.randn(size.batch, size.steps, X), torch.randint(5, (size.batch, size.steps))

    def loss(m):
        return F.cross_entropy(m(x).transpose(1, 2), y, reduction="none").transpose(0, 1)

    return Projected(size.hidden, 5), loss


class HalfPrecision(nn.Module):
    """The forward pass under autocast."""

    def __init__(self, n_hidden):
        super().__init__()
        self.inp, self.rnn = nn.Linear(X, n_hidden), nn.GRU(n_hidden, n_hidden)
        self.out = nn.Linear(n_hidden, 5)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, _ = self.rnn(self.inp(x))
            return self.out(hidden)


def half_precision(size: Size = SMALL) -> Made:
    x, y = torch.randn(size.steps, size.batch, X), torch.randint(5, (size.steps, size.batch))

    def loss(m):
        logits = m(x)
        return F.cross_entropy(logits.to(m.out.weight.dtype).transpose(1, 2), y, reduction="none")

    return HalfPrecision(size.hidden), loss


class Plain(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.emb = nn.Embedding(V, n_hidden)
        self.lstm = nn.LSTM(n_hidden, n_hidden)
        self.head = nn.Linear(n_hidden, V)

    def forward(self, tokens):
        return self.head(self.lstm(self.emb(tokens))[0])


def compiled(size: Size = SMALL) -> Made:
    """The outer model is what torch.compile returned; it has not been called yet."""
    model = torch.compile(Plain(size.hidden))
    text = torch.randint(V, (size.steps + 1, size.batch))

    def loss(m):
        return F.cross_entropy(m(text[:-1]).permute(0, 2, 1), text[1:], reduction="none")

    return model, loss


class DiagonalStateSpace(nn.Module):
    """s[t] = a s[t-1] + B u[t], y[t] = Re(C s[t]) as one convolution by fast Fourier transforms: no state is made."""

    def __init__(self, d_model, n_state=6):
        super().__init__()
        self.log_decay = nn.Parameter(torch.rand(d_model, n_state).mul(0.5).log())
        self.angle = nn.Parameter(torch.rand(d_model, n_state) * 3)
        self.c = nn.Parameter(torch.randn(d_model, n_state, 2) / n_state)
        self.d = nn.Parameter(torch.randn(d_model))

    def forward(self, u):
        L = u.size(1)
        a = torch.complex(-self.log_decay.exp(), self.angle)
        powers = torch.exp(a[..., None] * torch.arange(L))
        kernel = torch.einsum("hn,hnl->hl", torch.view_as_complex(self.c), powers).real
        y = torch.fft.irfft(torch.fft.rfft(u.transpose(1, 2), n=2 * L) * torch.fft.rfft(kernel, n=2 * L), n=2 * L)[
            ..., :L
        ]
        return y.transpose(1, 2) + self.d * u


class StateSpaceModel(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.encoder, self.ssm = nn.Linear(X, d_model), DiagonalStateSpace(d_model)
        self.mix, self.decoder = nn.Sequential(nn.GELU(), nn.Linear(d_model, d_model)), nn.Linear(d_model, 1)

    def forward(self, x):
        x = self.encoder(x)
        return self.decoder(x + self.mix(self.ssm(x))).squeeze(-1)


def state_space(size: Size = SMALL) -> Made:
    x, y = torch.randn(size.batch, size.steps, X), torch.randn(size.batch, size.steps)
    return StateSpaceModel(size.hidden), lambda m: F.mse_loss(m(x), y, reduction="none").t()


class Inline(nn.Module):
    """The recurrence is written into the model's own forward: there is no cell."""

    def __init__(self, n_hidden):
        super().__init__()
        self.W = nn.Parameter(torch.randn(X, n_hidden) * 0.3)
        self.U = nn.Parameter(torch.randn(n_hidden, n_hidden) / n_hidden**0.5)
        self.out = nn.Linear(n_hidden, 1)

    def forward(self, x):
        h = torch.zeros(x.shape[1], self.U.shape[0])
        ys = []
        for x_t in x:
            h = torch.tanh(x_t @ self.W + h @ self.U)
            ys.append(self.out(h).squeeze(1))
        return torch.stack(ys)


def inline_loop(size: Size = SMALL) -> Made:
    x, y = torch.randn(size.steps, size.batch, X), torch.randn(size.steps, size.batch)
    return Inline(size.hidden), lambda m: F.mse_loss(m(x), y, reduction="none")


class ContinuousTime(nn.Module):
    """dh/dt = f(x, h) in steps of Euler's: a module is called once per step, and what it gives is not the state."""

    def __init__(self, n_hidden, dt=0.2):
        super().__init__()
        self.dt, self.n_hidden = dt, n_hidden
        self.field = nn.Sequential(nn.Linear(X + n_hidden, 16), nn.Tanh(), nn.Linear(16, n_hidden))
        self.out = nn.Linear(n_hidden, 1)

    def forward(self, x):
        h, ys = torch.zeros(x.shape[1], self.n_hidden), []
        for x_t in x:
            h = h + self.dt * self.field(torch.cat([x_t, h], dim=1))
            ys.append(self.out(h).squeeze(1))
        return torch.stack(ys)


def continuous_time(size: Size = SMALL) -> Made:
    """Asked once, at the end."""
    x, y = torch.randn(size.steps, size.batch, X), torch.randn(size.batch)
    return ContinuousTime(size.hidden), lambda m: F.mse_loss(m(x)[-1], y)
