"""Running the runs of an ablation: here, one after another, or as Slurm jobs."""

import contextlib
import functools
import json
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from detrove.checkout import checkout_path

from .ablation_run import (
    Run,
    TrainedElsewhere,
    TrainingFailed,
    exclusive,
    find_checkpoint,
    read_position,
    train,
    write_atomically,
)

_POLL_S = 10
_MAX_TIMEOUTS = 20  # how often a job that reaches its time limit goes back into the queue before it counts as failed

_say = functools.partial(print, flush=True)  # seen at once in a file too


class SlurmTraining:
    """What a Slurm job calls: trains a run. Put back into the queue at its time limit, it goes on from a checkpoint."""

    def __init__(self, run: Run):
        self.run = run

    def __call__(self) -> None:
        train(self.run)

    def checkpoint(self):
        """submitit's protocol for what to do when the job is started again: the same."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def train_here(runs: Sequence[Run], *, after_run: Callable[[Mapping[Run, str]], None]) -> dict[Run, str]:
    """Train runs one after another.

    Args:
        after_run: Called after each run with the problems so far.

    Returns:
        Why a run has no result, for those that have none.

    Raises:
        ValueError: If a run was submitted to Slurm and has not ended, as far as can be known here.
    """
    submitted = [_job_file(run) for run in runs if not run.is_finished and _job_file(run).exists()]
    if submitted:
        raise ValueError(
            'these runs were submitted as Slurm jobs: call with --launcher slurm, or delete these files once the jobs '
            f'have ended: {", ".join(map(str, submitted))}'
        )
    problems = {}
    with ended_by_signals(), _progress(len(runs)) as show:
        for index, run in enumerate(runs):
            where = f'[{index + 1}/{len(runs)}] {run}'
            if run.is_finished:
                _say(f'{where}: finished before')
                continue
            checkpoint = find_checkpoint(run)
            _say(f'{where}: training{f" from {checkpoint.name}" if checkpoint else ""}, log {run.log}')
            try:
                train(run, on_wait=lambda run=run, index=index: _show_position(show, run, index))
                _say(f'{where}: finished')
            except (TrainingFailed, TrainedElsewhere) as error:
                problems[run] = str(error)
                _say(f'{where}: no result: {error}')
            after_run(_unsolved(problems))
    return _unsolved(problems)


def _unsolved(problems: dict[Run, str]) -> dict[Run, str]:
    """Without runs that another process has finished since."""
    return {run: why for run, why in problems.items() if not run.is_finished}


def train_on_slurm(
    runs: Sequence[Run],
    options: Mapping[str, object],
    work_dir: Path,
    *,
    after_run: Callable[[Mapping[Run, str]], None],
) -> dict[Run, str]:
    """Submit a job for each run that has neither a result nor a job, and wait for all of them.

    Args:
        options: submitit's settings for sbatch: partition, time in minutes, ...
        after_run: Called with the problems so far whenever runs have ended.

    Returns:
        Why a run has no result, for those that have none.

    Raises:
        ModuleNotFoundError: If submitit is not installed.
        ValueError: If an option is unknown.
        RuntimeError: If there is no Slurm here, or it refuses a job.
    """
    submitit = _import_submitit()
    executor = _make_executor(submitit, options, work_dir)
    jobs, unseen = {}, {}
    with exclusive(work_dir / 'submit.lock'):
        for run in runs:
            if run.is_finished:
                _say(f'{run}: finished before')
                _job_file(run).unlink(missing_ok=True)
                continue
            job = _find_job(submitit, run)
            if job is None:
                job = _submit(executor, run)
                _say(f'{run}: submitted as job {job.job_id}, log {run.log}')
            else:
                unknown = ', which Slurm does not know; if it has ended, delete ' + str(_job_file(run))
                _say(f'{run}: is job {job.job_id} already{unknown if job.state == "UNKNOWN" else ""}')
            jobs[run] = job
    problems = {}
    try:
        with _progress(len(runs)) as show:
            while jobs:
                ended = _take_ended(jobs, unseen, problems)
                if ended:
                    after_run(problems)
                states = [str(job.state).lower() for job in jobs.values()]
                counts = ', '.join(f'{states.count(state)} {state}' for state in sorted(set(states)))
                show(len(runs) - len(jobs), counts)
                if jobs:
                    time.sleep(_POLL_S)
    except KeyboardInterrupt:
        _say('the jobs go on; the same command watches them again and ends with the table')
        raise
    return problems


def _take_ended(jobs: dict[Run, object], unseen: dict[Run, int], problems: dict[Run, str]) -> list[Run]:
    """Take runs that have ended out of `jobs`; those without a result get an entry in `problems`."""
    ended = []
    for run, job in list(jobs.items()):
        if not run.is_finished:
            if not job.done():
                continue
            unseen[run] = unseen.get(run, 0) + 1
            if unseen[run] == 1:  # a shared file system may show the result a moment later
                continue
            problems[run] = f'job {job.job_id} ended without a result, see also {job.paths.stderr}'
        _say(f'{run}: {"no result: " + problems[run] if run in problems else "finished"}')
        _job_file(run).unlink(missing_ok=True)
        del jobs[run]
        ended.append(run)
    return ended


def _import_submitit():
    try:
        import submitit
    except ImportError as error:
        raise ModuleNotFoundError(
            "--launcher slurm needs the package submitit: pip install submitit, or detrove's extra `slurm`"
        ) from error
    return submitit


def _make_executor(submitit, options: Mapping[str, object], work_dir: Path):
    try:
        executor = submitit.SlurmExecutor(folder=work_dir / 'slurm' / '%j', max_num_timeout=_MAX_TIMEOUTS)
    except RuntimeError as error:
        raise RuntimeError(f'--launcher slurm: {error} Start this on a machine with srun and sbatch.') from error
    if checkout_path() is not None:
        path = f'export PYTHONPATH={shlex.quote(checkout_path())}${{PYTHONPATH:+:$PYTHONPATH}}'
        executor.update_parameters(setup=[path])
    try:
        executor.update_parameters(**options)
    except ValueError as error:
        raise ValueError(f'--slurm-options: {error}') from error
    return executor


def _submit(executor, run: Run):
    executor.update_parameters(job_name=f'{run.experiment.name}-{run.seed}')
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        job = executor.submit(SlurmTraining(run))
    except Exception as error:
        if type(error).__name__ != 'FailedJobError':  # what submitit makes of sbatch's exit status
            raise
        raise RuntimeError(f'Slurm refused the job of {run}: {error}') from error
    write_atomically(_job_file(run), json.dumps(dict(job_id=job.job_id, folder=str(executor.folder))))
    return job


def _find_job(submitit, run: Run):
    """The job that was submitted for a run by an earlier call, unless it has ended."""
    if not _job_file(run).exists():
        return None
    known = json.loads(_job_file(run).read_text())
    job = submitit.SlurmJob(folder=known['folder'], job_id=known['job_id'])
    return None if job.done(force_check=True) else job


def _job_file(run: Run) -> Path:
    return run.folder / 'job.json'


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[float, str], None]]:
    """A bar over all runs in a terminal; yields a function that takes the runs done and a text."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [BarColumn(), TextColumn('{task.percentage:.0f} %'), TimeElapsedColumn(), TimeRemainingColumn()]
    console = Console()
    with Progress(TextColumn('{task.description}'), *columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task('', total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)


def _show_position(show: Callable[[float, str], None], run: Run, index: int) -> None:
    position, length = read_position(run), run.experiment.length
    show(index + position / length, f'{run}: {run.experiment.unit} {position}/{length}')


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as an exception does, so that the training is ended with it."""

    def leave(number, frame):
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    changed = [number for number, handler in before.items() if handler == signal.SIG_DFL]  # nohup ignores SIGHUP
    for number in changed:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
