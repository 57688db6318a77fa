"""Cells of people's own, called in a Python loop: one state, two, an image; mixed, masked and stacked."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.zoo.size import SMALL, Made, Size

X = 4


class PeepholeLSTMCell(nn.Module):
    """The gates look at the memory cell. The state is a tuple and is what comes back."""

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.n_hidden = n_hidden
        self.x2h = nn.Linear(n_in, 4 * n_hidden)
        self.h2h = nn.Linear(n_hidden, 4 * n_hidden, bias=False)
        self.peep = nn.Parameter(torch.randn(3, n_hidden) * 0.3)

    def init_hidden(self, x):
        return x.new_zeros(x.size(0), self.n_hidden), x.new_zeros(x.size(0), self.n_hidden)

    def forward(self, x, hidden):
        h, c = hidden
        i, f, g, o = (self.x2h(x) + self.h2h(h)).chunk(4, 1)
        i, f = torch.sigmoid(i + self.peep[0] * c), torch.sigmoid(f + self.peep[1] * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + self.peep[2] * c) * torch.tanh(c)
        return h, c


class PeepholeLSTM(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.cell = PeepholeLSTMCell(X, n_hidden)
        self.fc = nn.Linear(n_hidden, 1)

    def forward(self, x):
        hidden = self.cell.init_hidden(x)
        outputs = []
        for t in range(x.size(1)):
            hidden = self.cell(x[:, t], hidden)
            outputs.append(hidden[0])
        return self.fc(torch.stack(outputs, dim=1)).squeeze(-1)


def peephole(size: Size = SMALL) -> Made:
    x, y = torch.randn(size.batch, size.steps, X), torch.randn(size.batch, size.steps)
    return PeepholeLSTM(size.hidden), lambda m: (m(x) - y).pow(2).transpose(0, 1)


class LayerNormLSTMCell(nn.Module):
    """Gives its output and, apart, its state (h, c)."""

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.ih, self.hh = nn.Linear(n_in, 4 * n_hidden, bias=False), nn.Linear(n_hidden, 4 * n_hidden, bias=False)
        self.norm_ih, self.norm_hh = nn.LayerNorm(4 * n_hidden), nn.LayerNorm(4 * n_hidden)
        self.norm_c = nn.LayerNorm(n_hidden)

    def forward(self, x, state):
        h, c = state
        i, f, g, o = (self.norm_ih(self.ih(x)) + self.norm_hh(self.hh(h))).chunk(4, -1)
        c = self.norm_c(torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class LayerNormLSTM(nn.Module):
    """Layer by layer, each over the whole sequence."""

    def __init__(self, n_hidden, n_layers=2):
        super().__init__()
        self.n_hidden = n_hidden
        self.cells = nn.ModuleList([LayerNormLSTMCell(X if i == 0 else n_hidden, n_hidden) for i in range(n_layers)])
        self.head = nn.Linear(n_hidden, 2)

    def forward(self, x):
        for cell in self.cells:
            state = (torch.zeros(x.size(1), self.n_hidden), torch.zeros(x.size(1), self.n_hidden))
            outputs = []
            for x_t in x.unbind(0):
                out, state = cell(x_t, state)
                outputs += [out]
            x = torch.stack(outputs)
        return self.head(x[-1])


def layer_norm_lstm(size: Size = SMALL) -> Made:
    x, y = torch.randn(size.steps, size.batch, X), torch.randint(2, (size.batch,))
    return LayerNormLSTM(size.hidden), lambda m: F.cross_entropy(m(x), y)


class MinimalGatedCell(nn.Module):
    """One gate. Gives a read-out that is not its state, and makes its own first state where none is given."""

    def __init__(self, n_in, n_hidden, n_out):
        super().__init__()
        self.n_hidden = n_hidden
        self.gate, self.candidate = nn.Linear(n_in + n_hidden, n_hidden), nn.Linear(n_in + n_hidden, n_hidden)
        self.readout = nn.Linear(n_hidden, n_out)

    def forward(self, x, h=None):
        if h is None:
            h = torch.zeros(x.shape[0], self.n_hidden, dtype=x.dtype)
        f = torch.sigmoid(self.gate(torch.cat([x, h], 1)))
        h = (1 - f) * h + f * torch.tanh(self.candidate(torch.cat([x, f * h], 1)))
        return self.readout(h), h


class MinimalGatedNet(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.rnn_cell = MinimalGatedCell(X, n_hidden, X)

    def forward(self, seq):
        h, ys = None, []
        for x in seq:
            y, h = self.rnn_cell(x, h)
            ys.append(y)
        return torch.stack(ys), h


def minimal_gated(size: Size = SMALL) -> Made:
    seq = torch.randn(size.steps + 1, size.batch, X)

    def loss(m):
        predicted, _ = m(seq[:-1])
        return F.mse_loss(predicted, seq[1:], reduction="none").mean(-1)

    return MinimalGatedNet(size.hidden), loss


class IndRNNCell(nn.Module):
    """Each unit sees only itself."""

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.randn(n_hidden, n_in) / n_in**0.5)
        self.weight_hh = nn.Parameter(torch.empty(n_hidden).uniform_(0.5, 1.0))
        self.bias = nn.Parameter(torch.zeros(n_hidden))

    def forward(self, input, hx):
        return F.relu(F.linear(input, self.weight_ih, self.bias) + self.weight_hh * hx)


class ResidualIndRNN(nn.Module):
    """Three cells above one another at each step, each added to its input."""

    def __init__(self, n_hidden):
        super().__init__()
        self.project = nn.Linear(1, n_hidden)
        self.cells = nn.ModuleList(IndRNNCell(n_hidden, n_hidden) for _ in range(3))
        self.out = nn.Linear(n_hidden, 1)

    def forward(self, x):
        hs = [x.new_zeros(x.shape[1], self.project.out_features) for _ in self.cells]
        ys = []
        for t in range(len(x)):
            z = self.project(x[t])
            for i, cell in enumerate(self.cells):
                hs[i] = cell(z, hs[i])
                z = z + hs[i]
            ys.append(self.out(z))
        return torch.cat(ys, dim=1)


def residual_indrnn(size: Size = SMALL) -> Made:
    """The loss is on the last step: the sum of all values, as in the adding problem."""
    x = torch.rand(size.steps, size.batch, 1)
    return ResidualIndRNN(size.hidden), lambda m: (m(x)[:, -1] - x.sum(0).squeeze(-1)).square().mean()


class Zoneout(nn.Module):
    """Each unit of the state is kept as it was with a chance of one fifth; the mix is made between the steps."""

    def __init__(self, n_hidden, p=0.2):
        super().__init__()
        self.cell, self.p = nn.GRUCell(X, n_hidden), p
        self.fc = nn.Linear(n_hidden, 1)

    def forward(self, x):
        h = x.new_zeros(x.size(1), self.cell.hidden_size)
        outs = []
        for x_t in x:
            new = self.cell(x_t, h)
            if self.training:
                keep = torch.empty_like(h).bernoulli_(self.p).bool()
                h = torch.where(keep, h, new)
            else:
                h = self.p * h + (1 - self.p) * new
            outs.append(self.fc(h))
        return torch.stack(outs).squeeze(-1)


def zoneout(size: Size = SMALL) -> Made:
    x, y = torch.randn(size.steps, size.batch, X), torch.randn(size.steps, size.batch)
    return Zoneout(size.hidden).train(), lambda m: F.smooth_l1_loss(m(x), y, reduction="none")


class ConvLSTMCell(nn.Module):
    """The state is two images."""

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.n_hidden = n_hidden
        self.conv = nn.Conv2d(n_in + n_hidden, 4 * n_hidden, 3, padding=1)

    def init_hidden(self, batch, image_size):
        weight = self.conv.weight
        return tuple(torch.zeros(batch, self.n_hidden, *image_size, device=weight.device) for _ in range(2))

    def forward(self, input_tensor, cur_state):
        h_cur, c_cur = cur_state
        i, f, o, g = torch.split(self.conv(torch.cat([input_tensor, h_cur], dim=1)), self.n_hidden, dim=1)
        c_next = torch.sigmoid(f) * c_cur + torch.sigmoid(i) * torch.tanh(g)
        h_next = torch.sigmoid(o) * torch.tanh(c_next)
        return h_next, c_next


class NextFrame(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.cell = ConvLSTMCell(1, n_hidden)
        self.to_frame = nn.Conv2d(n_hidden, 1, 1)

    def forward(self, frames):
        b, seq_len, _, height, width = frames.size()
        h, c = self.cell.init_hidden(b, (height, width))
        predicted = []
        for t in range(seq_len):
            h, c = self.cell(input_tensor=frames[:, t], cur_state=[h, c])
            predicted.append(self.to_frame(h))
        return torch.stack(predicted, dim=1)


def conv_lstm(size: Size = SMALL) -> Made:
    film = torch.randn(size.batch, size.steps + 1, 1, 5, 5)

    def loss(m):
        return (m(film[:, :-1]) - film[:, 1:]).pow(2).mean(dim=(2, 3, 4)).t()

    return NextFrame(max(2, size.hidden // 4)), loss


class Actor(nn.Module):
    """A policy that is called once per step of the environment; its state starts anew where an episode is done."""

    def __init__(self, n_hidden):
        super().__init__()
        self.body = nn.Linear(X, n_hidden)
        self.gru = nn.GRUCell(n_hidden, n_hidden)
        self.pi, self.v = nn.Linear(n_hidden, 2), nn.Linear(n_hidden, 1)

    def initial_state(self, n_envs):
        return torch.zeros(n_envs, self.gru.hidden_size)

    def forward(self, obs, hidden, done):
        hidden = self.gru(F.elu(self.body(obs)), hidden * (1.0 - done).unsqueeze(1))
        return torch.distributions.Categorical(logits=self.pi(hidden)), self.v(hidden).squeeze(1), hidden


def actor(size: Size = SMALL) -> Made:
    model = Actor(size.hidden)
    obs, actions = torch.randn(size.steps, size.batch, X), torch.randint(2, (size.steps, size.batch))
    returns, done = torch.randn(size.steps, size.batch), torch.zeros(size.steps, size.batch)
    done[size.steps // 2, 0] = 1.0

    def loss(m):
        hidden, losses = m.initial_state(size.batch), []
        for t in range(size.steps):
            pi, value, hidden = m(obs[t], hidden, done[t])
            advantage = (returns[t] - value).detach()
            losses.append(-pi.log_prob(actions[t]) * advantage + 0.5 * (returns[t] - value) ** 2)
        return torch.stack(losses)

    return model, loss
