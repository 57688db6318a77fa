"""What a model was given and gave in somebody's own loop, and what the loss wanted of it.

    y = model(x)             the arguments and the setting are kept before, y's tensors get a hook
    loss.backward()          which catches g = dLoss/dy
    again(call)              the same forward a second time, from the same random states

A call outside of all others counts; one that a submodule gets from its own model does not. Where a loop hands on what
an earlier call returned, a state from step to step, the two are linked, and belong to one trajectory.
"""

import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from retrograd.errors import NotMeasured
from retrograd.experiments.watching import setting
from retrograd.experiments.watching.nested import leaves, mapped
from retrograd.experiments.watching.setting import Habits, Setting

KEPT = 1 << 24  # numbers: a larger gradient at an output is kept only where it is to be measured
MOST = 5000  # calls in one step
Link = tuple[int, str]  # a call of this step, and the path in its output
NOWHERE: Link = (-1, "")
LOSSES = ("", "0", "loss")  # where a model that computes its own loss returns it
ATTRIBUTES = "attributes"  # the path of what a module hands on to its next call in itself


@dataclass
class Call:
    """One forward pass."""

    module: nn.Module
    plain: nn.Module  # without what torch.compile and data parallelism put around it
    arguments: tuple[Any, dict[str, Any]]
    links: dict[str, Link]  # of the arguments that an earlier call returned, by their path
    setting: Setting
    versions: list[tuple[Tensor, int]]  # of arguments that were not copied
    modes: list[bool] = field(default_factory=list)  # training or evaluation, of every module; empty: not kept
    weights: int | None = None  # the versions of all weights, added up; None: not kept
    gradients: dict[str, Tensor] = field(default_factory=dict)  # dLoss/doutput by its path
    number: int = -1  # in its step
    loss: Tensor | None = None  # the single number that the model returned first, or as "loss"

    def run(self, returned: Mapping[Link, Tensor]) -> Any:
        """The forward again, under the setting of then, given what earlier calls now `returned`; the caller puts back
        what it changes."""
        args, kwargs = mapped(self.arguments, lambda path, x: returned.get(self.links.get(path, NOWHERE), x.detach()))
        for module, training in zip(self.plain.modules(), self.modes, strict=False):
            module.training = training
        with self.setting.restored(attributes=ATTRIBUTES not in self.links), torch.enable_grad():
            return self.plain(*args, **kwargs)

    def check(self, weights: int) -> None:
        """Raises NotMeasured where what it was computed from is no longer there."""
        if self.weights is not None and weights != self.weights:
            raise NotMeasured(
                "The weights were changed after the forward pass. Call step after backward() and before "
                "optimizer.step()."
            )
        if any(x._version != version for x, version in self.versions):
            raise NotMeasured("An argument of the model was written to after the forward pass, so that is lost.")


class Deaf:
    """What the hooks on a copy of a watched model are bound to: they do nothing, its own or those of `Calls`."""

    _quiet = True

    def _before(self, *_: Any) -> None:
        pass

    def _after(self, *_: Any) -> None:
        pass


class Calls:
    """Listens to a model's forward passes from one step of a training to the next."""

    def __init__(self, model: nn.Module, guard: AbstractContextManager[Any]) -> None:
        self.model, self.guard = model, guard  # the guard is entered again and again
        self.parameters = list(model.parameters())
        self.due = True  # is the next step to be measured?
        self.listening = 0.0  # seconds that listening to this step took, where it is to be measured
        self.backward_ended: Callable[[], None] | None = None  # called when all gradients are there
        self._habits: dict[int, Habits] = {}
        self._calls: list[Call] = []
        self._returned: dict[int, tuple[weakref.ref[Tensor], Link]] = {}
        self._open: list[Call | None] = []
        self.heard = False  # was the model ever called?
        self._quiet, self._queued = False, False
        self._hooks: list[Any] = []
        self._plain: dict[nn.Module, nn.Module] = {}  # what is listened to, without its wrappers
        self._listen(model)

    def chain(self) -> list[Call]:
        """The last call that the loss depended on, after those whose output it was given.

        Raises NotMeasured where there is none, and where what one was computed from is gone.
        """
        asked = [i for i, call in enumerate(self._calls) if call.gradients]
        if not asked:
            raise NotMeasured(
                "The loss's gradient reached nothing that the model returned since the last step. Call the model "
                "itself in the loop, model(x), and step once after backward()."
            )
        wanted, todo = set(asked[-1:]), asked[-1:]
        while todo:
            before = {i for i, _ in self._calls[todo.pop()].links.values()} - wanted
            wanted |= before
            todo += before
        found = [self._calls[i] for i in sorted(wanted)]
        for call in found:
            call.check(self.versions())
        return found

    def __reduce__(self) -> tuple[type[Deaf], tuple[()]]:
        """A copy of the model, or a pickle of it, takes the hooks along: they are of no training that is watched."""
        return Deaf, ()

    @property
    def returned_loss(self) -> Tensor | None:
        """The loss that the model computed itself in the last call that was differentiated, if it did."""
        return next((call.loss for call in reversed(self._calls) if call.gradients), None)

    def next(self, *, due: bool) -> None:
        """A step is over. Where the model itself was not called, its parts with a recurrence are listened to."""
        if not self.heard:
            self.heard = True
            for part in parts(unwrapped(self.model)):
                self._listen(part)
        if due:
            self.parameters = list(self.model.parameters())
        self.due, self.listening = due, 0.0
        self._calls.clear()
        self._returned.clear()

    def versions(self) -> int:
        return sum(p._version for p in self.parameters)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """What happens inside is no call of the training's."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.heard = True
        self.next(due=False)

    def _listen(self, module: nn.Module) -> None:
        self._plain[module] = unwrapped(module)
        self._hooks += [
            module.register_forward_pre_hook(self._before, prepend=True, with_kwargs=True),
            module.register_forward_hook(self._after, with_kwargs=True, always_call=True),
        ]

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling() or self._quiet:
            return
        call = None
        if not any(self._open) and torch.is_grad_enabled():
            with self.guard:
                begin = time.monotonic()
                call = (self._kept if self.due else self._noted)(module, (args, kwargs))
                self.listening += time.monotonic() - begin
        self._open.append(call)

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if torch.compiler.is_compiling() or self._quiet or not self._open:
            return
        if (call := self._open.pop()) is not None:
            self.heard = True
            with self.guard:
                begin = time.monotonic()
                self._ended(call, output)
                self.listening += time.monotonic() - begin

    def _kept(self, module: nn.Module, arguments: tuple[Any, dict[str, Any]]) -> Call:
        """A call of a step that is to be measured, with copies of all that it depends on."""
        call = self._noted(module, arguments)
        call.arguments = mapped(arguments, lambda _, x: x.detach().clone())
        call.versions = []
        call.modes = [each.training for each in self._plain[module].modules()]
        call.weights = self.versions()
        return call

    def _noted(self, module: nn.Module, arguments: tuple[Any, dict[str, Any]]) -> Call:
        """A call of any other step: as little as it takes to run it again if it breaks."""
        plain, found = self._plain[module], list(leaves(arguments))
        habits = self._habits.get(id(plain)) or self._habits.setdefault(id(plain), Habits())
        taken = setting.take(plain, habits, whole=self.due)
        links = {path: link for path, x in found if (link := self._link(x))} if self._returned else {}
        if self._calls and taken.live:
            links[ATTRIBUTES] = len(self._calls) - 1, ATTRIBUTES
        return Call(module, plain, arguments, links, taken, versions=[(x, x._version) for _, x in found])

    def _link(self, x: Tensor) -> Link | None:
        found = self._returned.get(id(x))
        return found[1] if found and found[0]() is x else None

    def _ended(self, call: Call, output: Any) -> None:
        if call.setting.whole:
            call.setting.learn(self._habits[id(call.plain)], call.plain)
        if len(self._calls) >= MOST:
            self.next(due=self.due)
        call.number, seen = len(self._calls), set()
        for path, x in leaves(output):
            if x.grad_fn is not None and x.is_floating_point() and id(x) not in seen:
                seen.add(id(x))
                if path in LOSSES and x.numel() == 1:
                    call.loss = x.detach()
                x.register_hook(partial(self._caught, call, path))  # type: ignore[no-untyped-call]
                self._returned[id(x)] = weakref.ref(x), (call.number, path)
        if seen:
            self._calls.append(call)

    def _caught(self, call: Call, path: str, gradient: Tensor) -> None:
        if self._quiet or torch._C._functorch.is_batchedtensor(gradient):  # somebody else's look at the model
            return
        with self.guard:
            if self.backward_ended and not self._queued:
                self._queued = True
                torch.autograd.Variable._execution_engine.queue_callback(self._backward_ended)
            if self.due or gradient.numel() <= KEPT:
                g = gradient.detach()
                earlier = call.gradients.get(path)
                call.gradients[path] = earlier + g if earlier is not None else g.clone() if self.due else g

    def _backward_ended(self) -> None:
        self._queued = False
        if self.backward_ended:
            with self.guard:
                self.backward_ended()


def unwrapped(module: nn.Module) -> nn.Module:
    """Without torch.compile's wrapper or that of data parallelism."""
    while True:
        inner = vars(module).get("_modules", {}).get("_orig_mod")
        if inner is None and isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def parts(model: nn.Module) -> list[nn.Module]:
    """The modules in a model that are a recurrent layer or hold one, without the model itself."""
    from retrograd.bptt.stack import Stack

    kinds = (nn.RNNBase, nn.RNNCellBase, Stack)
    held = [m for m in model.modules() if any(isinstance(inner, kinds) for inner in m.modules())]
    return [m for m in held if m is not model]
