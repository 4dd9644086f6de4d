"""Runner, hooks and optimiser set-up. Importing it registers them."""

from . import hooks, optim, runner

__all__ = ['hooks', 'optim', 'runner']
