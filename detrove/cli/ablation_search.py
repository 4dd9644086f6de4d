"""`detrove ablate --search space.py`: settings searched by Optuna, trainings that start badly ended early."""

import argparse
import contextlib
import csv
import io
import math
import runpy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import ablation_run
from .ablation_launch import ended_by_signals
from .ablation_run import Experiment, Run, TrainedElsewhere, TrainingFailed, write_atomically
from .ablation_table import sign_of

_POLL_S = 5.0  # between two looks at the validations of a training
_FOLDER, _WHY, _BEST_AT = 'folder', 'why', 'best_at'  # what a trial remembers


class Pruned(Exception):
    """A training is ended because others were better at the same point."""


def search(args: argparse.Namespace, train_args: Sequence[str], work_dir: Path, *,
           make_experiment: Callable[[list[str]], Experiment], check: Callable[[Sequence[Run]], None]) -> int:
    """Train trial after trial until there are `args.trials`, and write `search.csv` after each.

    The study is kept in `work_dir`: called again it goes on, also in several processes at once. A trial that was
    stopped is taken up from its checkpoint.

    Args:
        args: `search` (the file), `trials`, `startup`, `metric`.
        train_args: Words of the user for `detrove train`.
        make_experiment: From words for `detrove train`.
        check: Refuses runs whose folder holds a training with other settings.

    Returns:
        Exit status; 1 where no trial has ended with a value.

    Raises:
        ModuleNotFoundError: If Optuna is not installed.
        FileNotFoundError, ValueError: If the search space is not there or wrong.
    """
    optuna = _import_optuna()
    space = read_space(Path(args.search))
    base = make_experiment(list(train_args))
    metric = args.metric or base.save_best or 'coco/bbox_mAP'
    sign = sign_of(metric, base)
    work_dir.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.journal.JournalFileBackend(str(work_dir / 'search.journal'))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=metric, storage=optuna.storages.JournalStorage(journal), load_if_exists=True,
        direction='maximize' if sign > 0 else 'minimize', pruner=optuna.pruners.MedianPruner(args.startup))
    # Seeded anew it would propose again what it has proposed before.
    study.sampler = optuna.samplers.TPESampler(seed=None if study.trials else 0)
    _take_up_stopped(study, optuna.trial.TrialState, work_dir)
    with ended_by_signals():
        while len(_ended(study, optuna.trial.TrialState)) < args.trials:
            trial = study.ask()
            options = space(trial)
            _check_options(options, args.search)
            folder = trial.user_attrs.get(_FOLDER, f'trial{trial.number}')
            trial.set_user_attr(_FOLDER, folder)
            experiment = make_experiment([*train_args, '--cfg-options', *map(option_word, options.items())])
            run = Run(experiment, 0, work_dir / folder)
            check([run])
            print(f'[{trial.number}] {folder}: {" ".join(map(option_word, options.items()))}', flush=True)
            outcome = _train(study, trial, run, metric, sign, optuna.trial.TrialState)
            print(f'[{trial.number}] {folder}: {outcome}', flush=True)
            _write_table(study, work_dir, metric)
    return _conclude(study, optuna.trial.TrialState, work_dir, metric)


def read_space(file: Path) -> Callable:
    """The function `space(trial) -> dict` of a Python file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it defines no such function.
    """
    if not file.is_file():
        raise FileNotFoundError(2, 'No such file', str(file))
    space = runpy.run_path(str(file)).get('space')
    if not callable(space):
        raise ValueError(f'{file}: expected a function `def space(trial)` that returns a dict of settings, as for '
                         "--cfg-options: return {'optim_wrapper.optimizer.lr': trial.suggest_float('lr', 1e-5, 1e-3, "
                         'log=True)}')
    return space


def option_word(setting: tuple[str, object]) -> str:
    """A setting as a word for `--cfg-options`."""
    key, value = setting
    if isinstance(value, (list, tuple)):
        brackets = '[]' if isinstance(value, list) else '()'
        value = ','.join(map(str, value)).join(brackets)
    return f'{key}={value}'


def _check_options(options, file: str) -> None:
    plain = (str, int, float, bool, type(None), list, tuple)
    wrong = not isinstance(options, Mapping) or [key for key, value in options.items() if not isinstance(value, plain)]
    if wrong:
        raise ValueError(f'{file}: space(trial) returned {options!r}; expected a dict from dotted keys to numbers, '
                         'texts, booleans, None or lists of these')


def _train(study, trial, run: Run, metric: str, sign: int, states) -> str:
    """Train a trial, tell the study how it ended, and say so."""
    seen: set[int] = set()
    last_look = 0.0

    def look(*, now: bool = False) -> None:
        nonlocal last_look
        if not now and time.monotonic() - last_look < _POLL_S:
            return
        last_look = time.monotonic()
        for record in _values(run, metric):
            if record[0] not in seen and math.isfinite(record[1]):
                seen.add(record[0])
                trial.report(record[1], record[0])
        if not now and seen and trial.should_prune():
            raise Pruned

    try:
        ablation_run.train(run, on_wait=look)
        look(now=True)
        finite = [record for record in _values(run, metric) if math.isfinite(record[1])]
        if not finite:
            raise TrainingFailed(f'no validation gave a number for {metric}')
    except Pruned:
        step, value = _values(run, metric)[-1]
        trial.set_user_attr(_BEST_AT, step)
        study.tell(trial, state=states.PRUNED)
        return f'ended early at {run.experiment.unit} {step}: {metric} {value:.4f} is below the median of the others'
    except (TrainingFailed, TrainedElsewhere) as error:
        trial.set_user_attr(_WHY, str(error))
        study.tell(trial, state=states.FAIL)
        return f'no result: {error}'
    step, value = max(finite, key=lambda record: sign * record[1])
    trial.set_user_attr(_BEST_AT, step)
    study.tell(trial, value)
    return f'{metric} {value:.4f} at {run.experiment.unit} {step}'


def _values(run: Run, metric: str) -> list[tuple[int, float]]:
    """Step and value of each validation so far."""
    validations = ablation_run.read_validations(run.folder)
    for record in validations:
        if metric not in record['metrics']:
            raise ValueError(f'metric {metric!r}: the validation gave {", ".join(record["metrics"])}. Name one of them '
                             'with --metric.')
    return [(record['step'], float(record['metrics'][metric])) for record in validations]


def _take_up_stopped(study, states, work_dir: Path) -> None:
    """Trials that no process trains any more are tried again, in their folders."""
    for trial in study.get_trials(states=(states.RUNNING,)):
        folder = trial.user_attrs.get(_FOLDER)
        if folder is None or not (work_dir / folder).is_dir():
            continue
        with contextlib.suppress(TrainedElsewhere), ablation_run.exclusive(work_dir / folder / 'train.lock'):
            study.tell(trial.number, state=states.FAIL)
            study.enqueue_trial(trial.params, user_attrs={_FOLDER: folder})


def _ended(study, states) -> list:
    """Trials that count: not those that were stopped from outside."""
    trials = study.get_trials(states=(states.COMPLETE, states.PRUNED, states.FAIL))
    return [trial for trial in trials if trial.state != states.FAIL or _WHY in trial.user_attrs]


def _write_table(study, work_dir: Path, metric: str) -> None:
    names = sorted({name for trial in study.trials for name in trial.params})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(['trial', 'state', metric, 'at', *names, 'folder', 'why'])
    for trial in study.trials:
        memory = trial.user_attrs
        writer.writerow([trial.number, trial.state.name.lower(), trial.value, memory.get(_BEST_AT),
                         *(trial.params.get(name) for name in names), memory.get(_FOLDER), memory.get(_WHY)])
    write_atomically(work_dir / 'search.csv', text.getvalue())


def _conclude(study, states, work_dir: Path, metric: str) -> int:
    done = study.get_trials(states=(states.COMPLETE,))
    print(f'\n{len(done)} trials with a value, {len(study.get_trials(states=(states.PRUNED,)))} ended early: '
          f'{work_dir / "search.csv"}')
    if not done:
        return 1
    best = study.best_trial
    print(f'best: {metric} {best.value:.4f} in {work_dir / best.user_attrs[_FOLDER]}\n  '
          + ' '.join(f'{name}={value}' for name, value in best.params.items()))
    return 0


def _import_optuna():
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != 'optuna':
            raise
        raise ModuleNotFoundError("--search: the package optuna is not installed. Run pip install 'detrove[search]' "
                                  'or pip install optuna.') from error
    return optuna
