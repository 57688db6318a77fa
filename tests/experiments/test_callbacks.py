"""The loops of Lightning and of transformers, watched: against the same loop written out by hand."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import retrograd as rg
from retrograd.errors import MissingExtra
from retrograd.experiments.watching import watch

V, H, B, T, N = 13, 8, 4, 10, 6
CLIP = 0.05


def data():
    g = torch.Generator().manual_seed(3)
    return [(torch.randint(V, (B, T), generator=g), torch.randint(V, (B, T), generator=g)) for _ in range(N)]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.recurrent = nn.Embedding(V, H), nn.LSTM(H, H, 2, batch_first=True)
        self.head = nn.Linear(H, V)

    def forward(self, input_ids, labels=None):
        logits = self.head(self.recurrent(self.embedding(input_ids))[0])
        if labels is None:
            return logits
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def by_hand():
    """The plain loop, watched by hand; its random state at the first step."""
    model, w, state = started()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in data():
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        w.step(loss)
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
    w.close()
    return model, w, state


def started():
    torch.manual_seed(0)
    model = Model()
    torch.manual_seed(7)
    return model, watch(model, every=2, share=1e9, clip_norm=CLIP), torch.get_rng_state()


def same(model, w, wanted):
    other, truth, _ = wanted
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert w.index == truth.index == N
    assert list(w._norms) == pytest.approx(list(truth._norms), rel=1e-6)
    assert w.clipping.share == truth.clipping.share
    assert w.clipping.share > 0
    assert w.measurements.keys() == truth.measurements.keys()
    for name, measured in w.measurements.items():
        assert measured.step == truth.measurements[name].step
        assert measured.horizon.profile == pytest.approx(truth.measurements[name].horizon.profile, rel=1e-5)
    assert w.report.curves["loss"].values == pytest.approx(truth.report.curves["loss"].values, rel=1e-5)
    assert w.report.subject["losses"] == "one a step"
    assert w.report.status == "finished"


@pytest.mark.parametrize(("name", "package"), [("LightningWatch", "lightning"), ("TrainerWatch", "transformers")])
def test_without_the_package_the_error_is_the_command_that_installs_it(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(MissingExtra, match=rf"pip install 'retrograd\[{package}\]'"):
        getattr(rg, name)()


def lightning_module(pl, *, calls_itself):
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Model()

        def forward(self, x):
            return self.model(x)

        def training_step(self, batch, _):
            x, y = batch
            if calls_itself == "parts":
                logits = self.model.head(self.model.recurrent(self.model.embedding(x))[0])
            else:
                logits = self(x) if calls_itself else self.model(x)
            return F.cross_entropy(logits.flatten(0, 1), y.flatten())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    torch.manual_seed(0)
    module = Module()
    torch.manual_seed(7)
    return module


def fitted(tmp_path, module, callback, **options):
    pl = pytest.importorskip("lightning.pytorch")
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        gradient_clip_val=CLIP,
        callbacks=[callback],
        **options,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data(), batch_size=None))
    return trainer


@pytest.mark.extra
@pytest.mark.filterwarnings("ignore")  # of Lightning's own
@pytest.mark.parametrize("calls_itself", [True, False])
def test_a_lightning_module_is_watched_as_the_loop_by_hand(tmp_path, calls_itself):
    pl = pytest.importorskip("lightning.pytorch")
    module = lightning_module(pl, calls_itself=calls_itself)
    callback = rg.LightningWatch(every=2, share=1e9, out=tmp_path / "mine")
    fitted(tmp_path, module, callback)
    if calls_itself:
        same(module.model, callback.watch, by_hand())
    else:  # what is called is found in the first step, and measured from the next one on
        assert [m.step for m in callback.watch.measurements.values()] == [2, N]
        wanted = by_hand()[1].measurements["latest"].horizon
        assert callback.watch.report.horizon.profile == pytest.approx(wanted.profile, rel=1e-5)
    assert rg.Report.from_json((tmp_path / "mine" / "report.json").read_text()).status == "finished"
    assert not any(m._forward_pre_hooks for m in module.modules())


@pytest.mark.extra
@pytest.mark.filterwarnings("ignore")
def test_a_fit_that_fails_is_a_run_that_failed(tmp_path):
    pl = pytest.importorskip("lightning.pytorch")
    module = lightning_module(pl, calls_itself=True)
    module.on_train_batch_end = lambda *_: 1 / 0
    callback = rg.LightningWatch(out=tmp_path / "mine")
    with pytest.raises(ZeroDivisionError):
        fitted(tmp_path, module, callback)
    report = rg.Report.from_json((tmp_path / "mine" / "report.json").read_text())
    assert report.status == "failed"
    assert "ZeroDivisionError" in report.happenings[-1].details["reason"]


@pytest.mark.extra
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_transformers_trainer_is_watched_with_the_norm_of_before_clipping(tmp_path, accumulate):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    batches = data()
    rows = [{"input_ids": x[i], "labels": y[i]} for x, y in batches for i in range(B)]

    class Ordered(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(rows)

    torch.manual_seed(0)
    model = Model()
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "theirs"),
        per_device_train_batch_size=B,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=1,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=CLIP,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        seed=7,
    )
    callback = rg.TrainerWatch(every=2, share=1e9, out=tmp_path / "mine")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = Ordered(model, arguments, train_dataset=rows, optimizers=(optimizer, None), callbacks=[callback])
    torch.manual_seed(7)
    trainer.train()
    w = callback.watch
    assert w.index == N // accumulate
    if accumulate == 1:
        same(model, w, by_hand())
    assert w.clipping.log_norms[-1] > torch.tensor(CLIP).log(), "before clipping"
    assert rg.Report.from_json((tmp_path / "mine" / "report.json").read_text()).status == "finished"
    assert not any(m._forward_pre_hooks for m in model.modules())
