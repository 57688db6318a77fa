"""Classifiers as people write them: many to one, packed with attention, frozen, siamese, one step long, video."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from benchmarks.zoo.size import SMALL, Made, Size

V, CLASSES = 20, 3


class Sentiment(nn.Module):
    def __init__(self, n_hidden, dropout=0.3):
        super().__init__()
        self.embedding = nn.Embedding(V, n_hidden)
        self.lstm = nn.LSTM(n_hidden, n_hidden, num_layers=2, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_hidden, CLASSES)

    def forward(self, x):
        _, (hidden, _) = self.lstm(self.embedding(x))
        return self.fc(self.dropout(hidden[-1]))


class Parallel(nn.Module):
    """What wraps a model as DataParallel does: the same call, everything under `module`."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs, **kwargs):
        return self.module(*inputs, **kwargs)


def many_to_one(size: Size = SMALL) -> Made:
    model = Parallel(Sentiment(size.hidden)).eval()
    x, y = torch.randint(V, (size.batch, size.steps)), torch.randint(CLASSES, (size.batch,))
    criterion = nn.CrossEntropyLoss()
    return model, lambda m: criterion(m(x), y)


class PackedAttention(nn.Module):
    """Ragged sentences packed, both directions; the two last states ask, the outputs answer."""

    def __init__(self, n_hidden):
        super().__init__()
        self.embedding = nn.Embedding(V, n_hidden, padding_idx=0)
        self.lstm = nn.LSTM(n_hidden, n_hidden, batch_first=True, bidirectional=True)
        self.query = nn.Linear(2 * n_hidden, 2 * n_hidden)
        self.fc = nn.Linear(4 * n_hidden, CLASSES)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        packed, (h_n, _) = self.lstm(packed)
        output, _ = pad_packed_sequence(packed, batch_first=True)
        last = torch.cat([h_n[0], h_n[1]], dim=1)
        scores = torch.bmm(output, self.query(last).unsqueeze(2)).squeeze(2)
        mask = torch.arange(output.size(1))[None, :] >= lengths[:, None]
        weights = F.softmax(scores.masked_fill(mask, float("-inf")), dim=1)
        context = torch.bmm(weights.unsqueeze(1), output).squeeze(1)
        return self.fc(torch.cat([context, last], dim=1)), weights


def packed_attention(size: Size = SMALL) -> Made:
    model = PackedAttention(size.hidden)
    lengths = torch.linspace(size.steps // 2, size.steps, size.batch).long().flip(0).roll(1)
    x = pad_sequence([torch.randint(1, V, (int(n),)) for n in lengths], batch_first=True)
    y = torch.randint(CLASSES, (size.batch,))

    def loss(m):
        logits, _ = m(x, lengths)
        return F.cross_entropy(logits, y)

    return model, loss


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def frozen_sequential(size: Size = SMALL) -> Made:
    """A recurrent network that is not trained, under a head that is, in one nn.Sequential."""
    reservoir = nn.RNN(4, size.hidden, batch_first=True)
    for p in reservoir.parameters():
        p.requires_grad = False
    model = nn.Sequential(
        reservoir, Lambda(lambda out: out[0][:, -1]), nn.Linear(size.hidden, 16), nn.ReLU(), nn.Linear(16, 1)
    )
    x, y = torch.randn(size.batch, size.steps, 4), torch.randn(size.batch, 1)
    return model, lambda m: nn.MSELoss()(m(x), y)


class Siamese(nn.Module):
    """One encoder for both sentences of a pair, max over time."""

    def __init__(self, n_hidden):
        super().__init__()
        self.embed = nn.Embedding(V, n_hidden)
        self.encoder = nn.LSTM(n_hidden, n_hidden, bidirectional=True)
        self.classifier = nn.Sequential(nn.Linear(8 * n_hidden, 16), nn.Tanh(), nn.Linear(16, CLASSES))

    def encode(self, x):
        out, _ = self.encoder(self.embed(x))
        return out.max(dim=0)[0]

    def forward(self, a, b):
        u, v = self.encode(a), self.encode(b)
        return self.classifier(torch.cat([u, v, (u - v).abs(), u * v], dim=1))


def siamese(size: Size = SMALL) -> Made:
    model = Siamese(size.hidden)
    a, b = torch.randint(V, (2, size.steps, size.batch))
    y = torch.randint(CLASSES, (size.batch,))
    return model, lambda m: F.cross_entropy(m(a, b), y)


class OneStep(nn.Module):
    """A frequent mistake: the features of one row are taken for a sequence of length one."""

    def __init__(self, n_hidden):
        super().__init__()
        self.gru = nn.GRU(6, n_hidden, batch_first=True)
        self.fc = nn.Linear(n_hidden, 1)

    def forward(self, x):
        out, _ = self.gru(x.unsqueeze(1))
        return self.fc(out[:, -1, :])


def one_step(size: Size = SMALL) -> Made:
    x, y = torch.randn(size.batch, 6), torch.randn(size.batch, 1)
    return OneStep(size.hidden), lambda m: F.mse_loss(m(x), y)


class VideoNet(nn.Module):
    """A convolution of each frame with batch norm in training mode, then an LSTM over the frames; puts out a dict."""

    def __init__(self, n_hidden):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.lstm = nn.LSTM(16, n_hidden, batch_first=True)
        self.fc = nn.Linear(n_hidden, CLASSES)

    def forward(self, video):
        B, T = video.shape[:2]
        features = self.cnn(video.view(B * T, *video.shape[2:])).view(B, T, -1)
        self.lstm.flatten_parameters()
        out, _ = self.lstm(features)
        return {"features": features, "logits": self.fc(out[:, -1])}


def video(size: Size = SMALL) -> Made:
    clip = torch.randn(size.batch, size.steps, 1, 8, 8)
    y = torch.randint(CLASSES, (size.batch,))
    return VideoNet(size.hidden).train(), lambda m: F.cross_entropy(m(clip)["logits"], y)
