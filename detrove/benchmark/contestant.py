"""A model that takes part in a measurement."""

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .workload import Workload

LOSSES = 'matching and losses'


class Contestant(ABC):
    """What `measure` calls. Subclasses say how the model is run.

    Args:
        name: shown in the report.
        model: on the workload's device.
        workload: what it is measured on.
        compile_mode: a mode of `torch.compile` for the network's passes, None to run them as they are. Matching and
            losses are never compiled.

    Attributes:
        inputs: the images; their device is that of the measurement.
        optimizer, clip_gradients: what follows the backward pass; None to leave gradients as they are.
        clock: set by `measure`, for parts of a step that lie inside another part.
        trains: a training step can be measured.
        load_batch: the work of a data loader for one batch; None where there is nothing to measure. why_no_data says
            why.
    """

    optimizer: torch.optim.Optimizer
    clip_gradients: Callable[[Iterable[Tensor]], object] | None = None
    trains = True
    load_batch: Callable[[], object] | None = None
    why_no_data: str | None = None

    def __init__(self, name: str, model: nn.Module, workload: Workload, *, compile_mode: str | None = None):
        self.name = name
        self.model = model
        self.workload = workload
        self.compile_mode = compile_mode
        self.clock: Callable[[], float] = time.perf_counter
        self.inputs = workload.images()
        self.scaler = torch.amp.GradScaler(workload.device_type, enabled=workload.precision == 'fp16')
        self._inside: dict[str, float] = {}
        self._is_counting = False

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @abstractmethod
    def predict(self, *, compiled: bool = True) -> object:
        """One pass in inference. `compiled=False` runs it without torch.compile, to count operations."""

    @abstractmethod
    def forward(self) -> object:
        """The network's pass in training; what it gives goes to `losses`."""

    @abstractmethod
    def losses(self, outputs: Any) -> Tensor | Mapping | Sequence:
        """Losses, to be summed."""

    def update(self) -> None:
        """Clip gradients where the recipe does that, step, and clear gradients."""
        if self.clip_gradients is not None:
            self.scaler.unscale_(self.optimizer)
            self.clip_gradients(self.model.parameters())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def train_parts(self) -> Iterator[str | tuple[str, dict[str, float]]]:
        """One training step; yields the name of each part when it has been done.

        A pair says besides how many seconds of that part belong to other parts: losses are computed inside the forward
        pass of many models.
        """
        self.model.train()
        self._inside = {}
        with self.workload.autocast():
            outputs = self.forward()
        yield 'forward', self._inside
        total = sum_losses(self.losses(outputs))
        yield LOSSES
        self.scaler.scale(total).backward()
        yield 'backward'
        self.update()
        yield 'optimiser'

    @torch.no_grad()
    def predict_parts(self, *, compiled: bool = True) -> Iterator[str]:
        """One pass in inference."""
        self.model.eval()
        with self.workload.autocast():
            self.predict(compiled=compiled)
        yield 'forward'

    def compiled(self, function: Callable) -> Callable:
        """`function`, compiled if this contestant is."""
        return torch.compile(function, mode=self.compile_mode) if self.compile_mode else function

    def timed(self, function: Callable, part: str = LOSSES) -> Callable:
        """`function`, whose time counts for `part` instead of the part around it."""
        def run(*args, **kwargs):
            with self._counting(part):
                return function(*args, **kwargs)
        return torch.compiler.disable(run) if self.compile_mode else run

    @contextmanager
    def _counting(self, part: str) -> Iterator[None]:
        if self._is_counting:  # an assigner inside a loss
            yield
            return
        self._is_counting, start = True, now(self)
        try:
            yield
        finally:
            self._inside[part] = self._inside.get(part, 0.0) + now(self) - start
            self._is_counting = False


@dataclass
class ExternalModel:
    """A model that is no config: what a function of `path.py:function` returns, and what peers are made of.

    Attributes:
        model: an ordinary module.
        inputs: of its pass in inference, positional, or by name in a dict.
        train_inputs: of its pass in training; None to measure inference alone.
        loss: losses (a tensor, or several in a dict or a sequence, to be summed) of what the pass in training gave.
        optimizer: of the training step; AdamW by default.
        clip_grad_norm: the gradient is scaled down to this norm; None to leave it.
        deploy: the model, or a copy, in its form for inference, for `--fuse`.
        loss_method: name of a method of `model` that computes the losses inside its forward pass, to time it by itself.
    """

    model: nn.Module
    inputs: Sequence | Mapping
    train_inputs: Sequence | Mapping | None = None
    loss: Callable[[Any], Tensor | Mapping | Sequence] | None = None
    optimizer: torch.optim.Optimizer | None = None
    clip_grad_norm: float | None = None
    deploy: Callable[[nn.Module], nn.Module] | None = None
    loss_method: str | None = None


class ExternalContestant(Contestant):
    """An `ExternalModel`. `fuse` measures inference in the form that its `deploy` gives."""

    def __init__(self, name: str, external: ExternalModel, workload: Workload, *, compile_mode: str | None = None,
                 fuse: bool = False):
        super().__init__(name, external.model.to(workload.device), workload, compile_mode=compile_mode)
        self.external = external
        self.trains = external.train_inputs is not None
        if self.trains and external.loss is None:
            raise ValueError(f'{name} has inputs for training, but no loss: give ExternalModel(loss=...), or leave '
                             'train_inputs out to measure inference alone.')
        self.optimizer = external.optimizer or torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        if external.clip_grad_norm is not None:
            self.clip_gradients = partial(nn.utils.clip_grad_norm_, max_norm=external.clip_grad_norm)
        self.inference_model = self.model
        if fuse:
            if external.deploy is None:
                raise ValueError(f'{name} has no form for inference; leave --fuse out, or give '
                                 'ExternalModel(deploy=function of the model).')
            self.inference_model = external.deploy(copy.deepcopy(self.model).eval())
        if external.loss_method:
            setattr(self.model, external.loss_method, self.timed(getattr(self.model, external.loss_method)))
        self._train_pass, self._predict_pass = self.compiled(self.model), self.compiled(self.inference_model)

    def predict(self, *, compiled: bool = True) -> object:
        return _call(self._predict_pass if compiled else self.inference_model, self.external.inputs)

    def forward(self) -> object:
        return _call(self._train_pass, self.external.train_inputs)

    def losses(self, outputs: Any) -> Tensor | Mapping | Sequence:
        return self.external.loss(outputs)


def sum_losses(losses: Tensor | Mapping | Sequence) -> Tensor:
    """The sum of a tensor, or of tensors in dicts and sequences."""
    if isinstance(losses, Tensor):
        return losses.sum()
    return sum(sum_losses(loss) for loss in (losses.values() if isinstance(losses, Mapping) else losses))


def now(contestant: Contestant) -> float:
    """The contestant's clock, when its device has done all work."""
    if contestant.inputs.is_cuda:
        torch.cuda.synchronize(contestant.inputs.device)
    return contestant.clock()


def _call(function: Callable, inputs: Sequence | Mapping) -> object:
    return function(**inputs) if isinstance(inputs, Mapping) else function(*inputs)
