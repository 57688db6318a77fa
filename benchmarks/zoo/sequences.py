"""From sequence to sequence as people write it: taggers, encoders and decoders, speech, a hybrid with attention."""

import math
import random

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.zoo.size import SMALL, Made, Size

V, TAGS, SOS = 20, 5, 1


class Tagger(nn.Module):
    """A tag for each word of ragged sentences: both directions, two layers, packed."""

    def __init__(self, n_hidden):
        super().__init__()
        self.word_embeddings = nn.Embedding(V, n_hidden, padding_idx=0)
        self.lstm = nn.LSTM(n_hidden, n_hidden // 2, num_layers=2, bidirectional=True)
        self.hidden2tag = nn.Linear(n_hidden // 2 * 2, TAGS)

    def forward(self, batch):
        embeds = self.word_embeddings(batch["words"])
        packed = pack_padded_sequence(embeds, batch["lengths"], enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], total_length=len(embeds))
        return {"scores": self.hidden2tag(out)}


def tagger(size: Size = SMALL) -> Made:
    lengths = torch.linspace(size.steps // 2, size.steps, size.batch).long().roll(1)
    mask = torch.arange(size.steps)[:, None] < lengths
    batch = {"words": torch.randint(1, V, mask.shape) * mask, "lengths": lengths}
    tags = torch.randint(TAGS, mask.shape).masked_fill(~mask, -100)

    def loss(m):
        scores = m(batch)["scores"]
        return F.cross_entropy(scores.transpose(1, 2), tags, ignore_index=-100, reduction="none")

    return Tagger(size.hidden), loss


class Encoder(nn.Module):
    def __init__(self, n_hidden, kind=nn.GRU, **options):
        super().__init__()
        self.embedding = nn.Embedding(V, n_hidden)
        self.rnn = kind(n_hidden, n_hidden, **options)

    def forward(self, src):
        return self.rnn(self.embedding(src))


class Decoder(nn.Module):
    """Sees the encoder's last state at each step, beside the token before."""

    def __init__(self, n_hidden):
        super().__init__()
        self.embedding = nn.Embedding(V, n_hidden)
        self.rnn = nn.GRU(2 * n_hidden, n_hidden)
        self.out = nn.Linear(3 * n_hidden, V)

    def forward(self, trg, context):
        embedded = self.embedding(trg)
        seen = context.expand(len(trg), -1, -1)
        output, hidden = self.rnn(torch.cat([embedded, seen], dim=2), context)
        return self.out(torch.cat([embedded, output, seen], dim=2)), hidden


class Seq2Seq(nn.Module):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, src, trg):
        _, hidden = self.encoder(src)
        return self.decoder(trg, hidden)


def encoder_decoder(size: Size = SMALL) -> Made:
    """Source and target of different lengths, teacher forcing in one call."""
    model = Seq2Seq(Encoder(size.hidden), Decoder(size.hidden))
    src, trg = torch.randint(V, (size.steps, size.batch)), torch.randint(V, (size.steps // 2 + 2, size.batch))

    def loss(m):
        logits, _ = m(src, trg[:-1])
        return F.cross_entropy(logits.permute(0, 2, 1), trg[1:], reduction="none")

    return model, loss


class Bahdanau(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.Wa, self.Ua, self.Va = nn.Linear(n_hidden, n_hidden), nn.Linear(n_hidden, n_hidden), nn.Linear(n_hidden, 1)

    def forward(self, query, keys):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys))).squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class AttentionDecoder(nn.Module):
    """An nn.GRU called with one token at a time."""

    def __init__(self, n_hidden):
        super().__init__()
        self.embedding = nn.Embedding(V, n_hidden)
        self.attention = Bahdanau(n_hidden)
        self.gru = nn.GRU(2 * n_hidden, n_hidden, batch_first=True)
        self.out = nn.Linear(n_hidden, V)

    def forward(self, encoded, hidden, target):
        token = torch.full((encoded.size(0), 1), SOS, dtype=torch.long)
        outputs, attentions = [], []
        for i in range(target.size(1)):
            context, weights = self.attention(hidden.permute(1, 0, 2), encoded)
            output, hidden = self.gru(torch.cat((self.embedding(token), context), dim=2), hidden)
            outputs.append(self.out(output))
            attentions.append(weights)
            token = target[:, i].unsqueeze(1)
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1), hidden, torch.cat(attentions, dim=1)


def bahdanau(size: Size = SMALL) -> Made:
    model = nn.ModuleDict({"encoder": Encoder(size.hidden, batch_first=True), "decoder": AttentionDecoder(size.hidden)})
    src, trg = torch.randint(V, (size.batch, size.steps)), torch.randint(V, (size.batch, size.steps - 3))

    def loss(m):
        outputs, hidden = m["encoder"](src)
        log_probs, _, _ = m["decoder"](outputs, hidden, trg)
        return F.nll_loss(log_probs.transpose(1, 2), trg, reduction="none").t()

    return model, loss


class CellDecoder(nn.Module):
    """An nn.LSTMCell fed with its own guesses at about half the steps, dot-product attention after it."""

    def __init__(self, n_hidden, teacher_forcing_ratio=0.5):
        super().__init__()
        self.ratio = teacher_forcing_ratio
        self.embedding = nn.Embedding(V, n_hidden)
        self.cell = nn.LSTMCell(2 * n_hidden, n_hidden)
        self.combine = nn.Linear(2 * n_hidden, n_hidden)
        self.out = nn.Linear(n_hidden, V)

    def forward(self, encoded, state, trg):
        T, B = trg.shape
        outputs = []
        token, feed = torch.full((B,), SOS), encoded.new_zeros(B, encoded.size(2))
        for t in range(T):
            h, c = self.cell(torch.cat([self.embedding(token), feed], dim=1), state)
            state = (h, c)
            weights = torch.einsum("tbh,bh->tb", encoded, h).softmax(0)
            context = torch.einsum("tb,tbh->bh", weights, encoded)
            feed = torch.tanh(self.combine(torch.cat([h, context], dim=1)))
            outputs.append(self.out(feed))
            token = trg[t] if random.random() < self.ratio else outputs[-1].argmax(1)
        return torch.stack(outputs)


class CellSeq2Seq(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.encoder, self.decoder = Encoder(n_hidden, nn.LSTM), CellDecoder(n_hidden)

    def forward(self, src, trg):
        encoded, (h, c) = self.encoder(src)
        return self.decoder(encoded, (h.squeeze(0), c.squeeze(0)), trg)


def cell_decoder(size: Size = SMALL) -> Made:
    src, trg = torch.randint(V, (size.steps, size.batch)), torch.randint(V, (size.steps - 2, size.batch))

    def loss(m):
        return F.cross_entropy(m(src, trg).flatten(0, 1), trg.flatten(), reduction="none").view(trg.shape)

    return CellSeq2Seq(size.hidden), loss


class BatchRNN(nn.Module):
    """Batch norm over the features of all steps, then a GRU in both directions whose halves are added."""

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_in)
        self.rnn = nn.GRU(n_in, n_hidden, bidirectional=True, bias=False)

    def forward(self, x):
        x = self.norm(x.permute(1, 2, 0)).permute(2, 0, 1)
        x, _ = self.rnn(x)
        return x.view(x.size(0), x.size(1), 2, -1).sum(2)


class Speech(nn.Module):
    def __init__(self, n_mels, n_hidden):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(n_mels, n_hidden, 5, stride=2, padding=2), nn.Hardtanh(0, 20))
        self.rnns = nn.Sequential(BatchRNN(n_hidden, n_hidden), BatchRNN(n_hidden, n_hidden))
        self.fc = nn.Linear(n_hidden, V)

    def forward(self, mel):
        x = self.conv(mel).permute(2, 0, 1)
        return self.fc(self.rnns(x)).log_softmax(-1)


def speech(size: Size = SMALL) -> Made:
    mel = torch.randn(size.batch, 6, 2 * size.steps)
    words = torch.randint(1, V, (size.batch, size.steps // 3))
    frames, letters = torch.full((size.batch,), size.steps), torch.full((size.batch,), size.steps // 3)
    return Speech(6, size.hidden), lambda m: F.ctc_loss(m(mel), words, frames, letters)


class RecurrentEncoderLayer(nn.TransformerEncoderLayer):
    """Self-attention, then a recurrent network where the first layer of the feed-forward block was."""

    def __init__(self, d_model, nhead, n_hidden):
        super().__init__(d_model, nhead, dim_feedforward=n_hidden, dropout=0.0)
        self.linear1 = None
        self.rnn = nn.RNN(d_model, n_hidden)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        x = self.norm1(src + self._sa_block(src, src_mask, src_key_padding_mask))
        out, _ = self.rnn(x)
        return self.norm2(x + self.linear2(F.relu(out)))


class Hybrid(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.d_model = n_hidden // 2 * 2
        self.embed = nn.Embedding(V, self.d_model)
        layer = RecurrentEncoderLayer(self.d_model, 2, n_hidden)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.out = nn.Linear(self.d_model, V)

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(len(tokens))
        return self.out(self.encoder(self.embed(tokens) * math.sqrt(self.d_model), mask))


def transformer_hybrid(size: Size = SMALL) -> Made:
    text = torch.randint(V, (size.steps + 1, size.batch))

    def loss(m):
        return F.cross_entropy(m(text[:-1]).transpose(1, 2), text[1:], reduction="none")

    return Hybrid(size.hidden), loss
