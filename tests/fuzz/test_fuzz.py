"""A few hundred of the cases of `python tests/fuzz`: the same ones every time."""

import pytest
from fuzzing.kinds import KINDS, SHARES
from fuzzing.oracle import run_case
from hypothesis import HealthCheck, Phase, given, settings

CASES = 300


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', KINDS)
def test_files_are_taken_or_refused_by_name(kind, tmp_path):
    @settings(max_examples=CASES * SHARES[kind] // 100, phases=[Phase.generate], derandomize=True, database=None,
              deadline=None, suppress_health_check=list(HealthCheck))
    @given(KINDS[kind])
    def run(case):
        outcome = run_case(case, tmp_path / 'case')
        assert outcome.kind != 'FAULT', f'{outcome.message}\n{case.notes}'

    run()
