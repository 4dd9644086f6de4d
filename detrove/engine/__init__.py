"""Runner, loops, hooks, optimiser set-up and visualizer. Importing it registers them."""

from . import data_order, ema, hooks, loops, optim, runner, visualizer

__all__ = ['data_order', 'ema', 'hooks', 'loops', 'optim', 'runner', 'visualizer']
