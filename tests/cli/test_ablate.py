"""`detrove ablate`: every config with every seed, stopped and called again, failed runs, the table, Slurm jobs.

Most tests put a stand-in for the training in place, a script that writes the files that a training writes.
"""

import csv
import dataclasses
import importlib.util
import json
import os
import re
import signal as signals
import statistics
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import pytest

from detrove.cli import ablation_launch, ablation_run, main
from detrove.cli.ablation_run import Experiment, Run
from detrove.cli.ablation_table import changes, choose_metric, summarise

LAST_EPOCH = 3

# Writes what mmengine writes: a validation and a checkpoint in each epoch. `how.json` says what goes wrong where.
TRAINING = """
    import json, os, signal, sys, time, zipfile
    from pathlib import Path

    name, seed, folder, checkpoint, last_epoch = sys.argv[1:]
    folder, seed, how = Path(folder), int(seed), json.loads(Path('how.json').read_text()).get(name, {})
    with open('calls.txt', 'a') as calls:
        print(name, seed, Path(checkpoint).name, file=calls)
    first = int(checkpoint.rpartition('_')[2].removesuffix('.pth')) + 1 if checkpoint != '-' else 1
    session = f'20260101_0000{len(list(folder.glob("2026*"))):02d}'
    (folder / session / 'vis_data').mkdir(parents=True)
    (folder / session / f'{session}.log').touch()
    scalars = (folder / session / 'vis_data' / 'scalars.json').open('w')
    for epoch in range(first, int(last_epoch) + 1):
        print(json.dumps(dict(loss=1.0, epoch=epoch, iter=2 * epoch, step=2 * epoch)), file=scalars, flush=True)
        if how.get('crash_seed') == seed and epoch == 2:
            sys.exit('error: the loss is nan')
        with zipfile.ZipFile(folder / f'epoch_{epoch}.pth', 'w') as file:
            file.writestr('weights', 'w')
        if how.get('stop_seed') == seed and epoch == how['stop_epoch'] and not Path('stopped').exists():
            Path('stopped').touch()
            os.kill(os.getppid(), getattr(signal, how['signal']))
            time.sleep(60)
        values = {'coco/bbox_mAP': how.get('mAP', 0.2) + 0.1 * epoch * (1 if epoch < 3 else 0.5) + 0.02 * seed}
        values |= {'coco/bbox_mAP_50': 0.5, 'data_time': 0.1, 'time': 0.1, 'step': epoch}
        print(json.dumps(values), file=scalars, flush=True)
"""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def hears_ctrl_c():
    """Also where a shell started the tests in the background, with SIGINT ignored."""
    before = signals.signal(signals.SIGINT, signals.default_int_handler)
    yield
    signals.signal(signals.SIGINT, before)


@pytest.fixture
def ablate(tmp_path, monkeypatch, detection_config):
    """Runs `detrove ablate` on configs `base.py` and `changed.py` with the stand-in; the keywords say what it does."""
    (tmp_path / 'training.py').write_text(textwrap.dedent(TRAINING))
    for name, extra in (('base', ''), ('changed', "optim_wrapper['optimizer']['lr'] = 0.5")):
        detection_config(f"train_cfg['max_epochs'] = {LAST_EPOCH}; {extra}").rename(tmp_path / f'{name}.py')

    def command(run, checkpoint):
        words = [run.experiment.name, run.seed, run.folder, checkpoint or '-', run.experiment.length]
        return [sys.executable, '-I', str(tmp_path / 'training.py'), *map(str, words)]

    monkeypatch.setattr(ablation_run, 'training_command', command)

    def call(*options, configs=('base.py', 'changed.py'), **how):
        Path('how.json').write_text(json.dumps(how))
        return main(['ablate', *configs, '--seeds', '2', '--work-dir', 'work', *options])

    return call


def calls():
    """The trainings since the last look: (config, seed, checkpoint)."""
    lines = Path('calls.txt').read_text().splitlines() if Path('calls.txt').exists() else []
    Path('calls.txt').unlink(missing_ok=True)
    return [tuple(line.split()) for line in lines]


def table():
    with Path('work/table.csv').open() as file:
        return {row['config']: row for row in csv.DictReader(file)}


def result_of(folder):
    return json.loads(Path('work', folder, 'result.json').read_text())


def test_every_config_with_every_seed_in_one_table(ablate, tmp_path, capsys):
    assert ablate(changed=dict(mAP=0.3)) == 0
    assert calls() == [(name, seed, '-') for seed in '01' for name in ('base', 'changed')]
    base, changed = table().values()
    # a run's best validation is that of epoch 2, before the value falls
    assert float(base['mean']) == pytest.approx(statistics.mean([0.4, 0.42]))
    assert float(base['std']) == pytest.approx(statistics.stdev([0.4, 0.42]))
    assert float(base['last_mean']) == pytest.approx(statistics.mean([0.35, 0.37]))
    assert (base['metric'], base['n'], base['unit'], base['best_at']) == ('coco/bbox_mAP', '2', 'epoch', '2 2')
    assert base['difference'] == ''
    assert float(changed['difference']) == pytest.approx(0.1)
    assert changed['runs'].split() == [str(tmp_path / 'work' / f'changed_seed{seed}') for seed in (0, 1)]
    markdown = Path('work/table.md').read_text()
    cells = [cell.strip() for cell in next(line for line in markdown.splitlines() if '| changed' in line).split('|')]
    assert cells[1:9] == ['changed', '+0.1000', '2', '0.5100', '0.0141', '0.4600', '0.0141', 'epoch 2, 2']
    assert '[1](changed_seed1)' in markdown
    assert '- `optim_wrapper.optimizer.lr: 0.01 -> 0.5`' in markdown
    shown = capsys.readouterr().out
    assert '[4/4] changed, seed 1: finished' in shown
    assert re.search(r'\| changed +\| \+0\.1000', shown)


def test_called_again_it_trains_only_what_is_missing(ablate, capsys):
    assert ablate(configs=['base.py']) == 0
    assert len(calls()) == 2
    assert ablate('--seeds', '3') == 0
    assert calls() == [('changed', '0', '-'), ('changed', '1', '-'), ('base', '2', '-'), ('changed', '2', '-')]
    assert [row['n'] for row in table().values()] == ['3', '3']
    assert 'base, seed 0: finished before' in capsys.readouterr().out


@pytest.mark.parametrize(('signal', 'status'), [('SIGINT', 130), ('SIGTERM', 143)])
def test_interrupted_and_continued(ablate, signal, status):
    began = time.monotonic()
    assert ablate(base=dict(stop_seed=1, stop_epoch=2, signal=signal)) == status
    assert time.monotonic() - began < 30  # the training was ended too
    assert [call[:2] for call in calls()] == [('base', '0'), ('changed', '0'), ('base', '1')]
    assert [row['n'] for row in table().values()] == ['1', '1']
    assert ablate() == 0
    assert calls() == [('base', '1', 'epoch_2.pth'), ('changed', '1', '-')]
    # epoch 2 was not validated: its checkpoint was written, and the training stopped
    assert [record['step'] for record in result_of('base_seed1')['validations']] == [1, 3]
    assert result_of('base_seed1')['sessions'] == 2


def test_stopped_before_its_last_validation_it_repeats_the_last_epoch(ablate):
    assert ablate(base=dict(stop_seed=1, stop_epoch=LAST_EPOCH, signal='SIGINT')) == 130
    calls()
    assert ablate() == 0
    assert calls()[0] == ('base', '1', 'epoch_2.pth')
    assert [record['step'] for record in result_of('base_seed1')['validations']] == [1, 2, 3]


def test_a_checkpoint_that_was_cut_short_is_passed_over(ablate):
    assert ablate(base=dict(stop_seed=0, stop_epoch=2, signal='SIGINT')) == 130
    whole = Path('work/base_seed0/epoch_2.pth').read_bytes()
    Path('work/base_seed0/epoch_2.pth').write_bytes(whole[: len(whole) // 2])
    with next(Path('work/base_seed0').glob('*/vis_data/scalars.json')).open('a') as scalars:
        scalars.write('{"coco/bbox_mAP": 0.')  # so was the line that was being written
    calls()
    assert ablate() == 0
    assert calls()[0] == ('base', '0', 'epoch_1.pth')


def test_a_failed_run_does_not_end_the_others(ablate, capsys):
    assert ablate(base=dict(crash_seed=0)) == 1
    assert len(calls()) == 4
    log = Path('work/base_seed0/train.log').resolve()
    assert 'error: the loss is nan' in log.read_text()
    message = 'no result: base, seed 0: training ended with exit status 1: error: the loss is nan'
    assert f'{message}\n  log: {log}\n' in capsys.readouterr().err
    assert '- base, seed 0: training ended with exit status 1' in Path('work/table.md').read_text()
    base, changed = table().values()
    assert (base['n'], base['std'], changed['n']) == ('1', '', '2')
    assert ablate() == 0  # tried again, from where it was
    assert calls() == [('base', '0', 'epoch_1.pth')]
    assert 'Not in the table' not in Path('work/table.md').read_text()


def test_all_failed(ablate, capsys):
    assert ablate(configs=['base.py'], base=dict(crash_seed=0)) == 1
    assert ablate('--seeds', '1', '--work-dir', 'other', configs=['base.py'], base=dict(crash_seed=0)) == 1
    assert capsys.readouterr().err.count('log: ') == 2
    assert not Path('other/table.md').exists()


def test_a_run_that_another_process_trains_is_left_alone(ablate, capsys):
    Path('work/base_seed0').mkdir(parents=True)
    with ablation_run.exclusive(Path('work/base_seed0/train.lock')):
        assert ablate() == 1
    assert ('base', '0', '-') not in calls()
    assert 'base, seed 0: another process is at work on it' in capsys.readouterr().err


def test_a_run_that_another_process_finishes_meanwhile_is_in_the_table(ablate, monkeypatch, capsys):
    train = ablation_launch.train

    def train_second(run, **options):
        train(run, **options)
        if (run.experiment.name, run.seed) == ('base', 0):
            raise ablation_run.TrainedElsewhere('another process is at work on it')

    monkeypatch.setattr(ablation_launch, 'train', train_second)
    assert ablate() == 0
    assert table()['base']['n'] == '2' and 'Not in the table' not in Path('work/table.md').read_text()
    assert 'no result: base' not in capsys.readouterr().err


def test_a_training_left_behind_keeps_the_lock(tmp_path):
    with ablation_run.exclusive(tmp_path / 'lock') as lock:
        child = subprocess.Popen([sys.executable, '-Ic', 'input()'], stdin=subprocess.PIPE, pass_fds=(lock,))
    with pytest.raises(ablation_run.TrainedElsewhere), ablation_run.exclusive(tmp_path / 'lock'):
        pass
    child.communicate(b'\n')
    with ablation_run.exclusive(tmp_path / 'lock'):
        pass


def test_other_settings_in_the_same_folder_are_refused(ablate, capsys):
    assert ablate(configs=['base.py']) == 0
    calls()
    assert ablate('--', '--cfg-options', 'optim_wrapper.optimizer.lr=0.2', configs=['base.py']) == 1
    assert 'optim_wrapper.optimizer.lr: 0.01 -> 0.2' in capsys.readouterr().err
    assert ablate('--', '--amp', configs=['base.py']) == 1
    assert 'options of train.amp: False -> True' in capsys.readouterr().err
    assert calls() == []


def test_metric_can_be_chosen_afterwards(ablate, capsys):
    assert ablate('--metric', 'bbox_mAP_50') == 1
    output = capsys.readouterr()
    assert "did you mean 'coco/bbox_mAP_50'" in output.err
    assert len(calls()) == 4  # none was lost for it
    assert ablate('--metric', 'coco/bbox_mAP_50') == 0
    assert calls() == []
    assert [float(row['mean']) for row in table().values()] == [0.5, 0.5]


def test_help_names_the_options(capsys):
    assert main(['ablate', '--help']) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ('--seeds', '--launcher', '--work-dir', '--metric', '--slurm-options'))


@pytest.mark.parametrize(
    ('words', 'status', 'message'),
    [
        (['base.py', './base.py'], 1, 'configs named twice'),
        (['base.py', 'bsae.py'], 1, 'bsae.py not found'),
        (['base.py', '--seeds', '0'], 2, 'at least 1'),
        (['base.py', '--', '--resume'], 1, '--resume after `--`: the ablation sets this'),
        (['base.py', '--', '--cfg-options', 'randomness.seed=1'], 1, 'randomness.seed after `--`'),
        (['base.py', '--', '--ampp'], 2, 'unrecognized arguments: --ampp'),
        (['base.py', '--', '--cfg-options', 'model.neck.x=1'], 1, "model.neck has no 'x'"),
        (['base.py', '--', '--cfg-options', 'visualizer.vis_backends=[]'], 1, 'LocalVisBackend'),
        (['base.py', '--slurm-options', 'time=5'], 2, 'goes with --launcher slurm'),
        (['base.py', '--launcher', 'slurm'], 2, 'time=MINUTES'),
        (['base.py', '--launcher', 'slurm', '--slurm-options', 'time=1-00:00:00'], 2, 'time=MINUTES'),
    ],
)
def test_wrong_input_is_one_message_and_writes_nothing(ablate, capsys, words, status, message):
    assert main(['ablate', *words]) == status
    assert message in capsys.readouterr().err
    assert calls() == []
    assert not Path('work_dirs').exists()


def test_configs_of_the_same_name_are_told_apart_by_their_folder(ablate):
    Path('other').mkdir()
    Path('other/base.py').write_text(Path('base.py').read_text())
    assert ablate('--seeds', '1', configs=['base.py', 'other/base.py']) == 0
    assert list(table()) == [f'{Path.cwd().name}-base', 'other-base']


def experiment(name='base', **settings):
    return Experiment(name=name, config=Path(f'{name}.py'), unit='epoch', length=2, settings=settings)


def result(*validations, time_s=60.0):
    records = [dict(step=step, metrics=metrics) for step, metrics in enumerate(validations, start=1)]
    return dict(validations=records, time_s=time_s)


def test_own_choice_of_metric(tmp_path):
    run = Run(experiment(), 0, tmp_path)
    assert choose_metric(None, {run: result({'coco/bbox_mAP': 0.1, 'coco/segm_mAP': 0.2})}) == 'coco/bbox_mAP'
    assert choose_metric(None, {run: result(dict(aAcc=90.0, mIoU=40.0))}) == 'mIoU'
    named = Run(dataclasses.replace(run.experiment, save_best='mAcc'), 0, tmp_path)
    results = {run: result(dict(mIoU=1.0, mAcc=2.0)), named: result(dict(mIoU=1.0, mAcc=2.0))}
    with pytest.raises(ValueError, match='different metrics.*--metric'):
        choose_metric(None, results)
    assert choose_metric('mAcc', results) == 'mAcc'


def test_best_follows_the_direction_of_the_metric_and_skips_nan(tmp_path):
    run = Run(experiment(), 0, tmp_path)
    (row,) = summarise([run], {run: result(dict(loss=2.0), dict(loss=1.0), dict(loss=float('nan')))}, 'loss')
    assert (row.best, row.best_at) == ([1.0], [2])
    (row,) = summarise([run], {run: result(dict(mIoU=2.0), dict(mIoU=2.0), dict(mIoU=1.0))}, 'mIoU')
    assert (row.best, row.best_at, row.last) == ([2.0], [1], [1.0])
    with pytest.raises(ValueError, match='whether higher values are better'):
        summarise([run], {run: result(dict(PQ=2.0))}, 'PQ')
    ruled = Run(dataclasses.replace(run.experiment, save_best='PQ', rule='greater'), 0, tmp_path)
    assert summarise([ruled], {ruled: result(dict(PQ=2.0), dict(PQ=3.0))}, 'PQ')[0].best == [3.0]
    with pytest.raises(ValueError, match='no validation gave a number'):
        summarise([run], {run: result(dict(mIoU=float('nan')))}, 'mIoU')


def test_a_base_without_runs_gives_no_differences(tmp_path):
    base, other = Run(experiment(), 0, tmp_path), Run(experiment('other'), 0, tmp_path)
    rows = summarise([base, other], {other: result(dict(mIoU=2.0))}, 'mIoU')
    assert rows[1].mean == 2.0
    assert rows[1].difference(rows[0]) is None


def test_changes_name_what_was_added_and_taken_away():
    assert changes(dict(a='1', b='2'), dict(a='1', c='3')) == ['b: 2 -> (not set)', 'c: (not set) -> 3']


def test_the_training_command(tmp_path):
    run = Run(dataclasses.replace(experiment(), num_gpus=8, train_args=('--amp',)), 2, tmp_path)
    words = ablation_run.training_command(run, tmp_path / 'epoch_1.pth')
    assert words[:5] == [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=8']
    assert words[5:9] == ['-m', 'detrove.cli', 'train', 'base.py']
    assert words[9:] == [
        '--work-dir', str(tmp_path), '--amp', '--cfg-options', 'randomness.seed=2',
        '--resume', str(tmp_path / 'epoch_1.pth'), '--launcher', 'pytorch',
    ]  # fmt: skip
    # without a checkpoint no --resume: it would drop the config's load_from
    by_iteration = Run(dataclasses.replace(experiment(), unit='iter'), 0, tmp_path)
    words = ablation_run.training_command(by_iteration, None)
    assert '--resume' not in words
    assert words[-1] == 'default_hooks.logger.log_metric_by_epoch=False'


def test_a_real_training_is_resumed_and_lands_in_the_table(detection_config, monkeypatch, capfd):
    config = detection_config("train_cfg['max_epochs'] = 2")
    folder = Path('work') / f'{config.stem}_seed0'
    one_epoch = ['--cfg-options', 'train_cfg.max_epochs=1']
    assert main(['train', str(config), '--work-dir', str(folder), *one_epoch]) == 0
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    status = main(['ablate', str(config), '--seeds', '1', '--gpus', '0', '--work-dir', 'work'])
    assert status == 0, (folder / 'train.log').read_text()
    assert 'training from epoch_1.pth' in capfd.readouterr().out
    (row,) = table().values()
    assert row['n'] == '1'
    validations = json.loads((folder / 'result.json').read_text())['validations']
    assert [record['step'] for record in validations] == [1, 2]
    assert float(row['mean']) == max(record['metrics']['coco/bbox_mAP'] for record in validations)
    assert float(row['time_s']) > 0
    log = (folder / 'train.log').read_text()
    assert 'Epoch(train) [2][1/2]' in log
    assert 'Epoch(train) [1]' not in log
    assert 'seed=0' in log


# Slurm


class FakeJob:
    """A job of the fake submitit; `FakeJob.ended` says which ones Slurm reports as ended."""

    ended = {}

    def __init__(self, *, folder, job_id):
        self.folder, self.job_id = folder, job_id
        self.paths = types.SimpleNamespace(stderr=Path(folder.replace('%j', job_id)) / f'{job_id}_0_log.err')

    def done(self, force_check=False):
        return self.ended[self.job_id]

    @property
    def state(self):
        return 'COMPLETED' if self.done() else 'RUNNING'


class FakeExecutor:
    """Keeps what was submitted; runs it when `start` is called, as `SlurmExecutor` would on another machine."""

    submitted = []

    def __init__(self, *, folder, max_num_timeout):
        self.folder, self.parameters = str(folder), {}

    def update_parameters(self, **parameters):
        known = {'setup', 'job_name', 'partition', 'time', 'gpus_per_node'}
        if not parameters.keys() <= known:
            raise ValueError(f'Unavailable parameter(s): {sorted(parameters.keys() - known)}')
        self.parameters.update(parameters)

    def submit(self, function):
        job = FakeJob(folder=self.folder, job_id=str(100 + len(self.submitted)))
        self.submitted.append((function, dict(self.parameters)))
        FakeJob.ended[job.job_id] = False
        return job

    @classmethod
    def start(cls, index):
        try:
            cls.submitted[index][0]()
        except ablation_run.TrainingFailed:
            pass  # submitit writes it to the job's log
        finally:
            FakeJob.ended[str(100 + index)] = True


@pytest.fixture
def slurm(ablate, monkeypatch):
    """`slurm(on_poll, **how)` runs `detrove ablate --launcher slurm`; where it would wait, `on_poll` is called."""
    FakeJob.ended, FakeExecutor.submitted = {}, []
    fake = types.ModuleType('submitit')
    fake.SlurmJob, fake.SlurmExecutor = FakeJob, FakeExecutor
    monkeypatch.setitem(sys.modules, 'submitit', fake)

    def call(on_poll, options=('time=60', 'partition=gpu'), **how):
        monkeypatch.setattr(ablation_launch, 'time', types.SimpleNamespace(sleep=lambda seconds: on_poll()))
        return ablate('--launcher', 'slurm', '--slurm-options', *options, **how)

    return call


def interrupt():
    raise KeyboardInterrupt


def test_jobs_are_submitted_once_and_waited_for(slurm, capsys):
    assert slurm(interrupt) == 130
    assert 'the jobs go on' in capsys.readouterr().out
    parameters = [parameters for _, parameters in FakeExecutor.submitted]
    assert [one['job_name'] for one in parameters] == ['base-0', 'changed-0', 'base-1', 'changed-1']
    assert all((one['partition'], one['time'], one['gpus_per_node']) == ('gpu', 60, 1) for one in parameters)
    FakeExecutor.start(0)  # one ends while nobody watches
    waiting = iter([1, 2, 3])
    assert slurm(lambda: FakeExecutor.start(next(waiting))) == 0
    assert len(FakeExecutor.submitted) == 4
    assert [row['n'] for row in table().values()] == ['2', '2']
    shown = capsys.readouterr().out
    assert 'base, seed 0: finished before' in shown
    assert 'changed, seed 0: is job 101 already' in shown
    assert not list(Path('work').glob('*/job.json'))


def test_a_job_that_fails_is_submitted_again_by_the_next_call(slurm, capsys):
    waiting = iter([0, 1, 2, 3])
    assert slurm(lambda: [FakeExecutor.start(index) for index in waiting], changed=dict(crash_seed=1)) == 1
    message = capsys.readouterr().err
    assert 'no result: changed, seed 1: job 103 ended without a result, see also ' in message
    assert 'slurm/103/103_0_log.err' in message
    assert f'log: {Path("work/changed_seed1/train.log").resolve()}' in message
    calls()
    assert slurm(lambda: FakeExecutor.start(4)) == 0
    assert len(FakeExecutor.submitted) == 5
    assert calls() == [('changed', '1', 'epoch_1.pth')]


def test_a_run_that_is_a_slurm_job_is_not_trained_here(slurm, ablate, capsys):
    assert slurm(interrupt) == 130
    assert ablate() == 1
    assert 'work/base_seed0/job.json' in capsys.readouterr().err
    assert calls() == []


def test_an_unknown_slurm_option(slurm, capsys):
    assert slurm(interrupt, options=('time=60', 'partitoin=gpu')) == 1
    assert "--slurm-options: Unavailable parameter(s): ['partitoin']" in capsys.readouterr().err
    assert not FakeExecutor.submitted


def test_without_submitit(ablate, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    assert ablate('--launcher', 'slurm', '--slurm-options', 'time=60') == 1
    assert 'pip install submitit' in capsys.readouterr().err


SBATCH = """\
    #!{python}
    import pathlib, subprocess, sys
    pathlib.Path('job_1.sh').write_text(pathlib.Path(sys.argv[-1]).read_text())
    print('Submitted batch job 1')
    subprocess.Popen('SLURM_JOB_ID=1 bash job_1.sh > job_1.log 2>&1; touch job_1.ended', shell=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""
SRUN = """\
    #!/bin/bash
    while [[ $1 == --* ]]; do if [[ $1 == --unbuffered ]]; then shift; else shift 2; fi; done
    exec "$@"
"""
SACCT = """\
    #!/bin/bash
    [[ -e job_1.ended ]] && state=COMPLETED || state=RUNNING
    printf 'JobID|State|NodeList\\n1|%s|here\\n' $state
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('submitit') is None, reason='submitit is not installed')
def test_with_submitit_itself(detection_config, tmp_path, monkeypatch):
    """submitit's own executor and job script around a real training; sbatch, srun and sacct are small scripts."""
    for name, text in (('sbatch', SBATCH.format(python=sys.executable)), ('srun', SRUN), ('sacct', SACCT)):
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        path.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setattr(ablation_launch, '_POLL_S', 0.2)
    words = ['--seeds', '1', '--work-dir', 'work', '--launcher', 'slurm', '--slurm-options', 'time=5']
    assert main(['ablate', str(detection_config()), *words]) == 0, Path('job_1.log').read_text()
    assert '#SBATCH --gpus-per-node=1' in Path('job_1.sh').read_text()
    assert [row['n'] for row in table().values()] == ['1']
