"""Runner, hooks, optimiser set-up and visualizer. Importing it registers them."""

from . import ema, hooks, optim, runner, visualizer

__all__ = ['ema', 'hooks', 'optim', 'runner', 'visualizer']
