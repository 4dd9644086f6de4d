"""A report of data checks for people, as tables, and for programs, as json."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .finding import Finding, Severity
from .run import DataReport, SourceReport

_STYLES = {Severity.ERROR: 'bold red', Severity.WARNING: 'yellow', Severity.NOTE: 'cyan'}
_ORDER = list(Severity)


def as_json(report: DataReport) -> dict:
    """Everything of a report in plain types."""
    return {
        'errors': report.number(Severity.ERROR),
        'warnings': report.number(Severity.WARNING),
        'notes': report.number(Severity.NOTE),
        'data_sets': [
            {'key': one.source.path, 'splits': list(one.source.splits), 'type': type(one.source.dataset).__name__,
             'kind': one.source.kind, 'facts': one.facts} for one in report.sources
        ],
        'findings': [finding.as_dict() for finding in report.all_findings],
    }


def print_report(report: DataReport, console: Console) -> None:
    """Write a table for each data set, and one line that counts what was found."""
    for one in report.sources:
        _print_source(one, console)
    if report.findings:
        console.print('\n[bold]config and splits[/]')
        console.print(_table(report.findings))
    numbers = ', '.join(_counted(report.number(severity), severity.value) for severity in _ORDER)
    verdict = 'training or evaluation would break or be wrong' if report.number(Severity.ERROR) else \
        'nothing that would break training or evaluation'
    console.print(f'\n{numbers}: {verdict}')


def _print_source(one: SourceReport, console: Console) -> None:
    facts = ''.join(f', {number} {name}' for name, number in one.facts.items())
    splits = ' and '.join(one.source.splits)
    console.print(f'\n[bold]{splits}[/]: {type(one.source.dataset).__name__} at {escape(one.source.path)}{facts}')
    console.print(_table(one.findings) if one.findings else '  nothing found')
    if one.layout:
        console.print(f'\nexpected: {escape(one.layout)}', highlight=False)


def _table(findings: list[Finding]) -> Table:
    table = Table(header_style='bold', show_lines=True, expand=True)
    for name, ratio in (('found', 5), ('way out', 3)):
        table.add_column(name, ratio=ratio, overflow='fold')
    for finding in sorted(findings, key=lambda one: _ORDER.index(one.severity)):
        style = _STYLES[finding.severity]
        number = f' {finding.count:,} ×' if finding.count > 1 else ''
        lines = [f'[{style}]{finding.severity.value}[/]{number} {escape(finding.message)}']
        lines += [f'  [dim]e.g.[/] {escape(example)}' for example in finding.examples]
        place = f' ({finding.file})' if finding.file and finding.file not in finding.message else ''
        lines.append(f'[dim]{escape(finding.where + place)}[/]')
        table.add_row('\n'.join(lines), escape(finding.fix))
    return table


def _counted(number: int, name: str) -> str:
    return f'{number} {name}{"" if number == 1 else "s"}'
